"""Check a data set before a training: what is understood, what looks wrong, and the command that mends it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ikp.data.demonstrations import Demonstrations
from ikp.data.doubts import FAR, doubts_of, motion_lag
from ikp.data.episodes import Scan, find_episodes, scan_files, video_places
from ikp.data.index import camera_features
from ikp.data.layout import DatasetError, parquet_files
from ikp.data.metadata import read_info
from ikp.data.parquet import numbers, read_table
from ikp.data.reader import load_dataset
from ikp.data.usage import usage
from ikp.joint_map import JointMap, MapHints, Recording, Vector
from ikp.joint_map.units import joint_channel
from ikp.kinematics import Robot
from ikp.policies.limits import JointLimits
from ikp.words import counted

TIMESTAMP = "timestamp"
ROBOTLESS = " without a robot (--method raw); give --robot to check its joints as well"
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
        knows_robot: whether a robot was given, with which the numbers were compared.
    """

    understood: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    joint_map: JointMap | None = None
    knows_robot: bool = True

    def __str__(self) -> str:
        """All lines, those about faults last."""
        lines = [*self.understood, *(f"looks wrong: {line}" for line in self.doubts)]
        lines += [f"refused: {line}" for line in self.refused]
        if not self.refused:
            lines.append("a training can use these data" + ("" if self.knows_robot else ROBOTLESS))
        return "\n".join(lines)


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
    root, report = Path(root), DataReport(knows_robot=robot is not None)
    try:
        scan = scan_files(parquet_files(root / "data"))
        info, readable = _check_files(root, scan, report)
        _check_times(scan, float(info["fps"]), report)
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
                scan=scan,
            )
            cameras = {name: feature["shape"] for name, feature in camera_features(info, None).items()}
        report.understood = usage(root, loaded, cameras, robot)
        report.joint_map = loaded.spec.joint_map
    except DatasetError as error:
        report.refused.append(str(error))
        return report
    if robot is not None:
        _check_motion(robot, loaded, report)
        report.doubts += doubts_of(info, robot, loaded)
    return report


def _check_files(root: Path, scan: Scan, report: DataReport) -> tuple[dict[str, Any], list[int] | None]:
    """The content of info.json, and the episodes whose files and rows are whole where some are not."""
    try:
        readable = _check_rows(root, scan, report)
        info = read_info(root)
        find_episodes(root, info, readable, scan)
        for key, feature in info["features"].items():
            if feature["dtype"] == "video":
                video_places(root, info, key)
    except DatasetError as error:
        read_info(root, counts=False)  # raises what no repair can mend
        raise DatasetError(f"{error}; or run `ikp data repair {root}`") from error
    return info, readable


def _check_rows(root: Path, scan: Scan, report: DataReport) -> list[int] | None:
    """The episodes whose files and rows are whole where some are not; None where all are."""
    errors = [*scan.damage.values(), *scan.faults.values()]
    if not errors:
        return None
    if not scan.places:
        raise errors[0]
    whole = sorted(scan.places)
    lines = [str(error) for error in errors[:SHOWN]]
    more = f" (and {len(errors) - SHOWN} more files or episodes)" if len(errors) > SHOWN else ""
    rest = f"`ikp data repair {root}` recovers the rows on disk; the other episodes are --episodes {_ranges(whole)}"
    lines[-1] += f"{more}; {rest}"
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


def _check_times(scan: Scan, fps: float, report: DataReport) -> None:
    """Gaps in time; without the column of times nothing is checked."""
    places = sorted(scan.places.values(), key=lambda place: (str(place.path), place.index))
    wrong: list[int] = []
    for path, episodes in groupby(places, lambda place: place.path):
        try:
            table = read_table(path, [TIMESTAMP])
            if not table.num_columns:
                return
            time = numbers(table.column(TIMESTAMP), 1, TIMESTAMP, path)[:, 0]
        except DatasetError as error:  # a training does not read the times
            report.doubts.append(str(error))
            continue
        for place in episodes:
            steps = np.diff(time[place.rows].astype(float)) * fps
            if len(steps) and not np.abs(steps - 1).max() <= 0.5:
                wrong.append(place.index)
    if wrong:
        report.doubts.append(
            f"episodes {sorted(wrong)[:SHOWN]}: the time between two frames is not 1/{fps:g} s: frames were lost"
        )


def _check_motion(robot: Robot, data: Demonstrations, report: DataReport) -> None:
    """Limits, speeds, and the lag of the measured joints behind the actions."""
    joints = list(data.spec.joint_dims)
    if len(joints) != robot.dof or max(joints) >= data.spec.state_dim:
        report.refused.append(
            f"robot {robot.name!r} has {robot.dof} joints, the data have {len(joints)}: give the robot of these data"
        )
        return
    action, state = (
        Vector(what, names, ("",) * len(names), values.numpy())
        for what, names, values in (
            ("action", data.spec.action_names, data.action),
            ("state", data.spec.state_names, data.state),
        )
    )
    try:  # as a training does
        fix = "Give the unit (--units deg) or the joints in the robot's order (--joints)"
        JointLimits(robot).check_measured(data.state[:, joints], "measured joints", fix)
    except ValueError as error:
        report.refused.append(
            f"{error}. A stored joint map counts before what would be found: replace it (`ikp data check FOLDER "
            "--units UNIT --store`, or --joint-map FILE --store)"
        )
        return
    recording = Recording(action, state, (data.frame_index == 0).numpy(), data.spec.fps)
    for joint, dim in zip(robot.joint_names, joints, strict=True):
        channel = joint_channel(robot, recording, state, joint, dim)
        if not channel.reaches(1):
            (lower, upper), measured = channel.limits, state.values[:, dim]
            share = ((measured < lower) | (measured > upper)).mean()
            index = robot.joint_index(joint)
            report.doubts.append(
                f"joint {joint!r} is beyond its limits {robot.lower[index]:.4g} to {robot.upper[index]:.4g} in "
                f"{share:.0%} of the frames ({channel.low:.4g} to {channel.high:.4g}): check zero and sign, "
                "--joint-map FILE"
            )
        if not channel.keeps_up(1):
            report.doubts.append(
                f"joint {joint!r} moves at {channel.fastest(1):.3g} per second, its limit is {channel.speed:.3g}: "
                "check unit and frames per second"
            )
    found = motion_lag(robot, data)
    if found is not None and found[1] <= FAR * found[2]:
        lag = found[0]
        report.understood.append(
            f"understood: the measured joints follow the actions after {counted(lag, 'frame')} "
            f"({lag / data.spec.fps:.2g} s)"
        )
