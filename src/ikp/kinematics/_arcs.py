"""How a link moves with its own joint alone: an arc, linear in the cosine and sine of the joint.

The far end of a link that a joint moves is the next joint's origin down the chain, with the orientation of
the link; for the last joint it is the tip frame. (A frame at the joint's own origin does not move in position
when the joint turns.) Where a link branches, the way to the first tip below it is taken, else the first
child. A mimic joint counts as a joint of its own: it ends the link before it, and it has no far end.
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
    """Far-end poses T_base_farend as functions of one joint position each.

    Tensors (..., 3, 4), upper rows of poses: ``constant + cos * cos(theta) + sin * sin(theta) + slope *
    theta``. `slope` is zero for revolute joints, `cos` and `sin` are zero for prismatic ones.
    """

    constant: Tensor
    cos: Tensor
    sin: Tensor
    slope: Tensor
    any_revolute: bool = True
    any_prismatic: bool = True

    def at(self, theta: Tensor) -> Tensor:
        """Poses (..., *candidates, 3, 4) at `theta` (..., *candidates), rad or m.

        The leading dimensions of `theta` are those of the arcs (or broadcast with them); all further ones are
        candidates, which are innermost in the memory of the result.
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
        """The arc of joint j alone (..., 3, 4), out of those of all joints (..., dof, 3, 4)."""
        constant, cos, sin, slope = (
            part[..., j, :, :] for part in (self.constant, self.cos, self.sin, self.slope)
        )
        return JointArcs(constant, cos, sin, slope, self.any_revolute, self.any_prismatic)


@dataclass(frozen=True, eq=False)
class ArcConstants:
    """What the arcs of a robot need, in one dtype and on one device."""

    ends: Tensor  # (dof, 4, 4) T_link_farend
    arcs: Tensor  # (4, dof, 4, 4) constant, cos, sin, slope of the far ends in the joints' parent links
    links: Tensor  # (4, link, 4, 4) the same of the links' own frames; a fixed link has a constant alone
    both: Tensor  # (4, dof, 2, 4, 4) of the links that joints move: own frame, then far end
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
def nominal_arc_constants(robot: Robot, dtype: torch.dtype, device: torch.device) -> ArcConstants:
    """:func:`arc_constants` of a robot without residuals, worked out in float64 on first use."""
    exact = arc_constants(robot, plan_of(robot).origins)
    parts = (exact.ends, exact.arcs, exact.links, exact.both, exact.base)
    return ArcConstants(*(part.to(device, dtype) for part in parts))


def place(parents: Tensor, constants: Tensor, lead: Sequence[int]) -> Tensor:
    """Constants (part, m, 4, 4) carried into the base frame: (part, *lead, m, 3, 4).

    `parents` (m, 4, 3, n) are columns of the frames that the constants are given in; n is the product of
    `lead`.
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
    """(4, m, 4, 4) constant, cos, sin and slope of T_parent_end of each link, by Rodrigues' formula."""
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
    last = origins.new_tensor([[0.0, 0.0, 0.0, 1.0], *[[0.0] * 4] * 3])[
        :, None, None
    ]  # of the constant alone
    return torch.cat([upper, last.expand(4, len(links), 1, 4)], dim=2)


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
    """Links to walk to the far end; then the next joint's anchor, or None at the end of the chain."""
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
