"""The joint map of a data set: given, stored in the features of info.json, or inferred from the recorded numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikp.data.index import dim_names
from ikp.data.layout import ACTION, INFO_PATH, MAP_KEY, STATE, DatasetError
from ikp.data.metadata import read_info
from ikp.files import write_json
from ikp.joint_map import EXTRA, JointMap, MapHints, Recording, infer_joint_map
from ikp.joint_map.joints import check_joint_names
from ikp.joint_map.names import match_joints
from ikp.kinematics import Robot


def find_joint_map(
    root: Path,
    info: Mapping[str, Any],
    recording: Recording,
    *,
    robot: Robot | None,
    joint_map: JointMap | str | Path | None = None,
    hints: MapHints | None = None,
) -> JointMap | None:
    """The joint map of recorded numbers: the given one, the stored one, or an inferred one.

    Args:
        root: folder of the data set.
        info: content of info.json.
        recording: the recorded numbers.
        robot, joint_map, hints: as in `load_dataset`; with hints, the stored map does not count.

    Returns:
        None where the recorded numbers are used as they are: without a robot and a map, and for data whose declared
        joints are in the robot's units.

    Raises:
        DatasetError: the map does not fit the robot or the data, or none can be inferred.
    """
    if not isinstance(hints, MapHints | None):
        raise DatasetError(
            f"hints is a {type(hints).__name__}: give ikp.data.MapHints(units=..., joints=...)"
        )
    hints = hints or MapHints()
    stored = stored_joint_map(info) if joint_map is None and hints.is_empty else None
    if isinstance(joint_map, str | Path):
        joint_map = JointMap.load(joint_map, robot)
    if joint_map is not None and not hints.is_empty:
        raise DatasetError(
            "a joint map says all of units, joints, grippers and what to ignore: give either --joint-map, or --units, "
            "--joints, --gripper, --ignore"
        )
    try:
        if joint_map is not None:
            _check_fit(joint_map, recording, robot, "given")
            return joint_map
        if stored is not None:
            _check_fit(stored, recording, robot, f"in {INFO_PATH}")
            return stored
        if robot is None and not recording.discrete_dims and hints.is_empty:
            return None
        found = infer_joint_map(robot, recording, hints)
        # Without a robot only grippers may change; declared joints in the model's units need a map for extras, and to
        # show which joint each of them is where names do not say it.
        is_declared = recording.joint_dims is not None and all(d.role != EXTRA for d in found.action)
        if not found.is_identity or not (
            robot is None or (is_declared and _by_name(robot, recording, hints))
        ):
            return found
        if robot is not None and recording.joint_dims is not None:
            names = recording.action.names, recording.state.names
            check_joint_names(robot, *names, recording.joint_dims, fix="give the robot of these data")
        return None
    except ValueError as error:
        raise DatasetError(f"{root}: {error}") from None


def _by_name(robot: Robot, recording: Recording, hints: MapHints) -> bool:
    """Whether names tell which joint each declared dimension is, and not the user or their position."""
    names = [recording.action.names[dim] for dim in recording.joint_dims or ()]
    return not hints.joints and bool(match_joints(names, robot.joint_names))


def _check_fit(joint_map: JointMap, recording: Recording, robot: Robot | None, where: str) -> None:
    if robot is not None and joint_map.joints != robot.joint_names:
        raise ValueError(
            f"the joint map {where} is one of the joints {list(joint_map.joints)}, robot {robot.name!r} has "
            f"{list(robot.joint_names)}: give the robot of these data, or another map (--joint-map FILE)"
        )
    joint_map.check_names(recording.action.names, recording.state.names, "the data set")


def stored_joint_map(info: Mapping[str, Any]) -> JointMap | None:
    """The joint map in the features of info.json; None without one.

    Raises:
        DatasetError: it is damaged.
    """
    features = info["features"]
    parts = {key: features.get(key, {}).get(MAP_KEY) for key in (ACTION, STATE)}
    if parts[ACTION] is None:
        return None
    try:
        values = {**parts[ACTION], "state": (parts[STATE] or {}).get("state", [])}
        return JointMap.from_json(values, where=f"{INFO_PATH}, {MAP_KEY}")
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{error}; replace it (`ikp data check FOLDER --joint-map FILE --store`), or take {MAP_KEY!r} out of the "
            "features there, to have it found again"
        ) from error


def store_joint_map(root: str | Path, joint_map: JointMap) -> None:
    """Write a joint map into the features of a data set's info.json, from where `load_dataset` reads it.

    Raises:
        DatasetError: the data set cannot be read, or the map is one of other dimensions.
    """
    root = Path(root)
    info = read_info(root)
    features = info["features"]
    try:
        joint_map.check_names(dim_names(features, ACTION), dim_names(features, STATE), str(root))
    except ValueError as error:
        raise DatasetError(str(error)) from error
    values = joint_map.to_json()
    features[ACTION][MAP_KEY] = {key: values[key] for key in ("format", "joints", "action")}
    if STATE in features:
        features[STATE][MAP_KEY] = {"state": values["state"]}
    write_json(root / INFO_PATH, info)


def stored_units(features: Mapping[str, Any], key: str, size: int) -> tuple[str, ...]:
    """The unit of each dimension of a feature as info.json has it; empty texts where it says nothing.

    Raises:
        DatasetError: there are units, but not one for each dimension.
    """
    units = features.get(key, {}).get("units") or [""] * size
    if len(units) != size:
        raise DatasetError(
            f"{INFO_PATH}: feature {key!r} has {size} dimensions and the 'units' {list(units)}: give one for each, or "
            "take 'units' out"
        )
    return tuple(str(unit or "") for unit in units)
