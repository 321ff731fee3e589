"""Estimates of the time and memory of runs: from finished runs of the same recipe, or a guess before there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ikp.tasks.registry import task_entry
from ikp_paper.execute import Standing, collected
from ikp_paper.run import Places, Run, data_sets


@dataclass(frozen=True)
class Cost:
    """Seconds on one core.

    Attributes:
        step: an optimiser step of the recipe quick, from pixels.
        episode: an episode of an evaluation; a policy that fails uses all steps.
        demonstration: a demonstration with images.
    """

    step: float
    episode: float
    demonstration: float


COSTS = {"insertion": Cost(0.1, 0.4, 0.1), "flipping": Cost(0.15, 1.5, 0.8)}
OTHER_COST = Cost(0.15, 3.5, 2.2)
IMAGE_BYTES = 96 * 96 * 3
"""Size of a frame as the tasks render it."""
BASE_MEMORY = 1.5e9
"""Bytes of a run besides its demonstrations' images: torch, the training, the environments of the evaluation."""


@dataclass(frozen=True)
class Expected:
    """Expected seconds of a run's training and evaluation."""

    training: float
    evaluation: float

    @property
    def total(self) -> float:
        """Both."""
        return self.training + self.evaluation

    def done(self, standing: Standing) -> float:
        """Expected seconds of the part that is done."""
        return self.total if standing.finished else self.training * standing.trained


def expected(run: Run, records: Sequence[Mapping[str, Any]]) -> Expected:
    """Expected time of a run: the mean over finished runs of its task and budget, of its method if there are any.

    Args:
        run: any run.
        records: finished runs of the same recipe, from this machine or another one.
    """
    alike = [
        record
        for record in records
        if record["run"]["task"] == run.setting.task
        and record["settings"]["train"]["steps"] == run.train.steps
        and record["settings"]["task"]["env_kwargs"].get("observation") == run.setting.observation
    ]
    chosen = [record for record in alike if record["settings"]["method"] == run.method] or alike
    if chosen:
        training, evaluation = (
            sum(record[part]["seconds"] for record in chosen) / len(chosen)
            for part in ("training", "evaluation")
        )
        return Expected(training, evaluation)
    cost = COSTS.get(run.setting.task, OTHER_COST)
    training = run.train.steps * cost.step
    if run.train.minutes is not None:
        training = min(training, 60 * run.train.minutes)
    return Expected(training, run.episodes * cost.episode)


def collecting(pending: Sequence[Run], places: Places, workers: int) -> float:
    """Seconds in which that many processes collect the demonstrations that runs need and that do not exist yet."""
    seconds = 0.0
    for run in data_sets(pending).values():
        missing = max(0, run.demonstrations - collected(run, places))
        each = COSTS.get(run.setting.task, OTHER_COST).demonstration
        seconds += missing * each / min(workers, max(1, missing))
    return seconds


def memory_of(run: Run) -> float:
    """Approximate peak memory of a run in bytes.

    All images stay in memory from loading to the end of the training. Loading needs no more: the array is allocated
    once at its full size, and images are decoded into it (`ikp.data.load_dataset`). A training takes its batches from
    it, and the evaluation begins after it is freed.
    """
    frames = run.demonstrations * task_entry(run.setting.task).frames
    return BASE_MEMORY + (frames * IMAGE_BYTES if run.setting.observation == "pixels" else 0)


def fitting(planned: Sequence[Run], memory: float) -> int:
    """Number of runs that fit into so many bytes at the same time, in any combination; at least 1."""
    largest = sorted((memory_of(run) for run in planned), reverse=True)
    return max(1, sum(total <= memory for total in accumulate(largest)))


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
