"""Measured poses in CSV and JSON files: joint positions by name, positions and rotations with their units.

A CSV file has a header, and commas, semicolons or tabs between its columns; a JSON file is
`{"poses": [{...}, ...]}` with the same names. Columns:

| column | holds |
| --- | --- |
| the name of a joint, with or without `_deg`, `_rad`, `_mm` | its position; without a unit it is inferred, or refused |
| `x_mm`, `y_mm`, `z_mm`, or `_m` | the measured position |
| `qw`, `qx`, `qy`, `qz` | the measured rotation as a unit quaternion |
| `rx_rad`, `ry_rad`, `rz_rad`, or `_deg` | or as a rotation vector |
| `roll_deg`, `pitch_deg`, `yaw_deg`, or `_rad` | or as roll, pitch and yaw |
| `socket` | the name of the socket that holds the ball |
"""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ikp.files import read_json
from ikp.joint_map import JOINT, Dimension, JointMap, MapHints, Recording, Vector
from ikp.joint_map.dimension import unit_scale
from ikp.joint_map.names import match_joints
from ikp.joint_map.units import infer_units
from ikp.kinematics import Robot

SOCKET = "socket"
_LENGTHS, _ANGLES = {"m": 1.0, "mm": 1e-3}, {"rad": 1.0, "deg": math.pi / 180}
_POSITION = ("x", "y", "z")
_ROTATIONS = {
    "quaternion": ("qw", "qx", "qy", "qz"),
    "vector": ("rx", "ry", "rz"),
    "rpy": ("roll", "pitch", "yaw"),
}
_MEASURED = re.compile(
    r"(x|y|z|q[wxyz]|r[xyz]|roll|pitch|yaw)(?:[ _]*[\[(]?(mm|m|deg|rad)[\])]?)?", re.IGNORECASE
)
_BEYOND = math.radians(15)  # excess of a reading over its joint's limits: offsets may be large [rad or m]
_UNIT_LENGTH = 0.01  # error of a quaternion's length


@dataclass(frozen=True, eq=False)
class PoseTable:
    """Measured poses, in the model's units.

    Attributes:
        path: the file.
        joint_map: from its columns to the joints.
        q: (n, dof) joint positions [rad or m].
        position: (n, 3) [m], or None.
        rotation: (n, 3, 3), or None.
        labels: (n,) names of sockets, or None.
    """

    path: Path
    joint_map: JointMap
    q: Float[np.ndarray, "n dof"]
    position: Float[np.ndarray, "n 3"] | None
    rotation: Float[np.ndarray, "n 3 3"] | None
    labels: np.ndarray | None


def read_poses(
    path: Path | str, robot: Robot, *, joint_map: JointMap | None = None, hints: MapHints | None = None
) -> PoseTable:
    """Read a CSV or JSON file of measured poses.

    Args:
        path: the file.
        robot: names, limits and kinds of the joints.
        joint_map: the map of the columns; by default it is made from their names and units.
        hints: units that the user says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a joint or a unit is missing, a value is no number, or the values do not fit the robot; the message
            names file, column and fix.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r} of measured poses: give a CSV or JSON file")
    try:
        columns = _without_copies(path, _columns(path))
        labels = columns.pop(SOCKET, None)
        measured = {name: match for name in columns if (match := _MEASURED.fullmatch(name.strip()))}
        _check_once({name: match[1].lower() for name, match in measured.items()})
        found = {match[1].lower(): _measured(name, match, columns) for name, match in measured.items()}
        if labels is not None and "" in labels:
            raise ValueError(
                f"pose {labels.index('') + 1} names no socket: fill the column {SOCKET!r}, or leave it out"
            )
        rest = {name: values for name, values in columns.items() if name not in measured}
        joint_map = _joint_map(rest, robot, hints or MapHints()) if joint_map is None else joint_map
        q = _joints(rest, robot, joint_map)
        return PoseTable(
            path,
            joint_map,
            q,
            _position(found),
            _rotation(found),
            None if labels is None else np.array(labels),
        )
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def _columns(path: Path) -> dict[str, list[str]]:
    """The file's columns as texts."""
    if path.suffix.lower() == ".json":
        rows = read_json(path, fix='write {"poses": [{"NAME": VALUE, ...}, ...]}', keys={"poses": list})[
            "poses"
        ]
        if not rows or not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
            raise ValueError("'poses' must hold objects that all have the same names")
        return {name: [str(row[name]) for row in rows] for name in rows[0]}
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip(" ,;\t")]
    except UnicodeDecodeError:
        raise ValueError("it is no text: give a CSV or JSON file") from None
    lines = [line for line in lines if not line.startswith("#")]
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    if len(rows) < 2:
        raise ValueError("there are no poses: write a line with names, then one line per pose")
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"a name is there twice: {', '.join(twice)}")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(names):
            raise ValueError(f"pose {number} has {len(row)} values for {len(names)} names")
    return {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(names)}


