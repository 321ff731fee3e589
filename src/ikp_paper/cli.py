"""The command `ikp-paper`: train, evaluate and report the tables and figures of the paper."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from ikp.cli import run_command
from ikp.cores import usable_cores
from ikp.recipes import RECIPES, recipe
from ikp_paper.queue.executor import Executor
from ikp_paper.run import Places, Run, plan
from ikp_paper.tables import FIGURES, TABLES, TARGETS, check_target

EXECUTORS = ("local", "ray")
RUNS_PER_GPU = 4


@dataclass(frozen=True)
class Reproduce:
    """Train and evaluate the runs of a table or figure of the paper, and write a report that opens offline.

    Every finished run is a small JSON file in RESULTS/reproduce/RECIPE. The command can be stopped at any moment: run
    again, it skips finished runs and continues interrupted ones. Several of these commands may share the folders.

    Targets: table1 and table2 (the paper's), figure4 and figure5 (its expert trajectories), state (insertion from
    object poses at equal steps and at equal time), two-elbows (a goal with two answers), sweeping (after 20 minutes
    of training), recipe (its choices one at a time), rates (learning rates at three budgets), budget (three numbers
    of steps), image (with the image plane), moved (with and without moved scenes), decision (energies alone or pooled
    with the regression), noise (on the measured joints), heads (link poses for regression, denoising and energies),
    time (equal time), ablations (of the kinematics), demonstrations (25 to 1000 of them).

    A run whose file is already in RESULTS, such as those of this repository, is not repeated: choose another folder
    with --results to train your own.

    For example:
      ikp-paper table2 --recipe quick --dry-run
      ikp-paper table2 --recipe quick --results my-results
      ikp-paper table2 --jobs 2 --only insertion
      ikp-paper state --seeds 1
      ikp-paper table1 --recipe paper --executor ray
      ikp-paper table2 --recipe quick --report-only

    Attributes:
        target: table or figure.
        recipe: recipe of all methods: quick (minutes a run on 2 cores), standard, or paper (a GPU).
        seeds: trainings of every cell, from seed 0 on; the recipe's number if not given.
        only: words; only runs whose name contains one of them.
        jobs: runs at a time; if not given, one for each core, or 4 for each GPU, as far as they fit into memory.
        executor: local processes, or a Ray cluster whose machines share the folders (needs ikp[ray]).
        results: folder of the finished runs' files; commit it.
        out: folder of demonstrations, checkpoints, logs and the report.
        episodes: unseen episodes of an evaluation; the recipe's number if not given.
        workers: processes that collect demonstrations; all cores if not given.
        dry_run: only list the runs with their progress and expected time, or the recordings of a figure.
        report_only: only rebuild the report from RESULTS.
    """

    target: Positional[Annotated[str, arg(metavar="{" + ",".join(TARGETS) + "}")]]
    recipe: Annotated[str, arg(metavar="{" + ",".join(RECIPES) + "}")] = "standard"
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
        """Run the command.

        Raises:
            ValueError: an unusable option, or results of other settings.
            RuntimeError: some runs failed; the others are finished.
        """
        self._check()
        failed: dict[str, str] = {}
        if self.target in TABLES:
            failed = self._table()
        elif not self.report_only:
            self._figure()
        if not self.dry_run:
            self._report()
        if failed:
            first = next(iter(failed))
            raise RuntimeError(
                f"{len(failed)} runs failed, the first one is {first}: {failed[first]}. The logs are in "
                f"{self.out / 'runs' / self.recipe}; the same command tries them again"
            )

    def _check(self) -> None:
        check_target(self.target)
        recipe(self.recipe)
        if self.dry_run and self.report_only:
            raise ValueError(
                "--dry-run writes nothing and --report-only writes the report: leave one of them out"
            )
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor is {self.executor!r}: choose one of {', '.join(EXECUTORS)}")
        for name in ("seeds", "jobs", "episodes", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")

    def _table(self) -> dict[str, str]:
        from ikp_paper.queue.runner import Runner, listing

        seeds = range(recipe(self.recipe).seeds if self.seeds is None else self.seeds)
        every = plan(TABLES[self.target], self.recipe, seeds, self.episodes)
        planned = [run for run in every if not self.only or any(word in run.name for word in self.only)]
        if not planned:
            raise ValueError(
                f"--only {' '.join(self.only)} is in no run's name: they are like {every[0].name}"
            )
        jobs = self.jobs or default_jobs(planned)
        if self.dry_run:
            print(listing(planned, self._places, jobs, self.workers or usable_cores()))
        if self.dry_run or self.report_only:
            return {}
        if jobs > 1 and any(run.train.minutes for run in planned):
            print("runs with a time budget share the machine here: --jobs 1 gives each all of it", flush=True)
        return Runner(planned, self._places, self._executor(jobs), self.workers).run()

    @property
    def _places(self) -> Places:
        return Places(self.results.absolute(), self.out.absolute())

    def _executor(self, jobs: int) -> Executor:
        from ikp_paper.queue.cluster import RayExecutor
        from ikp_paper.queue.local import LocalExecutor

        threads = max(1, usable_cores() // jobs)
        if self.executor == "ray":
            return RayExecutor(self._places, threads, RUNS_PER_GPU)
        return LocalExecutor(self._places, jobs, threads)

    def _figure(self) -> None:
        from ikp_paper.figures.trajectories import record_trajectories, trajectory_path

        for task in FIGURES[self.target][1]:
            path = trajectory_path(self.results, task)
            if self.dry_run:
                print(f"expert of {task}: {'recorded in' if path.exists() else 'will be recorded in'} {path}")
                continue
            print(f"recording the expert of {task}", flush=True)
            record_trajectories(task, self.results, self.out)

    def _report(self) -> None:
        from ikp_paper.report import write_reproduction
        from ikp_paper.rows import reproduction_tables

        if self.target in TABLES:
            print(reproduction_tables(self.results, self.recipe, [self.target]))
        print(f"report: {write_reproduction(self.out / 'report' / self.recipe, self.results, self.recipe)}")


def default_jobs(planned: Sequence[Run]) -> int:
    """Runs at a time: four for each GPU, otherwise one for each core, as far as this machine's memory allows."""
    import torch

    from ikp_paper.queue.estimates import fitting

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return min(RUNS_PER_GPU * gpus or usable_cores(), fitting(planned, memory))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0, 1 for an error, 2 for wrong arguments, 130 for Ctrl-C."""
    options = (tyro.conf.FlagCreatePairsOff,)
    return run_command(
        lambda: tyro.cli(Reproduce, prog="ikp-paper", args=arguments, config=options).run(),
        "ikp-paper",
        "run the same again to continue",
    )
