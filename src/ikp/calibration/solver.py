"""The most probable parameters of an arm and of its measurements, with their covariance.

Least squares over whitened residuals, with a wide Gaussian prior on the arm's parameters, which keeps at zero what the
measurements do not show. The solver sees residuals and derivatives, never what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.stats import chi2

from ikp.calibration.arm import ArmModel
from ikp.calibration.measurement import Linearised, Measurement, Values

WIDE = 100.0
"""Prior standard deviation of the unknowns of measurements [m or rad]: as good as none."""
STEPS = 50
"""Most evaluations of the residuals: a solvable problem takes about ten."""
OUTLIER = 1e-4
"""Probability of a good configuration's residual from which it counts as an outlier."""
OVERSTATED = 0.5
"""Share of the stated noise that the residuals have at least where the noise is stated well."""


class Problem:
    """An arm and its measurements as one least-squares problem over x = [arm's parameters, unknowns].

    Args:
        arm: the arm's parameters.
        measurements: anything with the members of `Measurement`.
        kept: per measurement the configurations (n,) that count; by default all.
        held: (arm's size, h) orthonormal directions in which the arm stays nominal, in units of its prior.
        free: (arm's size, f) directions in which alone the arm may move, each by one prior standard deviation; by
            default all that are not held.
    """

    def __init__(
        self,
        arm: ArmModel,
        measurements: Sequence[Measurement],
        kept: Sequence[np.ndarray] | None = None,
        held: np.ndarray | None = None,
        free: np.ndarray | None = None,
    ) -> None:
        self.arm = arm
        self.held = np.zeros((arm.size, 0)) if held is None else held
        self.measurements = tuple(measurements)
        self.kept = tuple(kept or (np.ones(len(m.noise), dtype=bool) for m in self.measurements))
        self.places: dict[str, slice] = {}
        size = arm.size
        for measurement in self.measurements:
            for name, count in measurement.unknowns.items():
                if name not in self.places:
                    self.places[name] = slice(size, size + count)
                    size += count
        self.size = size
        self.sigma = np.concatenate([arm.sigma, np.full(size - arm.size, WIDE)])
        if free is None:
            free = arm.sigma[:, None] * np.linalg.svd(self.held)[0][:, self.held.shape[1] :]
        self.scale = np.zeros((size, free.shape[1] + size - arm.size))
        self.scale[: arm.size, : free.shape[1]] = free
        self.scale[arm.size :, free.shape[1] :] = WIDE * np.eye(size - arm.size)

    def start(self, given: Values | None = None) -> Float[np.ndarray, "size"]:
        """A first guess: the nominal arm, and unknowns that fit it."""
        values: Values = dict(given or {})
        for measurement in self.measurements:
            values = measurement.start(self.arm, values)
        x = np.zeros(self.size)
        for name, place in self.places.items():
            x[place] = values[name]
        return x

    def values(self, x: np.ndarray) -> Values:
        """The unknowns in x, by name."""
        return {name: x[place] for name, place in self.places.items()}

    def linearise(self, x: np.ndarray) -> list[Linearised]:
        """Every measurement's residuals and derivatives."""
        values = self.values(x)
        return [one.linearise(self.arm, x[: self.arm.size], values) for one in self.measurements]

    def jacobian(self, measured: Linearised) -> Float[np.ndarray, "n m size"]:
        """Derivatives of one measurement's residuals in x."""
        made = np.zeros((*measured.residual.shape, self.size))
        made[..., : self.arm.size] = measured.arm
        for name, by in measured.unknowns.items():
            made[..., self.places[name]] = by
        return made

    def whiteners(self, linearised: Sequence[Linearised]) -> list[np.ndarray]:
        """Per measurement the factors (n, m, m) that give residuals the covariance 1; 0 for what does not count."""
        found = zip(self.measurements, linearised, self.kept, strict=True)
        return [whitener(m.noise, m.joint_noise, one.joints) * kept[:, None, None] for m, one, kept in found]


@dataclass(frozen=True, eq=False)
class Fit:
    """The solution of a problem.

    Attributes:
        problem: the problem.
        x: parameters and unknowns.
        information: (rows, size) whitened derivatives of all residuals, without the prior.
        whitened: per measurement the whitened residuals (n, m).
        raw: per measurement the residuals (n, m) [m or rad].
        covariance: (size, size) of x, with the prior, for the stated noise.
    """

    problem: Problem
    x: Float[np.ndarray, "size"]
    information: Float[np.ndarray, "rows size"]
    whitened: Sequence[Float[np.ndarray, "_ _"]]
    raw: Sequence[Float[np.ndarray, "_ _"]]
    covariance: Float[np.ndarray, "size size"] = field(repr=False)

    @property
    def beta(self) -> Float[np.ndarray, "size"]:
        """The arm's parameters."""
        return self.x[: self.problem.arm.size]

    @property
    def chi_square(self) -> float:
        """Sum of the squared whitened residuals."""
        return float(sum((one**2).sum() for one in self.whitened))

    @property
    def freedom(self) -> float:
        """Residuals less the parameters that the data determine."""
        rows = sum(one[kept].size for one, kept in zip(self.whitened, self.problem.kept, strict=True))
        determined = self.problem.size - np.trace(self.covariance / self.problem.sigma**2)
        return rows - float(determined)

    @property
    def overstated(self) -> bool:
        """Whether the residuals are less than half of the stated noise, and not by chance (99 %)."""
        return self.chi_square < min(
            OVERSTATED**2 * self.freedom, float(chi2.ppf(0.01, max(self.freedom, 1e-9)))
        )

    @property
    def excess(self) -> float:
        """Noise that the residuals show, in units of the stated one; 1 while the stated one explains them (99 %)."""
        if self.freedom < 1 or self.chi_square <= chi2.ppf(0.99, self.freedom):
            return 1.0
        return float(np.sqrt(self.chi_square / self.freedom))


