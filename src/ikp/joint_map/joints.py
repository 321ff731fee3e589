"""Find the recorded dimension of every joint of a robot: as the user says, by name, or as the data set declares."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from ikp.joint_map.hints import Recording, Vector
from ikp.joint_map.names import (
    DIFFERENCE,
    POSE,
    POSITION,
    VELOCITY,
    counts_otherwise,
    is_unnamed,
    match_joints,
    plain_name,
)
from ikp.kinematics import Robot

BY_POSITION = "by position, as the data set declares"
RAW = "train without a robot (--method raw)"
LOAD_FOR_ROBOT = "load the data for this robot: ikp.load_dataset(folder, robot=robot)"


def check_joint_names(
    robot: Robot,
    action_names: Sequence[str],
    state_names: Sequence[str],
    joint_dims: Sequence[int],
    fix: str = LOAD_FOR_ROBOT,
) -> None:
    """Refuse joint dimensions, taken as they are recorded, whose names contradict the robot's joints or their order.

    Args:
        robot: the robot.
        action_names, state_names: names of all dimensions.
        joint_dims: the joints among them, in the order of the robot's q.
        fix: the end of the message.

    Raises:
        ValueError: some joint dimensions have the names of the robot's joints, but not all of them in its order; none
            has, and they are numbered in another order; the state's are in another order than the action's; or the
            actions are no joint positions.
    """
    names = [action_names[dim] for dim in joint_dims]
    found = _check_order(robot, names, fix)
    if not found and any(plain_name(name).kind == POSE for name in names):
        raise ValueError(f"the action {names} {_looks_like_a_pose(robot)} or use action_space='raw'")
    words = [plain_name(name) for name in state_names]
    for dim, name in zip(joint_dims, names, strict=True):
        own = plain_name(name)
        if words[dim] != own and own in words:
            raise ValueError(
                f"the state's dimension {dim} is {state_names[dim]!r} where the action has {name!r}: {fix}"
            )


def _check_order(robot: Robot, names: Sequence[str], fix: str) -> dict[str, int]:
    """Refuse joints by position whose names contradict it, or count in another order, such as j2, j1.

    Returns:
        The joints that have the names of the robot's: all in its order, or none.
    """
    found = match_joints(names, robot.joint_names)
    if found and list(found.items()) != list(zip(robot.joint_names, range(robot.dof), strict=True)):
        raise ValueError(
            f"the joint dimensions {list(names)} are other joints than those of robot {robot.name!r}, or in another "
            f"order ({list(robot.joint_names)}): {fix}"
        )
    if not found:
        _check_numbering(robot, names, fix)
    return found


def _check_numbering(robot: Robot, names: Sequence[str], fix: str) -> None:
    before: dict[tuple[str, ...], list[int]] = {}
    for name in names:
        words = plain_name(name).words
        numbers = [int(word) for word in words if word.isdigit()]
        stem = tuple(word for word in words if not word.isdigit())
        if numbers < before.get(stem, []):
            raise ValueError(
                f"the joint dimensions {list(names)} are numbered in another order than they are recorded in, and none "
                f"has the name of a joint of robot {robot.name!r} ({list(robot.joint_names)}): {fix}"
            )
        before[stem] = numbers


def _looks_like_a_pose(robot: Robot) -> str:
    return (
        f"looks like the pose of an end effector, not like joint positions of robot {robot.name!r}: "
        "record joint positions,"
    )


def find_joints(
    robot: Robot,
    recording: Recording,
    vector: Vector,
    *,
    said: Sequence[str] = (),
    excluded: Collection[str] = (),
) -> tuple[dict[str, int], str]:
    """The dimension of every joint in one vector, and how it was found.

    Args:
        robot: gives the names of the joints.
        recording: where joint dimensions are declared, they count unless the names say otherwise.
        vector: action or state.
        said: names of the joints' dimensions in the order of the robot; for a state that names them differently, those
            of the action.
        excluded: names that are no joints.

    Raises:
        ValueError: a joint has no dimension; the message names the option that settles it.
    """
    usable = [i for i, name in enumerate(vector.names) if name not in excluded]
    names = [vector.names[i] for i in usable]
    joints = robot.joint_names
    beside = vector.names, tuple(robot.locked)
    if said:
        if len(said) != len(joints):
            raise ValueError(
                f"--joints gives {len(said)} names for the {len(joints)} joints {list(joints)} of robot "
                f"{robot.name!r}: give one for each, in this order, or lock a joint (--lock NAME=VALUE)"
            )
        _check_own_names(robot, said)
        same = {name: names.index(name) for name in said if name in names}
        by_name = same if len(same) == len(said) else match_joints(names, said, beside=(vector.names, ()))
        if not by_name:  # the state may have the robot's own names where the action has others
            own = match_joints(names, joints, loose=False, beside=beside)
            by_name = {name: own[joint] for joint, name in zip(joints, said, strict=True) if joint in own}
        found = {
            joint: usable[by_name[name]] for joint, name in zip(joints, said, strict=True) if name in by_name
        }
        how = "as given"
    else:
        declared = recording.joint_dims
        by_name = match_joints(names, joints, loose=declared is None, beside=beside)
        found, how = {joint: usable[index] for joint, index in by_name.items()}, "by name"
        if declared is not None and len(found) < len(joints):
            return _declared(robot, recording, vector, declared), BY_POSITION
    if len(found) < len(joints):
        raise _missing(robot, recording, vector, names, [joint for joint in joints if joint not in found])
    return found, how


def _check_own_names(robot: Robot, said: Sequence[str]) -> None:
    """Refuse --joints that give a joint the name of another joint of the robot."""
    own = match_joints(said, robot.joint_names, loose=False)
    places = {joint: place for place, joint in enumerate(robot.joint_names)}
    wrong = {said[place]: joint for joint, place in own.items() if place != places[joint]}
    if wrong:
        name, joint = next(iter(wrong.items()))
        place = said.index(name)
        raise ValueError(
            f"--joints gives {name!r} for the robot's joint {robot.joint_names[place]!r}, but it has the name of joint "
            f"{joint!r}: name the dimensions in the order of the robot ({', '.join(robot.joint_names)}), or leave out "
            "--joints, since these names are matched without it. Names that are wrong in the data need --joint-map"
        )


def _declared(
    robot: Robot, recording: Recording, vector: Vector, declared: tuple[int, ...]
) -> dict[str, int]:
    if len(declared) != robot.dof:
        names = [recording.action.names[i] for i in declared]
        raise ValueError(
            f"robot {robot.name!r} has {robot.dof} joints and the data set {len(declared)} joint dimensions {names}: "
            "give the robot of these data (--robot), lock joints (--lock NAME=VALUE), or name them (--joints NAME ...)"
        )
    if max(declared) >= len(vector.names):
        raise ValueError(
            f"the measured joints must be the state's dimensions {declared}, but the state has {len(vector.names)} "
            f"dimensions {list(vector.names)}: {RAW}"
        )
    names = [vector.names[dim] for dim in declared]
    fix = (
        "give the robot of these data (--robot), or name its joints in its order: if these are they, "
        f"--joints {shlex.join(names)}"
    )
    _check_order(robot, names, fix)
    return dict(zip(robot.joint_names, declared, strict=True))


def _missing(
    robot: Robot, recording: Recording, vector: Vector, names: Sequence[str], missing: Sequence[str]
) -> ValueError:
    """The error for a vector in which joints are missing, with the options that may settle it."""
    start = f"the {vector.what} {list(vector.names)}"
    found_none = len(missing) == robot.dof
    kinds = {plain_name(name).kind for name in names}
    if not vector.names:
        return ValueError(f"there is no {vector.what}, which must measure the joints: {RAW}")
    if POSE in kinds and found_none:
        return ValueError(f"{start} {_looks_like_a_pose(robot)} or {RAW}")
    if kinds & {VELOCITY, DIFFERENCE} and POSITION not in kinds:
        kind = "velocities" if VELOCITY in kinds else "differences"
        return ValueError(f"{start} looks like {kind}, not joint positions: record joint positions, or {RAW}")
    is_shifted = counts_otherwise(vector.names, (*robot.joint_names, *robot.locked))
    if vector is recording.action:
        positions = [name for name in names if plain_name(name).kind == POSITION]
        arm = [name for name in positions if not plain_name(name).is_gripper]
        likely = (_counted(vector.names, robot.dof),) if is_shifted else (positions, arm)
        fitting = next((part for part in likely if len(part) == robot.dof), None)
        fixes = [
            f"if they are these joints in this order, --joints {shlex.join(fitting)}"
            if fitting
            else f"name them in the robot's order with --joints (it has {', '.join(robot.joint_names)})"
        ]
    else:
        fixes = ["say which they are with --joint-map FILE"]
    if not found_none:
        fixes.append(f"if the data do not move them, lock them: --lock {missing[0]}=VALUE")
    fixes.append("or give the robot of these data (--robot)")
    why = ""
    if is_shifted:
        why = " (one counts from 0 and the other does not, so that equal numbers are different joints)"
    elif any(is_unnamed(name) for name in vector.names):
        why = " (the data set names none, or not each of them)"
        fixes.insert(0, "give 'names' to this feature in meta/info.json")
    return ValueError(
        f"{start} has no dimension for the joints {list(missing)} of robot {robot.name!r}{why}: {'; '.join(fixes)}"
    )


def _counted(names: Sequence[str], count: int) -> list[str]:
    """The names that end with a number, where they are as many as asked for or the first of one row of numbers."""
    plain = {name: plain_name(name) for name in names}
    numbered = [
        name
        for name, parts in plain.items()
        if parts.kind == POSITION and not parts.is_gripper and parts.words[-1].isdigit()
    ]
    is_one_row = len({plain[name].words[:-1] for name in numbered}) == 1
    return numbered[:count] if is_one_row else numbered
