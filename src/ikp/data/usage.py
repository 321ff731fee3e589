"""The parts of a data set that are used and those that are left out: one line each, for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ikp.data.demonstrations import Demonstrations
from ikp.data.index import all_cameras
from ikp.data.layout import (
    ACTION,
    DONE,
    ENVIRONMENT_STATE,
    INDEX_COLUMNS,
    REWARD,
    STATE,
    SUCCESS,
    TASKS_PATH,
    DatasetError,
    parquet_files,
)
from ikp.data.metadata import read_info
from ikp.data.parquet import open_data_file, read_table
from ikp.kinematics import Robot
from ikp.words import counted

KNOWN = {STATE, ENVIRONMENT_STATE, ACTION, REWARD, DONE, SUCCESS, *INDEX_COLUMNS}


def usage(
    root: str | Path,
    demonstrations: Demonstrations,
    cameras: Mapping[str, tuple[int, int, int]] | None = None,
    robot: Robot | None = None,
) -> list[str]:
    """Lines that say what of a data set is used and what is left out.

    Args:
        root: folder of the data set.
        demonstrations: what was loaded from it.
        cameras: shapes of the images that are used; those that were loaded if not given.
        robot: the robot that it was loaded for.

    Raises:
        DatasetError: info.json cannot be read.
    """
    root = Path(root)
    info, spec = read_info(root), demonstrations.spec
    every = all_cameras(info)
    cameras = spec.image_shapes if cameras is None else cameras
    used = [f"{name} {shape[1]} x {shape[0]}" for name, shape in cameras.items()]
    lines = [
        f"used: {counted(demonstrations.episodes, 'episode')}, {len(demonstrations)} frames at {spec.fps:g} per second"
    ]
    lines.append(f"used: cameras {', '.join(used)}" if used else "used: no cameras")
    if spec.joint_map is not None:
        lines += [
            "used: joints, as in this table",
            *(f"  {line}" for line in str(spec.joint_map).splitlines()),
        ]
    else:
        names = ", ".join(spec.action_names[dim] for dim in spec.joint_dims)
        what = (
            "joints, by name and in the robot's units"
            if robot is not None
            else "numbers as recorded, without a robot"
        )
        lines.append(f"used: {what}: {names}")
    lines += _left_out(info["features"], every, cameras)
    lines += _not_described(root, info["features"])
    tasks = _tasks(root)
    if len(tasks) > 1:
        lines.append(
            f"left out: which of {len(tasks)} tasks an episode has ({', '.join(tasks[:3])}, ...); all are mixed"
        )
    if SUCCESS in info["features"] and not bool(demonstrations.success.any()):
        lines.append(f"left out: {SUCCESS}, which marks no episode as solved; all are used")
    return lines


def _left_out(
    features: Mapping[str, Any], cameras: Mapping[str, Mapping[str, Any]], used: Collection[str]
) -> list[str]:
    lines = []
    for name, camera in cameras.items():
        if name not in used:
            lines.append(f"left out: camera {name} {camera['shape']} ({camera['key']})")
    keys = {camera["key"] for camera in cameras.values()}
    for key, feature in features.items():
        if key not in KNOWN | keys:
            lines.append(f"left out: {key} ({feature['dtype']} {feature.get('shape')})")
    return lines


def _not_described(root: Path, features: Mapping[str, Any]) -> list[str]:
    """Columns of the first data file that info.json does not know: a camera there would vanish without a word."""
    try:
        with open_data_file(parquet_files(root / "data")[0]) as file:
            columns = file.schema_arrow.names
    except (DatasetError, IndexError):
        return []
    return [
        f"left out: {name}, which info.json does not describe" for name in columns if name not in features
    ]


def _tasks(root: Path) -> list[str]:
    """Descriptions of the tasks; empty where they cannot be read."""
    try:
        table = read_table(root / TASKS_PATH)
    except DatasetError:
        return []
    texts = [name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)]
    return [str(task) for task in table.column(texts[0]).to_pylist()] if texts else []
