"""Does a calibration still hold? A test from a few new poses, which names the joint that drifted.

Two tests share the probability of a false alarm: the sum of all residuals (chi-square), and for each joint the change
of its offset that explains the residuals best, against its standard deviation. The second finds a drift of one joint
much earlier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2, norm

from ikp.calibration.arm import ArmModel
from ikp.calibration.measurement import Measurement
from ikp.calibration.solver import Problem, solve, stacked
from ikp.kinematics import Robot

FALSE_ALARM = 0.01
"""Probability that a calibration which holds is said not to."""
_AS_LIKELY = 4.0  # difference in chi-square up to which two joints explain the residuals alike
_BLIND = 0.05  # standard deviation of a drift from which the poses do not show it [rad or m]


@dataclass(frozen=True)
class Drift:
    """The change of one joint's offset that explains the residuals best.

    Attributes:
        joint: its name.
        value: the change [rad or m].
        sigma: its standard deviation, if the others did not drift; infinite if these poses do not show it.
    """

    joint: str
    value: float
    sigma: float

    @property
    def score(self) -> float:
        """The change in standard deviations."""
        return abs(self.value) / self.sigma


@dataclass(frozen=True)
class Verification:
    """The outcome of a test.

    Attributes:
        robot: the robot.
        chi_square: of all residuals.
        freedom: its degrees of freedom.
        drifts: by joint, most likely first.
        holds: whether nothing speaks against the calibration.
    """

    robot: Robot
    chi_square: float
    freedom: int
    drifts: tuple[Drift, ...]
    holds: bool

    @property
    def suspects(self) -> tuple[Drift, ...]:
        """The joints that explain the residuals best, alike within the noise; empty if the calibration holds."""
        best = self.drifts[0].score ** 2
        return () if self.holds else tuple(one for one in self.drifts if best - one.score**2 < _AS_LIKELY)

    @property
    def unexplained(self) -> bool:
        """Whether more speaks against the calibration than the drift of any single joint explains."""
        left = self.chi_square - self.drifts[0].score ** 2
        return (
            not self.holds and self.freedom > 1 and left > float(chi2.ppf(1 - FALSE_ALARM, self.freedom - 1))
        )

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        drifts = [
            {"joint": one.joint, "value": one.value, "sigma": one.sigma if math.isfinite(one.sigma) else None}
            for one in self.drifts
        ]
        return {
            "robot": self.robot.name,
            "holds": self.holds,
            "chi_square": self.chi_square,
            "degrees_of_freedom": self.freedom,
            "unexplained": self.unexplained,
            "suspects": [one.joint for one in self.suspects],
            "drifts": drifts,
        }

    def __str__(self) -> str:
        """The outcome in words."""
        lines = ["the calibration holds" if self.holds else "the calibration does NOT hold"]
        lines[0] += f": chi-square {self.chi_square:.1f} with {self.freedom} degrees of freedom"
        if not self.holds:
            shown = [
                f"{one.joint} by {self._size(one.joint, one.value)} +- {self._size(one.joint, 1.96 * one.sigma)}"
                for one in self.suspects
            ]
            lines.append(f"most likely drifted: {', or '.join(shown)}")
            if self.unexplained:
                lines.append(
                    "no single joint explains this: several joints drifted, one is read in reverse, the base moved, "
                    "or the measurements are noisier than stated (--noise)"
                )
        order = sorted(self.drifts, key=lambda one: self.robot.joint_index(one.joint))
        seen = [one for one in order if math.isfinite(one.sigma)]
        blind = [one.joint for one in order if not math.isfinite(one.sigma)]
        least = ", ".join(
            f"{one.joint} {self._size(one.joint, _least(one.sigma, len(seen)))}" for one in seen
        )
        lines.append(f"a drift that these poses find 19 times of 20: {least}")
        if blind:
            lines.append(
                f"not tested, since the calibration leaves it open or these poses do not show it: {', '.join(blind)}"
            )
        return "\n".join(lines)

    def _size(self, joint: str, value: float) -> str:
        slides = self.robot.joint_types[self.robot.joint_index(joint)] == "prismatic"
        return f"{1000 * value:.3f} mm" if slides else f"{math.degrees(value):.3f} deg"


def verify(
    robot: Robot,
    measurements: Sequence[Measurement],
    covariance: Float[np.ndarray, "dof dof"] | None = None,
) -> Verification:
    """Test whether an arm is where its calibration says, from a few poses.

    Args:
        robot: the arm.
        measurements: new measurements; their joint positions are those of the calibration's joint map.
        covariance: of the calibrated offsets; by default they are taken as exact.

    Raises:
        ValueError: there are fewer residuals than unknowns.
    """
    # Joints that the calibration left open may be degrees off, too far for derivatives at zero. The fit therefore moves
    # them too, with the calibration's covariance as prior, and the residuals at zero are extrapolated from its result.
    if covariance is None:
        problem = Problem(ArmModel(robot, ()), measurements)
    else:
        problem = Problem(ArmModel(robot), measurements, free=_root(covariance))
    fit = solve(problem)
    linearised = problem.linearise(fit.x)
    whiteners = problem.whiteners(linearised)
    by_joint = np.concatenate([stacked(w @ one.joints) for w, one in zip(whiteners, linearised, strict=True)])
    residual = np.concatenate([one.ravel() for one in fit.whitened])
    spread = np.eye(len(residual))
    if covariance is not None:
        residual = residual - by_joint @ fit.beta
        spread = spread + by_joint @ covariance @ by_joint.T
    half = np.linalg.inv(np.linalg.cholesky(spread))
    by_unknown = half @ fit.information[:, problem.arm.size :]
    residual, by_joint = half @ residual, half @ by_joint
    kept = _complement(by_unknown)
    if kept.shape[1] < 1:
        raise ValueError(
            f"{len(residual)} residuals are too few for the {problem.size} unknowns of these measurements: add a pose"
        )
    residual, by_joint = kept.T @ residual, kept.T @ by_joint
    drifts = [
        _drift(name, column, residual) for name, column in zip(robot.joint_names, by_joint.T, strict=True)
    ]
    seen = sum(math.isfinite(one.sigma) for one in drifts)
    total, freedom = float(residual @ residual), kept.shape[1]
    drifts.sort(key=lambda one: -one.score)
    holds = total <= chi2.ppf(1 - FALSE_ALARM / 2, freedom) and drifts[0].score <= _threshold(seen)
    return Verification(robot, total, freedom, tuple(drifts), bool(holds))


def _root(covariance: Float[np.ndarray, "dof dof"]) -> Float[np.ndarray, "dof free"]:
    """A factor of a covariance, without the directions that are exact."""
    variance, directions = np.linalg.eigh(covariance)
    seen = variance > 1e-12 * max(float(variance[-1]), 1e-300)
    return directions[:, seen] * np.sqrt(variance[seen])


def _complement(columns: np.ndarray) -> np.ndarray:
    """Orthonormal basis (rows, k) of what is orthogonal to some columns."""
    if not columns.shape[1]:
        return np.eye(len(columns))
    U, s, _ = np.linalg.svd(columns)
    return U[:, int((s > 1e-9 * max(s.max(), 1e-300)).sum()) :]


def _drift(joint: str, column: np.ndarray, residual: np.ndarray) -> Drift:
    length = float(np.linalg.norm(column))
    if length * _BLIND < 1:
        return Drift(joint, 0.0, math.inf)
    # the residuals are model minus measured: an arm that is further by d than its model has residuals -d
    return Drift(joint, -float(column @ residual) / length**2, 1 / length)


def _threshold(joints: int) -> float:
    """Largest score that an arm without drift is allowed, with the chance of an alarm shared among the joints."""
    return float(norm.isf(FALSE_ALARM / 4 / max(joints, 1)))


def _least(sigma: float, joints: int) -> float:
    """The drift that is found 19 times of 20 [rad or m]."""
    return sigma * (_threshold(joints) + float(norm.isf(0.05)))
