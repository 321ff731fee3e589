"""The world in a process of its own, in real time."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Mapping
from typing import Any

from ikp.robots.priority import keep_from_pausing
from ikp.robots.shared import Flag
from ikp.robots.starting import start
from ikp.robots.twin.world import World, WorldLink, make_task

BREATH = 2e-4
"""Pause after each step that leaves the processor to others [s]."""
BEHIND = 0.1
"""Delay after which the world gives up catching up with the clock [s]."""


class WorldProcess:
    """Starts the world and ends it; `link` is the way to it.

    Args:
        task: name or id of a task with one arm.
        options: arguments of its environment.
        seed: of the first scene.

    Raises:
        ValueError: the task has no twin.
        RuntimeError: the process did not start.
    """

    def __init__(self, task: str, options: Mapping[str, Any], seed: int = 0) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share OpenGL and threads
        self.link = WorldLink.of(make_task(task, options), context)
        self._ended, ready = Flag(context), Flag(context)
        arguments = (task, dict(options), seed, self.link, ready, self._ended)
        self._process = context.Process(target=_run, args=arguments, daemon=True, name="ikp-world")
        start(self._process, ready, f"the simulation of {task!r}")

    @property
    def process_id(self) -> int | None:
        """The world's process."""
        return self._process.pid

    def close(self) -> None:
        """End the world."""
        self._ended.set()
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()


def _run(task: str, options: dict, seed: int, link: WorldLink, ready: Flag, ended: Flag) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the terminal sends Ctrl-C to all processes; the parent decides
    world = World(task, options, seed, link=link)
    parent = multiprocessing.parent_process()
    keep_from_pausing()
    ready.set()
    next_step = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):
        while not ended.is_set() and (parent is None or parent.is_alive()):
            world.step()
            next_step += world.sim_dt
            now = time.monotonic()
            if next_step < now - BEHIND:
                next_step = now
            time.sleep(max(next_step - now, BREATH))
