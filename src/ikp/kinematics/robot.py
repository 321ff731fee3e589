"""The robot model: a tree of links, each fixed to its parent or moved against it by one joint."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.kinematics.links import Joint, Link, fixed_at

LARGEST_ROBOT = 50.0
"""A robot that is longer is assumed to be described in millimetres [m]."""


@dataclass(frozen=True, eq=False)
class Robot:
    """A kinematic tree with named links, actuated joints (the order of `q`) and tips.

    Links are in topological order, the root first. A mimic joint has no entry in `q`. Tensors are float64 on the CPU.
    Without `tip_names`, every leaf that a joint moves is a tip. `locked` names the joints that :meth:`with_locked` has
    fixed, and their positions.

    Raises:
        ValueError: the tree is empty or disconnected, a name is unknown or not unique, no joint is actuated, or a mimic
            joint follows no actuated joint.
    """

    name: str
    links: tuple[Link, ...]
    tip_names: tuple[str, ...] = ()
    locked: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "links", tuple(self.links))
        _check_tree(self)
        object.__setattr__(self, "tip_names", tuple(self.tip_names) or _moved_leaves(self.links))
        for tip in self.tip_names:
            self.link_index(tip)
            if self.tip_names.count(tip) > 1:
                raise ValueError(f"tip {tip!r} of robot {self.name!r} is given twice: name each tip once")

    def __repr__(self) -> str:
        """Name, joints and tips."""
        locked = f", locked {dict(self.locked)}" if self.locked else ""
        return f"Robot({self.name!r}, joints {', '.join(self.joint_names)}, tips {', '.join(self.tip_names)}{locked})"

    @cached_property
    def link_names(self) -> tuple[str, ...]:
        """Names of the links, in order."""
        return tuple(link.name for link in self.links)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Parent of each link, -1 for the root."""
        return tuple(link.parent for link in self.links)

    @cached_property
    def joint_links(self) -> tuple[int, ...]:
        """The link that each actuated joint moves."""
        return tuple(i for i, link in enumerate(self.links) if link.joint and not link.joint.mimic)

    @cached_property
    def joints(self) -> tuple[Joint, ...]:
        """The actuated joints, in the order of `q`."""
        return tuple(link.joint for link in self.links if link.joint and not link.joint.mimic)

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the actuated joints, in the order of `q`."""
        return tuple(joint.name for joint in self.joints)

    @cached_property
    def joint_types(self) -> tuple[str, ...]:
        """Kinds of the actuated joints: revolute, continuous or prismatic."""
        return tuple(joint.kind for joint in self.joints)

    @property
    def dof(self) -> int:
        """Number of actuated joints, the length of `q`."""
        return len(self.joints)

    @cached_property
    def link_dofs(self) -> tuple[int, ...]:
        """Entry of `q` that moves each link relative to its parent, directly or through a mimic joint, or -1."""
        dof = {name: i for i, name in enumerate(self.joint_names)}
        joints = [link.joint for link in self.links]
        return tuple(-1 if j is None else dof[j.mimic.joint if j.mimic else j.name] for j in joints)

    @cached_property
    def tip_indices(self) -> tuple[int, ...]:
        """The links named by `tip_names`."""
        return tuple(self.link_index(name) for name in self.tip_names)

    @cached_property
    def tip_joints(self) -> tuple[int, ...]:
        """Entries of `q` of the last actuated joint above each tip, without duplicates; empty if no joint moves one."""
        found: dict[int, None] = {}
        for link in self.tip_indices:
            while link >= 0 and link not in self.joint_links:
                link = self.parents[link]
            if link >= 0:
                found[self.joint_links.index(link)] = None
        return tuple(sorted(found))

    @cached_property
    @torch.inference_mode(False)
    def lower(self) -> Float[Tensor, " dof"]:
        """Lower limits, rad or m, -inf without a limit."""
        return torch.tensor([joint.lower for joint in self.joints], dtype=torch.float64)

    @cached_property
    @torch.inference_mode(False)
    def upper(self) -> Float[Tensor, " dof"]:
        """Upper limits, rad or m, inf without a limit."""
        return torch.tensor([joint.upper for joint in self.joints], dtype=torch.float64)

    @cached_property
    @torch.inference_mode(False)
    def velocity(self) -> Float[Tensor, " dof"]:
        """Speed limits, rad/s or m/s, inf when unknown."""
        return torch.tensor([joint.velocity for joint in self.joints], dtype=torch.float64)

    @cached_property
    def reach(self) -> float:
        """Length of the longest chain of links, from its first joint on and without the way of prismatic joints [m]."""
        moved, length = [False] * len(self.links), [0.0] * len(self.links)
        for i, link in enumerate(self.links):
            if link.parent >= 0 and moved[link.parent]:
                length[i] = length[link.parent] + link.T_parent_joint[:3, 3].norm().item()
            moved[i] = link.joint is not None or (link.parent >= 0 and moved[link.parent])
        return max(length)

    def link_index(self, name: str) -> int:
        """Index of a link. Raises ValueError that lists the allowed names."""
        return _index(self.link_names, name, f"link of {self.name!r}")

    def joint_index(self, name: str) -> int:
        """Index of an actuated joint in `q`. Raises ValueError that lists the allowed names."""
        return _index(self.joint_names, name, f"actuated joint of {self.name!r}")

    def is_moved(self, link: str) -> bool:
        """Whether some joint moves a link. Raises ValueError for an unknown one."""
        return _moved(self.links)[self.link_index(link)]

    def with_tips(self, tips: Sequence[str]) -> Robot:
        """The same robot with other tips. Raises ValueError for an unknown link and for one that is named twice."""
        return replace(self, tip_names=tuple(tips))

    def with_locked(self, positions: Mapping[str, float]) -> Robot:
        """The same robot with some joints fixed, for instance fingers that are no actions.

        A locked joint has no entry in `q`. Joints that mimic it are fixed at the position that follows. The result's
        `locked` lists all of them.

        Args:
            positions: position of each joint by name [rad or m].

        Raises:
            ValueError: a joint is unknown or mimics another, a position is beyond the joint's limits, or no joint is
                left that moves.
        """
        mimics = {link.joint.name: link.joint.mimic for link in self.links if link.joint and link.joint.mimic}
        for name, position in positions.items():
            if name in mimics:
                raise ValueError(f"joint {name!r} follows {mimics[name].joint!r}; lock that one")
            _check_position(self.joints[self.joint_index(name)], position)
        fixed = {name: float(position) for name, position in positions.items()}
        for name, mimic in mimics.items():
            if mimic.joint in positions:
                fixed[name] = mimic.multiplier * fixed[mimic.joint] + mimic.offset
        links = tuple(
            fixed_at(link, fixed[link.joint.name]) if link.joint and link.joint.name in fixed else link
            for link in self.links
        )
        return replace(self, links=links, locked={**self.locked, **fixed})

    def children(self, link: int) -> tuple[int, ...]:
        """The links whose parent is `link`."""
        return tuple(i for i, parent in enumerate(self.parents) if parent == link)

    def joints_above(self, link: int) -> tuple[int, ...]:
        """The actuated joints that move a link, as entries of `q`."""
        found = set()
        while link >= 0:
            found.add(self.link_dofs[link])
            link = self.parents[link]
        return tuple(sorted(found - {-1}))

    def descends(self, link: int, ancestor: int) -> bool:
        """Whether `link` is `ancestor` or lies below it in the tree."""
        while link > ancestor:
            link = self.parents[link]
        return link == ancestor

    def random_q(
        self,
        shape: Sequence[int] = (),
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Float[Tensor, "... dof"]:
        """Uniform joint positions (*shape, dof) within the limits; within +-pi rad or +-1 m without a limit."""
        reach = [1.0 if kind == "prismatic" else math.pi for kind in self.joint_types]
        bound = torch.tensor(reach, dtype=torch.float64)
        lower = torch.where(self.lower.isfinite(), self.lower, torch.minimum(-bound, self.upper - bound))
        upper = torch.where(self.upper.isfinite(), self.upper, torch.maximum(bound, lower + bound))
        unit = torch.rand(*shape, self.dof, dtype=torch.float64, generator=generator)
        return (lower + unit * (upper - lower)).to(dtype)

    def shortest(self, difference: Float[Tensor, "... dof"]) -> Float[Tensor, "... dof"]:
        """Differences of joint positions [rad or m], those of continuous joints reduced to at most half a turn."""
        if "continuous" not in self.joint_types:
            return difference
        continuous = torch.tensor(
            [kind == "continuous" for kind in self.joint_types], device=difference.device
        )
        turns = (difference / (2 * math.pi)).round()
        return torch.where(continuous, difference - 2 * math.pi * turns, difference)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description from which :meth:`from_dict` rebuilds the robot exactly."""
        links = [
            {
                "name": link.name,
                "parent": link.parent,
                "T_parent_joint": link.T_parent_joint.tolist(),
                "joint": link.joint.to_dict() if link.joint else None,
            }
            for link in self.links
        ]
        locked = {"locked": dict(self.locked)} if self.locked else {}
        return {"name": self.name, "links": links, "tip_names": list(self.tip_names), **locked}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Robot:
        """The robot that :meth:`to_dict` described."""
        links = tuple(
            Link(
                name=link["name"],
                parent=link["parent"],
                T_parent_joint=torch.tensor(link["T_parent_joint"], dtype=torch.float64),
                joint=Joint.from_dict(link["joint"]) if link["joint"] else None,
            )
            for link in data["links"]
        )
        return Robot(data["name"], links, tuple(data["tip_names"]), dict(data.get("locked", {})))


