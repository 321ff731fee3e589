"""`ikp reproduce`: the paper's tables and figures by one command that can be stopped and run again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ikp.recipes import PRESETS, preset
from ikp_paper.matrix import FIGURES, TABLES, TARGETS, check_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ikp_paper.executors import Executor
    from ikp_paper.run import Places, Run

EXECUTORS = ("local", "ray")
RUNS_PER_GPU = 4


@dataclass(frozen=True)
class Reproduce:
    """Train and evaluate what a table or figure of the paper needs, and write a report that opens offline.

    Every finished run is a small JSON file in RESULTS/reproduce/PRESET; run again, the command skips those and
    continues what was interrupted, even by a kill. Several of these commands may work on the same folders.
    Targets: table1 and table2 (the paper's), figure4 and figure5 (its expert trajectories), state (insertion from
    object poses at equal steps and at equal time), sweeping (after 20 minutes of training), recipe (what each of its
    choices buys), rates (learning rates at three budgets), budget (three numbers of steps), image (what the image plane
    buys), moved (what moved scenes buy), time (equal time), ablations (of the kinematics), demonstrations (25 to 1000
    of them).

    A run whose file lies in RESULTS already, as those that come with the repository, is not made again: name another
    folder with --results to make your own.

    For example:
      ikp reproduce table2 --preset quick --dry-run
      ikp reproduce table2 --preset quick --results my-results
      ikp reproduce table2 --jobs 2 --only insertion
      ikp reproduce state --seeds 1
      ikp reproduce table1 --preset paper --executor ray
      ikp reproduce table2 --preset quick --report-only

    Attributes:
        target: what to reproduce.
        preset: the recipe of all methods: quick (minutes a run on 2 cores), standard, or paper (a GPU).
        seeds: trainings of every cell, from seed 0 on; the preset's if not given.
        only: words; only runs whose name contains one of them.
        jobs: runs at a time; if not given, one for each core, or 4 for each GPU, as far as they fit into memory.
        executor: local processes, or a Ray cluster whose machines share the folders (needs ikp[ray]).
        results: folder of the finished runs' files; commit it.
        out: folder of demonstrations, checkpoints, logs and the report.
        episodes: unseen episodes of an evaluation; the preset's if not given.
        workers: processes that collect demonstrations; all cores if not given.
        dry_run: only list the runs with their state and the time they are expected to take.
        report_only: only rebuild the report from RESULTS.
    """

    target: Positional[Annotated[str, arg(metavar="{" + ",".join(TARGETS) + "}")]]
    preset: Annotated[str, arg(metavar="{" + ",".join(PRESETS) + "}")] = "standard"
    seeds: int | None = None
    only: tuple[str, ...] = ()
    jobs: int | None = None
    executor: Annotated[str, arg(metavar="{" + ",".join(EXECUTORS) + "}")] = "local"
    results: Path = Path("results")
    out: Path = Path("outputs/reproduce")
    episodes: int | None = None
    workers: int | None = None
    dry_run: bool = False
    report_only: bool = False

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError: an unusable option, or results of other settings.
            RuntimeError: some runs failed; the others are finished.
        """
        self._check()
        failed: dict[str, str] = {}
        if self.target in TABLES:
            failed = self._table()
        elif not (self.dry_run or self.report_only):
            self._figure()
        if not self.dry_run:
            self._report()
        if failed:
            first = next(iter(failed))
            raise RuntimeError(
                f"{len(failed)} runs failed, the first one is {first}: {failed[first]}. The logs are in "
                f"{self.out / 'runs' / self.preset}; the same command tries them again"
            )

    def _check(self) -> None:
        check_target(self.target)
        preset(self.preset)
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor is {self.executor!r}: choose one of {', '.join(EXECUTORS)}")
        for name in ("seeds", "jobs", "episodes", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")

    def _table(self) -> dict[str, str]:
        from ikp_paper.queue import Runner, listing
        from ikp_paper.run import plan

        table = TABLES[self.target]
        seeds = range(preset(self.preset).seeds if self.seeds is None else self.seeds)
        every = plan(table, self.preset, seeds, self.episodes)
        planned = [run for run in every if not self.only or any(word in run.name for word in self.only)]
        if every and not planned:
            raise ValueError(
                f"--only {' '.join(self.only)} is in no run's name: they are like {every[0].name}"
            )
        jobs = self.jobs or default_jobs(planned)
        if self.dry_run:
            print(listing(planned, self._places, jobs, self.workers or usable_cores()))
        if self.dry_run or self.report_only or not planned:
            return {}
        if jobs > 1 and any(run.train.minutes for run in planned):
            print("runs with a time budget share the machine here: --jobs 1 gives each all of it", flush=True)
        return Runner(planned, self._places, self._executor(jobs), self.workers).run()

    @property
    def _places(self) -> Places:
        from ikp_paper.run import Places

        return Places(self.results.absolute(), self.out.absolute())

    def _executor(self, jobs: int) -> Executor:
        from ikp_paper.executors import LocalExecutor, RayExecutor

        threads = max(1, usable_cores() // jobs)
        if self.executor == "ray":
            return RayExecutor(self._places, threads, RUNS_PER_GPU)
        return LocalExecutor(self._places, jobs, threads)

    def _figure(self) -> None:
        from ikp_paper.trajectories import record_trajectories

        for task in FIGURES[self.target][1]:
            print(f"recording the expert of {task}", flush=True)
            record_trajectories(task, self.results, self.out)

    def _report(self) -> None:
        from ikp_paper.report import write_reproduction
        from ikp_paper.tables import reproduction_tables

        if self.target in TABLES:
            print(reproduction_tables(self.results, self.preset, [self.target]))
        print(f"report: {write_reproduction(self.out / 'report' / self.preset, self.results, self.preset)}")


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs(planned: Sequence[Run]) -> int:
    """Runs at a time: four for each GPU, otherwise one for each core, as far as this machine's memory allows."""
    import torch

    from ikp_paper.estimates import fitting

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return min(RUNS_PER_GPU * gpus or usable_cores(), fitting(planned, memory))
