"""`JointMap`: what every recorded dimension of an action and a state is to the model.

Recordings hold degrees, millimetres, grippers from 0 to 100 and joints in any order; the model has radians, metres,
grippers of 0 and 1 and the robot's order. A joint map says for every recorded dimension of the action and of the state
what it is, with q_model = sign * scale * x + offset for joints. It is stored with the data set and with the policy, and
can be replaced when a policy is loaded: the same policy then drives an arm with other zeros, signs or units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ikp.files import read_json, write_json
from ikp.joint_map.dimension import EXTRA, GRIPPER, IGNORED, JOINT, UNITS, Dimension
from ikp.joint_map.vector import VectorMap
from ikp.kinematics import Robot

FORMAT = 1


@dataclass(frozen=True)
class JointMap:
    """The meaning of every recorded dimension of action and state for the model.

    Attributes:
        joints: names of the robot's joints, in the order of q; empty without a robot.
        action: one entry per recorded dimension of the action.
        state: one entry per recorded dimension of the state.

    Raises:
        ValueError: a name is repeated, or a joint does not have one dimension in the action and one in the state.

    Example:
        joint_map = ikp.JointMap.load("arm.json")
        policy = ikp.load_policy("runs/arm", joint_map=joint_map)
    """

    joints: tuple[str, ...]
    action: tuple[Dimension, ...]
    state: tuple[Dimension, ...] = ()

    def __post_init__(self) -> None:
        for key in ("joints", "action", "state"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        for what, dimensions in (("action", self.action), ("state", self.state)):
            _check_unique(what, [d.name for d in dimensions], "dimension")
            taken = [d.joint for d in dimensions if d.role == JOINT]
            _check_unique(what, taken, "joint")
            _check_unique(what, [d.model_name for d in dimensions if d.role != IGNORED], "name")
            unknown = sorted(set(taken) - set(self.joints))
            if unknown:
                raise ValueError(
                    f"the {what} names the joints {unknown}, which the robot does not have; it has {list(self.joints)}"
                )
            missing = [joint for joint in self.joints if joint not in taken]
            if missing:
                raise ValueError(
                    f"the {what} has no dimension for the robot's joints {missing}: give one the role 'joint', or "
                    "lock the joints of the robot (--lock NAME=VALUE)"
                )
        if not self.action:
            raise ValueError("the joint map has no action: give one entry per dimension")
        grippers, measured = self.grippers, {d.joint for d in self.state if d.role == GRIPPER}
        if measured and measured != set(grippers):
            raise ValueError(
                f"the state has the grippers {sorted(measured)} and the action {list(grippers)}: give those of the "
                "state the same 'joint' as in the action, or the role 'extra'"
            )

    @property
    def grippers(self) -> tuple[str, ...]:
        """Names of the grippers, in the order of the action."""
        return tuple(d.joint for d in self.action if d.role == GRIPPER)

    @cached_property
    def actions(self) -> VectorMap:
        """Converts actions."""
        return VectorMap(self.action, self.joints, self.grippers, commands=True)

    @cached_property
    def states(self) -> VectorMap:
        """Converts states."""
        return VectorMap(self.state, self.joints, self.grippers)

    @property
    def is_identity(self) -> bool:
        """Whether recorded and model's numbers are the same, in the same order."""
        return self.actions.is_identity and self.states.is_identity

    @classmethod
    def identity(cls, robot: Robot, grippers: Sequence[str] = (), extras: Sequence[str] = ()) -> JointMap:
        """The map of data that are in the model's units and order already.

        Args:
            robot: its joints come first.
            grippers: names of the grippers, in action and state, with 0 for open and 1 for closed.
            extras: names of further dimensions of the state.
        """
        named = zip(robot.joint_names, robot.joint_types, strict=True)
        common = [Dimension(name, JOINT, name, "m" if kind == "prismatic" else "rad") for name, kind in named]
        common += [Dimension(name, GRIPPER) for name in grippers]
        return cls(robot.joint_names, tuple(common), (*common, *(Dimension(name, EXTRA) for name in extras)))

    def shifted(self, q_offset: Sequence[float], reason: str = "calibrated") -> JointMap:
        """The map with further offsets, of an arm whose joints are at q + q_offset where this map says q.

        Args:
            q_offset: (dof,) one number per joint [rad or m].
            reason: why, shown in the table.

        Raises:
            ValueError: there is another number of offsets.
        """
        if len(q_offset) != len(self.joints):
            raise ValueError(
                f"q_offset has {len(q_offset)} numbers, and the joint map {len(self.joints)} joints: give one each"
            )
        shift = dict(zip(self.joints, q_offset, strict=True))

        def moved(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
            return tuple(
                replace(d, offset=d.offset + shift[d.joint], reason=reason) if d.role == JOINT else d
                for d in dimensions
            )

        return replace(self, action=moved(self.action), state=moved(self.state))

    def to_json(self) -> dict[str, Any]:
        """The map as plain JSON values."""
        return {
            "format": FORMAT,
            "joints": list(self.joints),
            "action": [d.to_json() for d in self.action],
            "state": [d.to_json() for d in self.state],
        }

    @classmethod
    def from_json(cls, values: Any, robot: Robot | None = None, where: str = "the joint map") -> JointMap:
        """A map written by `to_json` or by hand.

        Args:
            values: a JSON object.
            robot: gives `joints` where the object has none, and the ranges of joints in percent.
            where: the file, for messages.

        Raises:
            ValueError: a key or value is wrong; the message names it.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"{where} is {values!r}: expected an object with 'joints', 'action' and 'state'")
        unknown = sorted(set(values) - {"format", "joints", "action", "state"})
        if unknown or values.get("format", FORMAT) != FORMAT:
            wrong = f"the unknown keys {unknown}" if unknown else f"the format {values['format']!r}"
            raise ValueError(
                f"{where} has {wrong}: expected format {FORMAT} with 'joints', 'action', 'state'"
            )
        joints = values.get("joints", list(robot.joint_names) if robot else [])
        for key, item in (("joints", joints), *((key, values.get(key, [])) for key in ("action", "state"))):
            if not isinstance(item, list):
                raise ValueError(f"{where}: {key!r} is {item!r}; give a list")
        entries: dict[str, list[Dimension]] = {}
        for key in ("action", "state"):
            entries[key] = []
            for item in values.get(key, []):
                try:
                    entries[key].append(replace(Dimension.from_json(item, robot), reason=f"as in {where}"))
                except ValueError as error:
                    raise ValueError(f"{where}: {key}: {error}") from None
        try:
            return cls(
                tuple(str(joint) for joint in joints), tuple(entries["action"]), tuple(entries["state"])
            )
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    @classmethod
    def load(cls, path: Path | str, robot: Robot | None = None) -> JointMap:
        """Read a JSON file; `ikp data check FOLDER --robot ARM --save FILE` writes one to edit.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is wrong; the message names file, key and fix.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"there is no joint map {str(path)!r}: `ikp data check FOLDER --robot ARM --save FILE` writes one"
            )
        return cls.from_json(read_json(path, fix="write it again"), robot, str(path))

    def save(self, path: Path | str) -> Path:
        """Write a JSON file for `load`."""
        return write_json(path, self.to_json())

    def check_names(self, action: Sequence[str], state: Sequence[str], where: str) -> None:
        """Refuse data whose dimensions have other names or another order than the map's.

        Raises:
            ValueError: the message names both.
        """
        for what, names, entries in (("action", action, self.action), ("state", state, self.state)):
            expected = [d.name for d in entries]
            if list(names) != expected:
                raise ValueError(
                    f"the joint map has the {what} dimensions {expected}, {where} has {list(names)}: write a map "
                    "with the names of these data (`ikp data check FOLDER --robot ARM --save FILE`)"
                )

    def __str__(self) -> str:
        """A table with one line per recorded dimension; one line for both where action and state are the same."""
        both = set(self.action) & set(self.state)
        lines = [("action, state" if d in both else "action", d) for d in self.action]
        lines += [("state", d) for d in self.state if d not in both]
        rows = [("recorded", "in", "becomes", "by", "because")]
        rows += [(d.name, where, _role_text(d), _formula(d, where), d.reason) for where, d in lines]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
        return "\n".join("  ".join(row).rstrip() for row in padded)


