"""What runs take: time, from the finished ones of the same recipe and before there are any a guess, and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ikp.tasks.registry import task_entry
from ikp_paper.execute import Standing, collected
from ikp_paper.run import Places, Run, data_sets

SECONDS_PER_STEP = {"insertion": 0.1}
OTHER_SECONDS_PER_STEP = 0.15
"""Of the preset quick from pixels, on one core; the other tasks have two arms."""
SECONDS_PER_EPISODE = {"insertion": 0.4, "flipping": 1.5}
OTHER_SECONDS_PER_EPISODE = 3.5
"""Of an evaluation, on one core; a policy that fails goes on to the step limit."""
SECONDS_PER_DEMONSTRATION = {"insertion": 0.1, "flipping": 0.8}
OTHER_SECONDS_PER_DEMONSTRATION = 2.2
"""On one core, with images."""
IMAGE_BYTES = 96 * 96 * 3
"""Of a frame as the tasks render it."""
BASE_MEMORY = 1.5e9
"""Bytes of a run beside its demonstrations' images: torch, the training, the environments of the evaluation."""


@dataclass(frozen=True)
class Expected:
    """Seconds that a run's training and its evaluation are expected to take."""

    training: float
    evaluation: float

    @property
    def total(self) -> float:
        """Both."""
        return self.training + self.evaluation

    def done(self, standing: Standing) -> float:
        """Of these, what is done."""
        return self.total if standing.finished else self.training * standing.trained


def expected(run: Run, records: Sequence[Mapping[str, Any]]) -> Expected:
    """What a run takes, as the mean over finished runs of its task and budget, of its method if there are such.

    Args:
        run: any run.
        records: finished runs of the same recipe, of this machine or another one.
    """
    observation = run.column.observation
    alike = [
        record
        for record in records
        if record["run"]["task"] == run.column.task
        and record["settings"]["train"]["steps"] == run.train.steps
        and record["settings"]["task"]["env_kwargs"].get("observation") == observation
    ]
    chosen = [record for record in alike if record["settings"]["method"] == run.method] or alike
    if chosen:
        training, evaluation = (
            sum(record[part]["seconds"] for record in chosen) / len(chosen)
            for part in ("training", "evaluation")
        )
        return Expected(training, evaluation)
    training = run.train.steps * SECONDS_PER_STEP.get(run.column.task, OTHER_SECONDS_PER_STEP)
    if run.train.minutes is not None:
        training = min(training, 60 * run.train.minutes)
    per_episode = SECONDS_PER_EPISODE.get(run.column.task, OTHER_SECONDS_PER_EPISODE)
    return Expected(training, run.episodes * per_episode)


def collecting(pending: Sequence[Run], places: Places, workers: int) -> float:
    """Seconds to collect the demonstrations that runs need and that are not there yet, with so many processes."""
    seconds = 0.0
    for run in data_sets(pending).values():
        missing = max(0, run.demonstrations - collected(run, places))
        each = SECONDS_PER_DEMONSTRATION.get(run.column.task, OTHER_SECONDS_PER_DEMONSTRATION)
        seconds += missing * each / min(workers, max(1, missing))
    return seconds


def memory_of(run: Run) -> float:
    """Bytes that a run holds at most, about.

    All images stay in memory from loading to the end of the training. Loading takes no more than that: the array is
    made once at its full size, and images are decoded straight into it, a few files' rows at a time
    (`ikp.data.load_dataset`). A training gathers its batches from it, and the evaluation begins after it is freed.
    """
    frames = run.demonstrations * task_entry(run.column.task).frames
    return BASE_MEMORY + (frames * IMAGE_BYTES if run.column.observation == "pixels" else 0)


def fitting(planned: Sequence[Run], memory: float) -> int:
    """How many of the runs fit into so many bytes at a time, whichever of them meet; at least 1."""
    largest = sorted((memory_of(run) for run in planned), reverse=True)
    return max(1, sum(total <= memory for total in accumulate(largest)))


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
