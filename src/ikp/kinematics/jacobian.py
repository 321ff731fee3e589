"""The geometric Jacobian of chosen links."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.kinematics.forward import joint_positions, link_columns
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import cross


def jacobian(
    robot: Robot,
    q: Float[Tensor, "... dof"],
    links: Sequence[str] | None = None,
    *,
    q_offset: Float[Tensor, "... dof"] | None = None,
) -> Float[Tensor, "... chosen 6 dof"]:
    """Geometric Jacobian at the origin of each link, in the base frame.

    ``J @ qd`` is the linear velocity (m/s), then the angular velocity (rad/s).

    Args:
        robot: the robot.
        q: joint positions (..., dof), rad or m.
        links: link names; by default the robot's tips.
        q_offset: as in forward_kinematics.

    Raises:
        ValueError: a link is unknown, or the shape or dtype of `q` does not fit the robot.
    """
    chosen = robot.tip_indices if links is None else tuple(robot.link_index(name) for name in links)
    theta = joint_positions(robot, q, q_offset)
    J = jacobian_columns(robot, link_columns(robot, theta), chosen).permute(3, 0, 1, 2)
    return J if theta.ndim == 2 else J.reshape(*theta.shape[:-1], *J.shape[1:])


def jacobian_columns(
    robot: Robot, columns: Tensor, chosen: tuple[int, ...]
) -> Float[Tensor, "chosen 6 dof n"]:
    """:func:`jacobian` from the struct of arrays of :func:`link_columns`."""
    motion = _motion(robot, chosen, columns.dtype, columns.device)
    frames = columns[motion.moving, :, :3]
    axis = (frames[:, :3] * motion.axis).sum(1)
    anchor = frames[:, 3] + (frames[:, :3] * motion.anchor).sum(1)
    arm = columns[list(chosen), None, 3, :3] - anchor
    linear = torch.where(motion.prismatic, axis, cross(axis, arm, dim=-2))
    angular = torch.where(motion.prismatic, 0.0, axis).expand_as(linear)
    rows = torch.cat([linear, angular], dim=-2) * motion.factor
    J = rows.new_zeros(len(chosen), robot.dof, 6, columns.shape[-1])
    return J.index_add(1, motion.dofs, rows).transpose(1, 2)


class _Motion:
    """Constants of all moving links for :func:`jacobian_columns`; tensors broadcast to (chosen, moving, 3, n)."""

    @torch.inference_mode(False)
    def __init__(self, robot: Robot, chosen: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        joints = {i: link.joint for i, link in enumerate(robot.links) if link.joint is not None}
        self.moving = list(joints)
        kind = {"dtype": dtype, "device": device}
        prismatic = [joint.kind == "prismatic" for joint in joints.values()]
        multiplier = [joint.mimic.multiplier if joint.mimic else 1.0 for joint in joints.values()]
        moves = [[float(robot.descends(tip, i)) for i in joints] for tip in chosen]
        self.dofs = torch.tensor([robot.link_dofs[i] for i in joints], device=device)
        self.axis = torch.tensor([joint.axis for joint in joints.values()], **kind)[..., None, None]
        self.anchor = torch.tensor([joint.anchor for joint in joints.values()], **kind)[..., None, None]
        self.prismatic = torch.tensor(prismatic, device=device)[:, None, None]
        self.factor = (torch.tensor(moves, **kind) * torch.tensor(multiplier, **kind))[..., None, None]


_motion = lru_cache(maxsize=256)(_Motion)
