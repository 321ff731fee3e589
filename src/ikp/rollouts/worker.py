"""A process that simulates environments for another one; `ikp.rollouts.processes` starts it."""

from __future__ import annotations

import os
import signal
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ikp.rollouts.environments import EnvironmentMaker, MakerDescription
from ikp.rollouts.simulation import LocalSimulation


def main(descriptor: int) -> None:
    """Carry out commands from the pipe with this descriptor until it ends; each has one answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller too, who ends this process
    os.dup2(2, 1)  # what an environment prints must not get between the lines of the caller
    pipe, worker = Connection(descriptor), _Worker()
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send_bytes(_answer(worker, name, arguments))


class _Worker:
    """The commands."""

    simulation: LocalSimulation

    def open(self, description: MakerDescription) -> None:
        self.simulation = LocalSimulation(EnvironmentMaker.described(description))

    def make(self, numbers: dict[int, None], filmed: list[int]) -> dict[int, None]:
        self.simulation.make(list(numbers), filmed)
        return numbers

    def reset(self, *arguments: Any) -> Any:
        return self.simulation.reset(*arguments)

    def step(self, *arguments: Any) -> Any:
        return self.simulation.step(*arguments)


def _answer(worker: _Worker, name: str, arguments: tuple) -> memoryview:
    """Whether a command succeeded, and its result or its error."""
    try:
        return ForkingPickler.dumps((True, getattr(worker, name)(*arguments)))
    except Exception as error:
        error.add_note(f"in a process that simulates:\n{traceback.format_exc()}")
        try:
            message = ForkingPickler.dumps((False, error))
            # an exception with arguments of its own may be written and not read
            ForkingPickler.loads(message)  # pyright: ignore[reportAttributeAccessIssue]
            return message
        except Exception:
            return ForkingPickler.dumps((False, RuntimeError(traceback.format_exc())))
