"""The specification of a data set: checked when made, unchanged by JSON."""

import inspect
import json
import pydoc
import re
from dataclasses import replace

import numpy as np
import pytest

from ikp.joint_map import Dimension, JointMap
from ikp.kinematics import Camera
from ikp.spec import Batch, DataSpec, Observation, _dims

SPEC = DataSpec(
    action_names=("a", "b", "grip"),
    state_names=("a", "b"),
    environment_state_names=("x",),
    image_shapes={"top": (96, 128, 3)},
    fps=10.0,
    joint_dims=(1, 0),
    discrete_dims=(2,),
    history=2,
)


def test_json_round_trip():
    assert DataSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC


def test_camera_models_round_trip_and_need_images():
    camera = Camera.look_at((1.0, 0.2, 1.0), (0.0, 0.0, 0.0), fovy=40.0, width=128, height=96)
    spec = replace(SPEC, cameras={"top": camera})
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    without = {key: value for key, value in SPEC.to_json().items() if key != "cameras"}
    assert DataSpec.from_json(without) == SPEC  # of before cameras were described
    with pytest.raises(ValueError, match=r"cameras \['side'\] have a model but no images"):
        replace(SPEC, cameras={"side": camera})


@pytest.mark.parametrize("layout", [Observation, Batch])
def test_help_shows_the_layout_of_observations(layout):
    text = pydoc.plain(pydoc.render_doc(layout))
    required = {"state", "images"} | ({"action"} if layout is Batch else set())
    assert layout.__required_keys__ == required
    for key in Observation.__annotations__ if layout is Observation else ("action", "goal_state"):
        assert f" {key}: " in text
        assert "float32" in text


def test_sizes():
    assert (SPEC.action_dim, SPEC.state_dim, SPEC.environment_state_dim) == (3, 2, 1)
    assert SPEC.camera_names == ("top",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"action_names": ()}, "action_names is empty"),
        ({"state_names": ("a", "a")}, r"state_names holds \['a'\] more than once"),
        ({"image_shapes": {"top": (3, 96, 96)}}, r"camera 'top' has the shape \(3, 96, 96\)"),
        ({"fps": 0.0}, "fps is 0.0: it must be a positive number"),
        (
            {"joint_dims": (0, 3)},
            r"joint_dims is \(0, 3\): it must hold different action dimensions from 0 to 2",
        ),
        ({"joint_dims": (0, 0)}, r"joint_dims is \(0, 0\)"),
        ({"joint_dims": (0, 2)}, r"action dimensions \[2\] are in joint_dims and in discrete_dims"),
        ({"history": 0}, "history is 0: an observation holds at least 1 frame"),
    ],
)
def test_wrong_values(values, message):
    with pytest.raises(ValueError, match=message):
        DataSpec(**({"action_names": ("a", "b", "grip"), "discrete_dims": (2,)} | values))


@pytest.mark.parametrize("dims", [[0.5, 1], [True, 1], "01", None, {"a": 0}, [[0]], ["0"]])
def test_dimensions_are_whole_numbers(dims):
    checked = inspect.unwrap(_dims)  # without the checks of the tests' import hook
    with pytest.raises(
        ValueError, match=f"joint_dims is {re.escape(repr(dims))}: .* in a list of whole numbers"
    ):
        checked("joint_dims", dims, 3)
    assert checked("joint_dims", [np.int64(1), 0], 3) == (1, 0)


def test_dimensions_are_those_of_the_joint_map():
    entries = tuple(Dimension(name, "joint", name, "rad") for name in "ab")
    action = (*entries, Dimension("grip", "gripper"))
    spec = DataSpec(("a", "b", "grip"), ("a", "b")).with_joint_map(JointMap(("a", "b"), action, entries))
    assert DataSpec.from_json(spec.to_json()) == spec
    with pytest.raises(
        ValueError, match=r"joint_dims is \[1, 0\], the joint map makes \[0, 1\]: use .*with_joint_map"
    ):
        DataSpec.from_json(spec.to_json() | {"joint_dims": [1, 0]})
    with pytest.raises(ValueError, match=r"discrete_dims is \[\], the joint map makes \[2\]"):
        replace(spec, discrete_dims=())


def test_wrong_json():
    with pytest.raises(ValueError, match=r"unknown keys \['frames'\]"):
        DataSpec.from_json({"action_names": ["a"], "frames": 3})
    with pytest.raises(ValueError, match="needs the key 'action_names'"):
        DataSpec.from_json({})
