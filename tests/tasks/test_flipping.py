"""Bimanual flipping: friction holds the box, misalignment lets it slip, and the expert pours."""

from __future__ import annotations

import numpy as np
import pytest

from ikp.tasks import FlippingEnv, FlippingExpert
from ikp.tasks.flipping import environment
from ikp.tasks.flipping.environment import STAND_HEIGHTS, STAND_RANGE
from ikp.tasks.flipping.scene import BOWL_X, BOX_SIDE, PARTICLE_RADIUS


@pytest.fixture(scope="module")
def env() -> FlippingEnv:
    return FlippingEnv(observation="state")


def episode(
    env: FlippingEnv, seed: int, actions: list[np.ndarray] | None = None
) -> tuple[dict, list[np.ndarray]]:
    """The last info and the actions of the expert, or of a recording played again."""
    env.reset(seed=seed)
    expert, taken, terminated, info = FlippingExpert(env), [], False, {}
    while not terminated and len(taken) < 180:
        taken.append(expert.action() if actions is None else actions[min(len(taken), len(actions) - 1)])
        *_, terminated, _, info = env.step(taken[-1])
    return info, taken


def lift(env: FlippingEnv, seed: int, height: float) -> None:
    """Runs the expert until the box is `height` [m] over its stand."""
    env.reset(seed=seed)
    expert = FlippingExpert(env)
    for _ in range(100):
        state = env.true_state()
        if state.box[2] - BOX_SIDE / 2 > state.stand[2] + height:
            return
        env.step(expert.action())
    raise AssertionError("the expert did not lift the box")


def test_starts_keep_their_ranges(env):
    numbers = []
    for seed in range(10):
        env.reset(seed=seed)
        state = env.true_state()
        numbers.append(len(state.particles))
        assert STAND_HEIGHTS[0] <= state.stand[2] <= STAND_HEIGHTS[1]
        assert abs(state.stand[1]) <= STAND_RANGE[1]
        assert state.box_rotation[2, 2] > 0.999
        assert state.in_cup.all(), "every particle lies in the bowl on the box"
    assert min(numbers) >= 20
    assert max(numbers) <= 30


@pytest.mark.parametrize("seed", [0, 1])
def test_expert_pours(env, seed):
    info, actions = episode(env, seed)
    assert info["score"] >= 0.97
    assert info["success"]
    assert len(actions) < 130
    changes = np.degrees(np.abs(np.diff(np.stack(actions), axis=0)))
    assert changes.max() < 7.0, "no joint jumps"


def test_wrists_stay_as_they_started(env):
    """The hands move differently in every episode, the joints that matter alike."""
    first, _ = env.reset(seed=3)
    expert = FlippingExpert(env)
    for _ in range(30):
        action = expert.action()
        env.step(action)
    wrists = [4, 5, 6, 11, 12, 13]
    np.testing.assert_allclose(action[wrists], first["state"][wrists], atol=0.01)
    assert np.abs(first["state"][wrists]).max() > 0.05


def test_the_box_is_held_by_the_pads_alone_and_falls_without_them(env):
    lift(env, seed=2, height=0.05)
    model, box = env.model, env.model.body("box").id
    pads = {model.geom(f"{side}_pad").id for side in ("left", "right")}
    touching = set()
    for contact in env.data.contact:
        bodies = model.geom_bodyid[contact.geom]
        if box in bodies:
            touching.add(int(contact.geom[0 if bodies[1] == box else 1]))
    others = {
        geom for geom in touching if not model.body(model.geom_bodyid[geom]).name.startswith("particle")
    }
    assert others == pads
    q = env.true_state().q_target
    q[0], q[7] = q[0] + np.radians(5), q[7] - np.radians(5)
    for _ in range(6):
        env.step(env.miscalibration.measured(q))
    state = env.true_state()
    assert state.box[2] - BOX_SIDE / 2 < state.stand[2] + 0.02


def test_a_replayed_demonstration_does_not_pour_boxes_that_stand_lower(env):
    """Gripped over its middle the box hangs between the elbows, however they tip."""
    heights = []
    for seed in range(20):
        env.reset(seed=seed)
        heights.append(env.true_state().stand[2])
    order = [int(seed) for seed in np.argsort(heights)]
    info, actions = episode(env, order[-1])
    assert info["success"]
    for seed in (order[0], order[len(order) // 2]):
        assert heights[order[-1]] - heights[seed] > 0.04
        info, _ = episode(env, seed, actions)
        assert info["score"] < 0.5


def reset_at(env: FlippingEnv, height: float, monkeypatch) -> dict:
    """The first observation of seed 4 with the stand's top at a height [m]."""
    monkeypatch.setattr(environment, "STAND_HEIGHTS", (height, height))
    return env.reset(seed=4)[0]


def test_without_an_image_the_start_does_not_tell_where_the_box_is(env, monkeypatch):
    """The same draws with another box under them: the joints that a policy reads are the same."""
    low, high = (reset_at(env, height, monkeypatch) for height in STAND_HEIGHTS)
    np.testing.assert_allclose(low["state"], high["state"], atol=1e-5)
    box_z = env.environment_state_names.index("box.z")
    difference = high["environment_state"][box_z] - low["environment_state"][box_z]
    assert difference == pytest.approx(STAND_HEIGHTS[1] - STAND_HEIGHTS[0], abs=2e-3)


def test_the_image_shows_how_high_the_box_is(monkeypatch):
    env = FlippingEnv()
    rows = []
    for height in (STAND_HEIGHTS[0], STAND_HEIGHTS[0] + 0.02, STAND_HEIGHTS[1]):
        image = reset_at(env, height, monkeypatch)["image"].astype(int)
        red = (image[..., 0] > 100) & (image[..., 1] < 60) & (image[..., 2] < 60)
        assert red.sum() > 150
        rows.append(np.nonzero(red)[0].mean())
    assert rows[0] - rows[1] > 1.0, "2 cm are more than a pixel"
    assert rows[0] - rows[2] > 12.0


def test_poured_counts_particles_in_the_large_bowl(env):
    env.reset(seed=0)
    number = env._particles.number
    env._particles.positions[:5] = (BOWL_X, 0.0, 0.0)
    env._particles.positions[:5, 0] += 2.5 * PARTICLE_RADIUS * np.arange(-2, 3)
    env._particles.positions[:5, 2] = PARTICLE_RADIUS
    _, reward, terminated, _, info = env.step(env.true_state().q_target)
    assert info["score"] == reward == pytest.approx(5 / number)
    assert not terminated
