"""Table of the change of robot: success on arms with other zeros by method and calibration, with the tips' errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ikp.files import read_json
from ikp.rollouts.intervals import bootstrap_interval
from ikp.rollouts.summary import count_of, percent
from ikp_paper.rows import NOT_RUN, markdown

METHODS = {
    "explicit": "Explicit",
    "explicit-fk": "ExplicitFK",
    "implicit-joint": "Implicit (joints)",
    "ikp": "IKP",
}
CONDITIONS = {
    "arm A": "arm A itself",
    "none": "no calibration",
    "1 demonstrations": "1 demonstration and the policy",
    "3 demonstrations": "3 demonstrations and the policy",
    "10 demonstrations": "10 demonstrations and the policy",
    "tip poses": "20 measured tip poses",
    "true": "the true offsets",
}
Record = Mapping[str, Any]


def change_of_robot_table(results: Path, task: str = "insertion") -> str:
    """A row per calibration, a column per method and pool of arms that trained it.

    Each cell is the success or mean score over all arms and seeds, and the mean error of the tip.

    Args:
        results: folder that holds `change_of_robot/*.json`, the records of `benchmarks/change_of_robot.py`.
        task: the task whose records count.
    """
    records = [read_json(path) for path in sorted((results / "change_of_robot").glob("*.json"))]
    records = [record for record in records if record["task"] == task]
    found = {(record["method"], record.get("pool", 0)) for record in records}
    columns = sorted(found, key=lambda column: (list(METHODS).index(column[0]), column[1]))
    rows = []
    for condition, title in CONDITIONS.items():
        cells = [
            _cell(
                [
                    r
                    for r in records
                    if (r["method"], r.get("pool", 0), r["condition"]) == (*column, condition)
                ]
            )
            for column in columns
        ]
        if any(cells):
            rows.append([title, *cells])
    titles = [METHODS[method] + (f", {pool} arms" if pool else "") for method, pool in columns]
    return markdown([["calibration", *titles], *rows]) if rows else NOT_RUN


def _cell(records: Sequence[Record]) -> str:
    """Success and the number of episodes, and the tip's error where there is one.

    All arms meet the same starts, so that the interval counts every start once.
    """
    if not records:
        return ""
    starts = max(one["episodes"] for one in records)
    if "scores" in records[0]:
        scores = np.mean([one["scores"] for one in records], axis=0)
        found = {"mean": scores.mean(), "interval_95": bootstrap_interval(scores[None])}
    else:
        share = sum(one["success"]["count"] for one in records) / sum(one["episodes"] for one in records)
        found = {**count_of(round(share * starts), starts), "share": share}
    off = sum(record["tip_error_mm"] for record in records) / len(records)
    error = f", tip off by {off:.1f} mm" if off else ""
    return f"{percent(found)}, {len(records)} x {starts}{error}"