def _index(names: Sequence[str], name: str, what: str) -> int:
    if name not in names:
        raise ValueError(f"{name!r} is no {what}; allowed: {', '.join(names)}")
    return names.index(name)


def _check_position(joint: Joint, position: float) -> None:
    slack = 1e-6  # positions written with six digits
    if not joint.lower - slack <= position <= joint.upper + slack or math.isinf(position):
        unit = "m" if joint.kind == "prismatic" else "rad"
        raise ValueError(
            f"joint {joint.name!r} cannot be locked at {position}; allowed: {joint.lower:g} to {joint.upper:g} {unit}"
        )


def _moved(links: Sequence[Link]) -> list[bool]:
    """Whether some joint moves each link."""
    moved = [False] * len(links)
    for i, link in enumerate(links):
        moved[i] = link.joint is not None or (link.parent >= 0 and moved[link.parent])
    return moved


def _moved_leaves(links: Sequence[Link]) -> tuple[str, ...]:
    """Names of the leaves that some joint moves."""
    moved = _moved(links)
    inner = {link.parent for link in links}
    return tuple(link.name for i, link in enumerate(links) if moved[i] and i not in inner)


def _check_tree(robot: Robot) -> None:
    """Raise ValueError for the first fault of the tree."""
    links = robot.links
    if not links or links[0].parent != -1 or links[0].joint is not None:
        raise ValueError(f"robot {robot.name!r} needs a root link first: parent -1 and no joint")
    for index, link in enumerate(links[1:], start=1):
        if not 0 <= link.parent < index:
            raise ValueError(
                f"link {link.name!r} has the parent {link.parent}; allowed are the links before it, "
                f"0 to {index - 1}"
            )
    joints = [link.joint for link in links if link.joint is not None]
    for what, names in (("link", [link.name for link in links]), ("joint", [joint.name for joint in joints])):
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if repeated:
            raise ValueError(
                f"robot {robot.name!r} has several {what}s named {', '.join(repeated)}; names must be unique"
            )
    actuated = {joint.name: None for joint in joints if joint.mimic is None}
    if not actuated:
        raise ValueError(f"robot {robot.name!r} has no joint that moves; kinematics needs at least one")
    for joint in joints:
        if joint.mimic is not None and joint.mimic.joint not in actuated:
            raise ValueError(
                f"mimic joint {joint.name!r} follows {joint.mimic.joint!r}; allowed: {', '.join(actuated)}"
            )
