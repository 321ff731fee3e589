"""Ctrl-C and SIGTERM: a command ends in one line, whatever it is doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM; it ends a command as Ctrl-C does."""


@contextmanager
def imports_end_quietly(program: str) -> Iterator[None]:
    """Let both signals end the process with one line while modules are imported, where an exception would be reported
    by whatever is being imported.

    Args:
        program: its name, for the message.
    """

    def end(number: int, _: object) -> None:
        print(f"\n{program}: stopped", file=sys.stderr, flush=True)
        os._exit(128 + number)

    with _handled(end, *_ENDING):
        yield


@contextmanager
def sigterm_interrupts() -> Iterator[list[int]]:
    """Let SIGTERM raise `Terminated` while the block runs, so that it ends like Ctrl-C.

    Yields:
        The signals of this kind that arrived.
    """
    arrived: list[int] = []

    def interrupt(number: int, _: object) -> None:
        arrived.append(number)
        raise Terminated

    with _handled(interrupt, signal.SIGTERM):
        yield arrived


@contextmanager
def interrupts_wait() -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM wait until the block ends; a second one does not wait.

    Yields:
        The signals that arrived, which the block should look at often; they take effect after it.
    """
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}

    def note(number: int, frame: object) -> None:
        if waiting:
            previous = before[signal.Signals(number)]
            if callable(previous):
                previous(number, frame)  # type: ignore[arg-type]
                return
            os._exit(128 + number)
        waiting.append(number)

    with _handled(note, *(number for number in _ENDING if before[number] not in (signal.SIG_IGN, None))):
        yield waiting
    if waiting:
        signal.raise_signal(waiting[0])
        raise KeyboardInterrupt  # a handler of the caller's own may have returned


@contextmanager
def _handled(handler, *signals: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def reason_of(error: BaseException) -> str:
    """Why a command ends, for one line: the error's message, or the name of the signal."""
    if isinstance(error, KeyboardInterrupt) and not str(error):
        return f"stopped by {'SIGTERM' if isinstance(error, Terminated) else 'Ctrl-C'}"
    return str(error) or type(error).__name__
