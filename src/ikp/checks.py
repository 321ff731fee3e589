"""Checks of options: one line that names the option, its value and what is allowed."""

from __future__ import annotations

import math
from dataclasses import fields
from numbers import Integral
from typing import Any

_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "bool": (bool, "True or False"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "a word"),
}


def one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError, with a list of the allowed values, unless `value` is one of them."""
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}: choose one of {', '.join(allowed)}")


A_ROBOT = "give an ikp.Robot, such as ikp.load_robot('arm.urdf', tips=['tool'])"
"""The fix where something else than a robot was given."""


def instance(what: str, value: Any, kind: type, fix: str) -> None:
    """Raise ValueError unless `value` is an instance of `kind`; `fix` says what to give."""
    if not isinstance(value, kind):
        shown = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
        raise ValueError(f"{what} is {shown}: {fix}")


def in_range(config: Any, **ranges: tuple[float, float]) -> None:
    """Raise ValueError for the first field of a configuration that is outside its range, or NaN.

    Args:
        config: any object.
        ranges: field to its least and its largest value; the largest may be infinite.
    """
    for name, (low, high) in ranges.items():
        _check_range(name, getattr(config, name), low, high)


def whole_number(name: str, value: Any, low: int, high: int) -> None:
    """Raise ValueError unless `value` is a whole number from `low` to `high`, of Python or of NumPy."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}: it must be a whole number")
    _check_range(name, value, low, high)


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    if not low <= value <= high:
        allowed = f"from {low} to {high}" if math.isfinite(high) else f"at least {low}"
        text = str(value)
        shown = text if len(text) <= 40 else f"{text[:20]}..."  # a file may hold a thousand digits
        raise ValueError(f"{name} is {shown}: it must be {allowed}")


def plain_types(config: Any) -> None:
    """Raise ValueError for the first field of a dataclass whose value is not of its type, which may come from a file.

    Fields of the types bool, int, float and str are checked, and these or None; the annotations have to be texts
    (`from __future__ import annotations`).
    """
    for field in fields(config):
        name, _, rest = str(field.type).partition(" | ")
        value = getattr(config, field.name)
        if name not in _KINDS or rest not in ("", "None") or (value is None and rest == "None"):
            continue
        kinds, words = _KINDS[name]
        if not isinstance(value, kinds) or (name != "bool" and isinstance(value, bool)):
            raise ValueError(f"{field.name} is {value!r}: it must be {words}")
