"""Estimate the corrections of an arm from measurements of any kinds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ikp.calibration.arm import ArmModel
from ikp.calibration.distances import wrong_distance
from ikp.calibration.identifiability import hidden_directions, missing_pose
from ikp.calibration.measurement import Measurement
from ikp.calibration.result import Calibration
from ikp.calibration.signs import reversed_joint
from ikp.calibration.sockets import SocketDistances
from ikp.calibration.solver import Problem, solve
from ikp.joint_map import JointMap
from ikp.kinematics import Robot

FEWEST_CHECKS = 3
"""Residuals beyond the number of estimated parameters: fewer would leave no sign of a mistake."""
MOST_LEFT = {False: 0.01, True: math.radians(5)}
"""Root mean square that no calibration of the right arm leaves, of lengths [m] and of angles [rad]."""


def calibrate(
    robot: Robot,
    measurements: Sequence[Measurement],
    *,
    estimate: Sequence[str] = ("offset",),
    joint_map: JointMap | None = None,
    robust: bool = False,
    complete: bool = True,
) -> Calibration:
    """Estimate offsets and further corrections of an arm, with standard deviations.

    The estimate is the most probable one under normal noise and a wide prior around the nominal arm (10 degrees for an
    offset). Combinations of parameters that the measurements do not show stay nominal. The result says which and why.

    Args:
        robot: the nominal arm.
        measurements: `TipPoses`, `Sockets` with `SocketDistances`, `Plane`, `Upright`, or anything with the members of
            `ikp.calibration.Measurement`; several of them share the unknowns of the same name.
        estimate: any of `offset`, `scale`, `drift` and `links`.
        joint_map: the map by which the measurements' joint positions were made; by default radians and metres.
        robust: leave out configurations whose residuals are far beyond the noise.
        complete: refuse poses where others of the same kind would show more; else the report says so.

    Returns:
        The result: `parameters` with standard deviations, `joint_map`, `corrected_robot`, and a report as text.

    Raises:
        ValueError: there are too few poses, or poses that do not show what such measurements can show, and the message
            says which pose to add; a distance contradicts the poses; or no correction explains the measurements.

    Example:
        found = ikp.calibrate(robot, [TipPoses(q, "flange", 0.0, position)])
        found.joint_map.save("arm.json")
        print(found)
    """
    if not measurements or not estimate:
        raise ValueError(
            "there is nothing to calibrate: give at least one measurement and one term to estimate"
        )
    problem = Problem(ArmModel(robot, estimate), measurements)
    start = problem.start()
    nominal = solve(Problem(ArmModel(robot, ()), measurements), start[problem.arm.size :])
    fit = solve(problem, start, robust=robust)
    hidden = hidden_directions(fit)
    if hidden.size:
        start = np.concatenate([np.zeros(problem.arm.size), fit.x[problem.arm.size :]])
        fit = solve(Problem(problem.arm, measurements, fit.problem.kept, hidden), start)
    wrong = wrong_distance(fit)
    if wrong is not None:
        raise ValueError(str(wrong))
    missing = missing_pose(fit)
    if missing is not None and complete:
        raise ValueError(missing)
    if fit.freedom < FEWEST_CHECKS:
        rows = sum(one.size for one in fit.whitened)
        poses = int(np.ceil((FEWEST_CHECKS - fit.freedom) / max(one.shape[1] for one in fit.whitened)))
        raise ValueError(
            f"{rows} residuals for {rows - round(fit.freedom)} unknowns leave nothing to check the result by: add "
            f"{poses} pose(s) that move all joints"
        )
    used = joint_map or JointMap.identity(robot)
    found = Calibration(fit, used, nominal.raw, missing)
    _check_explained(found, measurements)
    return found


def _check_explained(found: Calibration, measurements: Sequence[Measurement]) -> None:
    """Refuse measurements that no correction of the arm explains.

    Raises:
        ValueError: more is left than any arm leaves, or so much that it identifies nothing.
    """
    shares = {one: one.after / max(MOST_LEFT[one.is_angle], 5 * one.noise) for one in found.residuals}
    worst = max(shares, key=lambda one: shares[one])
    nothing = found.fit.excess > 1 and not any(one.identified for one in found.parameters)
    if shares[worst] <= 1 and not nothing:
        return
    if nothing:
        worst = max(shares, key=lambda one: one.after / one.noise)
    left = f"{math.degrees(worst.after):.1f} deg" if worst.is_angle else f"{1000 * worst.after:.1f} mm"
    if nothing:
        left += f", {worst.after / worst.noise:.0f} times the stated noise,"
    arm, terms = found.fit.problem.arm, " and ".join(found.fit.problem.arm.terms)
    fix = "Check that it is this robot, the units, and whether base and tool are known (--unknown)"
    turned = reversed_joint(arm, measurements, found.nominal_map)
    if turned is not None:
        fix = f"With {turned} reversed it would be explained: give it the other 'sign' in the joint map"
    elif any(isinstance(one, SocketDistances) for one in measurements):
        distances = "that the distances (--distance) are those between the centres of these sockets"
        is_largest = worst.measurement == SocketDistances.name
        fix = f"Check {distances}. {fix}" if is_largest else f"{fix}, and {distances}"
    raise ValueError(
        f"no {terms} of {found.robot.name!r} explains the {worst.measurement}: {left} are left. {fix}"
    )
