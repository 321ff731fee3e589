"""Where runs are executed: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, runtime_checkable

from ikp_paper.estimates import memory_of
from ikp_paper.execute import ERROR, execute
from ikp_paper.run import Places, Run

FINISHED, BUSY, FAILED = 0, 3, 1
"""Exit status of a process that executes a run."""
LOG = "log.txt"
PRELOADED = ("ikp_paper.executors", "torch._dynamo")
"""Imported once, by the server that processes are forked from; the second one is what torch's optimisers import."""


@dataclass(frozen=True)
class Outcome:
    """How the execution of a run ended: finished, or `busy` elsewhere, or with an error's last line."""

    name: str
    busy: bool = False
    error: str | None = None


@runtime_checkable
class Executor(Protocol):
    """Starts runs and says which of them ended; a run's name stands for it."""

    def has_room(self) -> bool:
        """Whether another run can be started now."""
        ...

    def start(self, run: Run) -> None:
        """Start a run and return at once."""
        ...

    def ended(self) -> list[Outcome]:
        """What ended since the last call; does not wait."""
        ...

    def stop(self) -> None:
        """End all that runs; it continues from its checkpoints another time."""
        ...


class LocalExecutor:
    """At most `jobs` processes at a time, each with its share of the cores; on a GPU they share it.

    A process that dies does not disturb the others, and none outlives its parent.

    Args:
        places: where runs live.
        jobs: processes at a time.
        threads: torch threads of each.
        start_method: of `multiprocessing`; `fork` starts faster, from a parent without threads alone.
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
        """Start a process for a run; what it prints goes to the run's log."""
        arguments = (run, self.places, {"jobs": self.jobs, "threads": self.threads})
        process = self._context.Process(target=_in_process, args=arguments, name=run.name)
        process.start()
        self._running[run.name] = run, process

    def ended(self) -> list[Outcome]:
        """Outcomes of the processes that ended."""
        outcomes = []
        for name, (_, process) in list(self._running.items()):
            if process.is_alive():
                continue
            run, _ = self._running.pop(name)
            status = process.exitcode
            error = None if status in (FINISHED, BUSY) else self._error(run, status)
            outcomes.append(Outcome(name, busy=status == BUSY, error=error))
        return outcomes

    def _error(self, run: Run, status: int | None) -> str:
        path = self.places.work(run) / ERROR
        if status == FAILED and path.exists():
            return path.read_text().strip().splitlines()[-1]
        return f"its process was ended (status {status}): killed, or out of memory"

    def stop(self) -> None:
        """Kill the processes."""
        for _, process in self._running.values():
            process.kill()
        for _, process in self._running.values():
            process.join()


def _in_process(run: Run, places: Places, share: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = places.work(run)
    work.mkdir(parents=True, exist_ok=True)
    with (work / LOG).open("a") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    sys.exit(FINISHED if _with_error_file(run, places, share) else BUSY)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(FAILED)


def _with_error_file(run: Run, places: Places, share: dict[str, Any]) -> bool:
    """Execute a run with its share of the threads; an error is also left as a file beside the run."""
    import torch

    torch.set_num_threads(share["threads"])
    path = places.work(run) / ERROR
    path.unlink(missing_ok=True)
    try:
        return execute(run, places, share)
    except Exception:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
        raise


class RayExecutor:
    """All runs are handed to a Ray cluster, which starts each where cores, memory (and a share of a GPU) are free.

    Results, demonstrations and checkpoints must lie in folders that every machine of the cluster sees under the
    same path. The cluster is the one at RAY_ADDRESS; without one, Ray is started on this machine.

    Args:
        places: where runs live.
        threads: cores for each run, fewer where no machine has as many.
        runs_per_gpu: how many share a GPU, where the cluster has some.

    Raises:
        ValueError: Ray is not installed.
    """

    def __init__(self, places: Places, threads: int, runs_per_gpu: int = 4) -> None:
        try:
            ray = importlib.import_module("ray")
        except ImportError:
            raise ValueError(
                "--executor ray needs Ray: pip install 'ikp[ray]', or use --executor local"
            ) from None
        self._ray, self.places = ray, places
        if not ray.is_initialized():
            ray.init(log_to_driver=False)
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._threads, self._memory = _largest_share(machines, threads)
        gpu = 1 / runs_per_gpu if ray.cluster_resources().get("GPU", 0) else 0
        options = {"num_cpus": self._threads, "num_gpus": gpu, "max_retries": 0}
        self._remote: Any = ray.remote(**options)(_with_error_file)
        self._references: dict[Any, str] = {}

    def has_room(self) -> bool:
        """Always: Ray keeps the queue."""
        return True

    def start(self, run: Run) -> None:
        """Hand a run to the cluster."""
        task = self._remote.options(memory=int(min(memory_of(run), self._memory)))
        share = {"jobs": None, "threads": self._threads}
        self._references[task.remote(run, self.places, share)] = run.name

    def ended(self) -> list[Outcome]:
        """Outcomes of the tasks that ended."""
        if not self._references:
            return []
        ready, _ = self._ray.wait(list(self._references), num_returns=len(self._references), timeout=0)
        outcomes = []
        for reference in ready:
            name = self._references.pop(reference)
            try:
                outcomes.append(Outcome(name, busy=not self._ray.get(reference)))
            except self._ray.exceptions.RayError as error:
                outcomes.append(Outcome(name, error=str(error).strip().splitlines()[-1]))
        return outcomes

    def stop(self) -> None:
        """Cancel all that runs."""
        for reference in self._references:
            self._ray.cancel(reference, force=True)


def _largest_share(machines: Sequence[Mapping[str, float]], threads: int) -> tuple[int, float]:
    """Cores, and bytes of memory, that a run can ask for: Ray lets a task wait for ever that fits no machine."""
    cores = max(1, min(threads, int(max((machine.get("CPU", 0) for machine in machines), default=0))))
    return cores, max((m.get("memory", 0) for m in machines if m.get("CPU", 0) >= cores), default=0)
