"""The data set of a session: a LeRobotDataset v3.0, one file per episode, each of which appears whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikp.data import DatasetWriter
from ikp.robots.session import Session
from ikp.tasks.registry import task_entry


def check_dataset(session: Session, root: Path | str) -> None:
    """Refuse a folder that `open_dataset` would refuse, before anything moves.

    Raises:
        DatasetError, OSError: as `open_dataset`.
    """
    if Path(root).exists() and any(Path(root).iterdir()):
        open_dataset(session, root, "", {}).close()


def open_dataset(session: Session, root: Path | str, task: str, extra: Mapping[str, Any]) -> DatasetWriter:
    """Create the data set of a session, or continue it.

    Args:
        session: names and sizes come from it.
        root: the folder.
        task: description in words.
        extra: further facts, kept when the data set is created.

    Raises:
        DatasetError: the folder holds other data.
        OSError: it cannot be written.
    """
    station, robot, spec = session.station, session.station.robot, session.spec
    facts: dict[str, Any] = {
        "robot": {
            "name": robot.name,
            "joint_names": list(robot.joint_names),
            "tip_names": list(robot.tip_names),
        },
        "controller": session.config.to_json(),
        "lag": session.lag,
        **extra,
    }
    if station.task is not None:  # so that training and evaluation know the simulated task
        options = {**station.options, "observation": "pixels"}
        facts["collection"] = {"env_id": task_entry(station.task).env_id, "env_kwargs": options}
    kinds = {"prismatic": "m"}
    joints = [kinds.get(kind, "rad") for kind in robot.joint_types]
    hand = [""] * (spec.action_dim - robot.dof)
    units = {"action": joints + hand, "observation.state": joints + hand}
    return DatasetWriter(root, spec, robot_type=robot.name, task=task, units=units, extra=facts)
