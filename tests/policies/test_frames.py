"""Frames of Gymnasium's and LeRobot's loops, in every layout and type, become the same observation."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch

from ikp.policies import FrameHistory, PolicyConfig, frames, make_policy, observation_from_frames
from ikp.policies.frames import read_frame
from ikp.spec import DataSpec

SPEC = DataSpec(
    action_names=("a", "b"),
    state_names=("a", "b", "grip"),
    environment_state_names=("x",),
    image_shapes={"top": (6, 8, 3), "wrist": (4, 4, 3)},
)
RNG = np.random.default_rng(0)
STATE = RNG.normal(size=3).astype(np.float32)
IMAGES = {name: RNG.integers(0, 256, shape).astype(np.uint8) for name, shape in SPEC.image_shapes.items()}
FRAME = {"state": STATE, "environment_state": np.float32([0.5]), **IMAGES}


def lerobot(batch: bool = False, dtype=torch.float32) -> dict:
    """As LeRobot's data sets give it: tensors, channels first, from 0 to 1."""
    frame = {
        "observation.state": torch.from_numpy(STATE),
        "observation.environment_state": torch.tensor([0.5]),
        "task": "insert the block",
        "timestamp": torch.tensor(0.1),
    }
    for name, image in IMAGES.items():
        frame[f"observation.images.{name}"] = (torch.from_numpy(image).permute(2, 0, 1) / 255).to(dtype)
    return {
        key: value[None] if batch and isinstance(value, torch.Tensor) else value
        for key, value in frame.items()
    }


def test_a_frame_that_is_not_finite_does_not_stay_in_the_history():
    config = PolicyConfig(action_space="raw", history=3, width=16, blocks=1)
    spec = replace(SPEC, image_shapes={})
    frames = [{"state": STATE + number, "environment_state": [0.5]} for number in range(3)]
    torch.manual_seed(0)
    policy = make_policy(None, spec, config).eval()
    wanted = [policy.select_action(frame) for frame in frames]
    policy.reset()
    for frame, action in zip(frames, wanted, strict=True):
        for name in ("state", "environment_state"):
            for bad in (np.nan, np.inf):
                with pytest.raises(ValueError, match=f"'{name}' holds {bad} at dimension 0"):
                    policy.select_action({**frame, name: np.full(len(frame[name]), bad)})
        torch.testing.assert_close(policy.select_action(frame), action, rtol=0, atol=0)


def assert_same(observation, state=STATE, images=IMAGES):
    assert observation["state"].dtype == torch.float32
    assert observation["state"].numpy() == pytest.approx(np.float32([[state]]), abs=0)
    assert torch.equal(observation["environment_state"], torch.tensor([[[0.5]]]))
    assert list(observation["images"]) == list(images)
    for name, image in images.items():
        assert observation["images"][name].dtype == torch.uint8
        np.testing.assert_array_equal(observation["images"][name].numpy()[0, 0], image)


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        {"state": STATE, "environment_state": [0.5], "images": IMAGES},
        {key: value.astype(np.float64) if value.dtype == np.float32 else value for key, value in FRAME.items()},
        {key: value.tolist() for key, value in FRAME.items()},
        {key: torch.from_numpy(value) for key, value in FRAME.items()},
        {key: value[None] for key, value in FRAME.items()},
        {**FRAME, "top": IMAGES["top"] / 255, "wrist": IMAGES["wrist"].transpose(2, 0, 1)},
        {**FRAME, "state": torch.from_numpy(STATE).requires_grad_()},
        lerobot(),
        lerobot(batch=True),
        lerobot(dtype=torch.float64),
        lerobot(dtype=torch.float16),
    ],
    ids=[
        "gymnasium", "recorder", "float64", "lists", "torch", "batch-of-one", "mixed", "gradient",
        "lerobot", "lerobot-batch", "lerobot-float64", "lerobot-float16",
    ],
)  # fmt: skip
def test_every_layout_gives_the_same_observation(frame):
    assert_same(observation_from_frames([[frame]], SPEC))


