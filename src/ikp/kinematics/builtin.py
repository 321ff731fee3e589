"""Built-in arms: UR5e, KUKA LBR iiwa 14 R820 and two of the latter as one tree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ikp.kinematics.links import Joint, Link
from ikp.kinematics.robot import Robot

# Universal Robots, "DH parameters for calculations of kinematics and dynamics", UR5e, standard DH:
# (a in m, d in m, alpha in quarter turns)
_UR5E_DH = (
    (0.0, 0.1625, 1),
    (-0.425, 0.0, 0),
    (-0.3922, 0.0, 0),
    (0.0, 0.1333, 1),
    (0.0, 0.0997, -1),
    (0.0, 0.0996, 0),
)
_UR5E_LINKS = ("shoulder", "upper_arm", "forearm", "wrist_1", "wrist_2", "wrist_3")
_UR5E_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")

# KUKA, LBR iiwa 14 R820 data sheet: shoulder at 0.36 m, elbow 0.42 m and wrist 0.40 m further, flange 0.126 m
# from there. The origin of every joint lies in its housing:
# (distance along the previous axis in m, distance along its own axis in m, alpha in quarter turns)
_IIWA14_JOINTS = (
    (0.0, 0.1575, 0),
    (0.2025, 0.0, -1),
    (0.0, 0.2045, 1),
    (0.2155, 0.0, 1),
    (0.0, 0.1845, -1),
    (0.2155, 0.0, -1),
    (0.0, 0.081, 1),
)
_IIWA14_FLANGE = 0.045
_IIWA14_LIMITS_DEG = (170, 120, 170, 120, 170, 120, 175)
_IIWA14_SPEEDS_DEG = (85, 85, 100, 75, 130, 135, 135)


def ur5e() -> Robot:
    """Universal Robots UR5e in its own base frame (ROS `base_link` is that frame turned by pi about z).

    Links: base, shoulder, upper_arm, forearm, wrist_1, wrist_2, wrist_3, flange (the tip). Every joint turns
    about the z axis of its link.
    """
    links = [Link("base", -1)]
    a, alpha = 0.0, 0
    for link, joint, (next_a, d, next_alpha) in zip(_UR5E_LINKS, _UR5E_JOINTS, _UR5E_DH, strict=True):
        # standard DH, with the translation d before the joint's rotation, so that the joint turns about the link's z
        T_parent_joint = _pose(alpha, translation=(a, 0.0, 0.0), along_axis=d)
        moving = Joint(f"{joint}_joint", "revolute", (0.0, 0.0, 1.0), -2 * math.pi, 2 * math.pi, math.pi)
        links.append(Link(link, len(links) - 1, T_parent_joint, moving))
        a, alpha = next_a, next_alpha
    links.append(Link("flange", len(links) - 1, _pose(alpha, translation=(a, 0.0, 0.0))))
    return Robot("ur5e", tuple(links), ("flange",))


def iiwa14() -> Robot:
    """KUKA LBR iiwa 14 R820.

    Links: base, link_1 .. link_7, flange (the tip). Every joint turns about the z axis of its link.
    """
    return Robot("iiwa14", _iiwa14_links("", first=0), ("flange",))


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
    links: list[Link] = [Link("world", -1)]
    for prefix, T_world_base in bases.items():
        arm = _iiwa14_links(prefix, first=len(links))
        links.append(replace(arm[0], parent=0, T_parent_joint=T_world_base))
        links.extend(arm[1:])
    return Robot("iiwa14_dual", tuple(links), ("left_flange", "right_flange"))


BUILTIN = {"ur5e": ur5e, "iiwa14": iiwa14, "iiwa14_dual": iiwa14_dual}


def with_tool(robot: Robot, tip: str, T_tip_tool: Tensor, name: str = "tool") -> Robot:
    """Attach a fixed tool frame to a link; it replaces the link among the tips, or is added to them.

    Args:
        robot: the robot without the tool.
        tip: the link that carries the tool.
        T_tip_tool: (4, 4) pose of the tool frame in the link's frame.
        name: name of the new link.

    Raises:
        ValueError: `tip` is unknown, `name` is taken or the transform is not rigid.
    """
    links = (*robot.links, Link(name, robot.link_index(tip), T_tip_tool))
    tips = tuple(name if existing == tip else existing for existing in robot.tip_names)
    return Robot(robot.name, links, tips if name in tips else (*tips, name))


def _iiwa14_links(prefix: str, first: int) -> tuple[Link, ...]:
    links = [Link(f"{prefix}base", -1)]
    for number, (before, own, alpha) in enumerate(_IIWA14_JOINTS, start=1):
        limit, speed = (math.radians(v[number - 1]) for v in (_IIWA14_LIMITS_DEG, _IIWA14_SPEEDS_DEG))
        joint = Joint(f"{prefix}joint_{number}", "revolute", (0.0, 0.0, 1.0), -limit, limit, speed)
        T_parent_joint = _pose(alpha, translation=(0.0, 0.0, before), along_axis=own)
        links.append(Link(f"{prefix}link_{number}", first + number - 1, T_parent_joint, joint))
    links.append(Link(f"{prefix}flange", first + 7, _pose(0, translation=(0.0, 0.0, _IIWA14_FLANGE))))
    return tuple(links)


def _pose(quarter_turns: int, translation: Sequence[float], along_axis: float = 0.0) -> Tensor:
    """Trans(translation) @ Rot_x(quarter_turns * pi/2) @ Trans_z(along_axis), with exact zeros and ones."""
    c, s = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter_turns % 4]
    x, y, z = translation
    rows = [[1, 0, 0, x], [0, c, -s, y - s * along_axis], [0, s, c, z + c * along_axis], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)


def _base(y: float, facing: int) -> Tensor:
    """Base pose at (0, y, 0) whose x axis points along +y (facing 1) or -y (facing -1)."""
    rows = [[0, -facing, 0, 0], [facing, 0, 0, y], [0, 0, 1, 0], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)
