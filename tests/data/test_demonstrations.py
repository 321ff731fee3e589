"""Each frame's next gripper event, against a naive loop."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ikp.data import Demonstrations
from ikp.spec import DataSpec


def demonstrations(
    episodes: list[list[int]], *, measured: bool = True, discrete: bool = True
) -> Demonstrations:
    """One joint that counts the frames, and a gripper with the given values."""
    lengths = [len(episode) for episode in episodes]
    frames = sum(lengths)
    gripper = torch.tensor([float(value) for episode in episodes for value in episode])[:, None]
    joint = torch.arange(frames, dtype=torch.float32)[:, None]
    return Demonstrations(
        spec=DataSpec(
            action_names=("joint", "grip"),
            state_names=("joint", "grip") if measured else ("joint",),
            joint_dims=(0,),
            discrete_dims=(1,) if discrete else (),
        ),
        state=torch.cat([joint, gripper], 1) if measured else joint,
        action=torch.cat([joint, gripper], 1),
        environment_state=torch.zeros(frames, 0),
        images={},
        episode_index=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
        frame_index=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])),
        success=torch.ones(len(lengths), dtype=torch.bool),
    )


def naive(episodes: list[list[int]]) -> list[int]:
    expected, start = [], 0
    for values in episodes:
        for frame in range(len(values)):
            later = range(frame + 1, len(values))
            switched = [k for k in later if values[k] != values[k - 1]]
            expected.append(start + (switched[0] if switched else len(values) - 1))
        start += len(values)
    return expected


@pytest.mark.parametrize("measured", [True, False])
@given(episodes=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7), min_size=1, max_size=5))
def test_events_equal_a_naive_loop(measured, episodes):
    data = demonstrations(episodes, measured=measured)
    assert data.goal_state[:, 0].tolist() == naive(episodes)
    indices = torch.arange(len(data)).flip(0)
    assert torch.equal(data.batch(indices, goals=True)["goal_state"], data.goal_state[indices])
    assert "goal_state" not in data.batch(indices)


def test_without_a_gripper_the_goal_is_the_episodes_end():
    data = demonstrations([[0, 1, 1], [1, 0]], discrete=False)
    assert data.goal_state[:, 0].tolist() == [2, 2, 2, 4, 4]


def test_a_measured_gripper_counts_before_the_command():
    data = demonstrations([[0, 0, 1, 1, 0]])
    data.action[:, 1] = torch.tensor([1.0, 1, 1, 0, 0])
    data = Demonstrations(**{name: getattr(data, name) for name in data.__dataclass_fields__})
    assert data.goal_state[:, 0].tolist() == [2, 2, 4, 4, 4]
