"""Words of several commands: choices and defaults in help texts, `name=value` options."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from ikp.policies.config import METHODS
from ikp.recipes import RECIPES
from ikp.tasks.registry import registered_tasks

T = TypeVar("T")
RECIPE_CHOICES = "{" + ",".join(RECIPES) + "}"
METHOD_CHOICES = "{" + ",".join(METHODS) + "}"
TASK_CHOICES = "{" + ",".join(entry.name for entry in registered_tasks()) + "}"
OF_THE_RECIPE = "(default: recipe's)"
OF_THE_TASK = "(default: task's)"


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def named_options(pairs: Sequence[str], option: str, example: str) -> dict[str, Any]:
    """`name=value` words as a dict; values that are JSON are read as such."""
    options: list[tuple[str, Any]] = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"{option} {pair!r}: write name=value, such as {example}")
        try:
            options.append((name, None if text == "None" else json.loads(text)))
        except ValueError:
            options.append((name, text))
    return each_once(options, option)


def each_once(pairs: Iterable[tuple[str, T]], option: str) -> dict[str, T]:
    """Names and values as a dict; refuses a name that is repeated."""
    values: dict[str, T] = {}
    for name, value in pairs:
        if name in values:
            of = f" of {name!r}" if name else ""
            raise ValueError(f"{option} gives two values{of}, {values[name]} and {value}: give one")
        values[name] = value
    return values
