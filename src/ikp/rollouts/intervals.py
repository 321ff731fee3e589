"""Confidence intervals of success rates and of mean scores."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

Z_95 = 1.959963984540054


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a binomial proportion (Wilson 1927), 95 % by default.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"{successes} successes in {trials} trials: give at least one trial and 0 to all successes"
        )
    share = successes / trials
    scale = 1 + z * z / trials
    center = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, center - half), min(1.0, center + half)


def bootstrap_interval(
    values: Float[np.ndarray, "seed episode"], resamples: int = 4000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval (95 %, Efron 1979) of the mean of values (training, episode).

    Trainings and episodes are resampled independently, because every training is evaluated on the same episodes.

    Raises:
        ValueError: there are no values.
    """
    seeds, episodes = values.shape
    if values.size == 0:
        raise ValueError(f"values have the shape {values.shape}: give at least one training and one episode")
    rng = np.random.default_rng(seed)
    # the mean over resampled rows and columns weights each value by how often its row and its column were drawn
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    columns = rng.multinomial(episodes, np.full(episodes, 1 / episodes), resamples) / episodes
    means = np.einsum("rs,se,re->r", rows, values, columns, optimize=True)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
