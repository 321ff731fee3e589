"""Turned scenes are what the simulator shows when arm and objects are turned, and are refused where they are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

import ikp.tasks  # noqa: F401  (registers the environments)
from ikp.kinematics import forward_kinematics, iiwa14, iiwa14_dual, ur5e
from ikp.policies import DataSpec
from ikp.training.scene_turn import SceneTurn, about_z, base_joint, turn_images, working_height

ANGLE = 0.1


@pytest.fixture
def toy(monkeypatch):
    """The tiny demonstrations and policies of the trainer's tests."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import test_trainer

    return test_trainer


@pytest.fixture(scope="module")
def env():
    made = gymnasium.make("ikp/Insertion-v0", observation="pixels", disable_env_checker=True)
    yield made.unwrapped
    made.close()


def turned_about_base(env, position, quaternion):
    """A pose in the world after a turn by `ANGLE` about the base's z axis."""
    T = np.eye(4)
    T[:3, 3] = position
    mujoco.mju_quat2Mat(flat := np.zeros(9), quaternion)
    T[:3, :3] = flat.reshape(3, 3)
    base = env.T_world_base
    moved = base @ about_z(torch.tensor(ANGLE, dtype=torch.float64)).numpy() @ np.linalg.inv(base) @ T
    mujoco.mju_mat2Quat(fresh := np.zeros(4), moved[:3, :3].flatten())
    return moved[:3, 3], fresh


@pytest.mark.parametrize("seed", range(3))
def test_a_turned_image_is_what_the_camera_would_see(env, seed):
    observation, _ = env.reset(seed=seed)
    before = observation["image"].copy()
    joint, sign = base_joint(env.robot)
    env.data.qpos[joint] += sign * ANGLE
    block, mocap = env.data.qpos[6:13], (env.data.mocap_pos[0], env.data.mocap_quat[0])
    for position, quaternion in ((block[:3], block[3:]), mocap):
        position[:], quaternion[:] = turned_about_base(env, position, quaternion)
    mujoco.mj_forward(env.model, env.data)
    after = env._observe()["image"].copy()

    frames = torch.from_numpy(before)[None, None]
    height = float(0.03 - env.T_world_base[2, 3])
    made = turn_images(frames, torch.tensor([ANGLE]), env.camera("front"), height)[0, 0].numpy()
    inside = np.zeros(made.shape[:2], bool)
    inside[16:-16, 16:-16] = True  # what came in from beyond the edge is not known
    colourful = after.max(-1).astype(int) - after.min(-1) > 60  # block and fixture, not the grey arm
    error = np.abs(made.astype(float) - after).mean(-1)
    unturned = np.abs(before.astype(float) - after).mean(-1)
    assert colourful[inside].sum() > 30
    assert np.median(error[inside & colourful]) < 0.35 * np.median(unturned[inside & colourful])


def test_no_turn_leaves_the_image_as_it_is(env):
    images = torch.randint(0, 255, (2, 3, 96, 96, 3), dtype=torch.uint8)
    made = turn_images(images, torch.zeros(2), env.camera("front"), 0.0)
    assert (made.int() - images.int()).abs().max() <= 1


def test_every_frame_of_an_example_turns_alike(env):
    images = torch.randint(0, 255, (1, 1, 96, 96, 3), dtype=torch.uint8).expand(2, 2, -1, -1, -1)
    made = turn_images(images, torch.tensor([0.05, -0.05]), env.camera("front"), 0.0)
    assert torch.equal(made[:, 0], made[:, 1])
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize("robot", [ur5e(), iiwa14()], ids=["ur5e", "iiwa14"])
def test_the_first_joint_turns_the_arm(robot):
    joint, sign = base_joint(robot)
    q = torch.randn(5, robot.dof, dtype=torch.float64)
    turned = q.clone()
    turned[:, joint] += sign * ANGLE
    tips = list(robot.tip_indices)
    expected = about_z(torch.tensor(ANGLE, dtype=torch.float64)) @ forward_kinematics(robot, q)[:, tips]
    torch.testing.assert_close(forward_kinematics(robot, turned)[:, tips], expected)


def test_state_action_and_goal_turn_together_and_nothing_else(toy, env):
    data = toy.tiny_demonstrations()
    spec = replace(data.spec, environment_state_names=(), cameras={"front": env.camera("front")})
    data = replace(data, spec=spec, environment_state=data.environment_state[:, :0])
    batch = data.batch(torch.arange(0, 60, 5), 2, goals=True)
    kept = {key: value.clone() for key, value in batch.items() if key != "images"}
    turned = SceneTurn(ur5e(), spec, 10.0, working_height(ur5e(), data))(batch)
    by = turned["action"] - batch["action"]
    assert by[:, 0].abs().max() <= np.radians(10.0)
    assert by[:6, 0].abs().min() > 0
    assert not by[6:].any()  # the other half stays as it is, images too
    assert torch.equal(turned["images"]["front"][6:], batch["images"]["front"][6:])
    assert not torch.equal(turned["images"]["front"][:6], batch["images"]["front"][:6])
    assert not by[:, 1:].any()
    torch.testing.assert_close(
        turned["state"] - batch["state"], by[:, None].expand(-1, 2, -1), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(turned["goal_state"] - batch["goal_state"], by, atol=1e-6, rtol=0)
    assert all(torch.equal(batch[key], value) for key, value in kept.items())


def test_what_cannot_be_turned_is_refused(toy):
    spec = toy.tiny_demonstrations().spec
    assert base_joint(iiwa14_dual()) is None
    with pytest.raises(ValueError, match="one joint that turns all of it"):
        SceneTurn(iiwa14_dual(), spec, 5.0, 0.0)
    with pytest.raises(ValueError, match=r"environment_state \(g0, g1"):
        SceneTurn(ur5e(), spec, 5.0, 0.0)
    blind: DataSpec = replace(spec, environment_state_names=())
    with pytest.raises(ValueError, match="place of the cameras front is not known"):
        SceneTurn(ur5e(), blind, 5.0, 0.0)


def test_training_turns_scenes(toy, env, tmp_path):
    data = toy.tiny_demonstrations()
    camera = env.camera("front").resized(16, 16)
    spec = replace(data.spec, environment_state_names=(), cameras={"front": camera})
    data = replace(data, spec=spec, environment_state=data.environment_state[:, :0])
    found = []
    for name, turn in (("still", 0.0), ("turned", 8.0)):
        config = replace(toy.CONFIG, steps=3, log_every=1, scene_turn=turn)
        toy.train(toy.tiny_policy(data), data, config, out=tmp_path / name)
        found.append(toy.losses(tmp_path / name))
    assert found[0] != found[1]
