"""Prepares a robot for forward kinematics, once per robot.

The tree becomes a list of nodes. The frame of a node is its parent's frame times a constant frame, then turned about
or moved along one of its own axes. A joint whose axis is not an axis of its link's frame, or does not pass through the
link's origin, gets an extra node whose z axis is the joint's axis; the link follows it at a constant transform. The
nodes of the links come first, then the extra ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from ikp.kinematics.links import Joint
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import compose, exp_rotation, inverse_pose

# Rotation entries below these values, such as 6e-17 for cos(pi/2), cannot change a result of that dtype.
_NEGLIGIBLE = {torch.float32: 1e-9, torch.float64: 2e-16}
_ALIGNED = 1e-12

Terms = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Node:
    """One frame: ``T_node = T_parent @ K @ motion``, with K from :meth:`Plan.frames`.

    A fixed frame has `dof` -1. Any other turns about or moves along its own axis `column` (0 x, 1 y, 2 z) by
    ``multiplier * q[dof]``; `multiplier` includes the sign of the axis.
    """

    parent: int
    dof: int = -1
    multiplier: float = 1.0
    column: int = 2
    prismatic: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """The nodes of a robot, the order to visit them in, and their constant frames as functions of the links'."""

    nodes: tuple[Node, ...]
    order: tuple[int, ...]
    origins: Tensor  # (link, 4, 4) T_parent_joint of every link
    origin_of: tuple[
        int, ...
    ]  # for each node the link whose T_parent_joint its constant frame starts with, or -1
    after: Tensor  # (node, 4, 4) the rest of the constant frame
    _base: dict[tuple[torch.dtype, torch.device], Tensor] = field(default_factory=dict, repr=False)

    def frames(self, origins: Tensor) -> Tensor:
        """Constant frame K (node, 4, 4) of every node, differentiable in `origins` (link, 4, 4)."""
        eye = torch.eye(4, dtype=origins.dtype, device=origins.device)
        before = torch.cat([origins, eye[None]])[list(self.origin_of)]  # -1 picks the identity
        return compose(before, self.after.to(origins))

    @cached_property
    def position_row(self) -> tuple[int, ...]:
        """Index of each node in `moving`, -1 for fixed nodes."""
        row = {i: place for place, i in enumerate(self.moving)}
        return tuple(row.get(i, -1) for i in range(len(self.nodes)))

    @cached_property
    def moving(self) -> tuple[int, ...]:
        """The nodes that move against their parent."""
        return tuple(i for i, node in enumerate(self.nodes) if node.dof >= 0)

    @cached_property
    def moved(self) -> frozenset[int]:
        """The nodes that any joint moves; all others are fixed in the base frame."""
        moved: set[int] = set()
        for i in self.order:
            if self.nodes[i].dof >= 0 or self.nodes[i].parent in moved:
                moved.add(i)
        return frozenset(moved)

    @cached_property
    def first_moved(self) -> int:
        """Index of the first node that any joint moves."""
        return min(self.moved)

    @cached_property
    def multipliers(self) -> Tensor:
        """(node, 1) the multiplier of each node."""
        with torch.inference_mode(False):
            return torch.tensor([[node.multiplier] for node in self.nodes], dtype=torch.float64)

    def base(self, like: Tensor) -> Tensor:
        """Columns (4, 4, 1) of the identity in the dtype and on the device of `like`, cached."""
        key = (like.dtype, like.device)
        if key not in self._base:
            with torch.inference_mode(False):  # a cached tensor must serve training too
                self._base[key] = torch.eye(4, dtype=like.dtype, device=like.device)[..., None]
        return self._base[key]


