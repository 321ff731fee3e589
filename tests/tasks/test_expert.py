"""The disturbance of demonstrations: correlated noise, mistakes that last, and none at scale 0."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from ikp.tasks import InsertionEnv, SweepingEnv
from ikp.tasks.expert import MISTAKE_LENGTH, Disturbance, task_of


def drawn(steps: int, scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise (steps, 2) and mistakes (steps, 2) of one disturbance."""
    rng = np.random.default_rng(seed)
    disturbance = Disturbance(rng, scale, 2, np.array((0.1, 0.3)), 0.8, np.array((1.0, 2.0)))
    noise, mistakes = zip(*(disturbance.advance() for _ in range(steps)), strict=True)
    return np.stack(noise), np.stack(mistakes)


def test_noise_has_its_size_and_memory():
    noise, _ = drawn(20000)
    settled = noise[50:]
    np.testing.assert_allclose(settled.std(axis=0), (0.1, 0.3), rtol=0.1)
    for joint in settled.T:
        assert np.corrcoef(joint[:-1], joint[1:])[0, 1] == pytest.approx(0.8, abs=0.03)


def test_mistakes_last_and_half_of_the_time_there_is_none():
    _, mistakes = drawn(20000)
    changes = np.any(np.diff(mistakes, axis=0) != 0, axis=1)
    # A change from none to none does not show: three quarters of them do.
    assert changes.mean() == pytest.approx(0.75 / MISTAKE_LENGTH, rel=0.15)
    assert np.any(mistakes != 0, axis=1).mean() == pytest.approx(0.5, abs=0.06)
    present = mistakes[np.any(mistakes != 0, axis=1)]
    np.testing.assert_allclose(present.std(axis=0), (1.0, 2.0), rtol=0.15)


def test_scale():
    noise, mistakes = drawn(50)
    half_noise, half_mistakes = drawn(50, scale=0.5)
    np.testing.assert_allclose(half_noise, noise / 2)
    np.testing.assert_allclose(half_mistakes, mistakes / 2)
    assert Disturbance(None, 0.0, 2, 0.1, 0.5).is_off
    assert not Disturbance(None, 0.1, 2, 0.1, 0.5).is_off


def test_an_expert_without_goals_makes_no_mistakes():
    noise, mistake = Disturbance(None, 1.0, 3, 0.1, 0.5).advance()
    assert noise.shape == (3,)
    assert mistake.shape == (0,)


@pytest.mark.parametrize("scale", [-0.1, float("nan")])
def test_faulty_scale(scale):
    with pytest.raises(ValueError, match=r"perturbation must be >= 0 .* got"):
        Disturbance(None, scale, 2, 0.1, 0.5)


def test_task_of_looks_inside_wrappers_and_names_what_is_wrong():
    env = gymnasium.make("ikp/Insertion-v0", observation="state", disable_env_checker=True)
    assert task_of(env, InsertionEnv, object()) is env.unwrapped
    with pytest.raises(ValueError, match="dict needs an environment of class SweepingEnv, got InsertionEnv"):
        task_of(env, SweepingEnv, {})
