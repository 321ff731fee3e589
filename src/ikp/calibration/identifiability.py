"""Verdicts: which parameters the measurements identify, what hides the others, and which pose is missing.

A parameter, or a combination of parameters, is identified where the measurements leave less than a tenth of its prior
standard deviation. Combinations that are not identified are held at the nominal arm: nothing is made up of noise. The
covariance says what hides a parameter: a group of others that would identify it if it were known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ikp.calibration.measurement import LinkMeasurement
from ikp.calibration.solver import Fit, Problem, covariance_of, stacked, whitener
from ikp.kinematics import Robot

IDENTIFIED = 0.1
"""Largest share of the prior standard deviation that the measurements leave of an identified parameter."""
_NO_EFFECT = 0.3  # whitened change of all residuals for a change by the prior standard deviation
_TRIED = (
    12  # poses from which one joint is moved, and random poses per joint, in the search for a missing pose
)
_MOVES = (np.radians(40), 0.05)  # of a joint that turns, and of one that slides [rad, m]
_PROJECTIONS = 25
_ON_CONSTRAINT = 3.0  # residual of a made pose, in standard deviations


@dataclass(frozen=True)
class Parameter:
    """One estimated number of the arm.

    Attributes:
        joint, name: the joint and the function, such as offset.
        value: the estimate, 0 for nominal [rad, m or without a unit].
        sigma: its standard deviation, with the prior.
        identified: whether the measurements determine it.
        hidden_by: what would identify it if it were known; empty where nothing alone would.
        has_effect: whether the measurements depend on it at all.
    """

    joint: str
    name: str
    value: float
    sigma: float
    identified: bool
    hidden_by: tuple[str, ...] = ()
    has_effect: bool = True


def parameters(fit: Fit) -> tuple[Parameter, ...]:
    """Every parameter of the arm with its verdict; standard deviations include the noise that the residuals show."""
    arm, posterior = fit.problem.arm, fit.covariance * fit.excess**2
    sigma = np.sqrt(np.diag(total_covariance(fit)))
    effect = np.linalg.norm(fit.information * fit.problem.sigma, axis=0)
    groups = _groups(fit.problem)
    made = []
    for index, (joint, name) in enumerate(arm.names):
        identified = is_identified(posterior, arm.sigma, index)
        has_effect = bool(effect[index] > _NO_EFFECT)
        hidden = () if identified or not has_effect else _hidden_by(fit, index, groups)
        spread = min(float(sigma[index]), float(arm.sigma[index]))
        made.append(
            Parameter(
                joint,
                name,
                float(fit.x[index]) if has_effect else 0.0,
                spread,
                identified,
                hidden,
                has_effect,
            )
        )
    return tuple(made)


def hidden_directions(fit: Fit) -> Float[np.ndarray, "size hidden"]:
    """Combinations of the arm's parameters that are not identified: orthonormal, in units of the prior."""
    sigma, size = fit.problem.arm.sigma, fit.problem.arm.size
    left, directions = np.linalg.eigh(fit.covariance[:size, :size] / np.outer(sigma, sigma))
    return directions[:, np.sqrt(np.maximum(left, 0)) * fit.excess >= IDENTIFIED]


def total_covariance(fit: Fit) -> Float[np.ndarray, "size size"]:
    """Covariance of the arm's parameters, with the noise that the residuals show; the prior's where they are held."""
    sigma, size, held = fit.problem.arm.sigma, fit.problem.arm.size, fit.problem.held
    left = fit.covariance[:size, :size] * fit.excess**2 / np.outer(sigma, sigma)
    share, turned = np.linalg.eigh(np.eye(held.shape[1]) - held.T @ left @ held)
    return (left + (held @ turned * np.maximum(share, 0)) @ (held @ turned).T) * np.outer(sigma, sigma)


def is_identified(covariance: np.ndarray, prior: np.ndarray, index: int) -> bool:
    """Whether a covariance leaves less than a tenth of a parameter's prior standard deviation."""
    return bool(np.sqrt(covariance[index, index]) < IDENTIFIED * prior[index])


def _groups(problem: Problem) -> Mapping[str, np.ndarray]:
    """Indices of parameters that may be known together, by what they are."""
    groups = {f"the {name}": np.arange(problem.size)[place] for name, place in problem.places.items()}
    for index, (joint, name) in enumerate(problem.arm.names):
        groups[joint if name == "offset" else f"{joint} ({name})"] = np.array([index])
    return groups


