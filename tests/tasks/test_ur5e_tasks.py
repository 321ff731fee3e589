"""The two tasks of the UR5e loop: Gymnasium's contract, determinism, experts, and what counts as success."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from ikp.tasks import BlockAlignmentEnv, BlockAlignmentExpert, SortAndSweepEnv, SortAndSweepExpert
from ikp.tasks.alignment.environment import MIN_DISTANCE
from ikp.tasks.alignment.scene import GAP, WIDTH
from ikp.tasks.sorting.environment import behind_line, in_bowls

TASKS = {"ikp/BlockAlignment-v0": BlockAlignmentExpert, "ikp/SortAndSweep-v0": SortAndSweepExpert}


def solve(env, expert, steps=300):
    """Run an expert; the last info and the states that were observed."""
    states = []
    for _ in range(steps):
        observation, _, terminated, truncated, info = env.step(expert.action())
        states.append(observation["state"])
        if terminated or truncated:
            break
    return info, np.stack(states)


@pytest.mark.parametrize("env_id", TASKS)
@pytest.mark.parametrize("observation", ["state", "pixels"])
def test_gymnasium_accepts_the_environment(env_id, observation):
    check_env(gymnasium.make(env_id, observation=observation).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", TASKS)
def test_the_expert_solves_it_the_same_way_each_time(env_id):
    env = gymnasium.make(env_id, observation="state")
    results = []
    for seed in (0, 1, 0):
        env.reset(seed=seed)
        info, states = solve(env, TASKS[env_id](env))
        assert info["success"], (seed, info)
        results.append(states)
    np.testing.assert_array_equal(results[0], results[2])
    assert not np.array_equal(results[0][0], results[1][0])


def test_doing_nothing_is_no_success():
    for env_id in TASKS:
        env = gymnasium.make(env_id, observation="state")
        observation, _ = env.reset(seed=0)
        info = {}
        for _ in range(20):
            observation, reward, terminated, _, info = env.step(observation["state"])
            assert not terminated
            assert reward == 0
        assert not info["success"]


def test_alignment_starts_apart_and_wants_the_striped_side():
    env = BlockAlignmentEnv(observation="state")
    for seed in range(20):
        env.reset(seed=seed)
        state = env.true_state()
        blue = env.data.body("blue")
        side = blue.xmat.reshape(3, 3)[:2, 1]
        np.testing.assert_allclose(state.seat[:2] - blue.xpos[:2], (WIDTH + GAP) * side, atol=1e-6)
        assert np.linalg.norm((state.block - state.seat)[:2]) > MIN_DISTANCE - 1e-3
        assert abs(state.seat_yaw - state.block_yaw) <= np.pi / 2 + 1e-6


def test_a_block_on_the_other_side_of_the_blue_one_does_not_count():
    env = BlockAlignmentEnv(observation="state")
    env.reset(seed=0)
    state = env.true_state()
    env._grasped[0] = True
    for where, success in ((state.seat, True), (2 * env.data.body("blue").xpos - state.seat, False)):
        env._qpos["red"][:3] = where + np.array((0, 0, 1e-4))
        yaw = state.seat_yaw
        env._qpos["red"][3:] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        env._qvel["red"][:] = 0
        env._steps_at_rest = 0
        ended = [env.step(np.append(env.true_state().q_true, 0.0))[2] for _ in range(6)]
        assert ended[-1] == success


def test_the_score_of_sorting_has_four_parts():
    env = SortAndSweepEnv(observation="state")
    env.reset(seed=0)
    scores = [env._present_score()]
    for block, bowl in zip(env._blocks, env._bowls, strict=True):
        block[:3] = bowl[:3] + np.array((0, 0, 0.002))
        scores.append(env._present_score())
    for block, bowl in zip(env._blocks, env._bowls, strict=True):
        bowl[1] += 0.2
        scores.append(env._present_score())  # an empty bowl behind the line does not count
        block[1] += 0.2
        scores.append(env._present_score())
    assert scores == [0.0, 0.25, 0.5, 0.25, 0.75, 0.5, 1.0]
    state = env.true_state()
    assert in_bowls(state).all()
    assert behind_line(state).all()


def test_the_sweep_is_a_motion_of_joints_with_an_extended_arm():
    env = SortAndSweepEnv(observation="state")
    env.reset(seed=3)
    expert = SortAndSweepExpert(env)
    phases, reach = [], 0.0
    for _ in range(300):
        action = expert.action()
        phases.append(expert.in_joint_space)
        if env.step(action)[2]:
            break
        if expert.in_joint_space:
            reach = max(reach, float(np.hypot(*env.true_state().tip[:2])))
    assert phases == sorted(phases), "first sorting, then sweeping"
    assert any(phases)
    assert not all(phases)
    assert reach > 0.78