def _without_copies(path: Path, columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """The columns without rows that repeat another one, which a logger at rest writes: they are no new measurement."""
    rows = list(zip(*columns.values(), strict=True))
    once = list(dict.fromkeys(rows))
    if len(once) == len(rows):
        return columns
    warnings.warn(
        f"{path}: {len(rows) - len(once)} of {len(rows)} poses repeat another one to the last digit: they are left out",
        stacklevel=3,
    )
    return {name: list(values) for name, values in zip(columns, zip(*once, strict=True), strict=True)}


def _check_once(quantities: Mapping[str, str]) -> None:
    """Refuse columns (name to quantity) that hold one quantity twice, such as x_mm and x_m."""
    for quantity in quantities.values():
        names = [name for name, other in quantities.items() if other == quantity]
        if len(names) > 1:
            raise ValueError(f"the columns {' and '.join(names)} hold the same: keep one")


def _numbers(name: str, texts: Sequence[str]) -> np.ndarray:
    values = []
    for number, text in enumerate(texts, start=1):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            fix = (
                "write a decimal point, no comma"
                if re.fullmatch(r"[-+]?\d*,\d+", text)
                else "give a finite number"
            )
            raise ValueError(f"{name} of pose {number} is {text[:40]!r}: {fix}")
        values.append(value)
    return np.array(values)


def _measured(name: str, match: re.Match[str], columns: Mapping[str, Sequence[str]]) -> np.ndarray:
    """A measured column in m or rad; quaternions have no unit."""
    base, unit = match[1].lower(), (match[2] or "").lower()
    values = _numbers(name, columns[name])
    if base in _ROTATIONS["quaternion"]:
        return values
    units = _LENGTHS if base in _POSITION else _ANGLES
    if unit not in units:
        choices = " or ".join(f"{base}_{unit}" for unit in units)
        raise ValueError(f"the column {name!r} needs its unit: name it {choices}")
    return units[unit] * values


def _position(found: Mapping[str, np.ndarray]) -> np.ndarray | None:
    return _together(found, _POSITION)


def _rotation(found: Mapping[str, np.ndarray]) -> np.ndarray | None:
    given = {
        kind: made for kind, names in _ROTATIONS.items() if (made := _together(found, names)) is not None
    }
    if len(given) > 1:
        raise ValueError(f"the rotation is there as {' and as '.join(given)}: keep one")
    if "vector" in given:
        return Rotation.from_rotvec(given["vector"]).as_matrix()
    if "rpy" in given:
        return Rotation.from_euler("xyz", given["rpy"]).as_matrix()
    if "quaternion" not in given:
        return None
    quat_wxyz = given["quaternion"]
    off = np.abs(np.linalg.norm(quat_wxyz, axis=1) - 1)
    if off.max() > _UNIT_LENGTH:
        raise ValueError(f"the quaternion of pose {int(off.argmax()) + 1} has not the length 1")
    return Rotation.from_quat(quat_wxyz[:, [1, 2, 3, 0]]).as_matrix()


def _together(found: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray | None:
    there = [name for name in names if name in found]
    if there and len(there) < len(names):
        raise ValueError(f"there are columns for {', '.join(there)}, but not for all of {', '.join(names)}")
    return np.stack([found[name] for name in names], -1) if there else None


def _joint_map(columns: Mapping[str, Sequence[str]], robot: Robot, hints: MapHints) -> JointMap:
    """The map of the columns that are joints, by their names and units."""
    names = list(columns)
    found = match_joints(names, robot.joint_names)
    missing = [joint for joint in robot.joint_names if joint not in found]
    if missing:
        raise ValueError(
            f"there is no column for the joints {', '.join(missing)} of robot {robot.name!r}, only "
            f"{', '.join(names)}: "
            "name the columns as the joints, give the robot of these poses (--robot), or lock what did not move "
            f"(--lock {missing[0]}=VALUE)"
        )
    kept = [names[found[joint]] for joint in robot.joint_names]
    values = np.stack([_numbers(name, columns[name]) for name in kept], -1)
    vector = Vector("file", tuple(kept), ("",) * len(kept), values)
    recording = Recording(vector, vector, np.ones(len(values), dtype=bool), 1.0)
    places = {joint: i for i, joint in enumerate(robot.joint_names)}
    units = infer_units(robot, recording, hints, {"file": places})
    made = []
    for name, joint in zip(kept, robot.joint_names, strict=True):
        unit, reason = units["file", joint]
        scale, offset = unit_scale(unit, joint, robot)
        made.append(Dimension(name, JOINT, joint, unit, 1, scale, offset, reason=reason))
    return JointMap(robot.joint_names, tuple(made), tuple(made))


def _joints(columns: Mapping[str, Sequence[str]], robot: Robot, joint_map: JointMap) -> np.ndarray:
    """Joint positions (n, dof) [rad or m]; refuses values that the arm cannot have."""
    if joint_map.joints != robot.joint_names:
        raise ValueError(
            f"the joint map is of the joints {', '.join(joint_map.joints)}, robot {robot.name!r} has "
            f"{', '.join(robot.joint_names)}: give the robot of this map"
        )
    entries = {one.joint: one for one in (joint_map.state or joint_map.action) if one.role == JOINT}
    missing = [one.name for one in entries.values() if one.name not in columns]
    if missing:
        raise ValueError(
            f"there is no column {', '.join(missing)}, which the joint map names: it has {', '.join(columns)}"
        )
    q = np.stack(
        [_numbers(entries[joint].name, columns[entries[joint].name]) for joint in robot.joint_names], -1
    )
    q = q * [entries[joint].factor for joint in robot.joint_names] + [
        entries[joint].shift for joint in robot.joint_names
    ]
    lower, upper = robot.lower.numpy(), robot.upper.numpy()
    excess = np.maximum(lower - q, q - upper).max(0)
    joint = int(excess.argmax())
    if excess[joint] > _BEYOND:
        one = entries[robot.joint_names[joint]]
        raise ValueError(
            f"{one.name!r} is taken as {one.unit} and reaches {excess[joint]:.3g} rad or m beyond the limits of joint "
            f"{one.joint!r}: give its true unit (--units {one.joint}=UNIT), or the robot of these poses"
        )
    return q
