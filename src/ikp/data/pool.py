"""Demonstrations of several arms of one model as one set of demonstrations, in the joints of the robot's model.

The arms may differ in their zeros, signs, units and names: each comes with its own joint map, and behind these maps all
mean the same joints. What the maps do not convert has to agree.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ikp.data.demonstrations import Demonstrations
from ikp.data.joint_maps import stored_joint_map
from ikp.data.layout import DatasetError, parquet_files
from ikp.data.metadata import read_info
from ikp.data.reader import MEMORY_SHARE
from ikp.joint_map import JointMap
from ikp.joint_map.dimension import EXTRA, GRIPPER, JOINT
from ikp.kinematics import Robot
from ikp.memory import free_memory
from ikp.spec import DataSpec

MAPS = "give each dimension the same name and role in all joint maps (`ikp data check FOLDER --robot ARM --save FILE`)"


def pooled(arms: Mapping[str, Demonstrations], robot: Robot | None = None) -> Demonstrations:
    """Join the demonstrations of several arms.

    Args:
        arms: demonstrations by the name of their arm, each loaded with the joint map of that arm.
        robot: the model of all arms; gives demonstrations without a joint map the one that changes nothing.

    Returns:
        The episodes of one arm after those of the other, with a copy of the images in memory. Its specification has the
        joint map of the first arm, and the models of those cameras that are the same in all. A single arm is returned
        as it is.

    Raises:
        DatasetError: the arms differ in more than their joint maps, or the images do not fit into memory together.
    """
    if len(arms) == 1:
        return next(iter(arms.values()))
    parts = {name: _with_map(part, robot) for name, part in arms.items()}
    (first_name, first), *others = parts.items()
    for name, part in others:
        _check_same(first_name, first.spec, name, part.spec)
        _compare_grippers(first_name, first.spec, name, part.spec)
    every = list(parts.values())
    cameras = {
        name: camera
        for name, camera in first.spec.cameras.items()
        if all(part.spec.cameras.get(name) == camera for part in every)
    }
    _check_memory(every)
    return Demonstrations(
        spec=replace(first.spec, cameras=cameras),
        state=torch.cat([part.state for part in every]),
        action=torch.cat([part.action for part in every]),
        environment_state=torch.cat([part.environment_state for part in every]),
        images={name: torch.cat([part.images[name] for part in every]) for name in first.images},
        episode_index=_distinct_episodes(every),
        frame_index=torch.cat([part.frame_index for part in every]),
        success=torch.cat([part.success for part in every]),
        info=tuple(info for part in every for info in part.info),
        arms=tuple(name for name, part in parts.items() for _ in range(part.episodes)),
        arm_maps={name: part.spec.joint_map for name, part in parts.items()},
    )


def names_of_arms(folders: Sequence[str | Path]) -> tuple[str, ...]:
    """A name for the arm of each folder: the folder's own, with a number where another one has it.

    Raises:
        ValueError: a folder is given twice.
    """
    names: list[str] = []
    paths = [Path(folder).resolve() for folder in folders]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise ValueError(f"the data folder {folders[number]} is given twice: give each folder once")
        name, copies = path.name, 1
        while name in names:
            copies += 1
            name = f"{path.name}-{copies}"
        names.append(name)
    return tuple(names)


def warn_of_folders(folders: Sequence[str | Path]) -> None:
    """Warn of a folder without a joint map beside others with one, and of folders that hold the same data files."""
    maps = {str(folder): stored_joint_map(read_info(Path(folder))) for folder in folders}
    for folder in (folder for folder, found in maps.items() if found is None and any(maps.values())):
        warnings.warn(
            f"{folder} stores no joint map, and other folders do: its arm counts as one with the model's own zeros. "
            f"`ikp data check {folder} --joint-map FILE --store` gives it its own, `ikp data check {folder} --store` "
            "says that these zeros are right (with --robot, if it names none)",
            stacklevel=2,
        )
    by_size: dict[int, list[tuple[str, Path]]] = {}
    for folder in maps:
        for path in parquet_files(Path(folder) / "data"):
            by_size.setdefault(path.stat().st_size, []).append((folder, path))
    owners: dict[str, str] = {}
    copies: dict[str, str] = {}
    for files in by_size.values():
        if len({folder for folder, _ in files}) < 2:
            continue  # no copy, and images make files large
        for folder, path in files:
            first = owners.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), folder)
            if first != folder:
                copies[folder] = first
    for folder, first in copies.items():
        warnings.warn(
            f"{folder} holds the same episodes as {first}, and counts as another arm: leave out the copy",
            stacklevel=2,
        )


def arms_table(demonstrations: Demonstrations, robot: Robot | None) -> str:
    """A table of pooled arms: episodes, and the offset that the joint map of each adds to its joints.

    Args:
        demonstrations: of several arms (`pooled`).
        robot: their model.
    """
    rows = [("arm", "episodes", "offsets of its joint map [deg or mm]")]
    for name, joint_map in demonstrations.arm_maps.items():
        offsets = "-" if joint_map is None or robot is None else _offsets(joint_map, robot)
        rows.append((name, str(list(demonstrations.arms).count(name)), offsets))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _offsets(joint_map: JointMap, robot: Robot) -> str:
    """The offsets of a map's joints, in the order of the robot."""
    offsets = {d.joint: d.offset for d in joint_map.action if d.role == JOINT}
    factors = [1e3 if kind == "prismatic" else math.degrees(1.0) for kind in robot.joint_types]
    named = zip(robot.joint_names, factors, strict=True)
    return ", ".join(f"{factor * offsets[joint]:.2f}" for joint, factor in named)