def _hidden_by(fit: Fit, index: int, groups: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    C, found = fit.covariance, []
    for name, group in groups.items():
        if index in group:
            continue
        cross = C[index, group]
        left = C[index, index] - cross @ np.linalg.solve(C[np.ix_(group, group)], cross)
        if np.sqrt(max(left, 0.0)) < IDENTIFIED * fit.problem.sigma[index]:
            found.append(name)
    return tuple(found)


def missing_pose(fit: Fit) -> str | None:
    """The pose to add, in words, where further poses of the same kinds would identify more; else None.

    Poses are made by moving one joint of a measured pose, and at random, and are brought onto the constraints of their
    measurement, such as a ball that stays in its socket.
    """
    arm = fit.problem.arm
    lacking = [i for i in range(arm.size) if not is_identified(fit.covariance, arm.sigma, i)]
    pools = [
        (measurement, *_possible(fit, measurement, kept))
        for measurement, kept in zip(fit.problem.measurements, fit.problem.kept, strict=True)
        if isinstance(measurement, LinkMeasurement)
    ]
    pools = [(measurement, pool, rows) for measurement, pool, rows in pools if len(rows)]
    if not lacking or not pools:
        return None
    everything = np.concatenate([fit.information, *(stacked(rows) for _, _, rows in pools)])
    best = covariance_of(everything, fit.problem.sigma)
    lacking = [i for i in lacking if is_identified(best, arm.sigma, i)]
    if not lacking:
        return None
    gains = []
    for measurement, pool, rows in pools:
        for q, row in zip(pool, rows, strict=True):
            after = covariance_of(np.concatenate([fit.information, row]), fit.problem.sigma)
            left = np.sqrt(np.diag(after)[lacking]) / fit.problem.sigma[lacking]
            gains.append((float(np.log(left).sum()), measurement, q))
    _, measurement, q = min(gains, key=lambda gain: gain[0])
    names = ", ".join(dict.fromkeys(arm.names[i][0] for i in lacking))
    return f"these poses do not show {names}: add poses ({measurement.name}) that {_moves(arm.robot, measurement.q, q)}"


def _moves(robot: Robot, known: np.ndarray, q: np.ndarray) -> str:
    """The joint that a pose moves most away from the known ones, and the pose, in words."""
    away = np.maximum(known.min(0) - q, q - known.max(0))
    away = np.where([kind == "prismatic" for kind in robot.joint_types], away / _MOVES[1], away / _MOVES[0])
    nearest = np.abs(known - q).sum(1).argmin()
    joint = int(away.argmax()) if away.max() > 0 else int(np.abs(known[nearest] - q).argmax())
    shown = [
        f"{name} {1000 * value:.0f} mm" if kind == "prismatic" else f"{name} {np.degrees(value):.0f} deg"
        for name, kind, value in zip(robot.joint_names, robot.joint_types, q, strict=True)
    ]
    return f"move {robot.joint_names[joint]}, such as {', '.join(shown)}"


def _possible(
    fit: Fit, measurement: LinkMeasurement, kept: np.ndarray
) -> tuple[Float[np.ndarray, "k dof"], Float[np.ndarray, "k m size"]]:
    """Further configurations of a measurement, and the whitened rows that they would add."""
    robot = fit.problem.arm.robot
    q, like = _varied(robot, measurement.q[kept])
    made = measurement.at(q, np.flatnonzero(kept)[like])
    beta, values = fit.beta, fit.problem.values(fit.x)
    if measurement.is_constraint:
        for _ in range(_PROJECTIONS):
            one = made.linearise(fit.problem.arm, beta, values)
            J = one.joints
            pull = np.linalg.solve(
                J @ np.swapaxes(J, 1, 2) + 1e-6 * np.eye(J.shape[1]), one.residual[..., None]
            )
            made = measurement.at(
                made.q - np.einsum("nmd,nm->nd", J, pull[..., 0]), np.flatnonzero(kept)[like]
            )
    one = made.linearise(fit.problem.arm, beta, values)
    lower, upper = robot.lower.numpy(), robot.upper.numpy()
    good = ((made.q >= lower) & (made.q <= upper)).all(1)
    if measurement.is_constraint:
        good &= (np.abs(one.residual) < _ON_CONSTRAINT * made.noise).all(1)
    rows = whitener(made.noise, made.joint_noise, one.joints) @ fit.problem.jacobian(one)
    return made.q[good], rows[good]


def _varied(robot: Robot, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses with one joint moved, and random poses around all, each with the index of a pose that it is like."""
    lower, upper = robot.lower.numpy(), robot.upper.numpy()
    chosen = np.linspace(0, len(q) - 1, min(_TRIED, len(q))).astype(int)
    made: list[np.ndarray] = []
    for joint, kind in enumerate(robot.joint_types):
        for sign in (-1, 1):
            moved = q[chosen].copy()
            moved[:, joint] += sign * (_MOVES[1] if kind == "prismatic" else _MOVES[0])
            made.append(moved)
    # people measure where the arm works: random poses stay near the measured ones
    move = np.array([_MOVES[1] if kind == "prismatic" else _MOVES[0] for kind in robot.joint_types])
    random = np.random.default_rng(0).uniform(
        q.min(0) - move, q.max(0) + move, (_TRIED * robot.dof, robot.dof)
    )
    like = np.concatenate([np.tile(chosen, len(made)), np.arange(len(random)) % len(q)])
    return np.clip(np.concatenate([*made, random]), lower, upper), like
