"""One recorded number: its role for the model, its unit, sign, scale and offset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ikp.kinematics import Robot

JOINT, GRIPPER, EXTRA, IGNORED = "joint", "gripper", "extra", "ignored"
ROLES = (JOINT, GRIPPER, EXTRA, IGNORED)
UNITS: dict[str, float | None] = {
    "rad": 1.0,
    "deg": math.pi / 180,
    "m": 1.0,
    "mm": 1e-3,
    "percent": None,
    "signed-percent": None,
    "fraction": None,
}
"""Units of joints and their scale to rad or m. The last three are shares of the joint's range: 0 to 100, -100 to 100, 0
to 1."""
SCALES = (1e-9, 1e3)
"""Smallest and largest scale; no sensor has a unit beyond them."""


@dataclass(frozen=True)
class Dimension:
    """One recorded dimension of an action or of a state.

    Attributes:
        name: its name in the data set.
        role: `joint` of the robot, `gripper` with two values, `extra` (a number that moves no joint, such
            as the width of a gripper), or `ignored`.
        joint: the robot's joint, for the role `joint`. For a gripper a name that action and state share, by default
            its own.
        unit: of the recorded number. In a file it gives the scale where there is none.
        sign, scale, offset: q_model = sign * scale * x + offset, for the role `joint` [rad or m].
        open, closed: recorded values of an open and of a closed gripper, which the model sees as 0 and 1. A recorded
            command counts as closed beyond the value half-way between them.
        fill: recorded value that a policy returns in an ignored dimension of the action.
        reason: how the entry was found, shown in the table.

    Raises:
        ValueError: a value is missing or not allowed; the message names it.
    """

    name: str
    role: str
    joint: str = ""
    unit: str = ""
    sign: int = 1
    scale: float = 1.0
    offset: float = 0.0
    open: float = 0.0
    closed: float = 1.0
    fill: float = 0.0
    reason: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        what = f"dimension {self.name!r}"
        if self.role not in ROLES:
            raise ValueError(f"{what}: 'role' is {self.role!r}; choose one of {', '.join(ROLES)}")
        if self.role == JOINT and not self.joint:
            raise ValueError(f"{what}: 'joint' is missing; name the robot's joint")
        if self.role == JOINT and self.unit not in UNITS:
            raise ValueError(f"{what}: 'unit' is {self.unit!r}; choose one of {', '.join(UNITS)}")
        if self.sign not in (1, -1):
            raise ValueError(f"{what}: 'sign' is {self.sign!r}; give 1 or -1")
        for key in ("scale", "offset", "open", "closed", "fill"):
            if not math.isfinite(getattr(self, key)):
                raise ValueError(f"{what}: {key!r} is {getattr(self, key)}; give a finite number")
        if not SCALES[0] <= self.scale <= SCALES[1]:
            raise ValueError(
                f"{what}: 'scale' is {self.scale}; give a number from {SCALES[0]:g} to {SCALES[1]:g}, rad or m per "
                "recorded unit, and 'sign' -1 for the other direction"
            )
        if self.role == GRIPPER and self.open == self.closed:
            raise ValueError(f"{what}: 'open' and 'closed' are both {self.open}; give two different values")
        if self.role == GRIPPER and not self.joint:
            object.__setattr__(self, "joint", self.name)

    @property
    def factor(self) -> float:
        """Slope from the recorded number to the model's."""
        if self.role == GRIPPER:
            return 1.0 / (self.closed - self.open)
        return self.sign * self.scale if self.role == JOINT else 1.0

    @property
    def shift(self) -> float:
        """The model's number where the recorded one is 0."""
        if self.role == GRIPPER:
            return -self.open / (self.closed - self.open)
        return self.offset if self.role == JOINT else 0.0

    @property
    def model_name(self) -> str:
        """The name of the model's dimension."""
        return self.joint if self.role in (JOINT, GRIPPER) else self.name

    def to_json(self) -> dict[str, Any]:
        """The entry as plain JSON values: name, role, and what its role uses; no scale that the unit gives."""
        used = {
            JOINT: ("joint", "unit", "sign", "scale", "offset"),
            GRIPPER: ("joint", "open", "closed"),
            EXTRA: ("unit",),
            IGNORED: ("fill",),
        }[self.role]
        if self.role == JOINT and self.scale == UNITS[self.unit]:
            used = tuple(key for key in used if key != "scale")  # so that an edited unit counts
        return {key: getattr(self, key) for key in ("name", "role", *used)}

    @classmethod
    def from_json(cls, values: Any, robot: Robot | None = None) -> Dimension:
        """An entry written by `to_json` or by hand; without `scale` the unit gives it.

        Args:
            values: a JSON object.
            robot: gives the range of a joint in percent without a scale.

        Raises:
            ValueError: a key or value is wrong; the message names it.
        """
        if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
            raise ValueError(f"the entry {values!r} needs a 'name' and a 'role'")
        allowed = [item.name for item in fields(cls) if item.name != "reason"]
        what = f"dimension {values['name']!r}"
        unknown = sorted(set(values) - set(allowed))
        if unknown:
            raise ValueError(f"{what} has the unknown keys {unknown}; allowed are {', '.join(allowed)}")
        made: dict[str, Any] = {}
        for key, value in values.items():
            is_text = key in ("name", "role", "joint", "unit")
            if not isinstance(value, str if is_text else (int, float)) or isinstance(value, bool):
                kind = "a text" if is_text else "a number"
                raise ValueError(f"{what}: {key!r} is {value!r}; give {kind}")
            try:
                made[key] = value if is_text or key == "sign" else float(value)
            except OverflowError:  # a whole number with hundreds of digits
                raise ValueError(f"{what}: {key!r} is too large; give a finite number") from None
        made.setdefault("role", "")
        if made["role"] == JOINT and "scale" not in made and made.get("unit") in UNITS:
            scale, offset = unit_scale(made["unit"], made.get("joint", ""), robot)
            made["scale"] = scale
            made.setdefault("offset", offset)
        return cls(**made)


def unit_scale(unit: str, joint: str, robot: Robot | None) -> tuple[float, float]:
    """Scale and offset of a unit for a joint.

    Raises:
        ValueError: the unit is a share of the joint's range, and that is not known.
    """
    scale = UNITS[unit]
    if scale is not None:
        return scale, 0.0
    if robot is None or joint not in robot.joint_names:
        raise ValueError(
            f"joint {joint!r} is in {unit}: give its 'scale' and 'offset', or a robot that has the joint"
        )
    index = robot.joint_index(joint)
    lower, upper = float(robot.lower[index]), float(robot.upper[index])
    if not (math.isfinite(lower) and math.isfinite(upper) and upper > lower):
        raise ValueError(f"joint {joint!r} is in {unit}, but has no limits: give its 'scale' and 'offset'")
    if unit in ("percent", "fraction"):
        return (upper - lower) / (100 if unit == "percent" else 1), lower
    return (upper - lower) / 200, (upper + lower) / 2
