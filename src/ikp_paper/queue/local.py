"""Executor that runs processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess
from typing import Any

from ikp_paper.execute import ERROR
from ikp_paper.queue.executor import Outcome, execute_with_error_file
from ikp_paper.run import Places, Run

FINISHED, BUSY, FAILED = 0, 3, 1
"""Exit status of a process that executes a run."""
LOG = "log.txt"
PRELOADED = ("ikp_paper.queue.local", "torch._dynamo")
"""Modules that the fork server imports once for all processes; torch's optimisers import the second one."""


class LocalExecutor:
    """Runs at most `jobs` processes at a time, each with its share of the cores; they share a GPU.

    A process that dies does not disturb the others, and all end when their parent ends.

    Args:
        places: folders of the runs.
        jobs: processes at a time.
        threads: torch threads of each.
        start_method: of `multiprocessing`; `fork` starts faster but needs a parent without threads.
    """

    def __init__(self, places: Places, jobs: int, threads: int, start_method: str = "forkserver") -> None:
        self.places, self.jobs, self.threads = places, jobs, threads
        self._running: dict[str, tuple[Run, BaseProcess]] = {}
        self._context: Any = multiprocessing.get_context(start_method)
        self._context.set_forkserver_preload(list(PRELOADED))

    def has_room(self) -> bool:
        """Whether fewer than `jobs` processes run."""
        return len(self._running) < self.jobs

    def start(self, run: Run) -> None:
        """Start a process for a run; its output goes to the run's log."""
        arguments = (run, self.places, {"jobs": self.jobs, "threads": self.threads})
        process = self._context.Process(target=_in_process, args=arguments, name=run.name)
        process.start()
        self._running[run.name] = run, process

    def ended(self) -> list[Outcome]:
        """Outcomes of processes that ended since the last call."""
        outcomes = []
        for name, (run, process) in list(self._running.items()):
            if process.is_alive():
                continue
            del self._running[name]
            status = process.exitcode
            error = None if status in (FINISHED, BUSY) else self._error(run, status)
            outcomes.append(Outcome(name, busy=status == BUSY, error=error))
        return outcomes

    def _error(self, run: Run, status: int | None) -> str:
        path = self.places.work(run) / ERROR
        if status == FAILED and path.exists():
            return path.read_text().strip().splitlines()[-1]
        return f"its process ended with status {status}: killed, or out of memory"

    def stop(self) -> None:
        """Kill the processes."""
        for _, process in self._running.values():
            process.kill()
        for _, process in self._running.values():
            process.join()


def _in_process(run: Run, places: Places, share: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = places.work(run)
    work.mkdir(parents=True, exist_ok=True)
    with (work / LOG).open("a") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    sys.exit(FINISHED if execute_with_error_file(run, places, share) else BUSY)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(FAILED)
