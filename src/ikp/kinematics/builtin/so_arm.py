"""SO-100 and SO-101 by TheRobotStudio, from the URDF files of github.com/TheRobotStudio/SO-ARM100 (Apache-2.0).

Positions, angles and limits are those of `Simulation/SO100/so100.urdf` and `Simulation/SO101/so101_new_calib.urdf`, as
they are rounded there. The files' speed limits are placeholders; here it is the 45 revolutions per minute of the servo,
Feetech STS3215. The jaw is a joint like the others, because its servo is commanded like theirs.
"""

from __future__ import annotations

import math

from ikp.kinematics.builtin._chain import AXES, Frame, chain
from ikp.kinematics.links import Joint, Vector
from ikp.kinematics.robot import Robot

_SPEED = 45 * 2 * math.pi / 60
_NO_TURN: Vector = (0.0, 0.0, 0.0)


def _turning(name: str, axis: str, lower: float, upper: float) -> Joint:
    return Joint(name, "revolute", AXES[axis], lower, upper, _SPEED)


_SO101: tuple[Frame, ...] = (
    (
        "shoulder_link",
        "base_link",
        (0.0388353, 0.0, 0.0624),
        (3.14159, 0.0, -3.14159),
        _turning("shoulder_pan", "z", -1.91986, 1.91986),
    ),
    (
        "upper_arm_link",
        "shoulder_link",
        (-0.0303992, -0.0182778, -0.0542),
        (-1.5708, -1.5708, 0.0),
        _turning("shoulder_lift", "z", -1.74533, 1.74533),
    ),
    (
        "lower_arm_link",
        "upper_arm_link",
        (-0.11257, -0.028, 0.0),
        (0.0, 0.0, 1.5708),
        _turning("elbow_flex", "z", -1.69, 1.69),
    ),
    (
        "wrist_link",
        "lower_arm_link",
        (-0.1349, 0.0052, 0.0),
        (0.0, 0.0, -1.5708),
        _turning("wrist_flex", "z", -1.65806, 1.65806),
    ),
    (
        "gripper_link",
        "wrist_link",
        (0.0, -0.0611, 0.0181),
        (1.5708, 0.0486795, 3.14159),
        _turning("wrist_roll", "z", -2.74385, 2.84121),
    ),
    ("gripper_frame_link", "gripper_link", (-0.0079, -0.000218121, -0.0981274), (0.0, 3.14159, 0.0), None),
    (
        "moving_jaw_so101_v1_link",
        "gripper_link",
        (0.0202, 0.0188, -0.0234),
        (1.5708, 0.0, 0.0),
        _turning("gripper", "z", -0.174533, 1.74533),
    ),
)

_SO100: tuple[Frame, ...] = (
    (
        "shoulder",
        "base",
        (0.0, -0.0452, 0.0165),
        (1.57079, 0.0, 0.0),
        _turning("shoulder_pan", "y", -2.0, 2.0),
    ),
    (
        "upper_arm",
        "shoulder",
        (0.0, 0.1025, 0.0306),
        (-1.8, 0.0, 0.0),
        _turning("shoulder_lift", "x", 0.0, 3.5),
    ),
    (
        "lower_arm",
        "upper_arm",
        (0.0, 0.11257, 0.028),
        (1.57079, 0.0, 0.0),
        _turning("elbow_flex", "x", -3.14158, 0.0),
    ),
    ("wrist", "lower_arm", (0.0, 0.0052, 0.1349), (-1.0, 0.0, 0.0), _turning("wrist_flex", "x", -2.5, 1.2)),
    (
        "gripper",
        "wrist",
        (0.0, -0.0601, 0.0),
        (0.0, 1.57079, 0.0),
        _turning("wrist_roll", "y", -3.14158, 3.14158),
    ),
    # the file has no frame at the fingertips: the middle of the fixed jaw's foremost pad in MuJoCo Menagerie's model
    ("gripper_frame", "gripper", (0.0089, -0.1014, 0.0), _NO_TURN, None),
    ("jaw", "gripper", (-0.0202, -0.0244, 0.0), (0.0, 3.14158, 0.0), _turning("gripper", "z", -0.2, 2.0)),
)


def so101() -> Robot:
    """SO-101 follower arm with its jaw; each joint's zero is in the middle of its range ("new calibration").

    Joints: shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll, gripper (the jaw, closed at its lower
    limit). Tip: gripper_frame_link, at the fingertips, which the jaw does not move.
    """
    return Robot("so101", chain("base_link", _SO101), ("gripper_frame_link",))


def so100() -> Robot:
    """SO-100 follower arm with its jaw; joints as those of the SO-101, but with the zeros of its own file.

    At zero the upper arm lies back, so shoulder_lift is positive and elbow_flex negative. Tip: gripper_frame, at the
    fingertips of the fixed jaw.
    """
    return Robot("so100", chain("base", _SO100), ("gripper_frame",))
