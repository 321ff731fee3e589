"""`Calibration`: what was estimated of an arm, as numbers, as a joint map, as a robot and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from ikp.calibration.corrected import corrected_map, corrected_robot
from ikp.calibration.identifiability import Parameter, parameters, total_covariance
from ikp.calibration.joint_terms import TERMS
from ikp.calibration.measurement import Measurement
from ikp.calibration.solver import Fit
from ikp.joint_map import JointMap
from ikp.kinematics import Robot

FORMAT = 1
LARGE_OFFSET = math.radians(15)
"""Offset that is told [rad]."""
TWO_SIDED = 1.96
"""Half a 95 % interval of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Residual:
    """Root mean square of one kind of residual of a measurement, per axis [m or rad].

    Attributes:
        measurement: its name.
        is_angle: whether it is an angle [rad], not a length [m].
        before: with the nominal arm and the unknowns that fit it best.
        after: with the calibrated arm.
        noise: as stated.
    """

    measurement: str
    is_angle: bool
    before: float
    after: float
    noise: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """The most probable corrections of an arm.

    Attributes:
        fit: the solution.
        nominal_map: the joint map in whose terms the measured joints were given.
        before: per measurement the residuals (n, m) of the nominal arm [m or rad].
        missing: which poses would show more, in words.
    """

    fit: Fit
    nominal_map: JointMap
    before: Sequence[np.ndarray]
    missing: str | None = None

    @property
    def robot(self) -> Robot:
        """The nominal robot."""
        return self.fit.problem.arm.robot

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every estimated number of the arm."""
        return parameters(self.fit)

    @property
    def covariance(self) -> Float[np.ndarray, "size size"]:
        """Covariance of the parameters, with the prior and the noise that the residuals show."""
        return total_covariance(self.fit)

    @property
    def q_offset(self) -> Float[np.ndarray, "dof"]:
        """q_true - q_measured [rad or m], for forward_kinematics; 0 where offsets were not estimated."""
        offsets = {one.joint: one.value for one in self.parameters if one.name == "offset"}
        return np.array([offsets.get(joint, 0.0) for joint in self.robot.joint_names])

    @property
    def joint_map(self) -> JointMap:
        """The joint map with the estimated offsets and scales."""
        return corrected_map(self.nominal_map, self.parameters)

    @property
    def corrected_robot(self) -> Robot:
        """The robot with offsets and link corrections in its fixed transforms, for uncorrected joint readings."""
        beta = self.fit.beta
        return corrected_robot(self.robot, self.q_offset, self.fit.problem.arm.link_residual(beta))

    @property
    def unknowns(self) -> Mapping[str, np.ndarray]:
        """Estimated unknowns of the measurements, such as the ball's place [m, rad]."""
        return self.fit.problem.values(self.fit.x)

    @property
    def outliers(self) -> Mapping[str, list[int]]:
        """Configurations that were left out, by measurement, counted from 0."""
        found = zip(self.fit.problem.measurements, self.fit.problem.kept, strict=True)
        return {one.name: np.flatnonzero(~kept).tolist() for one, kept in found if not kept.all()}

    @cached_property
    def residuals(self) -> tuple[Residual, ...]:
        """Residuals before and after, lengths and angles apart."""
        made = []
        problem = self.fit.problem
        for one, kept, before, after in zip(
            problem.measurements, problem.kept, self.before, self.fit.raw, strict=True
        ):
            angles = np.array(one.angles)
            for is_angle in (False, True):
                rows = angles == is_angle
                if rows.any():
                    values = [_rms(part[kept][:, rows]) for part in (before, after, one.noise)]
                    made.append(Residual(one.name, is_angle, *values))
        return tuple(made)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        arm = self.fit.problem.arm
        return {
            "format": FORMAT,
            "robot": self.robot.name,
            "joints": list(self.robot.joint_names),
            "terms": list(arm.terms),
            "parameters": [
                {
                    "joint": one.joint,
                    "name": one.name,
                    "value": one.value,
                    "sigma": one.sigma,
                    "interval_95": [one.value - TWO_SIDED * one.sigma, one.value + TWO_SIDED * one.sigma],
                    "identified": one.identified,
                    "hidden_by": list(one.hidden_by),
                    "has_effect": one.has_effect,
                }
                for one in self.parameters
            ],
            "covariance": self.covariance.tolist(),
            "unknowns": {name: value.tolist() for name, value in self.unknowns.items()},
            "residuals": [vars(one) for one in self.residuals],
            "outliers": dict(self.outliers),
            "poses": {one.name: int(kept.sum()) for one, kept in self._kept},
            "chi_square": self.fit.chi_square,
            "degrees_of_freedom": self.fit.freedom,
            "noise_excess": self.fit.excess,
            "units": "rad, m",
        }

    @property
    def _kept(self) -> list[tuple[Measurement, np.ndarray]]:
        return list(zip(self.fit.problem.measurements, self.fit.problem.kept, strict=True))

    def __str__(self) -> str:
        """The report as text: parameters, residuals, noise."""
        used = ", ".join(f"{one.name} ({int(kept.sum())})" for one, kept in self._kept)
        lines = [f"{self.robot.name}: {', '.join(self.fit.problem.arm.terms)} from {used}", ""]
        lines += _table([("joint", "", "correction", "+- (95 %)", ""), *map(self._row, self.parameters)])
        lines += [
            "",
            *_table(
                [
                    ("root mean square per axis", "before", "after", "stated noise"),
                    *map(_residual, self.residuals),
                ]
            ),
        ]
        return "\n".join([*lines, "", *self._remarks()])

    def _row(self, one: Parameter) -> tuple[str, ...]:
        factor, unit = _unit(self.robot, one)
        shown = (f"{factor * one.value:.4f} {unit}".rstrip(), f"{factor * TWO_SIDED * one.sigma:.4f}")
        return (
            one.joint,
            one.name,
            *(shown if one.has_effect else (f"0 {unit}".rstrip(), "-")),
            _verdict(one),
        )

    def _remarks(self) -> list[str]:
        remarks = [
            f"{name}: left out as outliers: {', '.join(str(i + 1) for i in rows)}"
            for name, rows in self.outliers.items()
        ]
        if self.fit.excess > 1:
            remarks.append(
                f"the residuals are {self.fit.excess:.1f} times the stated noise: the intervals are widened by that. "
                "State the true noise, leave out outliers (--robust), or estimate more (--estimate offset links)"
            )
        elif self.fit.overstated:
            share = 100 * math.sqrt(self.fit.chi_square / self.fit.freedom)
            remarks.append(
                f"the residuals are {share:.0f} % of the stated noise: the true one (--noise) gives narrower intervals"
            )
        else:
            remarks.append("the stated noise explains the residuals")
        remarks += self._surprises()
        if self.missing is not None:
            remarks.append(self.missing)
        if "drift" in self.fit.problem.arm.terms:
            remarks.append("drift is in this report alone: neither a joint map nor a URDF can hold it")
        if "links" in self.fit.problem.arm.terms:
            remarks.append("the joint map leaves out the corrections of links: use the corrected URDF")
        return remarks

    def _surprises(self) -> list[str]:
        """Offsets that are larger than those of encoders, and corrections of parameters that are not identified."""
        robot, made = self.robot, []
        turning = {
            name
            for name, kind in zip(robot.joint_names, robot.joint_types, strict=True)
            if kind != "prismatic"
        }
        offsets = [one for one in self.parameters if one.name == "offset" and one.joint in turning]
        large = [one for one in offsets if abs(one.value) > LARGE_OFFSET]
        if large:
            shown = ", ".join(f"{one.joint} by {math.degrees(one.value):.0f} deg" for one in large)
            made.append(
                f"{shown}: encoders are not off by as much; the data's zero may be another posture than the model's"
            )
        shared = dict.fromkeys(one.joint for one in self.parameters if not one.identified and one.value != 0)
        if shared:
            made.append(
                f"{', '.join(shared)}: the measurements show a combination with other joints alone; its smallest "
                "correction that explains them is taken"
            )
        return made


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean())) if values.size else 0.0


def _unit(robot: Robot, one: Parameter) -> tuple[float, str]:
    """Factor and unit in which a parameter is shown."""
    if one.name in TERMS["scale"].functions:
        return 100.0, "%"
    slides = robot.joint_types[robot.joint_index(one.joint)] == "prismatic" and one.name == "offset"
    return (1000.0, "mm") if slides or one.name in ("x", "y", "z") else (math.degrees(1.0), "deg")


def _verdict(one: Parameter) -> str:
    if one.identified:
        return ""
    if not one.has_effect:
        return "not identified: these measurements do not depend on it"
    known = ", ".join(one.hidden_by[:3])
    return (
        f"not identified: needs one of these to be known: {known}"
        if known
        else "not identified by these poses"
    )


def _residual(one: Residual) -> tuple[str, ...]:
    factor, unit = (math.degrees(1.0), "deg") if one.is_angle else (1000.0, "mm")
    return (
        one.measurement,
        *(f"{factor * value:.4g} {unit}" for value in (one.before, one.after, one.noise)),
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]
