"""A process that simulates environments for another one; `ikp.rollouts.processes` starts it."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from typing import Any

from ikp.rollouts.environments import EnvironmentMaker, MakerDescription
from ikp.rollouts.simulation import LocalSimulation


def main() -> None:
    """Carry out commands from the standard input until it ends; each has one answer at the standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller too, who ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what an environment prints must not get between the answers
    worker = _Worker()
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answers.write(_answer(worker, name, arguments))
        answers.flush()


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


def _answer(worker: _Worker, name: str, arguments: tuple) -> bytes:
    """Whether a command succeeded, and its result or its error."""
    try:
        return pickle.dumps((True, getattr(worker, name)(*arguments)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        error.add_note(f"in a process that simulates:\n{traceback.format_exc()}")
        try:
            message = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
            pickle.loads(message)  # an exception with arguments of its own may be written and not read
            return message
        except Exception:
            return pickle.dumps((False, RuntimeError(traceback.format_exc())))
