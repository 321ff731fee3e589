"""Joint encoders with a constant offset, as on a robot whose zero positions were set by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MAX_OFFSET = 2.0
"""Largest offset of a joint that is drawn by default [deg]."""


@dataclass(frozen=True)
class Miscalibration:
    """Constant offsets `q_offset` = q_true - q_measured (dof,) [rad], which apply to readings and commands."""

    q_offset: Float[np.ndarray, "dof"]

    @staticmethod
    def from_seed(seed: int | None, dof: int, limit: float = MAX_OFFSET) -> Miscalibration:
        """Draw the offsets of one robot, uniform within +-`limit` degrees; None gives zero offsets (calibrated).

        Raises:
            ValueError: A negative seed, or a limit that is negative or above 10 degrees.
        """
        if not 0 <= limit <= 10:
            raise ValueError(f"offset_limit must be from 0 to 10 degrees, got {limit}")
        if seed is None:
            return Miscalibration(np.zeros(dof))
        if seed < 0:
            raise ValueError(f"offset_seed must be None (calibrated) or an integer >= 0, got {seed}")
        # The constant separates this random stream from environments that are seeded with the same small integers.
        rng = np.random.default_rng((int(seed), 0x0FF5E7))
        return Miscalibration(rng.uniform(-math.radians(limit), math.radians(limit), dof))

    def measured(self, q_true: Float[np.ndarray, "*batch dof"]) -> Float[np.ndarray, "*batch dof"]:
        """Encoder readings (..., dof) [rad] at true joint positions."""
        return q_true - self.q_offset

    def true(self, q_measured: Float[np.ndarray, "*batch dof"]) -> Float[np.ndarray, "*batch dof"]:
        """True joint positions (..., dof) [rad] for encoder readings or commands."""
        return q_measured + self.q_offset
