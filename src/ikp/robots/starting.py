"""The start of a process that others wait for."""

from __future__ import annotations

from multiprocessing.process import BaseProcess
from time import monotonic

from ikp.children import ONE_THREAD, starting_with
from ikp.robots.shared import Flag

LIMIT = 180.0
"""Time that a process may take to start [s]; it imports torch or MuJoCo."""
END_LIMIT = 3.0
"""Time that one that has not started may take to end [s]."""


def start(process: BaseProcess, ready: Flag, what: str) -> None:
    """Start a process, with one thread for linear algebra, and wait until it is ready.

    Args:
        process: one that has not been started.
        ready: what it sets then.
        what: its name, for the message.

    Raises:
        RuntimeError: it ended, or is not ready in time.
    """
    with starting_with(ONE_THREAD):
        process.start()
    try:
        _wait(process, ready, what)
    except BaseException:
        process.terminate()
        process.join(END_LIMIT)
        process.kill()
        raise


def _wait(process: BaseProcess, ready: Flag, what: str) -> None:
    limit = monotonic() + LIMIT
    while not ready.is_set():
        process.join(0.05)
        if not process.is_alive() and not ready.is_set():
            raise RuntimeError(f"{what} did not start: its process ended with the status {process.exitcode}")
        if monotonic() > limit:
            raise RuntimeError(f"{what} did not start within {LIMIT:.0f} s: is the machine too busy?")
