"""KUKA LBR iiwa 14 R820, from its data sheet; one arm and two."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ikp.kinematics.builtin._chain import side_by_side
from ikp.kinematics.builtin._dh import quarter_pose
from ikp.kinematics.links import Joint, Link
from ikp.kinematics.robot import Robot

# KUKA, LBR iiwa 14 R820 data sheet: shoulder at 0.36 m, elbow 0.42 m and wrist 0.40 m further, flange 0.126 m
# from there. The origin of every joint lies in its housing:
# (distance along the previous axis in m, distance along its own axis in m, alpha in quarter turns)
_JOINTS = (
    (0.0, 0.1575, 0),
    (0.2025, 0.0, -1),
    (0.0, 0.2045, 1),
    (0.2155, 0.0, 1),
    (0.0, 0.1845, -1),
    (0.2155, 0.0, -1),
    (0.0, 0.081, 1),
)
_FLANGE = 0.045
_LIMITS_DEG = (170, 120, 170, 120, 170, 120, 175)
_SPEEDS_DEG = (85, 85, 100, 75, 130, 135, 135)


def iiwa14() -> Robot:
    """KUKA LBR iiwa 14 R820.

    Links: base, link_1 .. link_7, flange (the tip). Every joint turns about the z axis of its link.
    """
    links = [Link("base", -1)]
    for number, (before, own, alpha) in enumerate(_JOINTS, start=1):
        limit, speed = (math.radians(v[number - 1]) for v in (_LIMITS_DEG, _SPEEDS_DEG))
        joint = Joint(f"joint_{number}", "revolute", (0.0, 0.0, 1.0), -limit, limit, speed)
        T_parent_joint = quarter_pose(alpha, translation=(0.0, 0.0, before), along_axis=own)
        links.append(Link(f"link_{number}", number - 1, T_parent_joint, joint))
    links.append(Link("flange", 7, quarter_pose(0, translation=(0.0, 0.0, _FLANGE))))
    return Robot("iiwa14", tuple(links), ("flange",))


def iiwa14_dual(T_world_left: Tensor | None = None, T_world_right: Tensor | None = None) -> Robot:
    """Two iiwa 14 as one tree.

    The root is `world`, links and joints have the prefixes `left_` and `right_`, the tips are the two
    flanges.

    Args:
        T_world_left: (4, 4) pose of the left base; by default at y = +0.77 m, facing -y.
        T_world_right: (4, 4) pose of the right base; by default at y = -0.77 m, facing +y.
    """
    bases = {
        "left_": _base(0.77, -1) if T_world_left is None else T_world_left,
        "right_": _base(-0.77, 1) if T_world_right is None else T_world_right,
    }
    return side_by_side("iiwa14_dual", iiwa14(), bases)


def _base(y: float, facing: int) -> Tensor:
    """Base pose at (0, y, 0) whose x axis points along +y (facing 1) or -y (facing -1)."""
    rows = [[0, -facing, 0, 0], [facing, 0, 0, y], [0, 0, 1, 0], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)
