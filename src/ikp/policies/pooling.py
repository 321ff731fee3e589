"""The density that decides: a logarithmic opinion pool of the energies and the regression inside an implicit policy.

The learned proposal of training regresses the action, with a standard deviation per dimension. Two estimates of one
density with errors of their own are better together: log p = (1 - w) (-E) + w log q, up to a constant. Where an action
has one answer, the pool averages the two; where it has several, the regression is wide and the energies decide. The
weight w is `SearchConfig.regression`; figures are in docs/results.md (Genest and Zidek, Combining probability
distributions, Statistical Science 1, 1986).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.distributions import Normal

from ikp.policies.normalizer import Scaling, Standardizer
from ikp.policies.search import Array, Walk


class Pool:
    """The pooled energies of actions.

    Args:
        near: the regression, for standardised encoded actions (batch, dims).
        scale: mean and standard deviation of encoded actions.
        weight: weight of the regression, 0 to 1.
        xp: `torch` or `numpy`, the library of the candidates.
    """

    def __init__(self, near: Normal, scale: Standardizer | Scaling, weight: float, xp: Any = torch) -> None:
        parts = near.mean, near.stddev, scale.mean, scale.std
        if xp is np:
            parts = tuple(part.detach().numpy() for part in parts)
        mean, std, center, size = parts
        # -w log q = (slope a + offset)^2 for a candidate a
        self.rest, self.slope = 1 - weight, math.sqrt(weight / 2) / (std * size)
        self.offset = -self.slope * (mean * size + center)

    def __call__(self, energies: Array, candidates: Array) -> Array:
        """Pooled energies of candidates (batch, dims, n)."""
        return self._pooled(energies, candidates, self.slope[..., None], self.offset[..., None])

    def dimension(self, j: int, energies: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """Pooled energies of candidates (batch, n) of dimension j."""
        slope, offset = self.slope[:, j, None], self.offset[:, j, None]
        return lambda candidates: self._pooled(energies(candidates), candidates, slope, offset)

    def keep(self, rows: Array) -> None:
        """Select rows of the batch by index."""
        self.slope, self.offset = self.slope[rows], self.offset[rows]

    def _pooled(self, energies: Array, candidates: Array, slope: Array, offset: Array) -> Array:
        z = slope * candidates + offset
        return self.rest * energies + z * z


class PooledWalk:
    """A walk (`ikp.policies.search.Walk`) whose energies are pooled with the regression."""

    def __init__(self, walk: Walk, pool: Pool) -> None:
        self.walk, self.pool, self.xp = walk, pool, walk.xp

    @property
    def chosen(self) -> Array:
        return self.walk.chosen

    def energies(self, j: int) -> Callable[[Array], Array]:
        """Pooled energies (rows, n) of candidates (rows or 1, n) for dimension j."""
        return self.pool.dimension(j, self.walk.energies(j))

    def commit(self, j: int, values: Array) -> None:
        """Fix dimension j at `values` (rows,)."""
        self.walk.commit(j, values)

    def keep(self, rows: Array) -> None:
        """Select rows by index; an index may repeat."""
        self.walk.keep(rows)
        self.pool.keep(rows)
