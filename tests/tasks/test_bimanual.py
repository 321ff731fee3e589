"""Properties of every task of two arms: Gymnasium's contract, determinism, starts, kinematics, faulty input."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from ikp.kinematics import forward_kinematics
from ikp.tasks import FlippingEnv, InsertionEnv, SweepingEnv, task_entry

IDS = ("ikp/BimanualSweeping-v0", "ikp/BimanualSweepingMiscalibrated-v0", "ikp/BimanualFlipping-v0")
CLASSES = (SweepingEnv, FlippingEnv)


def make(env_id: str, **kwargs) -> gymnasium.Env:
    return gymnasium.make(env_id, disable_env_checker=True, **{"observation": "state", **kwargs})


def expert_of(env_id: str):
    return task_entry(env_id).expert_class()


def rollout(env: gymnasium.Env, seed: int, steps: int) -> list[dict]:
    """The first observations of an expert's episode."""
    observations = [env.reset(seed=seed)[0]]
    assert env.spec is not None
    expert = expert_of(env.spec.id)(env)
    for _ in range(steps):
        observations.append(env.step(expert.action())[0])
    return observations


@pytest.mark.parametrize("observation", ["state", "pixels"])
@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space.*")
def test_gymnasium_contract(env_id, observation):
    check_env(gymnasium.make(env_id, observation=observation, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_same_seed_same_episode_whatever_came_before(env_id):
    first = rollout(make(env_id), seed=5, steps=12)
    env = make(env_id)
    rollout(env, seed=6, steps=3)
    again = rollout(env, seed=5, steps=12)
    for a, b in zip(first, again, strict=True):
        assert all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("env_class", CLASSES)
def test_no_two_starts_alike(env_class):
    env = env_class(observation="state")
    starts = []
    for seed in range(12):
        observation, info = env.reset(seed=seed)
        starts.append(np.concatenate((observation["state"], observation["environment_state"])))
        assert info["score"] == 0.0
        assert not info["success"]
    starts = np.stack(starts)
    assert len(np.unique(starts.round(6), axis=0)) == len(starts)
    # Upright tools over the middle: the joints that swing sideways hardly move there.
    joints = starts[:, :14].std(axis=0)
    assert (joints > 1e-3).sum() >= 10


@pytest.mark.parametrize("env_class", CLASSES)
def test_names_fit_the_spaces(env_class):
    env = env_class(observation="state")
    spaces = env.observation_space
    assert spaces["state"].shape == (len(env.state_names),) == (14,)
    assert spaces["environment_state"].shape == (len(env.environment_state_names),)
    assert env.action_space.shape == (len(env.action_names),)
    assert spaces["environment_state"].contains(env.reset(seed=0)[0]["environment_state"])


@pytest.mark.parametrize("env_class", CLASSES)
def test_model_and_kinematics_agree_on_every_link(env_class):
    env = env_class(observation="state")
    robot, data = env.robot, mujoco.MjData(env.model)
    for seed in range(5):
        q = robot.random_q(generator=torch.Generator().manual_seed(seed))
        data.qpos[:14] = q.numpy()
        mujoco.mj_kinematics(env.model, data)
        for name, T in zip(robot.link_names[1:], forward_kinematics(robot, q)[1:].numpy(), strict=True):
            np.testing.assert_allclose(data.body(name).xpos, T[:3, 3], atol=1e-9)
            np.testing.assert_allclose(data.body(name).xmat.reshape(3, 3), T[:3, :3], atol=1e-9)


@pytest.mark.parametrize("env_class", CLASSES)
def test_pictures(env_class):
    env = env_class(render_mode="rgb_array", render_size=(60, 80))
    observation, _ = env.reset(seed=0)
    assert observation["image"].shape == (96, 96, 3)
    yellow = (observation["image"][..., 0] > 130) & (observation["image"][..., 2] < 60)
    assert (yellow & (observation["image"][..., 1] > 90)).sum() > 25, "the particles show"
    front = env.render()
    env.render_camera = "overview"
    assert front.shape == env.render().shape == (60, 80, 3)
    assert not np.array_equal(front, env.render())


def test_the_miscalibrated_robot_reads_other_joints_and_is_compensated():
    calibrated, off = (make(env_id).unwrapped for env_id in IDS[:2])
    q_offset = off.miscalibration.q_offset
    assert 0.2 < np.abs(np.degrees(q_offset)).max() <= 2.0
    assert np.all(calibrated.miscalibration.q_offset == 0)
    observations = [rollout(make(env_id), seed=2, steps=12) for env_id in IDS[:2]]
    for expected, measured in zip(*observations, strict=True):
        np.testing.assert_allclose(measured["state"] + q_offset, expected["state"], atol=1e-4)


@pytest.mark.parametrize(
    ("action", "message"),
    [(np.zeros(13), r"shape \(14,\); got \(13,\)"), (np.full(14, np.nan), "must be finite")],
)
def test_faulty_actions(action, message):
    env = FlippingEnv(observation="state")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


@pytest.mark.parametrize("env_id", IDS)
def test_experts_reject_other_environments_and_negative_noise(env_id):
    other = InsertionEnv(observation="state")
    with pytest.raises(ValueError, match="got InsertionEnv"):
        expert_of(env_id)(other)
    with pytest.raises(ValueError, match="perturbation"):
        expert_of(env_id)(make(env_id), perturbation=-1.0)


@pytest.mark.parametrize("env_id", IDS)
def test_perturbed_actions_are_near_and_reproducible(env_id):
    env = make(env_id)
    env.reset(seed=0)
    clean = expert_of(env_id)(env)
    assert np.array_equal(clean.perturb(clean.action()), clean.action())
    executed = []
    for _ in range(2):
        expert = expert_of(env_id)(env, np.random.default_rng(7), 1.0)
        executed.append(np.stack([expert.perturb(expert.action()) for _ in range(5)]))
    np.testing.assert_array_equal(*executed)
    difference = np.abs(executed[0] - clean.action())
    assert 1e-4 < difference.max() < 0.1
