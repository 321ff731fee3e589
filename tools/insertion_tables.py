"""Tables of insertion: success within three tolerances, and paired differences between methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ikp.files import read_json
from ikp.rollouts.summary import TOLERANCES, percent, tolerance_name
from ikp_paper.record import regression_weight, within_of
from ikp_paper.rows import NOT_RUN, markdown, outdated_note, published, settled_note, title
from ikp_paper.statistics import CellRecords, cell_records, decided_alike, paired_difference
from ikp_paper.tables import INSERTION_1000, TABLES, Cell, Setting, Table
from ikp_paper.variants import VARIANTS

RECIPE = "standard"
PAPER = "paper, its simulator [%]"
DEMO = "insertion_pixels"
"""Folder of the demo's evaluations, one file per variant."""
WITHIN = tuple(f"within {mm:g} mm, {deg:g}°" for mm, deg in TOLERANCES)


def insertion_table(results: Path, cells: Iterable[Cell], *, paper: bool = False) -> str:
    """The finished cells, each with the episodes of all its seeds together.

    Args:
        results: folder of the records.
        cells: cells of insertion.
        paper: add a column with the published results.
    """
    finished = [found for cell in cells if (found := cell_records(cell, results, RECIPE)).records]
    if not finished:
        return NOT_RUN
    table = _table([_row(found, paper=paper) for found in finished], paper=paper)
    return "\n\n".join(filter(None, [table, settled_note(finished), outdated_note(finished)]))


def demo_table(results: Path) -> str:
    """The evaluations of `ikp demo` that are stored.

    Raises:
        ValueError: a file that is not the result of `ikp evaluate`.
    """
    files = {path.stem: _evaluation(path) for path in (results / DEMO).glob("*.json")}
    rows = [_demo_row(variant, files[variant]) for variant in VARIANTS if variant in files]
    return _table(rows, paper=True) if rows else NOT_RUN


def ahead_table(
    results: Path,
    table: Table,
    variant: str,
    settings: Sequence[Setting] | None = None,
    rows: Sequence[str] | None = None,
) -> str:
    """Points by which a variant is ahead of other rows, within the loosest and the strictest tolerance.

    Args:
        results: folder of the records.
        table: the table.
        variant: one of its rows.
        settings: some of its columns; all if not given.
        rows: some of its rows; all if not given.
    """
    tolerances = (TOLERANCES[0], TOLERANCES[-1])
    lines, finished = [], []
    for setting in settings or table.settings:
        found = {
            name: cell_records(table.cell(setting, name), results, RECIPE) for name in rows or table.variants
        }
        first = found.pop(variant)
        trained_on = str(setting.demonstrations) + (f", {setting.minutes:g} min" if setting.minutes else "")
        for name, other in found.items():
            if other.records == first.records:  # the same trainings under another row's name
                continue
            ours, theirs = _decided_alike(first, other, results)
            if _has_versions(ours) != _has_versions(theirs):  # the difference would be that of two changes
                continue
            paired = [
                paired_difference(ours, theirs, partial(within_of, tolerance=each)) for each in tolerances
            ]
            points = [_points(difference, interval) for _, difference, interval in filter(None, paired)]
            if points:
                common = str(len(set(ours.records) & set(theirs.records)))
                lines.append(
                    [title(name) + "*" * (ours.outdated or theirs.outdated), trained_on, *points, common]
                )
                finished += [ours, theirs]
    head = [f"{title(variant)} minus", "demonstrations", WITHIN[0], WITHIN[-1], "seeds"]
    notes = [settled_note(finished), outdated_note(finished)]
    return "\n\n".join(filter(None, [markdown([head, *lines]), *notes])) if lines else NOT_RUN


def _has_versions(found: CellRecords) -> bool:
    """Whether the trainings are from since parts of policies have versions."""
    return any("versions" in record["settings"] for record in found.records.values())


def _decided_alike(first: CellRecords, other: CellRecords, results: Path) -> tuple[CellRecords, CellRecords]:
    """The two, or where just one pooled its energies with the regression, its earlier records without."""
    if decided_alike(first, other):
        return first, other
    return _energies_alone(first, results), _energies_alone(other, results)


def _energies_alone(found: CellRecords, results: Path) -> CellRecords:
    name = f"{found.cell.variant}-energies-alone"
    if name not in VARIANTS or not any(regression_weight(record) for record in found.records.values()):
        return found
    return replace(cell_records(replace(found.cell, variant=name), results, RECIPE), outdated=True)


def budget(seconds: float, steps: float) -> str:
    """Length of a training as text."""
    return f"{seconds / 60:.1f} min, {steps:.0f} steps"


def _table(rows: Sequence[Sequence[str]], *, paper: bool) -> str:
    head = ["method", "demonstrations", "training", *WITHIN, "unseen episodes"]
    return markdown([[*head, PAPER] if paper else head, *rows])


def _row(found: CellRecords, *, paper: bool) -> list[str]:
    within, seeds = found.together()["within"], len(found.records)
    row = [
        title(found.cell.variant) + "*" * found.outdated,
        str(found.cell.setting.demonstrations),
        budget(found.mean_training("seconds"), found.mean_training("steps")),
        *(percent(within[tolerance_name(tolerance)]) for tolerance in TOLERANCES),
        f"{seeds} x {found.episodes // seeds}" if seeds > 1 else str(found.episodes),
    ]
    return [*row, published(found.cell)] if paper else row


def _demo_row(variant: str, result: Mapping[str, Any]) -> list[str]:
    trained, summary = result["policy"], result["summary"]
    return [
        title(variant),
        str(trained["data"]["episodes"]),
        budget(trained["seconds"], trained["steps"]),
        *(percent(summary["within"][tolerance_name(tolerance)]) for tolerance in TOLERANCES),
        str(summary["episodes"]),
        published(TABLES["table2"].cell(INSERTION_1000, variant)),
    ]


def _points(difference: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _evaluation(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if "summary" not in values or "method" not in values.get("policy", {}):
        raise ValueError(
            f"{path} is not a result of 'ikp evaluate --out': it lacks 'summary' or the policy's method"
        )
    return values
