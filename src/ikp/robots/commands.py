"""Messages between a session and the controller: commands one way, telemetry the other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Waypoints:
    """Joints (n, dof) [rad] and the increasing times (n,) [s] at which the arm should be there."""

    times: Float[np.ndarray, " n"]
    q: Float[np.ndarray, "n dof"]


@dataclass(frozen=True)
class TipVelocity:
    """Move the tip: linear [m/s] and angular velocity [rad/s] (6,) in the base frame, until the command is stale."""

    velocity: Float[np.ndarray, "6"]
    time: float


@dataclass(frozen=True)
class JointVelocity:
    """Move the joints at speeds (dof,) [rad/s] until the command is stale."""

    velocity: Float[np.ndarray, "dof"]
    time: float


@dataclass(frozen=True)
class Confirm:
    """A person has agreed to the first motion; before that the arm does not move."""


@dataclass(frozen=True)
class SetLag:
    """Way-points are reached this much ahead [s], to make up for the time between command and motion."""

    lag: float


@dataclass(frozen=True)
class Stop:
    """Come to rest and end, for a reason."""

    reason: str


Command = Waypoints | TipVelocity | JointVelocity | Confirm | SetLag | Stop
KINDS = (Waypoints, TipVelocity, JointVelocity, Confirm, SetLag, Stop)


def to_bytes(command: Command) -> bytes:
    """A command as bytes: the index of its kind, then its numbers as float64, or the text of a reason."""
    kind = bytes([KINDS.index(type(command))])
    match command:
        case Stop(reason):
            return kind + reason.encode()
        case Waypoints(times, q):
            numbers = np.concatenate([[len(times), *np.atleast_2d(q).shape], times, q.ravel()])
        case TipVelocity(velocity, time) | JointVelocity(velocity, time):
            numbers = np.append(velocity, time)
        case SetLag(lag):
            numbers = np.array([lag])
        case Confirm():
            numbers = np.empty(0)
    return kind + numbers.astype(np.float64).tobytes()


def from_bytes(data: bytes) -> Command:
    """The command of `to_bytes`; such bytes hold numbers and text alone, nothing that could be run.

    Raises:
        ValueError: the bytes are of no command.
    """
    kind = KINDS[data[0]] if data and data[0] < len(KINDS) else None
    if kind is Stop:
        return Stop(data[1:].decode())
    if kind is None or len(data) % 8 != 1:
        raise ValueError(f"no command starts with {data[:8]!r} and has {len(data)} bytes")
    numbers = np.frombuffer(data[1:]).copy()
    if kind is Waypoints:
        count, *shape = numbers[:3].astype(int)
        return Waypoints(numbers[3 : 3 + count], numbers[3 + count :].reshape(shape))
    if kind is SetLag:
        return SetLag(float(numbers[0]))
    if kind is Confirm:
        return Confirm()
    velocity, time = numbers[:-1], float(numbers[-1])
    return TipVelocity(velocity, time) if kind is TipVelocity else JointVelocity(velocity, time)


class Status(IntEnum):
    """State of the controller."""

    WAITING = 0  # for the first motion to be confirmed
    RESTING = 1  # there is no command, or it is stale
    FOLLOWING = 2  # way-points
    TELEOPERATED = 3
    STOPPED = 4


@dataclass(frozen=True)
class Telemetry:
    """The newest state of the controller.

    Attributes:
        time: of the last period [s].
        status: what it does.
        q, qd: measured joints [rad] and speeds [rad/s].
        q_command: joints that were commanded last [rad].
        ticks: number of periods.
        late: way-points that came after their time.
        clipped: targets or periods in which a limit changed a motion.
        stale: times that way-points or teleoperation ended without a successor while the arm moved.
        lag: time between command and motion, estimated from recent motion [s]; 0 before there is any.
        silence: longest time without a new state of the arm [s].
        period_errors: counts of |period - wanted| in bins of `ERROR_BIN`.
    """

    time: float
    status: Status
    q: Float[np.ndarray, "dof"]
    qd: Float[np.ndarray, "dof"]
    q_command: Float[np.ndarray, "dof"]
    ticks: int
    late: int
    clipped: int
    stale: int
    lag: float
    silence: float
    period_errors: Float[np.ndarray, " bins"]

    def period_error(self, share: float = 0.99) -> float:
        """A quantile of the periods' errors [s], rounded up to a bin; 0 without periods."""
        counts = np.cumsum(self.period_errors)
        if counts[-1] == 0:
            return 0.0
        return float(np.searchsorted(counts, share * counts[-1]) + 1) * ERROR_BIN


ERROR_BIN, ERROR_BINS = 2e-5, 1000
"""Width [s] and number of the bins of period errors; the last one holds all larger ones."""
