"""Robots from tables of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ikp.kinematics.links import Joint, Link, Vector
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import rpy_to_matrix

Frame = tuple[str, str, Vector, Vector, Joint | None]
"""A link, its parent, the position [m] and the roll, pitch and yaw [rad] of its joint in the parent, the joint."""

AXES: dict[str, Vector] = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


def chain(root: str, frames: Sequence[Frame]) -> tuple[Link, ...]:
    """The links of a table, `root` first; each parent is the root or stands further up in the table."""
    links, index = [Link(root, -1)], {root: 0}
    for name, parent, xyz, rpy, joint in frames:
        index[name] = len(links)
        links.append(Link(name, index[parent], transform(xyz, rpy), joint))
    return tuple(links)


def transform(xyz: Vector, rpy: Vector) -> Tensor:
    """Pose (4, 4) from a position [m] and roll, pitch and yaw [rad]."""
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = rpy_to_matrix(torch.tensor(rpy, dtype=torch.float64))
    T[:3, 3] = torch.tensor(xyz, dtype=torch.float64)
    return T


def side_by_side(name: str, arm: Robot, bases: Mapping[str, Tensor]) -> Robot:
    """Several arms of one kind as one tree with the root `world`.

    Args:
        name: name of the robot.
        arm: one arm.
        bases: by prefix of the names of links and joints, the pose (4, 4) of the arm's base in the world.
    """
    links: list[Link] = [Link("world", -1)]
    for prefix, T_world_base in bases.items():
        first = len(links)
        for link in arm.links:
            joint = link.joint and replace(link.joint, name=prefix + link.joint.name)
            links.append(replace(link, name=prefix + link.name, parent=first + link.parent, joint=joint))
        links[first] = replace(links[first], parent=0, T_parent_joint=T_world_base)
    return Robot(name, tuple(links), tuple(prefix + tip for prefix in bases for tip in arm.tip_names))
