"""Environments that step in processes of their own, one process for each core.

The processes run `ikp.rollouts.worker` and are told what to do through a pipe. They do not run the
calling script again, so that it needs no `if __name__ == "__main__":`, and end when the caller does, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch

from ikp.children import DRAWS_ALONE, ONE_THREAD
from ikp.cores import usable_cores
from ikp.rollouts.environments import EnvironmentMaker
from ikp.rollouts.simulation import Simulation, Turn

Value = TypeVar("Value")

STEPS_THAT_PAY = 3000
"""Steps of an evaluation from which processes save more time than their start takes, a few seconds."""
_PROGRAM = "import sys; sys.path[:] = {path!r}; from ikp.rollouts.worker import main; main({descriptor})"


def processes_that_pay(maker: EnvironmentMaker, episodes: int) -> int:
    """Number of processes for an evaluation: one for each core that torch uses, or 1 where they would not pay."""
    if maker.description is None:
        return 1
    entry, kwargs = maker.description
    # a class may live in a script that only this process has, and arguments may be of any kind
    portable = isinstance(entry.environment, str) and _is_plain(kwargs)
    pays = portable and episodes * entry.frames >= STEPS_THAT_PAY
    return min(usable_cores(), torch.get_num_threads()) if pays else 1


def _is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, words and lists of them."""
    if isinstance(value, Mapping):
        return all(_is_plain(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, bool | int | float | str)


class ProcessSimulation(Simulation):
    """Environments in several processes, each with an equal share of them.

    Args:
        maker: of environments of a registered task.
        processes: number of processes.

    Raises:
        ValueError: it is no environment of a registered task, or it cannot be made.
        RuntimeError: a process ended; or another error of an environment, of its own class.
    """

    def __init__(self, maker: EnvironmentMaker, processes: int) -> None:
        if maker.description is None:
            raise ValueError(
                f"workers is {processes}: only environments of registered tasks (`ikp.tasks.register_task`) are "
                f"simulated in processes of their own, and {maker.name} is none; leave workers out"
            )
        self.width, self._maker = processes, maker
        self._processes: list[_Process] = []
        self._like: gym.Env | None = None
        try:
            for _ in range(processes):
                self._processes.append(_Process())
            for process in self._processes:
                process.ask("open", maker.description)
            self._like = maker.make()  # while the processes import what they need
            for process in self._processes:
                process.answer()
        except BaseException:
            self.close()
            raise

    def make(self, numbers: Sequence[int], filmed: Collection[int]) -> list[gym.Env]:
        self._share("make", dict.fromkeys(numbers), filmed)
        assert self._like is not None
        return [self._like] * len(numbers)

    def reset(self, seeds: Mapping[int, int], filmed: Collection[int]) -> dict[int, Turn]:
        return self._share("reset", seeds, filmed)

    def step(self, actions: Mapping[int, np.ndarray], filmed: Collection[int]) -> dict[int, Turn]:
        return self._share("step", actions, filmed)

    def _share(self, name: str, values: Mapping[int, Value], filmed: Collection[int]) -> dict[int, Any]:
        """Let each process do its part; the results are in the order of `values`."""
        asked = []
        for place, process in enumerate(self._processes):
            part = {number: value for number, value in values.items() if number % self.width == place}
            if part:
                process.ask(name, part, [number for number in part if number in filmed])
                asked.append(process)
        found: dict[int, Any] = {}
        for process in asked:
            found |= process.answer()
        return {number: found[number] for number in values}

    def close(self) -> None:
        for process in self._processes:
            process.end()
        if self._like is not None:
            self._maker.close(self._like)


class _Process:
    """A process that runs `ikp.rollouts.worker`."""

    def __init__(self) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        program = _PROGRAM.format(path=sys.path, descriptor=theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **ONE_THREAD, **DRAWS_ALONE},
        )
        theirs.close()  # so that the process sees the end of this one

    def ask(self, name: str, *arguments: Any) -> None:
        """Send a command; `answer` waits for what it gives."""
        try:
            self._pipe.send((name, arguments))
        except (BrokenPipeError, ConnectionResetError):
            raise self._dead() from None

    def answer(self) -> Any:
        """The result of the last command.

        Raises:
            RuntimeError: the process ended; or the error of the command, of its own class.
        """
        try:
            succeeded, value = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._dead() from None
        if not succeeded:
            raise value
        return value

    def _dead(self) -> RuntimeError:
        code = self._process.wait()
        return RuntimeError(
            f"a process that simulates ended with code {code} (killed, out of memory, or a crash of the simulation): "
            "evaluate with workers=1, which needs less memory, to see more"
        )

    def end(self) -> None:
        """End the process at once, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()
