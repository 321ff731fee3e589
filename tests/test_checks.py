"""Options of a wrong type or size are named with their value and what is allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from ikp.checks import in_range, plain_types, whole_number
from ikp.nets import EncoderConfig
from ikp.policies.config import PolicyConfig, SearchConfig
from ikp.training.config import TrainConfig


@dataclass(frozen=True)
class Options:
    count: int = 1
    share: float = 0.5
    limit: float | None = None
    name: str = "a"
    on: bool = False
    other: tuple[int, ...] = ()


@pytest.mark.parametrize("good", [{}, {"share": 1}, {"limit": 2.5}, {"limit": 3}, {"other": "anything"}])
def test_values_of_the_declared_type_pass(good):
    plain_types(Options(**good))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"count": 1.5}, "count is 1.5: it must be a whole number"),
        ({"count": "3"}, "count is '3': it must be a whole number"),
        ({"count": True}, "count is True: it must be a whole number"),
        ({"count": None}, "count is None: it must be a whole number"),
        ({"share": [1]}, r"share is \[1\]: it must be a number"),
        ({"limit": "x"}, "limit is 'x': it must be a number"),
        ({"name": 3}, "name is 3: it must be a word"),
        ({"on": 1}, "on is 1: it must be True or False"),
    ],
)
def test_other_types_are_refused(bad, message):
    options = Options()
    for name, value in bad.items():  # as without the checks of the tests' import hook
        object.__setattr__(options, name, value)
    with pytest.raises(ValueError, match=message):
        plain_types(options)


def test_ranges_name_the_value_and_what_is_allowed():
    in_range(Options(count=4), count=(1, 4), share=(0, math.inf))
    with pytest.raises(ValueError, match="count is 5: it must be from 1 to 4"):
        in_range(Options(count=5), count=(1, 4))
    with pytest.raises(ValueError, match="share is nan: it must be at least 0"):
        in_range(Options(share=math.nan), share=(0, math.inf))


@pytest.mark.parametrize("value", [1, 4, np.int64(2)])
def test_whole_numbers_pass(value):
    whole_number("episodes", value, 1, 4)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2.5, "episodes is 2.5: it must be a whole number"),
        (2.0, "episodes is 2.0: it must be a whole number"),
        ("2", "episodes is '2': it must be a whole number"),
        (True, "episodes is True: it must be a whole number"),
        (None, "episodes is None: it must be a whole number"),
        (0, "episodes is 0: it must be from 1 to 4"),
        (5, "episodes is 5: it must be from 1 to 4"),
    ],
)
def test_other_numbers_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        whole_number("episodes", value, 1, 4)


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (SearchConfig(), {"grid": 10**9}),
        (SearchConfig(), {"beam": 10**9}),
        (SearchConfig(), {"refinements": 10**9}),
        (PolicyConfig(), {"history": 10**5}),
        (PolicyConfig(), {"negatives": 10**12}),
        (PolicyConfig(), {"width": 4 * 10**9}),
        (PolicyConfig(), {"blocks": 10**9}),
        (EncoderConfig(), {"channels": 10**9}),
        (EncoderConfig(), {"channels": 1}),
        (TrainConfig(), {"threads": 100_000}),
        (TrainConfig(), {"threads": -1}),
        (TrainConfig(), {"seed": -1}),
        (TrainConfig(), {"seed": 2**70}),
        (TrainConfig(), {"steps": 10**18}),
        (TrainConfig(), {"batch_size": 10**12}),
        (TrainConfig(), {"minutes": math.inf}),
        (TrainConfig(), {"learning_rate": math.inf}),
        (TrainConfig(), {"held_out": 0.0}),
    ],
)
def test_hostile_numbers_are_refused_at_once(config, changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=rf"{name} is {value}: it must be "):
        replace(config, **changes)
