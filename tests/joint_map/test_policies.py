"""A policy speaks the recorded numbers, stores its joint map, and drives an arm with another one."""

import copy
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import ikp
from ikp import PolicyConfig, cli
from ikp.data import MapHints, load_dataset
from ikp.joint_map import JointMap
from ikp.nets import EncoderConfig
from ikp.policies import checkpoint, make_policy, save_policy
from ikp.training.validation import action_errors

CONFIG = PolicyConfig(width=16, blocks=1, negatives=4, encoder=EncoderConfig(channels=4))


@pytest.fixture(scope="module")
def data(tmp_path_factory, helpers, arm_with_jaw):
    """The same demonstrations, recorded in degrees and in radians."""
    root = tmp_path_factory.mktemp("data")
    made = {}
    for name, hints in (("degrees", MapHints(units="deg")), ("radians", None)):
        folder = helpers.so101_like(root / name, in_degrees=name == "degrees")
        made[name] = load_dataset(folder, robot=arm_with_jaw, hints=hints)
    return made


@pytest.fixture(scope="module")
def policies(data, arm_with_jaw):
    """An explicit policy for each recording, with the same weights."""
    made = {}
    for name, demonstrations in data.items():
        torch.manual_seed(0)
        config = dataclasses.replace(CONFIG, kind="explicit")
        policy = make_policy(arm_with_jaw, demonstrations.spec, config)
        policy.fit_scales(data["radians"].state, data["radians"].action, data["radians"].environment_state)
        made[name] = policy.eval()
    return made


def recorded(data, frames=slice(0, 4)):
    """Observations as they come from the arm."""
    joint_map = data.spec.joint_map
    images = {camera: images[frames, None] for camera, images in data.images.items()}
    return {"state": joint_map.states.to_recorded(data.state[frames, None]), "images": images}


