"""The child-frame pose of a joint as a function of that joint alone: an arc, linear in its cosine and sine.

The child frame, or far end, of a joint has the orientation of the link that the joint moves and the origin of the next
joint down the chain; for the last joint it is the tip frame. (The joint's own frame would not change its position
when the joint turns.) Where a link branches, the chain to the first tip below is followed, or else to the first child.
A mimic joint ends the link before it and has no child frame of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ikp.kinematics._plan import plan_of
from ikp.kinematics.links import Vector
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import compose, product, skew


@dataclass(frozen=True, eq=False)
class JointArcs:
    """Child-frame poses T_base_farend as functions of one joint position each.

    The upper rows (..., 3, 4) of a pose are ``constant + cos * cos(theta) + sin * sin(theta) + slope * theta``. `slope`
    is zero for revolute joints, `cos` and `sin` are zero for prismatic ones.
    """

    constant: Tensor
    cos: Tensor
    sin: Tensor
    slope: Tensor
    any_revolute: bool = True
    any_prismatic: bool = True

    def at(self, theta: Tensor) -> Tensor:
        """Poses (..., *candidates, 3, 4) at `theta` (..., *candidates), rad or m.

        The leading dimensions of `theta` are those of the arcs, or broadcast with them; the remaining ones are
        candidates and come innermost in the memory of the result. ValueError if there are fewer dimensions.
        """
        lead = self.constant.ndim - 2
        if theta.ndim < lead:
            raise ValueError(
                f"theta has the shape {tuple(theta.shape)}; its leading dimensions must be those of the "
                f"arcs, {tuple(self.constant.shape[:-2])}"
            )
        candidates = theta.shape[lead:]
        t = theta.reshape(*theta.shape[:lead], 1, 1, *candidates)

        def spread(part: Tensor) -> Tensor:
            """Contiguous, so that the candidates and not the batch are innermost in the result."""
            return part.contiguous().reshape(*part.shape, *([1] * len(candidates))) if candidates else part

        # in place: a broadcast addcmul into a new tensor is several times slower
        if self.any_revolute:
            poses = (spread(self.cos) * t.cos()).addcmul_(spread(self.sin), t.sin())
            poses = poses.addcmul_(spread(self.slope), t) if self.any_prismatic else poses
        else:
            poses = spread(self.slope) * t
        return poses.add_(spread(self.constant)).movedim((lead, lead + 1), (-2, -1))

    def joint(self, j: int) -> JointArcs:
        """The arc of joint j (..., 3, 4), selected from those of all joints (..., dof, 3, 4)."""
        constant, cos, sin, slope = (
            part[..., j, :, :] for part in (self.constant, self.cos, self.sin, self.slope)
        )
        return JointArcs(constant, cos, sin, slope, self.any_revolute, self.any_prismatic)


@dataclass(frozen=True, eq=False)
class ArcConstants:
    """Constants from which the arcs of a robot are computed, in one dtype and on one device."""

    ends: Tensor  # (dof, 4, 4) T_link_farend
    arcs: Tensor  # (4, dof, 4, 4) constant, cos, sin and slope parts of each child frame, in the parent link
    link_frames: (
        Tensor  # (4, link, 4, 4) the same parts of each link's own frame; a fixed link has only the constant
    )
    both: Tensor  # (4, dof, 2, 4, 4) parts of each moved link's own frame, then of its child frame
    base: Tensor  # (4, 3, 1) columns of the identity


def arc_constants(robot: Robot, origins: Tensor) -> ArcConstants:
    """The constants, differentiable in `origins` (link, 4, 4), the T_parent_joint of every link."""
    ends = _far_ends(robot, origins)
    eye = torch.eye(4, dtype=origins.dtype, device=origins.device)
    own = eye.expand(len(robot.links), 4, 4)
    arcs = _motion_parts(robot, robot.joint_links, origins, ends)
    links = _motion_parts(robot, range(len(robot.links)), origins, own)
    both = torch.stack([links[:, list(robot.joint_links)], arcs], dim=2)
    return ArcConstants(ends, arcs, links, both, base=eye[:, :3, None])


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def nominal_arc_constants(robot: Robot, dtype: torch.dtype, device: torch.device) -> ArcConstants:
    """:func:`arc_constants` of a robot without residuals, computed in float64 on first use."""
    exact = arc_constants(robot, plan_of(robot).origins)
    parts = (exact.ends, exact.arcs, exact.link_frames, exact.both, exact.base)
    return ArcConstants(*(part.to(device, dtype) for part in parts))


def place(parents: Tensor, constants: Tensor, lead: Sequence[int]) -> Tensor:
    """Transform constants (part, m, 4, 4) from their parent frames to the base frame: (part, *lead, m, 3, 4).

    `parents` (m, 4, 3, n) are the columns of the parent frames; n is the product of `lead`.
    """
    frames = parents[None, ..., None, :].unbind(2)
    rows = constants[..., None, :, None].unbind(2)
    placed = frames[0] * rows[0]
    for frame, row in zip(frames[1:], rows[1:], strict=True):
        placed = placed.addcmul_(frame, row)
    moved = placed.permute(0, 4, 1, 2, 3)
    return moved.reshape(moved.shape[0], *lead, *moved.shape[2:])


def as_arcs(robot: Robot, parts: Tensor) -> JointArcs:
    """The arcs of the four parts (4, ..., 3, 4)."""
    constant, cos, sin, slope = parts.unbind(0)
    return JointArcs(constant, cos, sin, slope, *_kinds(robot))


@lru_cache(maxsize=256)
def _kinds(robot: Robot) -> tuple[bool, bool]:
    """Whether any joint is revolute and whether any is prismatic."""
    kinds = [link.joint.kind for link in robot.links if link.joint is not None]
    return any(kind != "prismatic" for kind in kinds), "prismatic" in kinds


def _motion_parts(robot: Robot, links: Sequence[int], origins: Tensor, ends: Tensor) -> Tensor:
    """Constant, cos, sin and slope parts (4, m, 4, 4) of T_parent_end of each link, by Rodrigues' formula."""
    joints = [robot.links[i].joint for i in links]
    axis = origins.new_tensor([joint.axis if joint else (0, 0, 1) for joint in joints])
    anchor = origins.new_tensor([joint.anchor if joint else (0, 0, 0) for joint in joints])[..., None]
    kinds = ["fixed" if joint is None else joint.kind for joint in joints]
    turning = torch.tensor([kind in ("revolute", "continuous") for kind in kinds], device=origins.device)
    sliding = torch.tensor([kind == "prismatic" for kind in kinds], device=origins.device)
    origin = origins[list(links), :3]
    R, p = origin[..., :3], origin[..., 3:]
    along = axis[:, :, None] * axis[:, None, :]
    eye = torch.eye(3, dtype=origins.dtype, device=origins.device)
    # R(theta) = a a^T + cos(theta) (1 - a a^T) + sin(theta) [a]x, about the anchor
    rodrigues = torch.stack([along, eye - along, skew(axis)])
    parts = product(R, product(rodrigues, ends[:, :3] - _position(anchor)))
    turned = parts[0] + _position(p + product(R, anchor))
    constant = torch.where(turning[:, None, None], turned, compose(origin, ends[:, :3]))
    slope = _position(product(R, axis[..., None])) * sliding[:, None, None]
    upper = torch.stack([constant, *(parts[1:] * turning[:, None, None]), slope])
    last = origins.new_tensor([[0.0, 0.0, 0.0, 1.0], *[[0.0] * 4] * 3])  # only the constant part has a 1
    return torch.cat([upper, last[:, None, None].expand(4, len(links), 1, 4)], dim=2)