@pytest.mark.parametrize("key", ["image", "observation.image", "top", "observation.images.top"])
def test_the_only_camera_needs_no_name(key):
    spec = replace(SPEC, image_shapes={"top": (6, 8, 3)})
    frame = {"state": STATE, "environment_state": [0.5], key: IMAGES["top"]}
    assert_same(observation_from_frames([[frame]], spec), images={"top": IMAGES["top"]})


def test_what_the_specification_lacks_is_left_out():
    observation = observation_from_frames([[FRAME]], DataSpec(("a",)))
    assert observation["images"] == {}
    assert observation["state"].shape == (1, 1, 0)
    assert "environment_state" not in observation


def test_windows_are_rows_with_the_oldest_frame_first():
    frames = [{**FRAME, "state": np.full(3, float(number))} for number in range(4)]
    observation = observation_from_frames([frames[:2], frames[2:]], SPEC)
    assert observation["state"][..., 0].tolist() == [[0, 1], [2, 3]]
    assert observation["images"]["top"].shape == (2, 2, 6, 8, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"state": None},
            r"no 'state': it needs one of the keys 'state', 'observation.state', 'agent_pos', and has \['env",
        ),
        ({"environment_state": None}, "no 'environment_state'"),
        ({"wrist": None}, "no image of camera 'wrist': .*'observation.images.wrist'.*and has .*'top'"),
        ({"state": np.zeros(4)}, r"'state' has the shape \(4,\): expected \(3,\)"),
        ({"state": np.zeros((2, 3))}, r"'state' has the shape \(2, 3\)"),
        ({"state": ["a", "b", "c"]}, "'state' is <U1: give 3 numbers"),
        ({"state": [[1.0], [1.0, 2.0]]}, "'state' cannot be read as an array"),
        ({"state": np.ma.masked_equal([0.0, 1.0, 2.0], 1.0)}, "'state' is an array with 1 masked values"),
        ({"state": torch.zeros(3, device="meta")}, "'state' is a tensor on the device meta"),
        ({"state": torch.zeros(3).to_sparse()}, "'state' is a sparse tensor"),
        ({"top": np.zeros((8, 6, 3), np.uint8)}, r"'top' has the shape \(8, 6, 3\): expected \(6, 8, 3\)"),
        ({"top": np.zeros((6, 8), np.uint8)}, r"'top' has the shape \(6, 8\)"),
        ({"top": np.full((6, 8, 3), 200.0)}, "'top' is float64 from 200 to 200: give whole numbers"),
        ({"top": np.full((6, 8, 3), np.nan)}, "'top' is float64 from nan to nan"),
        ({"top": np.full((6, 8, 3), -1)}, "'top' is int64 from -1 to -1"),
        ({"top": np.zeros((6, 8, 3), bool)}, "'top' is bool: give uint8"),
    ],
)
def test_wrong_values_are_named(change, message):
    frame = {key: value for key, value in {**FRAME, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        observation_from_frames([[frame]], SPEC)


def test_two_cameras_do_not_share_an_unnamed_image():
    frame = {"state": STATE, "environment_state": [0.5], "image": IMAGES["top"]}
    with pytest.raises(ValueError, match="no image of camera 'top'"):
        observation_from_frames([[frame]], SPEC)


def test_wrong_windows_are_refused():
    for windows in ([], [[]], [[FRAME], [FRAME, FRAME]]):
        with pytest.raises(ValueError, match=r"give at least one window, all with the same number"):
            observation_from_frames(windows, SPEC)
    # Annotations are checked in tests only; without the check the message tells what to give.
    with pytest.raises((ValueError, TypeError), match=r"\[\[frame\]\] for a single one|windows"):
        observation_from_frames([FRAME], SPEC)


def test_history_repeats_the_first_frame_and_copies_the_loops_buffers():
    history = FrameHistory(SPEC, 3)
    with pytest.raises(ValueError, match="at least one window, all with the same"):
        _ = history.observation
    buffer = {**FRAME, "state": np.zeros(3), "top": IMAGES["top"].copy()}
    seen = []
    for number in range(4):
        buffer["state"][:], buffer["top"][:] = number, number
        history.add(buffer)
        observation = history.observation
        seen.append(observation["state"][0, :, 0].tolist())
        assert observation["images"]["top"][0, :, 0, 0, 0].tolist() == seen[-1]
    assert seen == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]
    with pytest.raises(ValueError, match="no 'state'"):
        history.add({})
    assert history.observation["state"][0, :, 0].tolist() == seen[-1]
    history.reset()
    assert history.frames == ()
    history.add(FRAME)
    assert torch.equal(history.observation["state"], torch.from_numpy(STATE).expand(1, 3, 3))
    with pytest.raises(ValueError, match="history is 0"):
        FrameHistory(SPEC, 0)


def test_a_control_loop_checks_every_frame_once(monkeypatch):
    config = PolicyConfig(action_space="raw", residual=(), history=3, width=16, blocks=1)
    policy = make_policy(None, replace(SPEC, image_shapes={}), config)
    reads, checks, check = [], [], policy.encoder.check
    monkeypatch.setattr(frames, "read_frame", lambda *args: reads.append(args) or read_frame(*args))
    monkeypatch.setattr(policy.encoder, "check", lambda *args: checks.append(args) or check(*args))
    for step in range(4):
        policy.select_action({"state": STATE, "environment_state": [0.5]})
        assert (len(reads), len(checks)) == (step + 1, step + 1)


def test_a_policy_acts_on_it():
    spec = replace(SPEC, image_shapes={}, environment_state_names=())
    policy = make_policy(None, spec, PolicyConfig(action_space="raw", residual=(), width=16, history=2))
    history = FrameHistory(spec, policy.config.history)
    history.add({"observation.state": STATE.astype(np.float64)})
    assert policy.act(history.observation).shape == (1, 2)
    assert policy.act(MappingProxyType(dict(history.observation))).shape == (1, 2)  # any mapping will do


def test_a_missing_number_is_named():
    frame = {"a": 0.1, "grip": 0.0, "environment_state": np.float32([0.5]), **IMAGES}
    with pytest.raises(ValueError, match=r"lacks \['b'\] of the state"):
        read_frame(frame, SPEC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        ("a", "'a'"),
        ([0.1, 0.2], r"\[0.1, 0.2\]"),
        (np.array([0.1, 0.2]), r"array\(\[0.1, 0.2\]\)"),
        (1j, "1j"),
    ],
)
def test_a_number_by_name_that_is_none_is_named(value, shown):
    frame = {"a": 0.1, "b": 0.2, "grip": value, "environment_state": np.float32([0.5]), **IMAGES}
    with pytest.raises(ValueError, match=f"'grip' is {shown}: give one number"):
        read_frame(frame, SPEC)


@pytest.mark.parametrize(
    "value", [0.25, np.float32(0.25), np.array([0.25]), torch.tensor(0.25), torch.tensor([[0.25]])]
)
def test_a_number_by_name_may_be_an_array_of_one(value):
    frame = {"a": 0.1, "b": 0.2, "grip": value, "environment_state": np.float32([0.5]), **IMAGES}
    assert read_frame(frame, SPEC)["state"].tolist() == pytest.approx([0.1, 0.2, 0.25])


@pytest.mark.parametrize(
    ("shape", "fix"),
    [((6, 8), "grey"), ((6, 8, 4), "channels alone"), ((4, 6, 8), "channels alone"), ((5, 8, 3), "resize")],
)
def test_an_image_of_another_shape_is_refused_with_what_mends_it(shape, fix):
    with pytest.raises(ValueError, match=fix):
        read_frame(FRAME | {"top": np.zeros(shape, np.uint8)}, SPEC)
