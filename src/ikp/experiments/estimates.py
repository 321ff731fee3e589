"""How long runs take: from the finished ones of the same recipe, and before there are any, a guess."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ikp.experiments.planning import Run

GUESSED_SECONDS_PER_STEP = 0.1
GUESSED_EVALUATION = 60.0
"""Of the standard recipe on two cores, insertion from pixels [s]."""


def estimates(planned: Iterable[Run], records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each run, by name.

    Args:
        planned: runs.
        records: finished runs of the same recipe, of this machine or another one.
    """
    return {run.name: _estimate(run, records) for run in planned}


def _estimate(run: Run, records: Sequence[Mapping[str, Any]]) -> float:
    alike = [record for record in records if record["run"]["task"] == run.column.task]
    alike = [r for r in alike if r["settings"]["train"]["steps"] == run.train.steps]
    alike = [r for r in alike if _observation(r) == run.column.observation]
    same_method = [record for record in alike if record["settings"]["method"] == run.method]
    chosen = same_method or alike
    if chosen:
        seconds = [r["training"]["seconds"] + r["evaluation"]["seconds"] for r in chosen]
        return sum(seconds) / len(seconds)
    training = run.train.steps * GUESSED_SECONDS_PER_STEP
    if run.train.minutes is not None:
        training = min(training, 60 * run.train.minutes)
    return training + GUESSED_EVALUATION


def _observation(record: Mapping[str, Any]) -> str:
    return record["settings"]["task"]["env_kwargs"].get("observation", "")


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
