"""Observations as users have them: any array of numbers is taken, all else is refused with the reason."""

import inspect

import numpy as np
import pytest
import torch

from ikp.policies import DataSpec, Policy, PolicyConfig, make_policy
from ikp.policies.observation import as_tensors

RAW = PolicyConfig(action_space="raw", width=8, blocks=1)


@pytest.fixture(scope="module")
def seer():
    """A policy that sees an image and nothing else."""
    return make_policy(None, DataSpec(("x",), image_shapes={"top": (16, 16, 3)}), RAW).eval()


@pytest.fixture(scope="module")
def mover():
    """A policy that sees two numbers."""
    return make_policy(None, DataSpec(("x",), ("x", "y")), RAW).eval()


@pytest.mark.parametrize(
    "given",
    [
        lambda state: state.numpy(),
        lambda state: state.numpy().astype(np.float64),
        lambda state: state.double(),
        lambda state: np.ma.masked_array(state.numpy()),
        lambda state: state.numpy().astype(">f4"),
        lambda state: state.flip(-1).numpy()[..., ::-1],
        lambda state: state.tolist(),
        lambda state: [list(map(tuple, row)) for row in state.tolist()],
    ],
)
def test_numbers_of_any_kind_are_taken(mover, given):
    state = torch.tensor([[[0.25, -0.5]], [[1.0, 2.0]]])
    expected = mover.act({"state": state})
    assert torch.equal(mover.act({"state": given(state)}), expected)


def test_whole_numbers_are_numbers(mover):
    whole = torch.tensor([[[1, 2]]])
    assert torch.equal(mover.act({"state": whole}), mover.act({"state": whole.float()}))


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (torch.zeros(1, 1, 2), "the observation is a Tensor: give a dictionary such as"),
        ([0.0, 0.0], "the observation is a list: give a dictionary such as"),
        (None, "the observation is a NoneType: give a dictionary such as"),
        ({"state": {"x": 1}}, "state is no array of numbers"),
        ({"state": [[1.0], [1.0, 2.0]]}, "state is no array of numbers"),
        (
            {"state": torch.zeros(1, 1, 2, dtype=torch.complex64)},
            "state holds complex numbers .*: give real ones",
        ),
        ({"state": np.zeros((1, 1, 2), complex)}, "state holds complex numbers"),
        (
            {"state": torch.zeros(1, 1, 2, device="meta")},
            "state is a tensor on the device meta, which has no numbers",
        ),
        ({"state": torch.zeros(1, 1, 2).to_sparse()}, r"state is a sparse tensor .*\(.to_dense\(\)\)"),
        ({"state": np.ma.masked_equal([[[0.0, 1.0]]], 1.0)}, "state is an array with 1 masked values"),
    ],
)
def test_what_holds_no_numbers_is_refused(mover, observation, message):
    with pytest.raises(ValueError, match=message):
        as_tensors(observation, torch.device("cpu"))
    act = inspect.unwrap(Policy.act)  # without the checks of the tests' import hook
    with pytest.raises(ValueError, match=message):
        act(mover, observation)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"state": torch.zeros(2)}, r"'state' has the shape \(2,\): expected \(batch, 1, 2\)"),
        ({"state": torch.zeros(1, 1, 3)}, r"'state' has the shape \(1, 1, 3\): expected \(batch, 1, 2\)"),
        ({"state": torch.zeros(0, 1, 2)}, "they must be the same, and not 0"),
        ({"state": torch.full((1, 1, 2), torch.nan)}, "'state' holds nan at 'x'"),
        ({"states": torch.zeros(1, 1, 2)}, "has no 'state': it has"),
    ],
)
def test_a_wrong_state_is_named(mover, observation, message):
    with pytest.raises(ValueError, match=message):
        mover.act(observation)


def test_a_policy_without_a_state_needs_none(seer):
    images = {"top": torch.randint(256, (3, 1, 16, 16, 3), dtype=torch.uint8)}
    given = seer.act({"images": images, "state": torch.zeros(3, 1, 0)})
    assert torch.equal(seer.act({"images": images}), given)
    frame = images["top"][0, 0].numpy()
    seer.reset()
    assert seer.select_action({"observation.images.top": frame}).shape == (1,)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({}, "no image of camera 'top'"),
        ({"top": torch.zeros(1, 1, 16, 16, 3)}, "are torch.float32: expected uint8"),
        ({"top": torch.zeros(1, 1, 3, 16, 16, dtype=torch.uint8)}, r"expected \(batch, 1, 16, 16, 3\)"),
    ],
)
def test_wrong_images_are_named(seer, images, message):
    with pytest.raises(ValueError, match=message):
        seer.act({"images": images})
