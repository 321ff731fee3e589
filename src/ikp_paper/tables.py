"""Tables of `ikp reproduce`, rebuilt from its records: ours beside the paper's, and IKP against the best single space.

`reproduction_tables("results")` is the markdown that the report and the README show; no figure is typed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ikp.demo.stages import differences
from ikp.recipes import PRESETS, preset
from ikp.rollouts.intervals import bootstrap_interval
from ikp.rollouts.summary import count_of
from ikp.tasks.registry import task_entry
from ikp_paper.matrix import TABLES, Cell, Column, Table
from ikp_paper.record import read_record, values_of
from ikp_paper.run import resolve, result_path
from ikp_paper.variants import VARIANTS

SINGLE_SPACE = ("explicit", "implicit-cartesian", "implicit-joint")
"""Methods that see actions in one space."""
NOT_RUN = "not run"
SEED_LIMIT = 20
"""Seeds that are looked for."""


@dataclass(frozen=True)
class CellRecords:
    """The finished runs of a cell, by seed; `outdated` if one is of another recipe than the preset's present one."""

    cell: Cell
    records: Mapping[int, Mapping[str, Any]]
    outdated: bool = False

    @property
    def scores(self) -> np.ndarray:
        """The metric of each seed, (seeds,), 0 to 1."""
        return np.array([record["score"]["mean"] for record in self.records.values()])

    @property
    def episodes(self) -> int:
        """Unseen episodes of all seeds together."""
        return sum(len(record["episodes"]["success"]) for record in self.records.values())

    def mean_training(self, key: str) -> float:
        """`seconds` or `steps` of a training, the seeds' mean."""
        return float(np.mean([record["training"][key] for record in self.records.values()]))

    def together(self) -> dict[str, Any]:
        """`success` and `within` of a summary (`ikp.rollouts.summary.summarize`), all seeds' episodes as one set.

        Of tasks whose summaries have tolerances.
        """
        summaries = [record["summary"] for record in self.records.values()]
        success = sum(summary["success"]["count"] for summary in summaries)
        hits = {
            name: sum(summary["within"][name]["count"] for summary in summaries)
            for name in summaries[0]["within"]
        }
        within = {name: count_of(count, self.episodes) for name, count in hits.items()}
        return {"success": count_of(success, self.episodes), "within": within}


def cell_records(cell: Cell, results: Path, preset_name: str) -> CellRecords:
    """Read what is finished of a cell."""
    found, outdated = {}, False
    for seed in range(SEED_LIMIT):
        run = resolve(cell, preset_name, seed)
        record = read_record(result_path(results, preset_name, run.name))
        if record is not None:
            found[seed] = record
            wanted = {**run.settings(), "episodes": record["settings"]["episodes"]}  # --episodes is free
            outdated |= bool(differences(record["settings"], json.loads(json.dumps(wanted))))
    return CellRecords(cell, found, outdated)


def ours(finished: CellRecords, seeds: int) -> str:
    """`83.0 ± 2.1`, with the number of seeds where some are missing, or why there is no figure; `*` if outdated."""
    if not finished.records:
        return NOT_RUN
    scores = 100 * finished.scores
    spread = f" ± {scores.std(ddof=1):.1f}" if len(scores) > 1 else ""
    missing = f" ({len(scores)} of {seeds} seeds)" if len(scores) < seeds else ""
    return f"{scores.mean():.1f}{spread}{missing}{'*' if finished.outdated else ''}"


def published(cell: Cell) -> str:
    """`92.4 ± 2.6`, or nothing."""
    return "" if cell.published is None else f"{cell.published[0]:.1f} ± {cell.published[1]:.1f}"


def column_title(column: Column, preset_name: str) -> str:
    """Task, observation and demonstrations; what the preset has instead where it has fewer."""
    most = preset(preset_name).demonstrations
    count = f"{column.demonstrations} demonstrations"
    if most < column.demonstrations:
        count += f", here {most}"
    budget = (
        f", {column.minutes:g} min" if column.minutes else f", {column.steps} steps" if column.steps else ""
    )
    return f"{task_entry(column.task).title} ({column.observation}, {count}{budget})"


def table_rows(table: Table, results: Path, preset_name: str) -> list[list[str]]:
    """Heading and rows of a table as text."""
    seeds = preset(preset_name).seeds
    with_paper = [column in table.published for column in table.columns]
    head = ["method"]
    for column, paper in zip(table.columns, with_paper, strict=True):
        head += [column_title(column, preset_name)] + (["paper"] if paper else [])
    rows = [head]
    for variant in table.variants:
        row = [VARIANTS[variant].title]
        for column, paper in zip(table.columns, with_paper, strict=True):
            cell = table.cell(column, variant)
            row += [ours(cell_records(cell, results, preset_name), seeds)] + (
                [published(cell)] if paper else []
            )
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Comparison:
    """IKP against the single space with the best mean in the same setting, on the same episodes.

    Attributes:
        column: the setting.
        rival: the best single space, chosen by these very results, which favours it.
        seeds: trainings of each.
        difference: IKP's mean minus the rival's, -1 to 1.
        interval: 95 %, bootstrap over trainings and episodes; over episodes alone with a single training.
    """

    column: Column
    rival: str
    seeds: int
    difference: float
    interval: tuple[float, float]


