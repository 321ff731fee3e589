"""Check a data set before a training: what is understood, what looks wrong, and the command that mends it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ikp.data.demonstrations import Demonstrations
from ikp.data.episodes import scan_files
from ikp.data.index import camera_features
from ikp.data.layout import DatasetError, parquet_files
from ikp.data.metadata import read_info
from ikp.data.parquet import read_table
from ikp.data.reader import load_dataset
from ikp.data.usage import usage
from ikp.joint_map import JointMap, MapHints
from ikp.joint_map.units import FASTEST
from ikp.kinematics import Robot

LARGEST_LAG = 10
"""Frames by which a measured state is compared with earlier actions."""
SHOWN = 5
"""Episodes that a message lists, and errors that a report does."""


@dataclass
class DataReport:
    """The findings of a check.

    Attributes:
        understood: lines that say what is used and what is left out.
        doubts: lines about what looks wrong; a training runs all the same.
        refused: lines about what stops a training, each with its fix.
        joint_map: the map that a training would use, where it is known.
    """

    understood: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    joint_map: JointMap | None = None

    def __str__(self) -> str:
        """All lines, those about faults last."""
        lines = [*self.understood, *(f"looks wrong: {line}" for line in self.doubts)]
        lines += [f"refused: {line}" for line in self.refused]
        return "\n".join([*lines, "" if self.refused else "a training can use these data"]).rstrip()


def check_dataset(
    root: str | Path,
    *,
    robot: Robot | None = None,
    joint_map: JointMap | str | Path | None = None,
    hints: MapHints | None = None,
) -> DataReport:
    """Check files, frames, names, units, limits, speeds and the lag of a data set; images are not decoded.

    Args:
        root: folder of the data set.
        robot: the robot of the data.
        joint_map, hints: as in `ikp.load_dataset`.
    """
    root, report = Path(root), DataReport()
    try:
        info = read_info(root)
        readable = _check_files(root, report)
        _check_times(root, float(info["fps"]), report)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = load_dataset(
                root,
                cameras=[],
                robot=robot,
                joint_map=joint_map,
                hints=hints,
                progress=False,
                episodes=readable,
            )
            cameras = {name: feature["shape"] for name, feature in camera_features(info, None).items()}
        report.understood = usage(root, loaded, cameras)
        report.joint_map = loaded.spec.joint_map
    except DatasetError as error:
        report.refused.append(str(error))
        return report
    if robot is not None:
        _check_motion(robot, loaded, report)
    return report


def _check_files(root: Path, report: DataReport) -> list[int] | None:
    """The episodes whose files and rows are whole where some are not; None where all are."""
    scan = scan_files(parquet_files(root / "data"))
    errors = [*scan.damage.values(), *scan.faults.values()]
    if not errors:
        return None
    if not scan.places:
        raise errors[0]
    whole = sorted(scan.places)
    lines = [str(error) for error in errors[:SHOWN]]
    more = f" (and {len(errors) - SHOWN} more files or episodes)" if len(errors) > SHOWN else ""
    lines[-1] += f"{more}; the other episodes are --episodes {_ranges(whole)}"
    report.refused += lines
    return whole


def _ranges(numbers: list[int]) -> str:
    """Numbers as the text that `--episodes` reads, such as 0-3,7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
    return text if "," in text or "-" in text else f"{text},"


def _check_times(root: Path, fps: float, report: DataReport) -> None:
    """Gaps in time."""
    wrong: list[int] = []
    columns = ["episode_index", "timestamp"]
    for path in parquet_files(root / "data"):
        try:
            table = read_table(path, columns)
        except DatasetError:
            continue
        if table.num_columns != len(columns):
            return
        index, time = (table.column(name).to_numpy() for name in columns)
        for episode in np.unique(index):
            steps = np.diff(np.sort(time[index == episode]).astype(float)) * fps
            if len(steps) and np.abs(steps - 1).max() > 0.5:
                wrong.append(int(episode))
    if wrong:
        report.doubts.append(
            f"episodes {wrong[:SHOWN]}: the time between two frames is not 1/{fps:g} s: frames were lost"
        )


def _check_motion(robot: Robot, data: Demonstrations, report: DataReport) -> None:
    """Limits, speeds, and the lag of the measured joints behind the actions."""
    joints = list(data.spec.joint_dims)
    if len(joints) != robot.dof or max(joints) >= data.spec.state_dim:
        report.refused.append(
            f"robot {robot.name!r} has {robot.dof} joints, the data have {len(joints)}: give the robot of these data"
        )
        return
    measured, action = data.state[:, joints].double().numpy(), data.action[:, joints].double().numpy()
    inside = (data.frame_index != 0).numpy()[1:]
    lower, upper, speed = robot.lower.numpy(), robot.upper.numpy(), robot.velocity.numpy()
    beyond = ((measured < lower) | (measured > upper)).mean(0)
    fastest = np.zeros(robot.dof)
    if inside.any():
        fastest = np.quantile(np.abs(np.diff(measured, axis=0))[inside], 0.99, axis=0) * data.spec.fps
    for number, joint in enumerate(robot.joint_names):
        low, high = measured[:, number].min(), measured[:, number].max()
        if beyond[number] > 0:
            report.doubts.append(
                f"joint {joint!r} is beyond its limits {lower[number]:.4g} to {upper[number]:.4g} in "
                f"{beyond[number]:.0%} of the frames ({low:.4g} to {high:.4g}): check zero and sign, --joint-map FILE"
            )
        if 0 < speed[number] * FASTEST < fastest[number]:
            report.doubts.append(
                f"joint {joint!r} moves at {fastest[number]:.3g} per second, its limit is {speed[number]:.3g}: check "
                "unit and frames per second"
            )
    _check_lag(measured, action, data, report.understood.append, report.doubts.append)


def _check_lag(
    measured: np.ndarray,
    action: np.ndarray,
    data: Demonstrations,
    understood: Callable[[str], None],
    doubt: Callable[[str], None],
) -> None:
    """Compare each action with the joints measured up to `LARGEST_LAG` frames later in its episode."""
    episode = data.episode_index.numpy()
    spread = float(measured.std(0).mean())
    errors = []
    for lag in range(min(LARGEST_LAG, len(measured) - 1) + 1):
        same = episode[: len(episode) - lag] == episode[lag:]
        if not same.any():
            break
        errors.append(float(np.abs(action[: len(action) - lag] - measured[lag:])[same].mean()))
    if not errors or spread < 1e-3:
        return
    lag, error = int(np.argmin(errors)), min(errors)
    if error > 0.5 * spread:
        doubt(
            f"actions lie {error:.3g} from the measured joints, whose spread is {spread:.3g}: check that they are "
            "targets of these joints, in this order and unit"
        )
    else:
        seconds = lag / data.spec.fps
        understood(f"understood: the measured joints follow the actions after {lag} frames ({seconds:.2g} s)")
