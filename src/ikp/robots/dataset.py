"""The data set of a session: a LeRobotDataset v3.0, one file per episode, each of which appears whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikp.data import DatasetError, DatasetWriter
from ikp.data.layout import DEPLOYMENT, IKP_PATH, RECORDING
from ikp.data.metadata import read_description
from ikp.kinematics import Robot
from ikp.robots.session import Session
from ikp.tasks.registry import task_entry
from ikp.words import differences

MAKERS = {
    RECORDING: "demonstrations that `ikp record` made",
    DEPLOYMENT: "a policy's episodes (`ikp deploy`)",
}
"""Kinds of data sets, the key of each in meta/ikp.json, and their content in words."""
COMPARED = (*MAKERS, "robot", "dry_run", "collection")
"""Facts that all episodes of a data set share."""
SHOWN = 6
"""Differences that a message lists."""


def open_dataset(
    session: Session, root: Path | str, kind: str, *, task: str = "", facts: Mapping[str, Any] | None = None
) -> DatasetWriter:
    """Create the data set of a session, or continue it.

    Args:
        session: names and sizes come from it.
        root: the folder.
        kind: of `MAKERS`.
        task: description in words; by default the simulated task's name.
        facts: further facts that all episodes share.

    Raises:
        DatasetError: the folder holds other data, or data of another kind, task, robot or origin.
        OSError: it cannot be written.
    """
    station, robot, spec = session.station, session.station.robot, session.spec
    task = task or station.task or ""
    extra: dict[str, Any] = {
        kind: dict(facts or {}),
        "robot": robot.to_dict(),
        "dry_run": session.config.dry_run,
    }
    if station.task is not None:  # so that training and evaluation know the simulated task
        options = {**station.options, "observation": "pixels"}
        extra["collection"] = {"env_id": task_entry(station.task).env_id, "env_kwargs": options}
    if (Path(root) / IKP_PATH).exists():
        _check_continued(Path(root), kind, {"task": task, **json.loads(json.dumps(extra))})
    kinds = {"prismatic": "m"}
    joints = [kinds.get(kind, "rad") for kind in robot.joint_types]
    hand = [""] * (spec.action_dim - robot.dof)
    units = {"action": joints + hand, "observation.state": joints + hand}
    return DatasetWriter(root, spec, robot_type=robot.name, task=task, units=units, extra=extra)


def check_dataset(
    session: Session, root: Path | str, kind: str, *, task: str = "", facts: Mapping[str, Any] | None = None
) -> int:
    """Refuse a folder that `open_dataset` would refuse, before anything moves; arguments and errors are the same.

    Returns:
        The number of episodes in it.
    """
    if not Path(root).exists() or not any(Path(root).iterdir()):
        return 0
    with open_dataset(session, root, kind, task=task, facts=facts) as writer:
        return writer.episodes


def recorded_robot(root: Path | str) -> Robot | None:
    """The kinematic model with which a data set was recorded; None where it is unknown."""
    path = Path(root) / IKP_PATH
    stored = read_description(Path(root))["extra"].get("robot") if path.exists() else None
    if not isinstance(stored, dict) or "links" not in stored:
        return None
    try:
        return Robot.from_dict(stored)
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise DatasetError(f"{path}: its robot is damaged ({error}): restore it from a copy") from error


def _check_continued(root: Path, kind: str, given: Mapping[str, Any]) -> None:
    """Refuse to continue a data set with episodes of another kind or origin."""
    stored = read_description(root)
    extra = stored["extra"]
    if kind not in extra:
        held = next((what for name, what in MAKERS.items() if name in extra), "data from elsewhere")
        raise DatasetError(
            f"{root} cannot be continued: it holds {held}, and would get {MAKERS[kind]}. Use a new folder"
        )
    before = {"task": stored["task"], **{name: extra[name] for name in COMPARED if name in extra}}
    found = differences(before, dict(given))
    if found:
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        raise DatasetError(
            f"{root} cannot be continued: {'; '.join([*found[:SHOWN], *more])}. Use the same task and settings, or a "
            "new folder"
        )
