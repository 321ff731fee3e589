"""Executor that hands runs to a Ray cluster."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ikp_paper.queue.estimates import memory_of
from ikp_paper.queue.executor import Outcome, execute_with_error_file
from ikp_paper.run import Places, Run


class RayExecutor:
    """Hands all runs to Ray, which starts each where cores, memory (and a share of a GPU) are free.

    Results, demonstrations and checkpoints must be in folders that every machine of the cluster sees under the same
    path. The cluster is the one at RAY_ADDRESS; without that variable Ray starts one on this machine.

    Args:
        places: folders of the runs.
        threads: cores for each run; fewer if no machine has as many.
        runs_per_gpu: runs that share a GPU, if the cluster has GPUs.

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
        self._remote: Any = ray.remote(**options)(execute_with_error_file)
        self._references: dict[Any, str] = {}

    def has_room(self) -> bool:
        """Always true: Ray keeps the queue."""
        return True

    def start(self, run: Run) -> None:
        """Hand a run to the cluster."""
        task = self._remote.options(memory=int(min(memory_of(run), self._memory)))
        share = {"jobs": None, "threads": self._threads}
        self._references[task.remote(run, self.places, share)] = run.name

    def ended(self) -> list[Outcome]:
        """Outcomes of Ray tasks that ended since the last call."""
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
        """Cancel all runs."""
        for reference in self._references:
            self._ray.cancel(reference, force=True)


def _largest_share(machines: Sequence[Mapping[str, float]], threads: int) -> tuple[int, float]:
    """Cores and bytes of memory that a run can ask for: Ray never starts a task that fits no machine."""
    cores = max(1, min(threads, int(max((machine.get("CPU", 0) for machine in machines), default=0))))
    return cores, max((m.get("memory", 0) for m in machines if m.get("CPU", 0) >= cores), default=0)
