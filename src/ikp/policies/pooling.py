"""The density that decides: a logarithmic opinion pool of the energies and the regression inside an implicit policy.

The learned proposal of training regresses the action, with a standard deviation per dimension. Two estimates of one
density with errors of their own are better together: log p = (1 - w) (-E) + w log q, up to a constant. Where an action
has one answer, the pool averages the two; where it has several, the regression is wide and the energies decide. The
weight w is `SearchConfig.regression`; figures are in docs/results.md (Genest and Zidek, Combining probability
distributions, Statistical Science 1, 1986).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.distributions import Normal

from ikp.policies.normalizer import Standardizer
from ikp.policies.search import Array, Walk


class Pool:
    """The pooled energies of actions.

    Args:
        near: the regression, for standardised encoded actions (batch, dims).
        scale: mean and standard deviation of encoded actions.
        weight: weight of the regression, 0 to 1.
        xp: `torch` or `numpy`, the library of the candidates.
    """

    def __init__(self, near: Normal, scale: Standardizer, weight: float, xp: Any = torch) -> None:
        mean, std = near.mean * scale.std + scale.mean, near.stddev * scale.std
        self.weight, self.mean, self.precision = weight, mean, 1 / std
        if xp is np:
            self.mean, self.precision = self.mean.detach().numpy(), self.precision.detach().numpy()

    def __call__(self, energies: Array, candidates: Array) -> Array:
        """Pooled energies of candidates (batch, dims, n) or, for one dimension, (batch, n)."""
        z = (candidates - self.mean[..., None]) * self.precision[..., None]
        return (1 - self.weight) * energies + (0.5 * self.weight) * z * z

    def dimension(self, j: int) -> Pool:
        """The pool of dimension j alone."""
        return self._part((slice(None), j))

    def rows(self, rows: Array) -> Pool:
        """The pool of some rows of the batch, by index."""
        return self._part(rows)

    def _part(self, index: Any) -> Pool:
        part = object.__new__(Pool)
        part.weight, part.mean, part.precision = self.weight, self.mean[index], self.precision[index]
        return part


class PooledWalk:
    """A walk (`ikp.policies.search.Walk`) whose energies are pooled with the regression."""

    def __init__(self, walk: Walk, pool: Pool) -> None:
        self.walk, self.pool, self.xp = walk, pool, walk.xp

    @property
    def chosen(self) -> Array:
        return self.walk.chosen

    def energies(self, j: int) -> Callable[[Array], Array]:
        """Pooled energies (rows, n) of candidates (rows or 1, n) for dimension j."""
        energies, pool = self.walk.energies(j), self.pool.dimension(j)
        return lambda candidates: pool(energies(candidates), candidates)

    def commit(self, j: int, values: Array) -> None:
        """Fix dimension j at `values` (rows,)."""
        self.walk.commit(j, values)

    def keep(self, rows: Array) -> None:
        """Select rows by index; an index may repeat."""
        self.walk.keep(rows)
        self.pool = self.pool.rows(rows)
