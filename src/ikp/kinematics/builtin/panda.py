"""Franka Emika Panda, from `franka_description` of github.com/frankaemika/franka_ros (Apache-2.0)."""

from __future__ import annotations

import math

from ikp.kinematics.builtin._chain import AXES, Frame, chain
from ikp.kinematics.links import Joint, Vector
from ikp.kinematics.robot import Robot

_QUARTER = math.pi / 2
# position of each joint in the link before [m], its roll [quarter turns], limits [rad], speed [rad/s]
_JOINTS: tuple[tuple[Vector, int, float, float, float], ...] = (
    ((0.0, 0.0, 0.333), 0, -2.8973, 2.8973, 2.175),
    ((0.0, 0.0, 0.0), -1, -1.7628, 1.7628, 2.175),
    ((0.0, -0.316, 0.0), 1, -2.8973, 2.8973, 2.175),
    ((0.0825, 0.0, 0.0), 1, -3.0718, -0.0698, 2.175),
    ((-0.0825, 0.384, 0.0), -1, -2.8973, 2.8973, 2.61),
    ((0.0, 0.0, 0.0), 1, -0.0175, 3.7525, 2.61),
    ((0.088, 0.0, 0.0), 1, -2.8973, 2.8973, 2.61),
)


def panda() -> Robot:
    """Franka Emika Panda with the Franka hand, whose fingers are left out.

    Links: panda_link0 to panda_link8, panda_hand, panda_hand_tcp (the tip, between the fingertips). Joints:
    panda_joint1 to panda_joint7.
    """
    frames: list[Frame] = []
    for number, (xyz, quarter_turns, lower, upper, speed) in enumerate(_JOINTS, start=1):
        joint = Joint(f"panda_joint{number}", "revolute", AXES["z"], lower, upper, speed)
        roll = quarter_turns * _QUARTER
        frames.append((f"panda_link{number}", f"panda_link{number - 1}", xyz, (roll, 0.0, 0.0), joint))
    frames += [
        ("panda_link8", "panda_link7", (0.0, 0.0, 0.107), (0.0, 0.0, 0.0), None),
        ("panda_hand", "panda_link8", (0.0, 0.0, 0.0), (0.0, 0.0, -_QUARTER / 2), None),
        ("panda_hand_tcp", "panda_hand", (0.0, 0.0, 0.1034), (0.0, 0.0, 0.0), None),
    ]
    return Robot("panda", chain("panda_link0", frames), ("panda_hand_tcp",))
