"""Options of a wrong type or size are named with their value and what is allowed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (
            "ikp.make_policy('arm.urdf', spec)",
            "robot is 'arm.urdf': give an ikp.Robot, such as ikp.load_robot(",
        ),
        ("ikp.make_policy(arm, arm)", "spec is a Robot: give the specification of the data (dataset.spec)"),
        ("ikp.load_dataset('data', robot='arm.urdf')", "robot is 'arm.urdf': give an ikp.Robot"),
        ("ikp.train(policy, 'data', out='run')", "dataset is 'data': load one with ikp.load_dataset("),
        ("ikp.train('ikp', 'data', out='run')", "policy is 'ikp': make one with ikp.make_policy("),
        ("ikp.train(policy, data, {'steps': 2}, out='run')", "config is a dict: give an ikp.TrainConfig"),
        ("ikp.DataSpec(('a',), image_shapes=['top'])", "image_shapes is ['top']: give (height, width, 3)"),
    ],
)
def test_an_argument_of_another_type_is_named(mistakes, call, named):
    assert named in mistakes[call]


@pytest.fixture(scope="module")
def mistakes():
    """The message of each call, in a process without the checks of types that these tests have."""
    calls = [mark.args[1] for mark in test_an_argument_of_another_type_is_named.pytestmark]
    code = f"""
import json, ikp, torch
arm, names = ikp.load_robot("ur5e"), [f"j{{i}}" for i in range(6)]
spec = ikp.DataSpec(names, names, joint_dims=range(6))
policy, n = ikp.make_policy(arm, spec), 4
data = ikp.Demonstrations(
    spec=spec, state=torch.zeros(n, 6), action=torch.zeros(n, 6), environment_state=torch.zeros(n, 0), images={{}},
    episode_index=torch.arange(n) // 2, frame_index=torch.arange(n) % 2, success=torch.ones(2, dtype=torch.bool),
    info=({{}}, {{}}),
)
said = {{}}
for call in {[row[0] for row in calls[0]]!r}:
    try:
        eval(call)
    except ValueError as error:
        said[call] = str(error)
print(json.dumps(said))
"""
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