def _position(p: Tensor) -> Tensor:
    """(..., 3, 4) with `p` (..., 3, 1) as the last column, zero elsewhere."""
    return torch.cat([torch.zeros_like(p).expand(*p.shape[:-1], 3), p], dim=-1)


def _far_ends(robot: Robot, origins: Tensor) -> Tensor:
    """(dof, 4, 4) T_link_farend."""
    eye = torch.eye(4, dtype=origins.dtype, device=origins.device)
    ends = []
    for link in robot.joint_links:
        path, anchor = _far_end_path(robot, link)
        T = eye
        for i in path:
            T = compose(T, origins[i])
        if anchor is not None:
            origin = T[:3, 3:] + product(T[:3, :3], origins.new_tensor(anchor)[:, None])
            T = eye + torch.cat([_position(origin), torch.zeros_like(T[3:])])
        ends.append(T)
    return torch.stack(ends)


def _far_end_path(robot: Robot, link: int) -> tuple[list[int], Vector | None]:
    """The links on the way to the child frame, and the next joint's anchor, or None at the end of the chain."""
    tip = next((tip for tip in robot.tip_indices if robot.descends(tip, link)), None)
    path: list[int] = []
    while link != tip and robot.children(link):
        children = robot.children(link)
        to_tip = [child for child in children if tip is not None and robot.descends(tip, child)]
        link = (to_tip or children)[0]
        path.append(link)
        joint = robot.links[link].joint
        if joint is not None:
            return path, joint.anchor
    return path, None
