"""The scripted expert: reliable, precise, smooth, memoryless, and far above random."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import ikp.tasks  # noqa: F401  (registers the environment)
from ikp.tasks import InsertionEnv, InsertionExpert
from ikp.tasks.placing import GAIN, PROFILES


def episode(
    env: gymnasium.Env, seed: int, perturbation: float = 0.0, profile: str = "smooth"
) -> tuple[dict, np.ndarray]:
    """The last info and the expert's actions of one episode."""
    env.reset(seed=seed)
    expert = InsertionExpert(env, np.random.default_rng(seed), perturbation, profile)
    actions = []
    while True:
        action = expert.action()
        actions.append(action)
        *_, terminated, truncated, info = env.step(expert.perturb(action))
        if terminated or truncated:
            return info, np.stack(actions)


@pytest.mark.parametrize("offset_seed", [None, 0])
def test_expert_always_inserts(offset_seed):
    env = gymnasium.make("ikp/Insertion-v0", observation="state", offset_seed=offset_seed)
    results = [episode(env, seed) for seed in range(30)]
    assert all(info["success"] and info["seated"] for info, _ in results)
    assert max(info["position_error"] for info, _ in results) < 0.002
    assert max(info["yaw_error"] for info, _ in results) < 2.0
    assert np.mean([len(actions) for _, actions in results]) < 30


def test_perturbed_demonstrations_still_succeed():
    env = gymnasium.make("ikp/Insertion-v0", observation="state", offset_seed=0)
    results = [episode(env, seed, perturbation=1.0) for seed in range(20)]
    assert np.mean([info["success"] for info, _ in results]) >= 0.9


def test_bang_bang_is_faster_and_succeeds():
    env = gymnasium.make("ikp/Insertion-v0", observation="state", offset_seed=0)
    smooth, abrupt = (
        [episode(env, seed, 0.7, profile) for seed in range(20)] for profile in ("smooth", "bang-bang")
    )
    assert all(info["success"] for info, _ in abrupt)
    lengths = [np.mean([len(actions) for _, actions in results]) for results in (smooth, abrupt)]
    assert lengths[1] < 0.8 * lengths[0]


def test_bang_bang_goes_all_of_a_short_way_and_the_limit_of_a_long_one():
    limit, short = 0.04, 0.01
    smooth, abrupt = PROFILES["smooth"], PROFILES["bang-bang"]
    assert [abrupt(x, limit) for x in (short, -short, 1.0, -1.0)] == [short, -short, limit, -limit]
    assert 0 < smooth(short, limit) < GAIN * short


def test_random_actions_never_succeed():
    env = gymnasium.make("ikp/Insertion-v0", observation="state")
    rng = np.random.default_rng(0)
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        truncated = False
        while not truncated:
            action = observation["state"] + rng.normal(0, 0.1, 7)
            observation, reward, terminated, truncated, _ = env.step(action)
            assert reward == 0.0
            assert not terminated


def test_reward_only_at_success():
    env = InsertionEnv(observation="state")
    env.reset(seed=0)
    expert = InsertionExpert(env)
    rewards, terminated = [], False
    while not terminated:
        _, reward, terminated, _, _ = env.step(expert.action())
        rewards.append(reward)
    assert rewards[-1] == 1.0
    assert sum(rewards) == 1.0


def test_actions_depend_on_the_state_alone():
    env = InsertionEnv(observation="state", offset_seed=1)
    env.reset(seed=0)
    veteran = InsertionExpert(env)
    for _ in range(12):
        action = veteran.action()
        np.testing.assert_array_equal(InsertionExpert(env).action(), action)
        env.step(action)


def test_small_changes_of_the_scene_change_the_action_little():
    """Smooth motion: the same scene with the tip half a millimetre away asks for almost the same step."""
    env = InsertionEnv(observation="state")
    env.reset(seed=0)
    expert = InsertionExpert(env)
    rng = np.random.default_rng(0)
    for _ in range(6):
        state = env.true_state()
        action = expert.action()
        env._q[:] = env.solve_tip(state.tip + rng.normal(0, 3e-4, 3), state.tip_yaw, state.q_true)
        env._tip_xpos[:] = env.tip_pose(env._q)[0]
        assert np.abs(expert.action()[:6] - action[:6]).max() < 0.02
        env._q[:] = state.q_true
        env.step(action)


def test_perturb_keeps_the_vacuum_and_is_reproducible():
    env = InsertionEnv(observation="state")
    env.reset(seed=0)
    clean = InsertionExpert(env)
    assert np.array_equal(clean.perturb(clean.action()), clean.action())
    executed = []
    for _ in range(2):
        expert = InsertionExpert(env, np.random.default_rng(7), perturbation=1.0)
        executed.append(np.stack([expert.perturb(expert.action()) for _ in range(5)]))
    np.testing.assert_array_equal(*executed)
    assert np.all(executed[0][:, 6] == clean.action()[6])
    assert np.abs(executed[0][:, :6] - clean.action()[:6]).max() > 0.003


def test_expert_rejects_other_environments_and_negative_noise():
    with pytest.raises(ValueError, match="needs an environment of class InsertionEnv, got CartPole"):
        InsertionExpert(gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match="perturbation"):
        InsertionExpert(InsertionEnv(observation="state"), perturbation=-1.0)
    with pytest.raises(ValueError, match="profile is 'jerky': choose one of smooth, bang-bang"):
        InsertionExpert(InsertionEnv(observation="state"), profile="jerky")
