"""The start of a process that others wait for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from time import monotonic

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
    with _one_thread():
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


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started here use one thread for linear algebra."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