def compare(table: Table, column: Column, results: Path, preset_name: str) -> Comparison | None:
    """The comparison in one column; None where IKP or every single space lacks finished runs of common seeds."""
    found = {
        variant: cell_records(table.cell(column, variant), results, preset_name)
        for variant in table.variants
        if variant == "ikp" or variant in SINGLE_SPACE
    }
    rivals = [name for name in found if name != "ikp" and found[name].records]
    if "ikp" not in found or not rivals:
        return None
    rival = max(rivals, key=lambda name: found[name].scores.mean())
    paired = paired_difference(found["ikp"], found[rival])
    return None if paired is None else Comparison(column, rival, *paired)


def paired_difference(
    first: CellRecords,
    second: CellRecords,
    values: Callable[[Mapping[str, Any]], np.ndarray] = values_of,
) -> tuple[int, float, tuple[float, float]] | None:
    """How far one cell is ahead of another, over the seeds that both have and the same episodes.

    Args:
        values: of every episode of a record, (episodes,), 0 to 1; the task's metric if not given.

    Returns:
        Common seeds, the mean difference and its interval as in `Comparison`; None without a common seed.

    Raises:
        ValueError: the two met other episodes.
    """
    common = sorted(set(first.records) & set(second.records))
    if not common:
        return None
    pairs = [_difference(first.records[seed], second.records[seed], values) for seed in common]
    differences = np.stack(pairs)
    return len(common), float(differences.mean()), bootstrap_interval(differences)


def _difference(
    first: Mapping[str, Any], second: Mapping[str, Any], values: Callable[[Mapping[str, Any]], np.ndarray]
) -> np.ndarray:
    """Episode by episode; ValueError where the two met other episodes."""
    a, b = values(first), values(second)
    if first["episodes"]["first_seed"] != second["episodes"]["first_seed"] or len(a) != len(b):
        names = [record["run"]["name"] for record in (first, second)]
        raise ValueError(f"{names[0]} and {names[1]} were evaluated on other episodes: run one of them again")
    return a - b


def comparison_rows(table: Table, results: Path, preset_name: str) -> list[list[str]]:
    """Heading and one row per column that can be compared; only the heading if there is none."""
    rows = [["setting", "best single space", "IKP minus it, points", "95 % interval", "seeds"]]
    for column in table.columns:
        found = compare(table, column, results, preset_name)
        if found is not None:
            low, high = (100 * bound for bound in found.interval)
            rows.append(
                [
                    column_title(column, preset_name),
                    VARIANTS[found.rival].title,
                    f"{100 * found.difference:+.1f}",
                    f"{low:+.1f} to {high:+.1f}",
                    str(found.seeds),
                ]
            )
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, the heading first, as a markdown table."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def presets_with_results(results: Path) -> list[str]:
    """The presets that have finished runs, the largest one first."""
    return [name for name in reversed(PRESETS) if any((results / "reproduce" / name).glob("*.json"))]


def note(preset_name: str) -> str:
    """What the figures of a preset are."""
    recipe = preset(preset_name)
    seeds = "one seed" if recipe.seeds == 1 else f"mean ± standard deviation over {recipe.seeds} seeds"
    return (
        f"Preset `{preset_name}`, {seeds}, {recipe.episodes} unseen episodes each, in percent: successful episodes "
        "for insertion, the mean score for sweeping and flipping. The paper's figures are from its own simulator. "
        "A * marks figures of an earlier state of the recipe."
    )


def reproduction_tables(
    results: Path | str, preset_name: str | None = None, tables: Iterable[str] = ("table1", "table2")
) -> str:
    """Markdown of the tables with their paired comparisons.

    Args:
        results: folder with `reproduce/PRESET/*.json`.
        preset_name: which recipe's; the largest one with results if not given.
        tables: keys of `TABLES`.

    Raises:
        ValueError: an unknown preset, or a file that is no record.
    """
    results = Path(results)
    if preset_name is None:
        preset_name = next(iter(presets_with_results(results)), "standard")
    parts = [note(preset_name)]
    for name in tables:
        table = TABLES[name]
        parts.append(f"**{table.title}**")
        parts.append(markdown(table_rows(table, results, preset_name)))
        comparison = comparison_rows(table, results, preset_name)
        if len(comparison) > 1:
            parts.append("IKP against the best single action space, on the same episodes:")
            parts.append(markdown(comparison))
    return "\n\n".join(parts)
