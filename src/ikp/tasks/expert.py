"""Shared parts of the scripted experts: the check of their environment and the disturbance of demonstrations."""

from __future__ import annotations

from typing import TypeVar

import gymnasium
import numpy as np
from jaxtyping import Float

from ikp.tasks.base import ArmTask

MISTAKE_LENGTH = 8  # mean steps until a mistake is drawn anew; half of the draws are no mistake

Task = TypeVar("Task", bound=ArmTask)


def task_of(env: gymnasium.Env, task_class: type[Task], expert: object) -> Task:
    """The environment inside all wrappers, checked to be of the class that an expert needs.

    Raises:
        ValueError: The environment is of another class.
    """
    unwrapped = env.unwrapped
    if not isinstance(unwrapped, task_class):
        needed, given = task_class.__name__, type(unwrapped).__name__
        raise ValueError(f"{type(expert).__name__} needs an environment of class {needed}, got {given}")
    return unwrapped


class Disturbance:
    """Disturbance of the executed actions while demonstrations are recorded, after DART (arXiv 1703.09327).

    It adds time-correlated noise to the joints. Experts with a goal are also given a mistaken goal for several steps
    at a time. Noise and mistake start at zero.

    Args:
        rng: Random generator; None for a new one without a fixed seed.
        scale: 0 for none; 1 for the standard disturbance, other values scale it.
        dof: Number of joints.
        joint_noise: Standard deviation of the joints' noise, for all or (dof,) [rad].
        memory: Correlation of the noise between consecutive steps, in [0, 1).
        mistake: Standard deviations of the mistaken values, in the expert's units; None for no mistakes.

    Raises:
        ValueError: The scale is negative or not a number.
    """

    def __init__(
        self,
        rng: np.random.Generator | None,
        scale: float,
        dof: int,
        joint_noise: float | Float[np.ndarray, "dof"],
        memory: float,
        mistake: Float[np.ndarray, "values"] | None = None,
    ):
        if not scale >= 0:
            raise ValueError(f"perturbation must be >= 0 (0 is none, 1 the standard), got {scale}")
        self._rng = np.random.default_rng() if rng is None else rng
        self._scale, self._joint_noise, self._memory = scale, joint_noise, memory
        self._mistakes = np.zeros(0) if mistake is None else mistake
        self._noise, self._mistake = np.zeros(dof), np.zeros(len(self._mistakes))

    @property
    def is_off(self) -> bool:
        """Whether the scale is 0."""
        return self._scale == 0

    def advance(self) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "values"]]:
        """Noise on the joints (dof,) [rad] and mistake (values,), in the expert's units, of the next step."""
        rng, keep = self._rng, self._memory
        fresh = np.sqrt(1.0 - keep**2)
        self._noise = keep * self._noise + fresh * rng.normal(size=len(self._noise)) * self._joint_noise
        if len(self._mistakes) and rng.random() < 1.0 / MISTAKE_LENGTH:
            self._mistake = rng.normal(size=len(self._mistakes)) * self._mistakes * (rng.random() < 0.5)
        return self._scale * self._noise, self._scale * self._mistake