def column_terms(frames: Tensor, dtype: torch.dtype) -> tuple[tuple[Terms, ...], ...]:
    """The four columns of K of each node as sums over its parent's columns: (parent column, factor) pairs.

    The position column leaves out the parent's position, whose factor is always one.
    """
    tiny = _NEGLIGIBLE[dtype]
    nodes = []
    for K in frames.tolist():
        rotation = [tuple((r, K[r][c]) for r in range(3) if abs(K[r][c]) > tiny) for c in range(3)]
        position = tuple((r, K[r][3]) for r in range(3) if K[r][3] != 0.0)
        nodes.append((*rotation, position))
    return tuple(nodes)


@lru_cache(maxsize=256)
def nominal_terms(robot: Robot, dtype: torch.dtype) -> tuple[tuple[Terms, ...], ...]:
    """:func:`column_terms` of a robot without residuals."""
    plan = plan_of(robot)
    return column_terms(plan.frames(plan.origins), dtype)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def plan_of(robot: Robot) -> Plan:
    """The plan of a robot, computed on first use."""
    rows: list[tuple[Node, int, Tensor]] = []
    pivots: list[tuple[Node, int, Tensor]] = []
    order: list[int] = []
    for i, link in enumerate(robot.links):
        if link.joint is None:
            rows.append((Node(link.parent), i, torch.eye(4, dtype=torch.float64)))
        else:
            node, after = _moving_node(link.parent, robot.link_dofs[i], link.joint)
            if _own_axis(link.joint) is not None:
                rows.append((node, i, after))
            else:
                order.append(len(robot.links) + len(pivots))
                pivots.append((node, i, after))
                rows.append((Node(order[-1]), -1, inverse_pose(_axis_frame(link.joint))))
        order.append(i)
    nodes, origin_of, afters = zip(*rows, *pivots, strict=True)
    origins = torch.stack([link.T_parent_joint for link in robot.links])
    return Plan(nodes, tuple(order), origins, origin_of, torch.stack(afters))


def _moving_node(parent: int, dof: int, joint: Joint) -> tuple[Node, Tensor]:
    """The node that a joint moves, and the constant transform between T_parent_joint and the joint's motion."""
    multiplier, offset = (joint.mimic.multiplier, joint.mimic.offset) if joint.mimic else (1.0, 0.0)
    own = _own_axis(joint)
    column, sign = (2, 1.0) if own is None else own
    frame = _axis_frame(joint) if own is None else torch.eye(4, dtype=torch.float64)
    axis = torch.zeros(3, dtype=torch.float64)
    axis[column] = sign
    prismatic = joint.kind == "prismatic"
    rest = torch.eye(4, dtype=torch.float64)
    if prismatic:
        rest[:3, 3] = axis * offset
    else:
        rest[:3, :3] = exp_rotation(axis * offset)
    return Node(parent, dof, sign * multiplier, column, prismatic), frame @ rest


def _own_axis(joint: Joint) -> tuple[int, float] | None:
    """(column, sign) when the joint's axis is an axis of its link's frame and passes through its origin."""
    axis = torch.tensor(joint.axis, dtype=torch.float64)
    column = int(axis.abs().argmax())
    sign = 1.0 if axis[column] > 0 else -1.0
    off_axis = axis.abs().sum() - axis[column].abs()
    anchor = torch.tensor(joint.anchor, dtype=torch.float64)
    beside = 0.0 if joint.kind == "prismatic" else anchor.abs().sum() - anchor[column].abs()
    return (column, sign) if off_axis < _ALIGNED and beside < _ALIGNED else None


def _axis_frame(joint: Joint) -> Tensor:
    """(4, 4) frame at the joint's anchor whose z is the joint's axis, in the frame of the link."""
    z = torch.tensor(joint.axis, dtype=torch.float64)
    helper = torch.zeros(3, dtype=torch.float64)
    helper[int(z.abs().argmin())] = 1.0
    x = torch.linalg.cross(helper, z)
    x = x / x.norm()
    T = torch.eye(4, dtype=torch.float64)
    T[:3, 0], T[:3, 1], T[:3, 2] = x, torch.linalg.cross(z, x), z
    T[:3, 3] = torch.tensor(joint.anchor, dtype=torch.float64)
    return T
