"""Results of cells over seeds and episodes: means, spreads, and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ikp.recipes import recipe
from ikp.rollouts.intervals import bootstrap_interval
from ikp.rollouts.summary import count_of
from ikp_paper.record import read_record, regression_weight, settings_changed, values_of
from ikp_paper.run import resolve, result_path, run_name
from ikp_paper.tables import Cell, Setting, Table
from ikp_paper.variants import VARIANTS

SINGLE_SPACE = ("explicit", "implicit-cartesian", "implicit-joint")
"""Methods that see actions in one space."""
SEED_LIMIT = 20
"""Records of seeds below this one are found."""


@dataclass(frozen=True)
class CellRecords:
    """The finished runs of a cell.

    Attributes:
        cell: the cell.
        records: by seed.
        outdated: whether one was made with other settings than the recipe's present ones.
    """

    cell: Cell
    records: Mapping[int, Mapping[str, Any]]
    outdated: bool = False

    @property
    def scores(self) -> np.ndarray:
        """The metric of each seed, (seeds,), 0 to 1."""
        return np.array([record["score"]["mean"] for record in self.records.values()])

    @property
    def episodes(self) -> int:
        """Number of unseen episodes of all seeds together."""
        return sum(len(record["episodes"]["success"]) for record in self.records.values())

    @property
    def commits(self) -> set[str]:
        """Commits that the runs were made with."""
        return {record["provenance"]["commit"] for record in self.records.values()}

    def mean_training(self, key: str) -> float:
        """Mean over seeds of `seconds` or `steps` of the training."""
        return float(np.mean([record["training"][key] for record in self.records.values()]))

    def together(self) -> dict[str, Any]:
        """`success` and `within` as in `ikp.rollouts.summary.summarize`, for the episodes of all seeds as one set.

        The task's summaries must have tolerances.
        """
        summaries = [record["summary"] for record in self.records.values()]
        success = sum(summary["success"]["count"] for summary in summaries)
        hits = {
            name: sum(summary["within"][name]["count"] for summary in summaries)
            for name in summaries[0]["within"]
        }
        within = {name: count_of(count, self.episodes) for name, count in hits.items()}
        return {"success": count_of(success, self.episodes), "within": within}


def cell_records(cell: Cell, results: Path, recipe_name: str) -> CellRecords:
    """Read the finished runs of a cell; a settled variant's are found by its name alone."""
    settled = VARIANTS[cell.variant].settled
    first = run_name(cell, recipe(recipe_name)) if settled else resolve(cell, recipe_name, 0).name
    found, outdated = {}, False
    for seed in range(SEED_LIMIT):
        record = read_record(result_path(results, recipe_name, f"{first.removesuffix('0')}{seed}"))
        if record is None:
            continue
        found[seed] = record
        if not settled:
            settings = resolve(cell, recipe_name, seed, record["settings"]["episodes"]).settings()
            outdated |= bool(
                settings_changed(record, settings)
            )  # the number of episodes may be chosen freely
    return CellRecords(cell, found, outdated)


@dataclass(frozen=True)
class Comparison:
    """IKP against the single action space with the best mean in the same setting, on the same episodes.

    Attributes:
        setting: the column.
        rival: the best single space. It is chosen by these results, which favours it.
        seeds: trainings of each.
        difference: mean of IKP minus mean of the rival, -1 to 1.
        interval: 95 % bootstrap over trainings and episodes; over episodes alone for a single training.
    """

    setting: Setting
    rival: str
    seeds: int
    difference: float
    interval: tuple[float, float]


def compare(table: Table, setting: Setting, results: Path, recipe_name: str) -> Comparison | None:
    """Compare in one column; None if IKP and a single space have no finished runs of common seeds."""
    found = {
        variant: cell_records(table.cell(setting, variant), results, recipe_name)
        for variant in table.variants
        if variant == "ikp" or variant in SINGLE_SPACE
    }
    rivals = [name for name in found if name != "ikp" and found[name].records]
    if "ikp" not in found or not rivals:
        return None
    rival = max(rivals, key=lambda name: found[name].scores.mean())
    paired = paired_difference(found["ikp"], found[rival])
    return None if paired is None else Comparison(setting, rival, *paired)


def paired_difference(
    first: CellRecords,
    second: CellRecords,
    values: Callable[[Mapping[str, Any]], np.ndarray] = values_of,
) -> tuple[int, float, tuple[float, float]] | None:
    """Mean difference between two cells over their common seeds and the same episodes.

    Args:
        first, second: the cells; the second is subtracted.
        values: gives a value per episode of a record, (episodes,), 0 to 1; the task's metric by default.

    Returns:
        The number of common seeds, the mean difference and its interval as in `Comparison`; None without a common seed,
        or if one decided by its energies alone and the other did not: the difference would be that of two changes.

    Raises:
        ValueError: the two were evaluated on different episodes.
    """
    common = sorted(set(first.records) & set(second.records))
    if not common or not decided_alike(first, second):
        return None
    pairs = [_difference(first.records[seed], second.records[seed], values) for seed in common]
    differences = np.stack(pairs)
    return len(common), float(differences.mean()), bootstrap_interval(differences)


def decided_alike(first: CellRecords, second: CellRecords) -> bool:
    """Whether the energies of both had the same weight in decisions, or one has none."""
    weights = {regression_weight(record) for cell in (first, second) for record in cell.records.values()}
    return len(weights - {None}) < 2


def _difference(
    first: Mapping[str, Any], second: Mapping[str, Any], values: Callable[[Mapping[str, Any]], np.ndarray]
) -> np.ndarray:
    a, b = values(first), values(second)
    if first["episodes"]["first_seed"] != second["episodes"]["first_seed"] or len(a) != len(b):
        names = [record["run"]["name"] for record in (first, second)]
        raise ValueError(
            f"{names[0]} and {names[1]} were evaluated on different episodes: repeat one of them"
        )
    return a - b
