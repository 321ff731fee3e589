"""Demonstrations in memory: history windows and gripper events against naive loops, batches, splits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ikp.data import Demonstrations, load_dataset
from ikp.spec import DataSpec


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), history=st.integers(1, 4))
def test_windows_equal_a_naive_loop(lengths, history):
    frames = sum(lengths)
    state = torch.arange(frames, dtype=torch.float32)[:, None]
    demonstrations = Demonstrations(
        spec=DataSpec(("a",), ("s",), (), {"top": (1, 1, 3)}),
        state=state,
        action=-state,
        environment_state=torch.zeros(frames, 0),
        images={"top": state.to(torch.uint8).reshape(frames, 1, 1, 1).repeat(1, 1, 1, 3)},
        episode_index=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
        frame_index=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])),
        success=torch.ones(len(lengths), dtype=torch.bool),
    )
    expected, start = [], 0
    for length in lengths:
        expected += [
            [max(start, frame - back) for back in reversed(range(history))]
            for frame in range(start, start + length)
        ]
        start += length
    batch = demonstrations.batch(torch.arange(frames), history)
    assert batch["state"][..., 0].tolist() == expected
    assert batch["images"]["top"][..., 0, 0, 0].tolist() == expected
    assert batch["action"][:, 0].tolist() == [-frame for frame in range(frames)]


def test_batch_has_the_layout_of_the_policies(dataset):
    batch = load_dataset(dataset[0], history=2).batch(torch.tensor([3, 0, 15]))
    assert batch["state"].shape == (3, 2, 3)
    assert batch["environment_state"].shape == (3, 2, 2)
    assert batch["action"].shape == (3, 3)
    assert {camera: tuple(images.shape) for camera, images in batch["images"].items()} == {
        "top": (3, 2, 12, 16, 3),
        "wrist": (3, 2, 8, 8, 3),
    }
    assert batch["images"]["top"].dtype == torch.uint8


def test_split_is_by_episode_and_seeded(dataset):
    demonstrations = load_dataset(dataset[0], cameras=())
    train, held_out = demonstrations.split(0.25, seed=1)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(16))
    indices = demonstrations.episode_index
    assert not set(indices[train].tolist()) & set(indices[held_out].tolist())
    assert torch.equal(train, demonstrations.split(1, seed=1)[0])
    assert len({tuple(demonstrations.split(1, seed=seed)[1].tolist()) for seed in range(40)}) == 4
    with pytest.raises(ValueError, match="leaves none on one side"):
        demonstrations.split(4)


def test_first_shares_memory(dataset):
    demonstrations = load_dataset(dataset[0])
    first = demonstrations.first(2)
    assert (first.episodes, len(first)) == (2, 6)
    assert first.images["top"].data_ptr() == demonstrations.images["top"].data_ptr()
    assert first.episode_bounds.tolist() == [[0, 5], [5, 6]]
    with pytest.raises(ValueError, match="choose 1 to 4"):
        demonstrations.first(5)


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
