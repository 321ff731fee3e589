"""Every method trains on the tasks of two arms: a few steps on a few short demonstrations, then one action."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from ikp.data import load_dataset
from ikp.kinematics import inverse_kinematics
from ikp.kinematics.rotations import exp_rotation
from ikp.nets import EncoderConfig
from ikp.policies import PolicyConfig, make_policy, method_config
from ikp.policies.actions import LARGEST_STEP, TipPoses
from ikp.policies.config import PAPER_METHODS, SearchConfig
from ikp.policies.frames import observation_from_frames
from ikp.rollouts.collect import collect
from ikp.rollouts.evaluate import evaluate
from ikp.rollouts.summary import summarize, summary_table
from ikp.training.config import TrainConfig
from ikp.training.trainer import train

TASKS = ("ikp/BimanualSweepingMiscalibrated-v0", "ikp/BimanualFlipping-v0")
STEPS = 8
SMALL = PolicyConfig(
    width=16,
    blocks=1,
    negatives=4,
    search=SearchConfig(grid=8),
    encoder=EncoderConfig(kind="pool", channels=4),
)


@pytest.fixture(scope="module", params=TASKS)
def collected(request, tmp_path_factory):
    """Task and data set of three demonstrations, cut off after a few steps."""
    env_id = request.param
    spec = gymnasium.registry[env_id]
    whole, spec.max_episode_steps = spec.max_episode_steps, STEPS
    root = tmp_path_factory.mktemp("data")
    collect(env_id, root / "a", 3, env_kwargs={}, keep_failures=True, workers=1, progress=False)
    yield env_id, load_dataset(root / "a")
    spec.max_episode_steps = whole


def trained(dataset, robot, method, out):
    """A policy after three optimiser steps, and what the training reports."""
    torch.manual_seed(0)
    policy = make_policy(robot, dataset.spec, method_config(method, SMALL))
    config = TrainConfig(steps=3, batch_size=8, validate_every=3, checkpoint_every=3, threads=1, held_out=0.3)
    result = train(policy, dataset, config, out=out)
    return policy, result


@pytest.mark.parametrize("method", PAPER_METHODS)
def test_method_trains_and_acts(collected, method, tmp_path):
    env_id, dataset = collected
    env = gymnasium.make(env_id, disable_env_checker=True)
    policy, result = trained(dataset, env.unwrapped.robot, method, tmp_path / "run")
    errors = result.validation["held_out"]
    assert np.isfinite(list(errors.values())).all()
    assert errors["joint_deg_median"] > 0
    observation, _ = env.reset(seed=0)
    action = policy.act(observation_from_frames([[observation]], policy.spec))
    assert action.shape == (1, 14)
    # Hardly trained, it still stays within the steps of the demonstrations.
    assert (action[0] - torch.from_numpy(observation["state"])).abs().max() < 0.6


def test_small_steps_of_the_tips_never_are_large_ones_of_the_joints(collected):
    """With straight elbows, as in flipping, inverse kinematics alone asks for seven times the demonstrated step."""
    env_id, dataset = collected
    robot = gymnasium.make(env_id, disable_env_checker=True).unwrapped.robot
    tips = TipPoses(dataset.spec, robot, delta=True, seconds=1 / dataset.spec.fps)
    tips.fit(dataset.action)
    state = dataset.state[:1].expand(64, -1)
    demonstrated = tips.encode(dataset.state, dataset.action)
    low, high = demonstrated.amin(0), demonstrated.amax(0)
    encoded = low + torch.rand(64, 12, generator=torch.Generator().manual_seed(0)) * (high - low)
    step = tips.decode(state, encoded) - state
    allowed = LARGEST_STEP * robot.velocity.float() / dataset.spec.fps
    assert (step.abs() <= allowed * (1 + 1e-5)).all()
    # whole steps are shortened, and those that need not be are what inverse kinematics says
    T = tips.poses(state)
    T[..., :3, 3] += encoded.reshape(64, 2, 6)[..., :3]
    T[..., :3, :3] = exp_rotation(encoded.reshape(64, 2, 6)[..., 3:]) @ T[..., :3, :3]
    options = {"iterations": 20, "restarts": 0}
    usual, near = (inverse_kinematics(robot, T, q, **options) for q in (tips.posture(T), state))
    plain = torch.where(usual.converged[:, None], usual.q, near.q) - state
    excess = (plain.abs() / allowed).amax(-1, keepdim=True)
    torch.testing.assert_close(step, plain / excess.clamp_min(1.0), atol=1e-5, rtol=1e-4)
    if "Flipping" in env_id:
        assert (excess > 1).any()


def test_two_tips_are_twelve_variables(collected):
    env_id, dataset = collected
    robot = gymnasium.make(env_id, disable_env_checker=True).unwrapped.robot
    poses = TipPoses(dataset.spec, robot, delta=True, seconds=1 / dataset.spec.fps)
    state, action = dataset.state[:4], dataset.action[:4]
    encoded = poses.encode(state, action)
    assert encoded.shape == (4, 12)
    decoded = poses.decode(state, encoded)
    torch.testing.assert_close(poses.poses(decoded), poses.poses(action), atol=2e-3, rtol=0)


def test_an_evaluation_reports_the_mean_score(collected, tmp_path):
    env_id, dataset = collected
    robot = gymnasium.make(env_id, disable_env_checker=True).unwrapped.robot
    policy, _ = trained(dataset, robot, "explicit", tmp_path / "run")
    result = evaluate(env_id, policy, episodes=2, progress=False)
    summary = summarize(result.to_json())
    assert summary["scores"]["score"]["mean"] == 0.0
    assert "mean score" in summary_table(summary)
