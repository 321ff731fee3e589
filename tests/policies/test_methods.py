"""All methods with a robot: gradients, overfitting one batch, saving and loading, clear errors."""

from __future__ import annotations

import inspect
import json
import warnings
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from ikp.nets import EncoderConfig
from ikp.policies import (
    PolicyConfig,
    describe_policy,
    load_policy,
    make_policy,
    method_config,
    policy_from_description,
    save_policy,
)
from ikp.policies.config import LINKS, METHODS, RESIDUALS, Ablations, SearchConfig
from ikp.policies.link_features import candidate_matrix, pose_matrix

from .conftest import fitted, small_batch, small_config, small_spec

ROBOT_METHODS = [method for method in METHODS if method != "raw"]


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("method", ROBOT_METHODS)
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(robot, method, pixels):
    policy, batch = fitted(robot, method, pixels=pixels)
    loss, _ = policy.loss(batch)
    loss.backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, f"{name} has a zero gradient"


@pytest.mark.parametrize("method", ["explicit-fk", "implicit-cartesian", "ikp", "two-step", "flow"])
def test_gradients_reach_every_parameter_from_the_tips_pose_alone(robot, method):
    policy, batch = fitted(robot, method, links="tip")
    policy.loss(batch)[0].backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("links", LINKS)
@pytest.mark.parametrize("kind", RESIDUALS)
def test_each_residual_alone_has_gradients(robot, kind, links):
    policy, batch = fitted(robot, "ikp", residual=(kind,), links=links)
    policy.loss(batch)[0].backward()
    residual = [p for name, p in policy.named_parameters() if ".residual." in name]
    assert residual
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in residual)
    assert sum(float(p.grad.abs().sum()) for p in residual if p.grad is not None) > 0


def test_residuals_together_start_as_the_nominal_kinematics(robot):
    policy, batch = fitted(robot, "ikp", residual=RESIDUALS)
    nominal, _ = fitted(robot, "ikp", residual=())
    nominal.load_state_dict(policy.state_dict(), strict=False)
    torch.testing.assert_close(policy.act(batch), nominal.act(batch))


@pytest.mark.parametrize("method", ROBOT_METHODS)
def test_one_batch_is_overfitted(robot, method):
    policy, batch = fitted(robot, method, width=64)
    policy.train()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    with torch.no_grad():
        before = (policy.act(batch) - batch["action"]).abs().mean()
    for _ in range(250):
        loss, _ = policy.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    chosen = policy.act(batch)
    assert torch.equal(chosen[:, 6], batch["action"][:, 6])
    assert (chosen - batch["action"]).abs().mean() < 0.25 * before


@pytest.mark.parametrize("method", ROBOT_METHODS)
def test_a_policy_that_acted_in_inference_mode_is_trained(robot, method):
    """As LeRobot does, which evaluates a policy in between: what was cached while it acted serves training."""
    policy, batch = fitted(robot, method)
    for cached in (pose_matrix, candidate_matrix):
        cached.cache_clear()
    with torch.inference_mode():
        policy.act(batch)
    policy.train().loss(batch)[0].backward()
    assert all(parameter.grad is not None for parameter in policy.parameters())


@pytest.mark.parametrize("search", [SearchConfig(), SearchConfig(method="langevin")])
def test_an_action_may_be_part_of_a_loss(robot, search):
    policy, batch = fitted(robot, "ikp", search=search)
    for action in (policy.act(batch), policy.act_in_model_units(batch)):
        gain = torch.ones((), requires_grad=True)
        (gain * action).sum().backward()
        assert float(gain.grad) == pytest.approx(float(action.sum()), rel=1e-5)


@pytest.mark.parametrize("method", ["explicit", "implicit-cartesian", "ikp"])
def test_automatic_casting_by_the_caller_changes_no_decision(robot, method):
    policy, batch = fitted(robot, method)
    for rows in (1, 4):
        few = {key: value[:rows] for key, value in batch.items() if key != "images"}
        with torch.autocast("cpu", torch.bfloat16):
            action = policy.act({**few, "images": {}})
        torch.testing.assert_close(action, policy.act({**few, "images": {}}))


@pytest.mark.parametrize("method", ["explicit-fk", "flow", "ikp"])
def test_automatic_casting_by_the_caller_changes_no_loss_and_no_gradient(robot, method):
    policy, batch = fitted(robot, method)

    def loss_and_gradients(casts):
        policy.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=casts):
            loss, _ = policy.loss(batch)
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in policy.parameters() if p.grad is not None)]

    torch.testing.assert_close(loss_and_gradients(True), loss_and_gradients(False))


