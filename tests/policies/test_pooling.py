"""The pool of energies and regression: the product of powers of two densities, whoever evaluates it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from ikp.policies.config import SearchConfig
from ikp.policies.normalizer import Standardizer
from ikp.policies.pooling import Pool, PooledWalk
from ikp.policies.search import search


class Known:
    """Energies of one dimension given as a function."""

    def __init__(self, energy, xp) -> None:
        self.energy, self.xp, self.chosen = energy, xp, xp.zeros((1, 1))

    def energies(self, j):
        return self.energy

    def commit(self, j, values):
        self.chosen = values[:, None]

    def keep(self, rows):
        raise AssertionError("there is no beam")


def scale(mean: float = 0.0, std: float = 1.0) -> Standardizer:
    made = Standardizer(1)
    made.mean[:], made.std[:] = mean, std
    return made


def decided(energy, near: Normal, weight: float, xp=torch, **units: float) -> float:
    walk = PooledWalk(Known(energy, xp), Pool(near, scale(**units), weight, xp))
    config = SearchConfig(grid=401, refinements=2, window=0.0)
    return float(search(walk, [-3.0], [3.0], config)[0, 0])


def normal(mean: float, std: float) -> Normal:
    return Normal(torch.tensor([[mean]]), torch.tensor([[std]]))


@pytest.mark.parametrize("xp", [torch, np])
@pytest.mark.parametrize("weight", [0.2, 0.5, 0.8])
def test_two_normal_densities_pool_to_the_mean_weighted_by_precision(weight, xp):
    found = decided(lambda a: 0.5 * ((a - 1.0) / 0.2) ** 2, normal(0.0, 0.3), weight, xp)
    precise, regressed = (1 - weight) / 0.2**2, weight / 0.3**2
    assert found == pytest.approx(precise / (precise + regressed), abs=2e-3)


def test_the_regression_is_in_standardised_units():
    found = decided(lambda a: 0.0 * a, normal(2.0, 1.0), 0.5, mean=0.5, std=0.25)
    assert found == pytest.approx(0.5 + 2 * 0.25, abs=2e-3)


def test_a_wide_regression_between_two_answers_leaves_the_decision_to_the_energies():
    def two_answers(a):
        return -((-0.5 * ((a - 1) / 0.1) ** 2).exp() + 0.5 * (-0.5 * ((a + 1) / 0.1) ** 2).exp() + 1e-9).log()

    assert decided(two_answers, normal(0.3, 0.95), 0.5) == pytest.approx(1.0, abs=0.02)
