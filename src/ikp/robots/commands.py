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
    period_errors: Float[np.ndarray, " bins"]

    def period_error(self, share: float = 0.99) -> float:
        """A quantile of the periods' errors [s], rounded up to a bin; 0 without periods."""
        counts = np.cumsum(self.period_errors)
        if counts[-1] == 0:
            return 0.0
        return float(np.searchsorted(counts, share * counts[-1]) + 1) * ERROR_BIN


ERROR_BIN, ERROR_BINS = 2e-5, 1000
"""Width [s] and number of the bins of period errors; the last one holds all larger ones."""
