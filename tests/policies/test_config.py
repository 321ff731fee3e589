"""Configurations: the default residual follows the action space, files give equal configurations back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ikp.nets import EncoderConfig
from ikp.policies import PolicyConfig, make_policy, method_config
from ikp.policies.config import ACTION_SPACES, METHODS, Ablations, ImagePlaneConfig, SearchConfig

from .conftest import small_spec


@pytest.mark.parametrize("space", ACTION_SPACES)
def test_the_default_residual_follows_the_action_space(robot, space):
    expected = ("offset",) if space == "joint+cartesian" else ()
    for config in (PolicyConfig(action_space=space), replace(PolicyConfig(), action_space=space)):
        assert config.residuals == expected
        assert config.residual is None
    back = replace(PolicyConfig(action_space=space), action_space="joint+cartesian")
    assert back == PolicyConfig()
    small = replace(PolicyConfig(action_space=space), width=16, blocks=1)
    assert make_policy(robot, small_spec(), small).config == small


def test_equal_residuals_make_equal_configurations():
    assert PolicyConfig(residual=("offset",)) == PolicyConfig()
    assert PolicyConfig(kind="explicit", residual=()) == PolicyConfig(kind="explicit")
    assert PolicyConfig(residual=()).residuals == ()
    assert PolicyConfig(residual=()) != PolicyConfig()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base", METHODS)
def test_a_method_takes_its_default_residual_from_any_base(base, method):
    config = method_config(method, method_config(base))
    assert config == method_config(method)
    assert config.residuals == (("offset",) if method in ("ikp", "two-step", "flow") else ())


def test_only_ikp_keeps_a_residual():
    base = PolicyConfig(residual=("dense", "link"))
    assert method_config("ikp", base).residuals == ("dense", "link")
    assert method_config("explicit-fk", base).residuals == ()
    assert method_config("ikp", PolicyConfig(residual=())).residuals == ()


@pytest.mark.parametrize(
    "config",
    [
        PolicyConfig(),
        PolicyConfig(residual=()),
        PolicyConfig(residual=("dense", "link"), image_plane=ImagePlaneConfig(True)),
        PolicyConfig(kind="explicit", action_space="joint", encoder=EncoderConfig(kind="pool")),
        PolicyConfig(action_space="raw", search=SearchConfig(grid=8), ablation=Ablations(prefix_noise=0.0)),
    ],
)
def test_a_configuration_survives_its_file(config):
    stored = json.loads(json.dumps(config.to_json()))
    assert stored["residual"] == list(config.residuals)
    assert PolicyConfig.from_json(stored) == config


@pytest.mark.parametrize("name", ["encoder", "search", "ablation"])
@pytest.mark.parametrize("value", [None, 3, "keypoint", []])
def test_a_part_that_is_no_object_is_refused(name, value):
    with pytest.raises(ValueError, match="it must be an object"):
        PolicyConfig.from_json({**PolicyConfig().to_json(), name: value})


def test_only_the_image_plane_may_be_null():
    assert PolicyConfig.from_json({"image_plane": None}).image_plane is None
    with pytest.raises(ValueError, match="residual is None: it must be a list"):
        PolicyConfig.from_json({"residual": None})
    with pytest.raises(ValueError, match=r"unknown keys \['widht'\] in a PolicyConfig"):
        PolicyConfig.from_json({"widht": 3})
