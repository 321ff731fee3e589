"""Values, differences and numbers in words, for a message."""

from __future__ import annotations

from typing import Any


def differences(stored: Any, given: Any, name: str = "") -> list[str]:
    """The differences of two JSON values, such as nested settings, in words."""
    if isinstance(stored, dict) and isinstance(given, dict):
        found: list[str] = []
        for key in [*stored, *(key for key in given if key not in stored)]:
            found += differences(stored.get(key), given.get(key), f"{name}.{key}" if name else key)
        return found
    was, now = shortened(repr(stored), 120), shortened(repr(given), 120)
    return [] if stored == given else [f"{name} was {was}, is {now}"]


def shortened(text: str, most: int) -> str:
    """At most `most` characters of a text that may come from a file, for a message."""
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def counted(number: int, thing: str) -> str:
    """A number of things, such as 1 frame or 2 frames."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