def _role_text(d: Dimension) -> str:
    if d.role == JOINT:
        return f"joint {d.joint}"
    return f"{d.role} {d.joint}" if d.role == GRIPPER and d.joint != d.name else d.role


def _formula(d: Dimension, where: str) -> str:
    if d.role == GRIPPER:
        return f"{d.open:g} open, {d.closed:g} closed"
    if d.role == IGNORED:
        return f"returned as {d.fill:g}" if "action" in where else ""
    if d.role == EXTRA:
        return d.unit
    signed = " reversed" if d.sign < 0 else ""
    if UNITS[d.unit] is None:  # a share of the joint's range
        recorded = {"percent": (0, 100), "signed-percent": (-100, 100), "fraction": (0, 1)}[d.unit]
        ends = [d.factor * x + d.offset for x in recorded]
        return f"{d.unit}{signed} of {min(ends):.4g} to {max(ends):.4g}"
    scale = "" if d.scale == UNITS[d.unit] else f" x {d.scale:.6g}"
    offset = f" {'+' if d.offset > 0 else '-'} {abs(d.offset):.6g}" if d.offset else ""
    return f"{d.unit}{signed}{scale}{offset}"


def _check_unique(what: str, names: Sequence[str], kind: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"the {what} holds the {kind} {', '.join(map(repr, repeated))} more than once")
