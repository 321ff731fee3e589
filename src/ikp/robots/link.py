"""The way from a session to its controller: commands there, telemetry and a history of the motion back."""

from __future__ import annotations

from multiprocessing.context import BaseContext
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from ikp.robots.commands import ERROR_BIN, ERROR_BINS, Command, Status, Telemetry
from ikp.robots.controller import ControlLoop
from ikp.robots.shared import SharedNumbers, SharedTable

HISTORY = 1024
"""Periods whose motion is kept, 4 s at 250 Hz."""
MESSAGE = 600
"""Bytes of the message about a stop."""


@runtime_checkable
class ControllerLink(Protocol):
    """A running controller, in a process of its own or in lock-step with a simulation."""

    def now(self) -> float:
        """The controller's time [s]."""
        ...

    def sleep_until(self, time: float) -> None:
        """Wait until a time [s]; returns at once where it has passed."""
        ...

    def send(self, command: Command) -> None:
        """Send a command. Raises RobotStopped where the controller has ended."""
        ...

    def telemetry(self) -> Telemetry:
        """The newest state. Raises RobotStopped, with the reason, where the controller has stopped the robot."""
        ...

    def motion(self) -> MotionHistory:
        """Joints measured and commanded in the last seconds."""
        ...

    def close(self) -> None:
        """Stop the robot and end the controller."""
        ...


class MotionHistory:
    """Measured and commanded joints of the last periods.

    Args:
        rows: (n, 1 + 2 dof) time [s], measured joints and commanded joints [rad], in order of time.
    """

    def __init__(self, rows: Float[np.ndarray, "n columns"]) -> None:
        self._rows, self._dof = rows, (rows.shape[1] - 1) // 2

    def __len__(self) -> int:
        return len(self._rows)

    def measured(self, time: float) -> Float[np.ndarray, "dof"]:
        """Measured joints at a time, between two periods in a straight line."""
        return self._at(time, slice(1, 1 + self._dof))

    def commanded(self, time: float) -> Float[np.ndarray, "dof"]:
        """Joints that were commanded at a time."""
        return self._at(time, slice(1 + self._dof, None))

    def _at(self, time: float, columns: slice) -> np.ndarray:
        times = self._rows[:, 0]
        after = int(np.clip(np.searchsorted(times, time), 1, max(len(times) - 1, 1)))
        if len(times) < 2:
            return self._rows[-1, columns].copy()
        before = after - 1
        share = np.clip((time - times[before]) / (times[after] - times[before]), 0.0, 1.0)
        return (1 - share) * self._rows[before, columns] + share * self._rows[after, columns]


class Blackboard:
    """Publishes the state of a control loop, for this process or for others.

    Args:
        dof: number of joints.
        context: of `multiprocessing`; None for this process only.
    """

    def __init__(self, dof: int, context: BaseContext | None) -> None:
        counts = dict.fromkeys(("time", "status", "ticks", "late", "clipped", "stale", "lag", "silence"), 1)
        vectors = dict.fromkeys(("q", "qd", "q_command"), dof)
        self._numbers = SharedNumbers(
            context, {**counts, **vectors, "errors": ERROR_BINS, "message": MESSAGE}
        )
        self._history = SharedTable(context, HISTORY, 1 + 2 * dof)
        self._errors = np.zeros(ERROR_BINS)
        self._message = np.zeros(MESSAGE)

    def publish(self, loop: ControlLoop, now: float, period_error: float | None = None) -> None:
        """Write the state of a loop after a period, and by how much the period's length was wrong [s]."""
        if period_error is not None:
            self._errors[min(int(abs(period_error) / ERROR_BIN), ERROR_BINS - 1)] += 1
        self._history.add(np.concatenate([[now], loop.state.q, loop.q]))
        self._numbers.write(
            time=now,
            status=loop.status,
            ticks=loop.ticks,
            late=loop.late,
            clipped=loop.clipped,
            stale=loop.stale,
            lag=loop.lag.seconds,
            silence=loop.silence.longest,
            q=loop.state.q,
            qd=loop.state.qd,
            q_command=loop.q,
            errors=self._errors,
        )

    def stopped(self, message: str) -> None:
        """Say that the robot has been stopped, and why."""
        text = np.frombuffer(message.encode()[:MESSAGE], dtype=np.uint8)
        self._message[:] = 0
        self._message[: len(text)] = text
        self._numbers.write(status=Status.STOPPED, message=self._message)

    def read(self) -> tuple[Telemetry, str]:
        """The telemetry, and the message of a stop."""
        values = self._numbers.read()
        single = {name: value[0] for name, value in values.items() if len(value) == 1}
        telemetry = Telemetry(
            time=float(single["time"]),
            status=Status(int(single["status"])),
            q=values["q"],
            qd=values["qd"],
            q_command=values["q_command"],
            ticks=int(single["ticks"]),
            late=int(single["late"]),
            clipped=int(single["clipped"]),
            stale=int(single["stale"]),
            lag=float(single["lag"]),
            silence=float(single["silence"]),
            period_errors=values["errors"],
        )
        text = values["message"].astype(np.uint8).tobytes().rstrip(b"\0")
        return telemetry, text.decode(errors="replace")

    def motion(self) -> MotionHistory:
        """The history, oldest first."""
        return MotionHistory(self._history.read())