def test_langevin_works_in_the_inference_mode_of_the_caller(robot):
    policy, batch = fitted(robot, "ikp", search=SearchConfig(method="langevin"))
    with torch.inference_mode():
        observation = {**batch, "state": batch["state"].clone()}
        assert torch.isfinite(policy.act(observation)).all()


def test_a_replaced_layer_is_called(robot):
    class Wrapped(torch.nn.Module):
        """As adapters for fine-tuning do: the weight is the original one, the output is not."""

        def __init__(self, layer):
            super().__init__()
            self.layer, self.added = layer, torch.nn.Parameter(torch.tensor(0.5))

        @property
        def weight(self):
            return self.layer.weight

        @property
        def bias(self):
            return self.layer.bias

        def forward(self, x):
            return self.layer(x) + self.added

    policy, batch = fitted(robot, "explicit")
    before, called = policy.act(batch), []
    policy.regressor[-1].register_forward_hook(lambda *_: called.append(True))
    assert torch.equal(policy.act(batch), before)
    assert called
    policy.regressor[0] = Wrapped(policy.regressor[0])
    assert not torch.allclose(policy.act(batch), before)
    policy.loss(batch)[0].backward()
    assert policy.regressor[0].added.grad.abs() > 0


def test_parts_keep_their_mode_when_a_policy_decides(robot):
    policy, batch = fitted(robot, "ikp", pixels=True)
    policy.train()
    policy.encoder.eval()  # such as an encoder that is not trained further
    policy.act(batch)
    policy.decision_slices(batch, points=8)
    assert policy.training
    assert policy.energies.training
    assert not any(part.training for part in policy.encoder.modules())


def test_images_that_the_encoder_cannot_read_are_refused_with_their_camera(robot):
    for kind, size, fix in (("keypoint", (30, 32), "28x32"), ("pool", (8, 32), "16x32")):
        spec = replace(small_spec(pixels=True), image_shapes={"front": (*size, 3)})
        config = small_config(encoder=EncoderConfig(kind=kind, channels=8))
        with pytest.raises(ValueError, match=rf"camera 'front' are {size[0]} x {size[1]}.*{fix}"):
            make_policy(robot, spec, config)


@pytest.mark.parametrize("method", ROBOT_METHODS)
def test_saved_and_loaded_policies_act_alike(robot, method, tmp_path):
    policy, batch = fitted(robot, method)
    save_policy(policy, tmp_path / "policy", provenance={"note": "test"})
    loaded = load_policy(tmp_path)  # the folder of a run, with the policy inside
    assert loaded.config == policy.config
    assert loaded.spec == policy.spec
    assert torch.equal(loaded.act(batch), policy.act(batch))


@pytest.mark.parametrize("kind", ["keypoint", "pool", "resnet26"])
def test_foreign_writers_can_store_the_weights(robot, kind):
    """Convolutions are channels last while they compute, and contiguous where they are written."""
    policy, batch = fitted(robot, "ikp", pixels=True, encoder=EncoderConfig(kind=kind, channels=8))
    weights = policy.state_dict()
    assert all(value.is_contiguous() for value in weights.values())
    assert not all(value.is_contiguous() for value in policy.parameters())
    other, _ = fitted(robot, "ikp", pixels=True, encoder=EncoderConfig(kind=kind, channels=8))
    with torch.no_grad():
        next(other.encoder.images.parameters()).zero_()
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(weights)))
    layouts = [[parameter.stride() for parameter in made.parameters()] for made in (policy, other)]
    assert layouts[0] == layouts[1]
    assert torch.equal(policy.eval().act(batch), other.eval().act(batch))


def test_saving_again_replaces_the_policy(robot, tmp_path):
    first, batch = fitted(robot, "explicit")
    save_policy(first, tmp_path / "policy")
    with torch.no_grad():
        next(first.regressor.parameters()).add_(1.0)
    save_policy(first, tmp_path / "policy")
    assert torch.equal(load_policy(tmp_path / "policy").act(batch), first.act(batch))
    assert sorted(p.name for p in (tmp_path / "policy").iterdir()) == ["config.json", "model.safetensors"]


