"""Energies beside regression: one row per task, Explicit and the two implicit policies of joints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ikp.files import read_json
from ikp.rollouts.intervals import bootstrap_interval
from ikp.rollouts.summary import count_of, percent
from ikp_paper.record import values_of
from ikp_paper.rows import NOT_RUN, markdown
from ikp_paper.statistics import CellRecords, cell_records
from ikp_paper.tables import INSERTION_100, SWEEPING_MISCALIBRATED, Cell, Setting

RECIPE = "standard"
METHODS = {"explicit": "Explicit (joints)", "implicit-joint": "Implicit (joints)", "ikp": "IKP"}
OURS = {
    "two elbows: a goal with two answers": Setting("two-elbows", 5000, "state", steps=2000),
    "insertion, pixels, 100 demonstrations, 750 steps": Setting("insertion", 100, steps=750),
    "insertion, pixels, 100 demonstrations, 8000 steps": INSERTION_100,
    "sweeping, pixels, 1000 demonstrations, 8000 steps": SWEEPING_MISCALIBRATED,
    "flipping, pixels, 300 demonstrations, 2500 steps": Setting("flipping", 300, steps=2500),
}
PARTICLES = {"explicit": "explicit", "implicit-joint": "implicit"}
"""A particle has no joints: its implicit policy sees the plain action, and there is no IKP."""
NO_ROBOT = "no robot"
ALOHA_STEPS = 1500
Record = Mapping[str, Any]


def energy_table(results: Path) -> str:
    """Success with its 95 % interval over the episodes of all seeds, or the mean score over seeds; seeds x episodes."""
    closed_loop, aloha = _records(results / "closed_loop"), _records(results / "aloha")
    rows: dict[str, Callable[[str], str]] = {
        name: lambda method, setting=setting: _ours(cell_records(Cell(setting, method), results, RECIPE))
        for name, setting in OURS.items()
    }
    rows["Lift (robosuite), object poses, 15 demonstrations"] = lambda method: _theirs(
        closed_loop, "lift-15", method
    )
    for dims in (2, 8, 16):
        rows[f"particle in {dims} dimensions, 2000 demonstrations"] = lambda method, dims=dims: (
            _theirs(closed_loop, f"particle-{dims}", PARTICLES[method]) if method in PARTICLES else NO_ROBOT
        )
    for task, title in (("transfer", "TransferCube"), ("insertion", "Insertion")):
        rows[f"ALOHA's {title}, pixels, 50 demonstrations, {ALOHA_STEPS} steps"] = lambda method, task=task: (
            _aloha(aloha, task, method)
        )
    made = [[name, *(cell(method) or NOT_RUN for method in METHODS)] for name, cell in rows.items()]
    return markdown(
        [["task", *METHODS.values()], *(row for row in made if not {NOT_RUN, NO_ROBOT}.issuperset(row[1:]))]
    )


def _records(folder: Path) -> list[Record]:
    return [read_json(path) for path in sorted(folder.glob("*.json"))]


def _ours(found: CellRecords) -> str:
    if not found.records:
        return ""
    records = list(found.records.values())
    sizes = {len(record["episodes"]["success"]) for record in records}
    if records[0]["score"]["metric"] == "success":
        shown = percent(count_of(sum(r["summary"]["success"]["count"] for r in records), found.episodes))
    else:
        values = np.concatenate([values_of(record) for record in records])
        shown = percent({"mean": values.mean(), "interval_95": bootstrap_interval(values[None])})
    return f"{shown}{'*' * found.outdated}, {len(records)} x {sizes.pop()}"


def _together(counts: Sequence[int], sizes: Sequence[int]) -> str:
    return f"{percent(count_of(sum(counts), sum(sizes)))}, {len(counts)} x {sizes[0]}" if counts else ""


def _theirs(records: Sequence[Record], name: str, method: str) -> str:
    """A benchmark of `benchmarks/closed_loop.py`, as the policy decides."""
    run = [r["decisions"] for r in records if (r["run"]["name"], r["run"]["method"]) == (name, method)]
    chosen = [decisions.get("pooled", decisions["regression"]) for decisions in run]
    return _together(
        [one["success"]["count"] for one in chosen], [len(one["episodes"]["success"]) for one in chosen]
    )


def _aloha(records: Sequence[Record], task: str, method: str) -> str:
    chosen = [
        r
        for r in records
        if r["task"] == task
        and (training := r.get("training")) is not None
        and (training["method"], training["steps"]) == (method, ALOHA_STEPS)
    ]
    return _together([r["rewards"]["4"] for r in chosen], [len(r["episodes"]) for r in chosen])
