"""The files of a calibration: the report beside the joint map, and the corrected URDF."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ikp.calibration.from_policy import PolicyCalibration
from ikp.calibration.result import Calibration
from ikp.files import read_json, replaced_atomically, write_json
from ikp.kinematics import Robot
from ikp.kinematics.urdf_writer import edited_urdf, urdf_text
from ikp.provenance import provenance

REPORT_SUFFIX = ".report.json"


def report_path(joint_map: Path) -> Path:
    """The report that belongs to a joint map: arm.report.json for arm.json."""
    return joint_map.with_name(f"{joint_map.stem}{REPORT_SUFFIX}")


def write_report(found: Calibration | PolicyCalibration, joint_map: Path) -> Path:
    """Write the report beside a joint map."""
    return write_json(report_path(joint_map), {**found.to_json(), "provenance": provenance()})


def calibrated_covariance(joint_map: Path, robot: Robot) -> np.ndarray | None:
    """Covariance (dof, dof) of the calibrated offsets, from the report beside a joint map; None without a report.

    Raises:
        ValueError: the report is damaged, of another robot, or of a calibration that the joint map does not hold.
    """
    path = report_path(joint_map)
    if not path.is_file():
        return None
    again = "write it again with ikp calibrate"
    report = read_json(
        path, fix=again, keys={"joints": list, "terms": list, "parameters": list, "covariance": list}
    )
    if report["joints"] != list(robot.joint_names):
        raise ValueError(
            f"{path} is of the joints {report['joints']}, robot {robot.name!r} has {list(robot.joint_names)}: give "
            "the robot of this calibration"
        )
    if not {"offset", "scale"}.issuperset(report["terms"]):
        raise ValueError(
            f"{path} estimates {', '.join(report['terms'])}, which the joint map does not hold in full: test the "
            "corrected URDF (--robot) with the map that it goes with"
        )
    try:
        places = {one["joint"]: i for i, one in enumerate(report["parameters"]) if one["name"] == "offset"}
        full = np.array(report["covariance"], dtype=float).reshape(2 * (len(report["parameters"]),))
        covariance = np.zeros((robot.dof, robot.dof))
        known = [(i, places[joint]) for i, joint in enumerate(robot.joint_names) if joint in places]
        rows, columns = zip(*known, strict=True) if known else ((), ())
        covariance[np.ix_(rows, rows)] = full[np.ix_(columns, columns)]
    except (TypeError, KeyError, ValueError) as damage:
        raise ValueError(f"{path} is damaged ({damage}): {again}") from None
    if not np.isfinite(covariance).all():
        raise ValueError(f"{path} is damaged (a covariance is not finite): {again}")
    return covariance


def write_urdf(robot: Robot, source: str, path: Path) -> Path:
    """Write a corrected robot as a URDF: the given file with other origins and limits, or, for other robots, its links
    and joints alone.

    Args:
        robot: the corrected robot.
        source: name or file of the nominal one.
        path: the file to write.

    Raises:
        ValueError: the source is a URDF that cannot be edited.
    """
    text = edited_urdf(Path(source), robot) if Path(source).suffix == ".urdf" else urdf_text(robot)
    with replaced_atomically(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
    return path
