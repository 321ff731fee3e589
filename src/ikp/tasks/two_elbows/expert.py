"""Scripted expert for `ikp/TwoElbows-v0`; it knows both solutions of the goal and tosses a coin."""

from __future__ import annotations

import gymnasium
import numpy as np
from jaxtyping import Float32

from ikp.tasks.expert import task_of
from ikp.tasks.two_elbows.environment import TwoElbowsEnv

ELBOWS = ("up", "down", "both")


class TwoElbowsExpert:
    """Chooses one of the two solutions, the same one for a whole episode.

    Args:
        env: A TwoElbowsEnv, wrapped or not; the expert reads its state and never steps it.
        rng: Random generator of the coin; None for a new one without a fixed seed.
        perturbation: Must be 0: an episode is one motion, after which nothing can be recovered.
        elbow: `up`, `down`, or `both`, each in half of the episodes.

    Raises:
        ValueError: The environment is of another class, the perturbation is not 0 or the elbow is unknown.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        rng: np.random.Generator | None = None,
        perturbation: float = 0.0,
        elbow: str = "both",
    ):
        self._env = task_of(env, TwoElbowsEnv, self)
        if perturbation != 0:
            raise ValueError(
                f"perturbation is {perturbation}: an episode of two elbows is one motion, which leaves nothing to "
                "recover; use 0"
            )
        if elbow not in ELBOWS:
            raise ValueError(f"elbow is {elbow!r}: choose one of {', '.join(ELBOWS)}")
        rng = np.random.default_rng() if rng is None else rng
        self._solution = int(rng.integers(2)) if elbow == "both" else ELBOWS.index(elbow)

    def action(self) -> Float32[np.ndarray, "dof"]:
        """The joint targets (dof,) float32 of the motion."""
        return self._env.miscalibration.measured(self._env.solutions[self._solution]).astype(np.float32)

    def perturb(self, action: Float32[np.ndarray, "dof"]) -> Float32[np.ndarray, "dof"]:
        """The action itself."""
        return action
