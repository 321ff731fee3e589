"""Distances between sockets that contradict the poses: a ruler was misread, or measured between other points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from ikp.calibration.measurement import Measurement
from ikp.calibration.sockets import SocketDistances, socket_unknown
from ikp.calibration.solver import OUTLIER, Fit, Problem, solve


@dataclass(frozen=True)
class WrongDistance:
    """A distance that the other measurements contradict.

    Attributes:
        sockets: names of the two sockets.
        given, noise: the distance and its standard deviation as stated [m].
        shown, sigma: what all other measurements imply [m].
    """

    sockets: tuple[str, str]
    given: float
    noise: float
    shown: float
    sigma: float

    @property
    def score(self) -> float:
        """The difference in standard deviations."""
        return abs(self.given - self.shown) / math.hypot(self.noise, self.sigma)

    def __str__(self) -> str:
        """The distance that was given, the one that the poses show, and the fix."""
        pair = ",".join(self.sockets)
        return (
            f"the distance of the sockets {' and '.join(map(repr, self.sockets))} is given as "
            f"{1000 * self.given:.3f} +- {1000 * self.noise:.3f} mm, the poses show {1000 * self.shown:.3f} +- "
            f"{1000 * self.sigma:.3f} mm: measure it again between the centres of the ball, state how exactly it is "
            f"known (--distance {pair}={1000 * self.given:g}+-1mm), or leave it out"
        )


def wrong_distance(fit: Fit) -> WrongDistance | None:
    """The distance that the other measurements contradict most; None where all agree with them.

    Each distance is compared with a fit without it, whose noise is that which its residuals show.
    """
    found = [
        one
        for i, measurement in enumerate(fit.problem.measurements)
        if isinstance(measurement, SocketDistances)
        for one in _compared(fit, i, measurement)
    ]
    worst = max(found, key=lambda one: one.score, default=None)
    return worst if worst is not None and worst.score > norm.isf(OUTLIER / 2) else None


def _compared(fit: Fit, place: int, measurement: SocketDistances) -> Sequence[WrongDistance]:
    """Every distance of a measurement, beside what a fit without it implies."""
    problem, made = fit.problem, []
    for row, pair in enumerate(measurement.pairs):
        others: list[Measurement] = list(problem.measurements)
        kept = list(problem.kept)
        if len(measurement.pairs) > 1:
            others[place] = _without(measurement, row)
            kept[place] = np.delete(kept[place], row)
        else:
            del others[place], kept[place]
        # with nothing held: a wrong distance hides what the others show
        without = solve(Problem(problem.arm, others, kept))
        a, b = (without.problem.places[socket_unknown(name)] for name in pair)
        way = without.x[a] - without.x[b]
        length = max(float(np.linalg.norm(way)), 1e-9)
        slope = np.zeros(len(without.x))
        slope[a], slope[b] = way / length, -way / length
        sigma = without.excess * math.sqrt(float(slope @ without.covariance @ slope))
        made.append(
            WrongDistance(pair, measurement.distances[pair], float(measurement.noise[row, 0]), length, sigma)
        )
    return made


def _without(measurement: SocketDistances, row: int) -> SocketDistances:
    distances = {pair: one for i, (pair, one) in enumerate(measurement.distances.items()) if i != row}
    return replace(measurement, distances=distances, noise_m=np.delete(measurement.noise[:, 0], row))
