"""Infer the joint map of a recording from its names, units and values, or refuse with the option that settles it."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from ikp.joint_map.dimension import EXTRA, GRIPPER, IGNORED, JOINT, Dimension, unit_scale
from ikp.joint_map.grippers import command_gripper, measured_grippers, two_values
from ikp.joint_map.hints import MapHints, Recording, Vector
from ikp.joint_map.joint_map import JointMap
from ikp.joint_map.joints import RAW, find_joints
from ikp.joint_map.names import plain_name
from ikp.joint_map.units import infer_units
from ikp.kinematics import Robot

FEWEST = 10
"""Steps from which actions are compared with the measured motion."""
SAME = 0.3
"""Distance of actions from the measured joints, as a share of their spread, up to which they follow them."""
UNLIKE = (30, 110)
"""Ratios of spreads around 57, degrees in a rad."""
STILL = 1e-4
"""Spread of a joint that does not move [rad or m]."""
MOVES = 0.1
"""Share of the largest spread from which a joint counts as moving beside the others."""


def infer_joint_map(robot: Robot | None, recording: Recording, hints: MapHints | None = None) -> JointMap:
    """The joint map of a recording.

    Joints are found by name (or by declared dimensions), units by what the user says, what the data set stores, what
    names tell, and else by comparing values with the robot's limits and speeds; grippers by name and values.

    Args:
        robot: the kinematic model; without one only declared grippers are mapped.
        recording: names, units and values.
        hints: what the user says; it counts before everything else.

    Raises:
        ValueError: a joint is not found, a unit or gripper is ambiguous, or the actions are no joint targets; the
            message names the option that settles it.
    """
    hints = hints or MapHints()
    action, state = recording.action, recording.state
    if robot is None and (hints.units or hints.joints):
        raise ValueError(
            "--units and --joints are about a robot's joints: give the robot (--robot), or leave them out"
        )
    joints = robot.joint_names if robot is not None else ()
    hints.check_names([*action.names, *state.names, *joints])
    declared = {action.names[i] for i in recording.discrete_dims}
    said = declared | set(hints.gripper)
    known: dict[str, dict[int, Dimension]] = {"action": {}, "state": {}}
    if robot is not None:
        known = _joint_entries(robot, recording, hints, excluded=said | set(hints.ignore))
    for vector in (action, state):
        known[vector.what] |= _ignored(vector, hints)
    commands = {
        dim: _other_action(robot, action, dim, hints, said)
        for dim in range(len(action.names))
        if dim not in known["action"]
    }
    grippers = {dim: entry for dim, entry in commands.items() if entry.role == GRIPPER}
    same_place = recording.discrete_dims if recording.joint_dims is not None else ()
    measured = measured_grippers(state, action, grippers, known["state"], same_place=same_place)
    extras = {
        dim: Dimension(name, EXTRA, unit=unit, reason="an input only")
        for dim, (name, unit) in enumerate(zip(state.names, state.units, strict=True))
    }
    found = JointMap(
        tuple(joints),
        tuple(entry for _, entry in sorted((known["action"] | commands).items())),
        tuple(entry for _, entry in sorted((extras | measured | known["state"]).items())),
    )
    if robot is not None:
        _check_targets(found, recording)
    return found


def _joint_entries(
    robot: Robot, recording: Recording, hints: MapHints, excluded: set[str]
) -> dict[str, dict[int, Dimension]]:
    """By vector the entries of the joints' dimensions."""
    vectors = (recording.action, recording.state)
    places = {
        vector.what: find_joints(robot, recording, vector, said=hints.joints, excluded=excluded)
        for vector in vectors
    }
    units = infer_units(robot, recording, hints, {what: found for what, (found, _) in places.items()})
    entries: dict[str, dict[int, Dimension]] = {}
    for vector in vectors:
        found, how = places[vector.what]
        entries[vector.what] = {}
        for joint, dim in found.items():
            unit, reason = units[vector.what, joint]
            scale, offset = unit_scale(unit, joint, robot)
            entries[vector.what][dim] = Dimension(
                vector.names[dim], JOINT, joint, unit, 1, scale, offset, reason=f"{how}; {reason}"
            )
    return entries