def _with_map(part: Demonstrations, robot: Robot | None) -> Demonstrations:
    if robot is None or part.spec.joint_map is not None:
        return part
    return part.mapped(part.spec.recorded_map(robot))


def _check_same(first_name: str, first: DataSpec, name: str, other: DataSpec) -> None:
    """Refuse an arm whose data differ from those of the first one in what no joint map converts."""

    def grippers(spec: DataSpec) -> list[str]:
        return [spec.action_names[dim] for dim in spec.discrete_dims]

    def units(spec: DataSpec) -> dict[str, str]:
        maps = spec.joint_map
        every = () if maps is None else (*maps.action, *maps.state)
        return {d.name: d.unit for d in every if d.role == EXTRA and d.unit}

    def roles(spec: DataSpec) -> dict[str, Any]:
        parts = ("joint_dims", "discrete_dims", "measured_discrete_dims", "extra_dims")
        return {part: getattr(spec, part) for part in parts}

    facts = (
        (first.fps, other.fps, "the frame rate", "record all arms at one rate, or leave one out"),
        (
            sorted(first.camera_names),
            sorted(other.camera_names),
            "the cameras",
            "choose those that all have (--cameras NAME ...), or rename them",
        ),
        (
            dict(first.image_shapes),
            dict(other.image_shapes),
            "images of the shapes",
            "resize them all (--image-size HEIGHTxWIDTH)",
        ),
        (
            grippers(first),
            grippers(other),
            "the grippers",
            "give them the same 'joint' in all joint maps, or leave one arm out",
        ),
        (list(first.action_names), list(other.action_names), "the action dimensions", MAPS),
        (list(first.state_names), list(other.state_names), "the state dimensions", MAPS),
        (
            list(first.environment_state_names),
            list(other.environment_state_names),
            "the environment state",
            "record the same one with all arms",
        ),
        (roles(first), roles(other), "the roles", MAPS),
        (units(first), units(other), "the units of extras", "record all arms in the same ones"),
    )
    for a, b, what, fix in facts:
        if a != b:
            raise DatasetError(f"{first_name} has {what} {a}, {name} has {b}: {fix}")


def _compare_grippers(first_name: str, first: DataSpec, name: str, other: DataSpec) -> None:
    """Warn of a gripper that closes towards larger numbers with one arm and towards smaller ones with the other."""
    closing = [
        {d.joint: d for d in spec.joint_map.action if d.role == GRIPPER} if spec.joint_map else {}
        for spec in (first, other)
    ]
    for gripper in closing[0].keys() & closing[1].keys():
        a, b = closing[0][gripper], closing[1][gripper]
        if (a.closed > a.open) != (b.closed > b.open):
            warnings.warn(
                f"gripper {gripper!r} opens at {a.open:g} and closes at {a.closed:g} in {first_name}, and opens at "
                f"{b.open:g} and closes at {b.closed:g} in {name}: if that is wrong, `ikp data check {name} --gripper "
                f"{b.name}={b.closed:g},{b.open:g} --store` (--gripper NAME=OPEN,CLOSED) corrects the second",
                stacklevel=3,
            )


def _check_memory(parts: Sequence[Demonstrations]) -> None:
    needed = sum(images.nbytes for part in parts for images in part.images.values())
    free = free_memory()
    if free is not None and needed > MEMORY_SHARE * free:
        raise DatasetError(
            f"the images of {len(parts)} arms take {needed / 1e9:.1f} GB together, and {free / 1e9:.1f} GB of memory "
            "are free: make them smaller (--image-size HEIGHTxWIDTH), or use fewer episodes (--episodes N)"
        )


def _distinct_episodes(parts: Sequence[Demonstrations]) -> Tensor:
    """Indices of the episodes, those of one arm behind those of the arms before it."""
    shifted, start = [], 0
    for part in parts:
        shifted.append(part.episode_index + start)
        start += int(part.episode_index.max()) + 1
    return torch.cat(shifted)
