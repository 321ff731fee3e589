"""The one table of the README: settings in which the methods differ, a row per method."""

from __future__ import annotations

from pathlib import Path

from ikp.policies.config import PAPER_METHODS
from ikp.rollouts.summary import percent
from ikp_paper.rows import NOT_RUN, markdown, title
from ikp_paper.statistics import CellRecords, cell_records
from ikp_paper.tables import INSERTION_100, SWEEPING_MISCALIBRATED, Cell, Setting

RECIPE = "standard"
ROWS = (*PAPER_METHODS, "ikp-image")
SETTINGS = {
    "insertion, pixels, 100 demonstrations, 750 steps": Setting("insertion", 100, steps=750),
    "insertion, pixels, 100 demonstrations, 8000 steps": INSERTION_100,
    "insertion, object poses, 100 demonstrations, 2000 steps": Setting("insertion", 100, "state", steps=2000),
    "sweeping, pixels, 1000 demonstrations, 8000 steps": SWEEPING_MISCALIBRATED,
}
"""Columns; all robots have miscalibrated joint encoders."""


def methods_table(results: Path) -> str:
    """Blocks inserted within 10 mm and 15°, or particles moved into the bowls; empty where a method was not run."""
    rows = []
    for variant in ROWS:
        cells = [cell_records(Cell(setting, variant), results, RECIPE) for setting in SETTINGS.values()]
        if any(cell.records for cell in cells):
            rows.append([title(variant), *map(_result, cells)])
    return markdown([["method", *SETTINGS], *rows]) if rows else NOT_RUN


def _result(found: CellRecords) -> str:
    """Mean with its 95 % interval: over the episodes of all seeds for success, of one training for a score."""
    if not found.records:
        return ""
    record = next(iter(found.records.values()))
    if record["score"]["metric"] == "success":
        shown = percent(found.together()["success"])
    else:
        assert len(found.records) == 1, "mean scores of several seeds need an interval over seeds"
        shown = percent(record["score"])
    return shown + "*" * found.outdated