def _ignored(vector: Vector, hints: MapHints) -> dict[int, Dimension]:
    """The dimensions that the user leaves out; a policy returns the median of the recorded actions."""
    is_action = vector.what == "action"
    return {
        dim: Dimension(
            name,
            IGNORED,
            fill=float(np.median(vector.values[:, dim])) if is_action else 0.0,
            reason="as given",
        )
        for dim, name in enumerate(vector.names)
        if name in hints.ignore
    }


def _other_action(
    robot: Robot | None, action: Vector, dim: int, hints: MapHints, said: Collection[str]
) -> Dimension:
    """An action dimension that is no joint: a gripper, a number, a constant, or an error."""
    name, unit, values = action.names[dim], action.units[dim], action.values[:, dim]
    if name in said:
        return command_gripper(name, values, is_said=name in hints.gripper, given=hints.gripper.get(name))
    if robot is None:
        return Dimension(name, EXTRA, unit=unit, reason="taken as it is")
    if len(values) and values.min() == values.max():
        return Dimension(name, IGNORED, fill=float(values[0]), reason=f"always {values[0]:g}")
    if plain_name(name).is_gripper:
        if two_values(values) is not None:
            return command_gripper(name, values, is_said=False)
        return Dimension(
            name, EXTRA, unit=unit, reason=f"many values (else --gripper {name}, --ignore {name})"
        )
    raise ValueError(
        f"the action's dimension {name!r} is no joint of robot {robot.name!r}: make it a two-valued gripper "
        f"(--gripper {name}), leave it out (--ignore {name}), imitate it as a number (the role 'extra' in "
        f"--joint-map), or {RAW}"
    )


def _check_targets(found: JointMap, recording: Recording) -> None:
    """Refuse actions that are no joint targets, or that are in another unit than the measured joints."""
    joints = len(found.joints)
    target = found.actions.to_model(torch.from_numpy(recording.action.values))[:-1, :joints]
    state = found.states.to_model(torch.from_numpy(recording.state.values))[:, :joints]
    inside = torch.from_numpy(~recording.starts[1:])
    if int(inside.sum()) < FEWEST:
        return
    target, measured, step = target[inside], state[:-1][inside], (state[1:] - state[:-1])[inside]
    _check_scale(target, measured)
    as_target, moves = float((target - measured).abs().mean()), float(step.abs().mean())
    others = {
        "differences": float((target - step).abs().mean()),
        "velocities": float((target - step * recording.fps).abs().mean()),
    }
    kind = min(others, key=lambda key: others[key])
    if as_target > max(0.05, 5 * moves) and others[kind] < 0.3 * as_target:
        raise ValueError(
            f"the actions {list(recording.action.names)} look like {kind}, not like targets of the joints: record "
            f"targets, or {RAW}; if they are targets, say so with --joint-map FILE"
        )
    _check_spread(target, measured)


def _check_spread(target: Tensor, measured: Tensor) -> None:
    """Refuse targets that spread about as many times as far as the measured joints as a rad has degrees, or less."""
    spread = measured.std(0, unbiased=False)
    if spread.max() < STILL:
        return
    moves = spread > MOVES * spread.max()
    ratio = float((target.std(0, unbiased=False)[moves] / spread[moves]).median())
    for times, words in (
        (ratio, f"{ratio:.3g} times as far as the measured joints: in degrees, and those in rad"),
        (
            1 / ratio if ratio > 0 else 0.0,
            f"{ratio:.3g} times as far as the measured joints: in rad, and those in deg",
        ),
    ):
        if UNLIKE[0] < times < UNLIKE[1]:
            raise ValueError(
                f"the actions spread {words}, perhaps: give the unit of each with --joint-map FILE, or record both in "
                "one"
            )


def _check_scale(target: Tensor, measured: Tensor) -> None:
    """Refuse targets that follow the measured joints (frame, joint) in another unit."""
    spread = float(measured.std(0, unbiased=False).mean())
    for factor, words in (
        (math.pi / 180, "actions are in degrees and the measured joints in rad"),
        (180 / math.pi, "actions are in rad and the measured joints in degrees"),
    ):
        if spread > STILL and float((factor * target - measured).abs().mean()) < SAME * spread:
            raise ValueError(
                f"the {words}: give the unit of each with --joint-map FILE, or record both in one"
            )
