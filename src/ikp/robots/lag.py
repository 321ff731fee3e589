"""The time between a command and its motion."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

MOVING = 0.01
"""Speed from which a motion tells about the lag [rad/s]."""
MEMORY = 0.998
"""Weight of the past at each new sample."""
ENOUGH = 0.02
"""Sum of squared speeds below which nothing is known [rad^2/s^2]."""


class LagEstimate:
    """Least squares of the measured joints against the commanded ones: q(t) = q_command(t - lag)."""

    def __init__(self) -> None:
        self._distance = self._speed = 0.0

    def add(
        self,
        q_command: Float[np.ndarray, "dof"],
        qd_command: Float[np.ndarray, "dof"],
        q: Float[np.ndarray, "dof"],
    ) -> None:
        """Add a sample."""
        if np.abs(qd_command).max() < MOVING:
            return
        self._distance = MEMORY * self._distance + float((q_command - q) @ qd_command)
        self._speed = MEMORY * self._speed + float(qd_command @ qd_command)

    @property
    def seconds(self) -> float:
        """The lag [s]; 0 before there was enough motion."""
        return max(self._distance / self._speed, 0.0) if self._speed > ENOUGH else 0.0