def test_actions_come_in_the_recorded_units_and_order(data, policies):
    in_radians = policies["radians"].act(recorded(data["radians"]))
    in_degrees = policies["degrees"].act(recorded(data["degrees"]))
    torch.testing.assert_close(in_degrees[:, :5], in_radians[:, :5] * 180 / math.pi, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(in_degrees[:, 5], (in_radians[:, 5] + 0.2) / 2 * 100, rtol=1e-3, atol=1e-2)
    batch = data["degrees"].batch(torch.arange(4))
    decided = policies["degrees"].act_in_model_units(batch)
    torch.testing.assert_close(decided, policies["radians"].act_in_model_units(batch), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="use policy.act_in_model_units"):
        policies["degrees"].act(batch)


def test_a_frame_may_hold_one_number_per_name(data, policies):
    policy, observation = policies["degrees"], recorded(data["degrees"], slice(0, 1))
    names = policy.spec.recorded_state_names
    frame = dict(zip(names, observation["state"][0, 0].tolist(), strict=True))
    frame |= {camera: images[0, 0].numpy() for camera, images in observation["images"].items()}
    torch.testing.assert_close(policy.select_action(frame), policy.act(observation)[0])
    policy.reset()


def test_the_map_is_stored_with_the_policy(data, policies, tmp_path):
    save_policy(policies["degrees"], tmp_path / "policy")
    loaded = ikp.load_policy(tmp_path / "policy")
    assert loaded.spec == policies["degrees"].spec
    observation = recorded(data["degrees"])
    assert torch.equal(loaded.act(observation), policies["degrees"].act(observation))


def test_a_policy_with_another_map_is_made_once(policies, tmp_path, monkeypatch):
    made = []
    save_policy(policies["degrees"], tmp_path / "policy")
    monkeypatch.setattr(checkpoint, "make_policy", lambda *parts: made.append(1) or make_policy(*parts))
    ikp.load_policy(tmp_path / "policy", joint_map=policies["radians"].spec.joint_map)
    assert len(made) == 1


@pytest.mark.parametrize("as_file", [True, False])
def test_the_same_policy_on_an_arm_with_other_zeros_and_signs(data, policies, tmp_path, as_file):
    policy = policies["degrees"]
    save_policy(policy, tmp_path / "policy")
    joint_map = policy.spec.joint_map
    entries = list(joint_map.action)
    entries[1] = dataclasses.replace(entries[1], sign=-1, offset=0.5)
    other = JointMap(joint_map.joints, tuple(entries), tuple(entries))
    moved = ikp.load_policy(
        tmp_path / "policy", joint_map=other.save(tmp_path / "b.json") if as_file else other
    )
    observation = recorded(data["degrees"])
    there = dict(observation)
    there["state"] = other.states.to_recorded(data["degrees"].state[:4, None])
    assert not torch.allclose(there["state"], observation["state"])
    q, q_moved = policy.act(observation), moved.act(there)
    torch.testing.assert_close(
        other.actions.to_model(q_moved), joint_map.actions.to_model(q), rtol=1e-4, atol=1e-4
    )


def test_a_map_that_makes_infinite_numbers_of_an_action_is_refused(data, policies, tmp_path):
    save_policy(policies["degrees"], tmp_path / "policy")
    joint_map = policies["degrees"].spec.joint_map
    entries = list(joint_map.action)
    entries[1] = dataclasses.replace(entries[1], offset=1e39)  # beyond float32
    far = ikp.load_policy(
        tmp_path / "policy", joint_map=dataclasses.replace(joint_map, action=tuple(entries))
    )
    with pytest.raises(
        ValueError, match="'shoulder_lift.pos' in the action make -inf .* correct its 'scale'"
    ):
        far.act(recorded(data["degrees"]))


def test_a_map_that_leads_elsewhere_is_refused(policies, arm, tmp_path):
    save_policy(policies["degrees"], tmp_path / "policy")
    with pytest.raises(ValueError, match="write a map for this robot"):
        ikp.load_policy(tmp_path / "policy", joint_map=JointMap.identity(arm))
    joint_map = policies["degrees"].spec.joint_map
    grip = dataclasses.replace(joint_map.action[0], name="g", role="gripper", joint="")
    more = JointMap(joint_map.joints, (*joint_map.action, grip), joint_map.state)
    with pytest.raises(ValueError, match="give every dimension the role that it has there"):
        ikp.load_policy(tmp_path / "policy", joint_map=more)
    values = more.to_json()
    values["action"][0]["sign"] = 3
    (tmp_path / "bad.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"bad.json: action: dimension 'shoulder_pan.pos': 'sign' is 3"):
        ikp.load_policy(tmp_path / "policy", joint_map=tmp_path / "bad.json")


def test_measured_joints_in_a_wrong_unit_are_refused_and_targets_clamped(data, policies):
    policy = policies["radians"]
    wrong = recorded(data["degrees"])
    with pytest.raises(ValueError, match=r"Are they degrees, or in another order\? .*joint_map=FILE"):
        policy.act(wrong)
    near = recorded(data["radians"])
    near["state"] = near["state"].clone()
    near["state"][..., 0] = 2.2  # a little beyond 1.9
    policy.limits.reported.clear()
    with pytest.warns(UserWarning, match="'shoulder_pan' is 2.2.*check its zero"):
        action = policy.act(near)
    assert (action[:, 0] <= 1.9).all()
    assert (action >= policy.limits.lower).all()


def test_regressed_steps_stay_within_the_demonstrated_ones(data, policies):
    policy = copy.deepcopy(policies["radians"])
    policy.regressor[-1].bias.data.fill_(100.0)
    observation = recorded(data["radians"])
    steps = policy.act(observation) - observation["state"][:, 0]
    torch.testing.assert_close(steps, policy.bounds.high.expand_as(steps))


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_gripper_of_many_values_is_imitated_as_a_number(arm, helpers, kind, is_declared):
    state, action = (np.hstack([q, 50 + 30 * q[:, :1]]) for q in helpers.motion(5))
    names = (*helpers.JOINTS, "gripper.pos")
    roles = {"joint_dims": (0, 1, 2, 3, 4)} if is_declared else {}
    folder = helpers.write_recording(Path("data"), names, action, state, (200,), {})
    data = load_dataset(folder, robot=arm, **roles)
    assert data.spec.extra_dims == (5,)
    torch.manual_seed(0)
    policy = make_policy(arm, data.spec, dataclasses.replace(CONFIG, kind=kind))
    policy.fit_scales(data.state, data.action, data.environment_state)
    batch = data.batch(torch.arange(200))
    optimizer = torch.optim.Adam(policy.extras.parameters(), lr=3e-2)
    for _ in range(200):
        optimizer.zero_grad()
        policy.loss(batch)[0].backward()
        optimizer.step()
    width = policy.act({"state": data.state[:, None]})[:, 5]
    assert float((width - data.action[:, 5]).abs().median()) < 0.5 * float(data.action[:, 5].std())
    far = policy.act({"state": data.state[:, None] * torch.tensor([1, 1, 1, 1, 1, 1000.0])})[:, 5]
    assert float(far.max()) <= 50 + 30 * 1.2 * 1.1
    assert action_errors(policy, batch)["extra_median"] < 0.5


def test_demonstrations_in_degrees_without_a_robot_do_not_train(arm_with_jaw, helpers, tmp_path):
    raw = load_dataset(helpers.so101_like(tmp_path / "degrees", in_degrees=True))
    policy = make_policy(arm_with_jaw, raw.spec, CONFIG)
    with pytest.raises(ValueError, match="measured joints of the demonstrations: .*Are they degrees"):
        policy.fit_scales(raw.state, raw.action, raw.environment_state)


def test_another_order_than_the_robots_is_refused_in_python(arm, helpers, tmp_path):
    state, action = helpers.motion(5, frames=20)
    order = (2, 1, 0, 3, 4)
    names = [helpers.JOINTS[i] for i in order]
    folder = helpers.write_recording(tmp_path / "a", names, action[:, order], state[:, order], (20,), {})
    with pytest.raises(ValueError, match="in another order .*load_dataset\\(folder, robot=robot\\)"):
        make_policy(arm, load_dataset(folder).spec, CONFIG)
    names = (*arm.joint_names[:4], "tail")
    other = ikp.DataSpec(names, names, joint_dims=(0, 1, 2, 3, 4))
    with pytest.raises(ValueError, match="are other joints than those of robot 'arm'"):
        make_policy(arm, other, CONFIG)
    names = ("x", "y", "z", "roll", "pitch")
    with pytest.raises(ValueError, match="looks like the pose of an end effector.* action_space='raw'"):
        make_policy(arm, ikp.DataSpec(names, names, joint_dims=(0, 1, 2, 3, 4)), CONFIG)
    made = make_policy(arm, load_dataset(folder, robot=arm).spec, CONFIG)
    assert made.spec.joint_map.actions.order == order


@pytest.mark.parametrize("camera", ["type", "keys", "eval", "half", "state", "a.b", "environment_state"])
def test_cameras_of_any_name_train(arm, camera):
    spec = ikp.DataSpec(
        arm.joint_names,
        arm.joint_names,
        image_shapes={camera: (16, 16, 3), "a_b": (16, 16, 3)},
        joint_dims=tuple(range(5)),
    )
    policy = make_policy(arm, spec, CONFIG)
    images = {name: torch.zeros(2, 1, 16, 16, 3, dtype=torch.uint8) for name in spec.camera_names}
    policy.fit_scales(torch.randn(20, 5), torch.randn(20, 5), torch.zeros(20, 0))
    assert policy.act({"state": torch.zeros(2, 1, 5), "images": images}).shape == (2, 5)


def test_training_on_the_command_line_prints_the_table_and_mends_what_is_said(
    helpers, tiny, tmp_path, capsys
):
    folder = helpers.so101_like(tmp_path / "data", in_degrees=True)
    (tmp_path / "arm.urdf").write_text(helpers.arm_urdf(hand=helpers.JAW))
    train = ["train", "--data", str(folder), "--robot", "arm.urdf", "--recipe", "tiny", "--steps", "3"]
    assert cli.main([*train, "--out", "a"]) == 1
    assert "give --units deg or --units signed-percent" in capsys.readouterr().err
    options = ["--units", "deg", "--cameras", "front", "--image-size", "16x32", "--episodes", "0-1,2"]
    assert cli.main([*train, "--out", "b", *options]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "shoulder_pan.pos action, state joint shoulder_pan deg" in shown
    assert "gripper.pos action, state joint gripper percent of -0.2 to 1.8" in shown
    assert "used: 3 episodes" in shown
    assert "used: cameras front 32 x 16" in shown
    assert "left out: camera wrist" in shown
    policy = ikp.load_policy("b")
    assert policy.spec.image_shapes == {"front": (16, 32, 3)}
    frame = dict.fromkeys(policy.spec.recorded_state_names, 10.0) | {"front": np.zeros((16, 32, 3), np.uint8)}
    assert policy.select_action(frame).shape == (6,)
    policy.spec.joint_map.save("map.json")
    locked = ["--lock", "gripper=0.5", "--ignore", "gripper.pos", "--units", "deg"]
    assert cli.main([*train, "--out", "c", *locked, "--cameras"]) == 0
    assert ikp.load_policy("c").robot.dof == 5
    assert cli.main([*train, "--out", "d", "--joint-map", "map.json", "--episodes", "2"]) == 0
