"""Links and joints, the parts of a robot."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ikp.checks import plain_types
from ikp.kinematics.rotations import exp_rotation

JOINT_KINDS = ("revolute", "continuous", "prismatic")
_DEGREES_SUSPECTED = 4 * math.pi
_ORTHONORMAL_TOLERANCE = 1e-6

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Mimic:
    """The position of a mimic joint is ``multiplier * q[joint] + offset``; `joint` is an actuated joint."""

    joint: str
    multiplier: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        plain_types(self)


@dataclass(frozen=True)
class Joint:
    """One moving joint.

    `axis` (normalised on construction) and `anchor` (a point on the axis, m) are in the frame of the link that the
    joint moves. URDF joints have their anchor at the origin; MJCF joints may not. Limits are in rad or m, infinite
    without a limit; `velocity` is the speed limit in rad/s or m/s, infinite when unknown.

    Raises:
        ValueError: an unknown kind, a zero or non-finite axis or anchor, or limits that are reversed or NaN.
    """

    name: str
    kind: str
    axis: Vector
    lower: float = -math.inf
    upper: float = math.inf
    velocity: float = math.inf
    anchor: Vector = (0.0, 0.0, 0.0)
    mimic: Mimic | None = None

    def __post_init__(self) -> None:
        plain_types(self)
        if self.kind not in JOINT_KINDS:
            raise ValueError(f"joint {self.name!r} has kind {self.kind!r}; allowed: {', '.join(JOINT_KINDS)}")
        for key, values in (("axis", self.axis), ("anchor", self.anchor)):
            if len(values) != 3 or not all(math.isfinite(v) for v in values):
                raise ValueError(f"joint {self.name!r} has the {key} {values}; give three finite numbers")
        length = math.sqrt(sum(v * v for v in self.axis))
        if length < 1e-9:
            raise ValueError(f"joint {self.name!r} has a zero axis; give a direction such as (0, 0, 1)")
        object.__setattr__(self, "axis", tuple(v / length for v in self.axis))
        self._check_limits()

    def _check_limits(self) -> None:
        if math.isnan(self.lower) or math.isnan(self.upper) or not self.velocity > 0:
            raise ValueError(
                f"joint {self.name!r} has limits [{self.lower}, {self.upper}] and velocity {self.velocity}; "
                "limits must be numbers or infinite, the velocity positive"
            )
        if self.lower > self.upper:
            raise ValueError(
                f"joint {self.name!r} has reversed limits: lower {self.lower} > upper {self.upper}; swap them"
            )
        finite = [abs(v) for v in (self.lower, self.upper) if math.isfinite(v)]
        if self.kind == "revolute" and finite and max(finite) > _DEGREES_SUSPECTED:
            warnings.warn(
                f"joint {self.name!r} has limits [{self.lower:g}, {self.upper:g}] rad, more than two turns; "
                "if they are degrees, multiply them by pi/180; without limits make the joint continuous",
                stacklevel=4,
            )

    def motion(self, position: float) -> Tensor:
        """Motion (4, 4) of the joint's link by `position` [rad or m], in the frame of that link."""
        T = torch.eye(4, dtype=torch.float64)
        axis = torch.tensor(self.axis, dtype=torch.float64)
        if self.kind == "prismatic":
            T[:3, 3] = position * axis
        else:
            anchor = torch.tensor(self.anchor, dtype=torch.float64)
            T[:3, :3] = exp_rotation(position * axis)
            T[:3, 3] = anchor - T[:3, :3] @ anchor
        return T

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready description; JSON has no infinity, so a missing limit is None."""
        limits = {"lower": self.lower, "upper": self.upper, "velocity": self.velocity}
        return {
            "name": self.name,
            "kind": self.kind,
            "axis": list(self.axis),
            "anchor": list(self.anchor),
            **{key: value if math.isfinite(value) else None for key, value in limits.items()},
            "mimic": [self.mimic.joint, self.mimic.multiplier, self.mimic.offset] if self.mimic else None,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Joint:
        """The joint that :meth:`to_dict` described."""
        missing = {"lower": -math.inf, "upper": math.inf, "velocity": math.inf}
        x, y, z = data["axis"]
        a, b, c = data["anchor"]
        joint = Joint(
            name=data["name"],
            kind=data["kind"],
            axis=(x, y, z),
            anchor=(a, b, c),
            mimic=Mimic(*data["mimic"]) if data["mimic"] else None,
            **{key: none if data[key] is None else data[key] for key, none in missing.items()},
        )
        # normalising again could change the last bit
        object.__setattr__(joint, "axis", (x, y, z))
        return joint


@dataclass(frozen=True, eq=False)
class Link:
    """A rigid body or a fixed frame.

    Its pose is ``T_parent_link = T_parent_joint @ motion(q)``, or `T_parent_joint` (4, 4) without a joint. `parent` is
    an index into the robot's links, -1 for the root. ValueError if `T_parent_joint` is not a rigid transform.
    """

    name: str
    parent: int
    T_parent_joint: Tensor = field(default_factory=lambda: torch.eye(4, dtype=torch.float64))
    joint: Joint | None = None

    def __post_init__(self) -> None:
        plain_types(self)
        T = torch.as_tensor(self.T_parent_joint, dtype=torch.float64).detach().cpu()
        object.__setattr__(self, "T_parent_joint", T)
        if T.shape != (4, 4) or not torch.isfinite(T).all():
            raise ValueError(f"link {self.name!r} needs a finite 4x4 T_parent_joint, got {T.tolist()}")
        R = T[:3, :3]
        orthonormal = torch.allclose(R @ R.T, torch.eye(3, dtype=torch.float64), atol=_ORTHONORMAL_TOLERANCE)
        if not orthonormal or torch.det(R) < 0 or T[3].tolist() != [0.0, 0.0, 0.0, 1.0]:
            raise ValueError(
                f"T_parent_joint of link {self.name!r} is not a rigid transform: {T.tolist()}; its upper "
                "left 3x3 must be a rotation, its last row 0 0 0 1"
            )


def fixed_at(link: Link, position: float) -> Link:
    """The link fixed to its parent, where its joint stands at `position` [rad or m]."""
    if link.joint is None:
        return link
    return replace(link, T_parent_joint=link.T_parent_joint @ link.joint.motion(position), joint=None)


def resolve_mimics(links: Sequence[Link], held: Mapping[str, float]) -> tuple[Link, ...]:
    """Make every mimic joint follow an actuated joint directly, where a file chains mimic joints.

    A mimic joint that follows a joint that does not move becomes fixed.

    Args:
        links: links whose joints may mimic any joint.
        held: names of the joints that do not move, with their positions [rad or m].

    Raises:
        ValueError: mimic joints form a cycle, or follow a joint that does not exist.
    """
    joints = {link.joint.name: link.joint for link in links if link.joint is not None}
    return tuple(
        _resolved(link, link.joint, joints, held) if link.joint and link.joint.mimic else link
        for link in links
    )


def _resolved(link: Link, joint: Joint, joints: Mapping[str, Joint], held: Mapping[str, float]) -> Link:
    seen = {joint.name}
    mimic = joint.mimic
    while mimic is not None:
        if mimic.joint in held:
            return fixed_at(link, mimic.multiplier * held[mimic.joint] + mimic.offset)
        main = joints.get(mimic.joint)
        if main is None or main.name in seen:
            fault = (
                f"does not exist; allowed: {', '.join(joints)}"
                if main is None
                else "follows it in turn; let one of them follow no joint"
            )
            raise ValueError(f"joint {joint.name!r} mimics joint {mimic.joint!r}, which {fault}")
        if main.mimic is None:
            break
        seen.add(main.name)
        inner = main.mimic
        offset = mimic.multiplier * inner.offset + mimic.offset
        mimic = Mimic(inner.joint, mimic.multiplier * inner.multiplier, offset)
    return replace(link, joint=replace(joint, mimic=mimic))
