"""Measurements from files of measured poses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ikp.calibration.plane import Plane
from ikp.calibration.sockets import SocketDistances, Sockets
from ikp.calibration.tables import SOCKET, PoseTable
from ikp.calibration.tip_poses import BASE, TOOL, TipPoses
from ikp.kinematics import Robot, forward_kinematics

_OTHER_UNIT = 50.0  # ratio of the arm's motion to the measured one from which their units must differ


@dataclass(frozen=True)
class Noise:
    """Standard deviations of measurements.

    Attributes:
        length: of a measured position or contact, per axis [m].
        angle: of a measured rotation, per axis [rad].
        joints: of a joint reading [rad or m].
    """

    length: float = 1e-4
    angle: float = 1e-3
    joints: float = 0.0


def tip_poses(
    table: PoseTable, robot: Robot, link: str, noise: Noise, unknown: Collection[str] = ()
) -> TipPoses:
    """Measured poses of a link.

    Args:
        table: poses with positions, and rotations where they were measured.
        robot: the nominal arm.
        link: the measured link.
        noise: of the measurement.
        unknown: `base` where the pose of the arm in the measured frame is unknown, `tool` where the measured frame is
            not that of the link.

    Raises:
        ValueError: positions are missing, or have another unit than they say.
    """
    if table.position is None:
        raise ValueError(
            f"{table.path} has no measured positions: add the columns x_mm, y_mm, z_mm (or x_m ...)"
        )
    T = forward_kinematics(robot, torch.from_numpy(table.q))[:, robot.link_index(link)].numpy()
    moved, measured = (float(np.ptp(p, axis=0).max()) for p in (T[:, :3, 3], table.position))
    if min(moved, measured) > 0 and not 1 / _OTHER_UNIT < moved / measured < _OTHER_UNIT:
        raise ValueError(
            f"{table.path}: the measured positions span {1000 * measured:.4g} mm while {link!r} moved by "
            f"{1000 * moved:.4g} mm: give their true unit (x_mm or x_m), and that of the joints"
        )
    return TipPoses(
        table.q,
        link,
        noise.joints,
        table.position,
        table.rotation,
        None if BASE in unknown else np.eye(4),
        None if TOOL in unknown else np.eye(4),
        noise.length,
        noise.angle,
    )


def sockets(
    table: PoseTable, link: str, noise: Noise, distances: Mapping[tuple[str, str], tuple[float, float]]
) -> tuple[Sockets, *tuple[SocketDistances, ...]]:
    """A ball in named sockets, with known distances and their standard deviations [m].

    Raises:
        ValueError: the sockets have no names, a distance names another one, or a name looks like a slip.
    """
    if table.labels is None:
        raise ValueError(
            f"{table.path} has no column {SOCKET!r}: name the socket that held the ball in each pose"
        )
    ball = Sockets(table.q, link, noise.joints, table.labels, None, noise.length)
    named = {label for pair in distances for label in pair}
    unknown = sorted(named - set(ball.places))
    if unknown:
        raise ValueError(
            f"--distance names {', '.join(unknown)}: {table.path} has the sockets {', '.join(ball.places)}"
        )
    _check_names(table, ball, named)
    if not distances:
        return (ball,)
    lengths = {pair: length for pair, (length, _) in distances.items()}
    return ball, SocketDistances(lengths, [noise_m for _, noise_m in distances.values()])


def _check_names(table: PoseTable, ball: Sockets, named: Collection[str]) -> None:
    """Refuse a socket that a slip of the pen made: one touch shows nothing, and a name differs by case or spaces."""
    spelt: dict[str, str] = {}
    for place in ball.places:
        other = spelt.setdefault("".join(place.lower().split()), place)
        if other != place:
            raise ValueError(
                f"{table.path} has the sockets {other!r} and {place!r}: spell one socket alike; its sockets, with "
                f"their touches, are {ball.touches}"
            )
        if (ball.labels == place).sum() == 1 and place not in named:
            raise ValueError(
                f"{table.path} has one touch of the socket {place!r}, which shows nothing: correct its name, or touch "
                f"it again; its sockets, with their touches, are {ball.touches}"
            )


def held_point(table: PoseTable, link: str, noise: Noise) -> Sockets:
    """One point of the tool, which stays where it is while the arm moves around it."""
    return Sockets(table.q, link, noise.joints, np.full(len(table.q), "point"), None, noise.length)


def plane(table: PoseTable, link: str, noise: Noise, unknown: Collection[str] = ()) -> Plane:
    """The tip touches a plane; with `tool` unknown, an unknown point of the tool does."""
    return Plane(
        table.q, link, noise.joints, None if TOOL in unknown else np.zeros(3), None, None, noise.length
    )
