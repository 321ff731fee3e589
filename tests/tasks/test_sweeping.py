"""Bimanual sweeping: what counts, when an episode ends, and what its expert can do."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from ikp.tasks import SweepingEnv, SweepingExpert
from ikp.tasks.sweeping.environment import PILE_RANGE, REST_STEPS, UPRIGHT, in_trough, lost
from ikp.tasks.sweeping.scene import BOWL_X, PARTICLE_RADIUS, Q_HOME, WORKSPACE


@pytest.fixture(scope="module")
def env() -> SweepingEnv:
    return SweepingEnv(observation="state")


def stay(env: SweepingEnv) -> np.ndarray:
    return env.miscalibration.measured(env.true_state().q_true)


def heap(env: SweepingEnv, which: slice, center: tuple[float, float]) -> None:
    """Lays particles down in rows around a place on the table."""
    particles = env._particles.positions[which]
    index = np.arange(len(particles))
    grid = 2.1 * PARTICLE_RADIUS * np.stack((index % 6 - 2.5, index // 6 - 2.0), axis=1)
    particles[:, :2], particles[:, 2] = center + grid, PARTICLE_RADIUS


def test_starts_keep_their_ranges(env):
    centers, numbers = [], []
    for seed in range(12):
        env.reset(seed=seed)
        state = env.true_state()
        numbers.append(len(state.particles))
        centers.append(state.particles[:, :2].mean(axis=0))
        assert not lost(state).any()
        assert state.particles[:, 2].min() > 0.8 * PARTICLE_RADIUS
        speeds = np.linalg.norm(env.data.qvel[14:].reshape(-1, 3), axis=1)
        assert (speeds > 0.02).sum() <= 3, "the pile has settled, but for a particle that still slides off"
    assert min(numbers) >= 50
    assert max(numbers) <= 60
    assert np.abs(centers).max() < PILE_RANGE + 0.03
    assert np.std(centers, axis=0).min() > 0.03


def test_particles_do_not_overlap_when_poured(env):
    env._particles.pour(np.random.default_rng(0), 55, np.zeros(2), 0.05, 0.0)
    positions = env._particles.positions
    distances = np.linalg.norm(positions[:, None] - positions, axis=-1) + np.eye(55)
    assert distances.min() > 2 * PARTICLE_RADIUS


def test_score_and_balance_count_particles_in_bowls(env):
    env.reset(seed=0)
    number = env._particles.number
    heap(env, slice(0, 20), (BOWL_X, 0.0))
    heap(env, slice(20, 30), (-BOWL_X, 0.0))
    _, reward, terminated, _, info = env.step(stay(env))
    assert info["score"] == pytest.approx(30 / number)
    assert reward == pytest.approx(30 / number)
    assert info["balance"] == pytest.approx(0.5)
    assert not info["success"]
    assert not terminated
    _, reward, *_ = env.step(stay(env))
    assert reward == 0.0


def test_ends_when_nothing_is_left_on_the_workspace(env):
    observation, _ = env.reset(seed=0)
    assert observation["environment_state"][2] == 1.0
    number = env._particles.number
    heap(env, slice(0, 28), (BOWL_X, 0.0))
    heap(env, slice(28, number - 1), (-BOWL_X, 0.0))
    heap(env, slice(number - 1, number), (0.0, WORKSPACE + 0.05))
    ends = []
    for _ in range(REST_STEPS):
        observation, _, terminated, _, info = env.step(stay(env))
        ends.append(terminated)
    assert ends == [False] * (REST_STEPS - 1) + [True]
    assert info["success"]
    assert info["score"] == pytest.approx((number - 1) / number)
    assert lost(env.true_state()).sum() == 1
    assert observation["environment_state"][2:12] == pytest.approx(np.zeros(10))


def test_tools_are_upright_at_home_and_touch_each_other(env):
    tips = env.tip_positions(Q_HOME)
    np.testing.assert_allclose(tips, ((0, 0.12, 0.12), (0, -0.12, 0.12)), atol=1e-4)
    for solver, q, R in zip(env._solvers, Q_HOME.reshape(2, -1), UPRIGHT, strict=True):
        np.testing.assert_allclose(solver.pose(q)[1], R, atol=1e-4)
    env.reset(seed=0)
    env._q[:] = env.solve_tips(np.array(((0, -0.01, 0.12), (0, 0.01, 0.12))), Q_HOME)
    mujoco.mj_forward(env.model, env.data)
    blades = {env.model.geom(f"{side}_blade").id for side in ("left", "right")}
    bodies = {frozenset(env.model.geom_bodyid[contact.geom]) for contact in env.data.contact}
    assert frozenset(env.model.geom_bodyid[list(blades)]) in bodies


def test_expert_scoops_carries_and_shares_out(env):
    env.reset(seed=4)
    expert, carried, actions, terminated, info = SweepingExpert(env), 0, [], False, {}
    while not terminated and len(actions) < 350:
        actions.append(expert.action())
        *_, terminated, _, info = env.step(actions[-1])
        state = env.true_state()
        carried = max(carried, int((in_trough(state) & (state.tips[0, 2] > 0.1)).sum()))
    assert info["score"] >= 0.97
    assert info["balance"] >= 0.75
    assert 8 <= carried <= 25, "the particles travel between the blades"
    assert terminated
    changes = np.abs(np.diff(np.stack(actions), axis=0))
    assert np.degrees(changes.max()) < 9.0, "no joint jumps"


def test_the_expert_needs_no_memory(env):
    env.reset(seed=1)
    veteran = SweepingExpert(env)
    for _ in range(25):
        action = veteran.action()
        np.testing.assert_array_equal(SweepingExpert(env).action(), action)
        env.step(action)


def test_unknown_offsets_spoil_precision(env):
    """Without the expert's knowledge of them, the offsets put the tips millimetres from where they should be."""
    off = SweepingEnv(observation="state", offset_seed=0)
    q = env.solve_tips(np.array(((0.1, 0.01, 0.01), (0.1, -0.01, 0.01))), Q_HOME)
    shift = off.tip_positions(off.miscalibration.true(q)) - off.tip_positions(q)
    assert np.linalg.norm(shift, axis=1).min() > 0.004