def solve(
    problem: Problem,
    start: Float[np.ndarray, "size"] | None = None,
    *,
    robust: bool = False,
    steps: int = STEPS,
) -> Fit:
    """Solve a problem by Levenberg-Marquardt's trust region (`scipy.optimize.least_squares`).

    Args:
        problem: the problem.
        start: a first guess.
        robust: find outliers with a soft L1 loss, leave them out and solve again.
        steps: most evaluations of the residuals.

    Raises:
        ValueError: a residual is not finite.
    """
    x = problem.start() if start is None else start
    if not robust:
        return _solved(problem, x, steps)
    rough = _solved(problem, x, steps, loss="soft_l1")
    kept = []
    for whitened, before in zip(rough.whitened, problem.kept, strict=True):
        limit = chi2.ppf(1 - OUTLIER, whitened.shape[1]) * max(1.0, _spread(whitened)) ** 2
        kept.append(before & ((whitened**2).sum(1) <= limit))
    return _solved(Problem(problem.arm, problem.measurements, kept, problem.held), rough.x, steps)


def _spread(whitened: np.ndarray) -> float:
    """Standard deviation of most residuals, by their median (1.4826 times the median of a normal distribution)."""
    return 1.4826 * float(np.median(np.abs(whitened)))


def _solved(problem: Problem, x: np.ndarray, steps: int, loss: str = "linear") -> Fit:
    noisy_joints = any(one.joint_noise for one in problem.measurements)
    whiteners = problem.whiteners(problem.linearise(x))
    x = _minimum(problem, x, whiteners, steps, loss)
    if noisy_joints:  # their share of the noise depends on where the arm is
        whiteners = problem.whiteners(problem.linearise(x))
        x = _minimum(problem, x, whiteners, steps, loss)
    linearised = problem.linearise(x)
    whitened = [
        np.einsum("nij,nj->ni", w, one.residual) for w, one in zip(whiteners, linearised, strict=True)
    ]
    rows = [stacked(w @ problem.jacobian(one)) for w, one in zip(whiteners, linearised, strict=True)]
    information = np.concatenate(rows)
    return Fit(
        problem,
        x,
        information,
        whitened,
        [one.residual for one in linearised],
        covariance_of(information, problem.sigma),
    )


def _minimum(
    problem: Problem, x: np.ndarray, whiteners: Sequence[np.ndarray], steps: int, loss: str
) -> np.ndarray:
    scale, size = problem.scale, problem.arm.size
    if not scale.size:
        return x
    center = np.concatenate([np.zeros(size), x[size:]])
    prior = np.eye(scale.shape[1])
    seen: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def both(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = z.tobytes()
        if key not in seen:
            linearised = problem.linearise(center + scale @ z)
            residual = [
                np.einsum("nij,nj->ni", w, one.residual).ravel()
                for w, one in zip(whiteners, linearised, strict=True)
            ]
            rows = [
                stacked(w @ problem.jacobian(one)) @ scale
                for w, one in zip(whiteners, linearised, strict=True)
            ]
            seen.clear()
            seen[key] = np.concatenate([*residual, z]), np.concatenate([*rows, prior])
        return seen[key]

    found = least_squares(
        lambda z: both(z)[0],
        np.linalg.lstsq(scale, x - center, rcond=None)[0],
        jac=lambda z: both(z)[1],  # pyright: ignore[reportArgumentType] - a function, as documented
        method="trf",
        x_scale="jac",
        loss=loss,
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
        max_nfev=steps,
    )
    return center + scale @ found.x


def whitener(
    noise: Float[np.ndarray, "n m"], joint_noise: float, joints: Float[np.ndarray, "n m dof"]
) -> Float[np.ndarray, "n m m"]:
    """Factors that give residuals the covariance 1, from the noise of the measurement and of the joint readings."""
    covariance = noise[:, :, None] ** 2 * np.eye(noise.shape[1])
    if joint_noise:
        covariance = covariance + joint_noise**2 * joints @ np.swapaxes(joints, 1, 2)
    return np.linalg.inv(np.linalg.cholesky(covariance))


def stacked(rows: Float[np.ndarray, "n m size"]) -> Float[np.ndarray, "rows size"]:
    """The rows of all configurations below each other."""
    return rows.reshape(rows.shape[0] * rows.shape[1], rows.shape[2])


def covariance_of(
    information: Float[np.ndarray, "rows size"], sigma: Float[np.ndarray, "size"]
) -> Float[np.ndarray, "size size"]:
    """Covariance of parameters from whitened derivatives of residuals and prior standard deviations."""
    _, s, Vt = np.linalg.svd(np.concatenate([information * sigma, np.eye(len(sigma))]), full_matrices=False)
    half = sigma[:, None] * Vt.T / s
    return half @ half.T
