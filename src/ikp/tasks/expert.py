"""What the scripted experts share: the check of their environment and the disturbance of their demonstrations."""

from __future__ import annotations

from typing import TypeVar

import gymnasium
import numpy as np
from jaxtyping import Float

from ikp.tasks.environment import ArmTask

MISTAKE_LENGTH = 8  # steps on average for which one thing is believed; half of the time it is no mistake

Task = TypeVar("Task", bound=ArmTask)


def task_of(env: gymnasium.Env, task_class: type[Task], expert: object) -> Task:
    """The environment inside of all wrappers, for an expert that knows one class of them.

    Raises:
        ValueError: It is of another class.
    """
    unwrapped = env.unwrapped
    if not isinstance(unwrapped, task_class):
        needed, given = task_class.__name__, type(unwrapped).__name__
        raise ValueError(f"{type(expert).__name__} needs an environment of class {needed}, got {given}")
    return unwrapped


class Disturbance:
    """How an expert is led astray while demonstrations are recorded, after DART (arXiv 1703.09327).

    Noise on the joints that is correlated in time and, in experts that aim at something, a mistake about their
    goal that they believe for some steps. Everything starts at zero.

    Args:
        rng: Source of the disturbance; None for a fresh one.
        scale: 0 for none; 1 for the standard disturbance, other values scale it.
        dof: Number of joints.
        joint_noise: Standard deviation of the joints' noise, for all or (dof,) [rad].
        memory: Share of that noise that is left after a step, in [0, 1).
        mistake: Standard deviations of a mistake's values, in the expert's units; none without it.

    Raises:
        ValueError: A negative scale.
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
        """Whether its scale is 0."""
        return self._scale == 0

    def advance(self) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "values"]]:
        """The next step's noise on the joints (dof,) [rad] and mistake (values,), in the expert's units."""
        rng, keep = self._rng, self._memory
        fresh = np.sqrt(1.0 - keep**2)
        self._noise = keep * self._noise + fresh * rng.normal(size=len(self._noise)) * self._joint_noise
        if len(self._mistakes) and rng.random() < 1.0 / MISTAKE_LENGTH:
            self._mistake = rng.normal(size=len(self._mistakes)) * self._mistakes * (rng.random() < 0.5)
        return self._scale * self._noise, self._scale * self._mistake
