"""The controller in a process of its own, so that neither a slow policy nor its death disturbs the arm."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep

from ikp.robots.commands import Command, Stop, Telemetry, from_bytes, to_bytes
from ikp.robots.config import ControllerConfig
from ikp.robots.controller import ControlLoop
from ikp.robots.interfaces import Arm, RobotStopped
from ikp.robots.link import Blackboard, MotionHistory
from ikp.robots.priority import keep_from_pausing
from ikp.robots.shared import Flag
from ikp.robots.starting import start

STOP_LIMIT = 3.0
"""Time that the controller may take to stop the robot and end [s]."""
HUNG = 2.0
"""Age of the telemetry at which the controller counts as hung [s]; a busy machine can hold it up for a while."""
BREATH = 0.1
"""Least share of a period that the loop sleeps: at real-time priority it must not take all of a processor."""
COMMANDS = 32
"""Most commands that are taken in a period."""
LARGEST = getattr(select, "PIPE_BUF", 512) - 4
"""Bytes of a command: the system writes so many at once, so the controller never waits for the rest of one."""
WATCH = 0.01
"""Time between two looks at the session's process [s]."""
EXITING = 0x4
"""Flag of a process in /proc that has begun to end, PF_EXITING in Linux' sources."""
GONE = "the session ended without a word, so the robot was stopped; start it again"


STOPPING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
]
"""Signals that stop the arm: Ctrl-C, kill, a closed terminal, Ctrl-\\."""


class ControllerProcess:
    """A `ControllerLink` to a controller in a process of its own.

    The arm stops when this process sends `Stop`, ends or is killed, on Ctrl-C, SIGTERM and any error.

    Args:
        make_arm: makes the arm in the controller's process; it is sent there.
        dof: number of joints.
        config: settings.

    Raises:
        RobotStopped: the controller could not start; the message says why.
    """

    def __init__(self, make_arm: Callable[[], Arm], dof: int, config: ControllerConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self._board = Blackboard(dof, context)
        receiver, self._sender = context.Pipe(duplex=False)
        ready = Flag(context)
        arguments = (make_arm, config, receiver, self._board, ready)
        self._process = context.Process(target=_run, args=arguments, daemon=True, name="ikp-controller")
        try:
            start(self._process, ready, "the controller")
        except RuntimeError as error:
            raise RobotStopped(self._board.read()[1] or str(error)) from error
        receiver.close()  # so that the controller's end is the only one, and its death is seen

    @property
    def process_id(self) -> int | None:
        """The controller's process."""
        return self._process.pid

    def now(self) -> float:
        """The time of all processes of this machine."""
        return monotonic()

    def sleep_until(self, time: float) -> None:
        """Wait."""
        sleep(max(time - monotonic(), 0.0))

    def send(self, command: Command) -> None:
        """Send a command.

        Raises:
            ValueError: it has too many way-points.
            RobotStopped: the controller has ended.
        """
        data = to_bytes(command)
        if len(data) > LARGEST:
            raise ValueError(
                f"a command has {len(data)} bytes, allowed are {LARGEST}: send fewer way-points at once"
            )
        try:
            self._sender.send_bytes(data)
        except (BrokenPipeError, ConnectionResetError):
            self.telemetry()
            raise RobotStopped("the controller has ended") from None

    def telemetry(self) -> Telemetry:
        """The newest state."""
        telemetry, message = self._board.read()
        if message:
            raise RobotStopped(message)
        if not self._process.is_alive():
            raise RobotStopped(
                f"the controller's process has died ({self._death()}), and the arm's own watchdog stops it: look at "
                "the arm, check its cable, and start again"
            )
        age = monotonic() - telemetry.time
        if age > HUNG:
            raise RobotStopped(
                f"the controller has done nothing for {age:.1f} s, since its connection to the arm hangs or the "
                "machine is too busy: look at the arm and its cable, and start again"
            )
        return telemetry

    def _death(self) -> str:
        """How the controller's process has ended, such as by SIGSEGV, with which ur-rtde may meet a lost connection."""
        code = self._process.exitcode or 0
        return f"status {code}" if code >= 0 else signal.Signals(-code).name

    def motion(self) -> MotionHistory:
        """The last seconds."""
        return self._board.motion()

    def close(self) -> None:
        """Stop the robot and end the controller."""
        with contextlib.suppress(OSError):
            self._sender.send_bytes(to_bytes(Stop("the session has ended")))
        self._process.join(STOP_LIMIT)
        for end in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                end()
                self._process.join(STOP_LIMIT)


def _run(
    make_arm: Callable[[], Arm],
    config: ControllerConfig,
    receiver: Connection,
    board: Blackboard,
    ready: Flag,
) -> None:
    """Body of the process."""
    reason = _Reason()
    for number in STOPPING:
        signal.signal(number, reason.from_signal)
    arm = None
    try:
        keep_from_pausing(config.realtime)  # first, so that the driver's threads have the priority too
        arm = make_arm()
        arm.open()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loop = ControlLoop(arm, config, monotonic())
        for each in said:  # before the session asks for the first motion
            print(f"ikp: warning: {each.message}", file=sys.stderr, flush=True)
        board.publish(loop, monotonic())
        ready.set()
        _loop(loop, config.period, receiver, board, reason)
    except (RobotStopped, OSError, ValueError) as error:
        reason.text = str(error)
    except BaseException as error:  # whatever it is, the arm comes first
        reason.text = f"the controller failed ({type(error).__name__}: {error}): start again"
    finally:
        board.stopped(reason.text)  # at once, and first: a driver may wait for its arm's answer to a stop
        if arm is not None:
            try:
                arm.stop()
            except Exception as error:
                board.stopped(
                    f"{reason.text}; the arm could not be told to stop ({error}): press the emergency stop"
                )
            with contextlib.suppress(Exception):
                arm.close()
        if reason.text == GONE:  # nobody else is left to say it
            with contextlib.suppress(OSError, ValueError):
                print(f"\nikp: error: {GONE}", file=sys.stderr, flush=True)


def _loop(loop: ControlLoop, period: float, receiver: Connection, board: Blackboard, reason: _Reason) -> None:
    before = watched = monotonic()
    due, session = before + period, os.getppid()
    while not reason.text:
        sleep(max(due - monotonic(), BREATH * period))
        now = monotonic()
        if now - watched >= WATCH:
            watched = now
            if is_ending(session):
                raise RobotStopped(GONE)
        loop.tick(now, _received(receiver))
        board.publish(loop, now, now - before - period)
        before = now
        due = max(due + period, now)  # periods that were missed are not made up for


def is_ending(process_id: int) -> bool:
    """Whether a process has begun to end, as far as the system says so.

    Linux closes the pipes of a killed process after it has freed its memory, which takes a busy machine a while.
    """
    try:
        with Path(f"/proc/{process_id}/stat").open("rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return len(fields) > 6 and bool(int(fields[6]) & EXITING)


def _received(receiver: Connection) -> Iterator[Command]:
    """Commands that have arrived; the end of the session is one of them."""
    try:
        for _ in range(COMMANDS):
            if not receiver.poll(0):
                return
            yield from_bytes(receiver.recv_bytes())
    except (EOFError, OSError):
        yield Stop(GONE)


class _Reason:
    """Why the loop has to end; empty while it goes on."""

    def __init__(self) -> None:
        self.text = ""

    def from_signal(self, number: int, _: object) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self.text = self.text or f"stopped by {name}"
