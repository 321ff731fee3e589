"""Words of several commands: choices and defaults in help texts, `name=value` options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ikp.policies.config import METHODS
from ikp.recipes import RECIPES
from ikp.tasks.registry import registered_tasks

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
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"{option} {pair!r}: write name=value, such as {example}")
        try:
            options[name] = None if text == "None" else json.loads(text)
        except ValueError:
            options[name] = text
    return options