def test_damaged_checkpoints_give_one_clear_error(robot, tmp_path):
    policy, _ = fitted(robot, "explicit")
    path = save_policy(policy, tmp_path / "policy")
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged"):
        load_policy(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(ValueError, match=r"format 99, this version reads \d+: train the policy again"):
        load_policy(path)
    with pytest.raises(FileNotFoundError, match="holds no policy"):
        load_policy(tmp_path / "other")


def test_an_edited_configuration_is_told(robot, tmp_path):
    policy, _ = fitted(robot, "explicit")
    file = save_policy(policy, tmp_path / "policy") / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config))  # other indentation says the same
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_policy(tmp_path / "policy")
    config["robot"]["links"][2]["T_parent_joint"][0][3] += 0.01
    file.write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=r"config.json is not as it was saved"):
        load_policy(tmp_path / "policy")


def test_bad_observations_name_the_fault(robot):
    policy, batch = fitted(robot, "ikp")
    bad = {**batch, "state": batch["state"].clone()}
    bad["state"][3, 0, 2] = torch.nan
    with pytest.raises(ValueError, match="joint_2"):
        policy.act(bad)
    with pytest.raises(ValueError, match="shape"):
        policy.act({**batch, "state": batch["state"][:, :, :5]})
    with pytest.raises(ValueError, match="no 'environment_state'"):
        policy.act({k: v for k, v in batch.items() if k != "environment_state"})


def test_bad_images_name_the_fault(robot):
    policy, batch = fitted(robot, "explicit", pixels=True)
    small = batch["images"]["front"][:, :, ::2]
    with pytest.raises(ValueError, match="front.*Resize"):
        policy.act({**batch, "images": {"front": small}})
    with pytest.raises(ValueError, match="uint8"):
        policy.act({**batch, "images": {"front": batch["images"]["front"].float()}})
    with pytest.raises(ValueError, match="no image of camera 'front'"):
        policy.act({**batch, "images": {}})


def test_raw_actions_need_no_robot():
    spec = small_spec()
    policy = make_policy(None, spec, small_config(action_space="raw"))
    batch = small_batch(spec)
    policy.fit_scales(batch["state"][:, -1], batch["action"], batch["environment_state"][:, -1])
    policy.loss(batch)[0].backward()
    assert policy.act(batch).shape == (12, 7)


def test_history_is_part_of_the_observation(robot):
    policy, batch = fitted(robot, "ikp", pixels=True, history=2)
    older = {**batch, "images": {"front": batch["images"]["front"].flip(1)}}
    assert not torch.equal(policy.encode(batch).features, policy.encode(older).features)
    with pytest.raises(ValueError, match="history"):
        policy.act({**batch, "state": batch["state"][:, :1]})


def test_configurations_refuse_what_does_not_fit(robot):
    with pytest.raises(ValueError, match="choose one of"):
        method_config("ikpp")
    with pytest.raises(ValueError, match="uses none"):
        PolicyConfig(action_space="joint", residual=("offset",))
    with pytest.raises(ValueError, match="links is 'tips': choose one of all, tip"):
        small_config(links="tips")
    for space in ("joint", "raw"):
        with pytest.raises(ValueError, match=f"sees none.*{space}.*links='all'"):
            PolicyConfig(action_space=space, ablation=Ablations(links="tip"))
    with pytest.raises(ValueError, match="no joint of 'ur5e' moves its tips base"):
        make_policy(robot.with_tips(["base"]), small_spec(), small_config(links="tip"))
    with pytest.raises(ValueError, match="needs a robot"):
        make_policy(None, small_spec(), small_config())
    with pytest.raises(ValueError, match="unknown keys"):
        PolicyConfig.from_json({"widht": 3})
    config = small_config(residual=("dense", "link"))
    assert PolicyConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_description_makes_a_policy_of_the_same_structure(robot):
    """For checkpoints of another format: everything but the weights is plain JSON."""
    policy, batch = fitted(robot, "ikp")
    description = json.loads(json.dumps(describe_policy(policy, provenance={"recipe": "mine"})))
    assert description["provenance"] == {"recipe": "mine"}
    other = policy_from_description(description)
    other.load_state_dict(policy.state_dict())
    assert (other.spec, other.config) == (policy.spec, policy.config)
    assert torch.equal(other.act(batch), policy.act(batch))
    with pytest.raises(ValueError, match=r"config.json has the format 4"):
        policy_from_description({**description, "format": 4}, "config.json")
    del description["robot"]
    with pytest.raises(ValueError, match="the description is damaged"):
        policy_from_description(description)


def test_the_name_of_a_method_is_no_configuration(robot):
    unchecked = inspect.unwrap(make_policy)  # outside of the tests nothing checks annotations
    with pytest.raises(
        ValueError, match=r"config is 'explicit': give an ikp.PolicyConfig, such as .*policy_for"
    ):
        unchecked(robot, small_spec(), "explicit")
