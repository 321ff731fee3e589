"""Tables as text, made from records: our results beside the published ones, and IKP against the best single space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ikp.recipes import RECIPES, recipe
from ikp.tasks.registry import task_entry
from ikp_paper.statistics import CellRecords, cell_records, compare
from ikp_paper.tables import TABLES, Cell, Setting, Table
from ikp_paper.variants import VARIANTS

NOT_RUN = "not run"
OUTDATED = "A * marks results of earlier settings of the recipe, or of an earlier version of the policy."
SETTLED = " †"
"""Ends the label of a settled variant's row."""


def title(variant: str) -> str:
    """The label of a variant's row; settled ones are marked."""
    return VARIANTS[variant].title + (SETTLED if VARIANTS[variant].settled else "")


def setting_title(setting: Setting, recipe_name: str) -> str:
    """Task, observation and number of demonstrations, also the recipe's own number where that is smaller."""
    most = recipe(recipe_name).collection_for(setting.task).episodes
    count = f"{setting.demonstrations} demonstrations"
    if most < setting.demonstrations:
        count += f", here {most}"
    budget = ""
    if setting.steps:
        budget = f", {setting.minutes:g} min" if setting.minutes else f", {setting.steps} steps"
    return f"{task_entry(setting.task).title} ({setting.observation}, {count}{budget})"


def ours(finished: CellRecords, seeds: int) -> str:
    """`83.0 ± 2.1`, with the number of seeds where some are missing; `*` if outdated."""
    if not finished.records:
        return NOT_RUN
    scores = 100 * finished.scores
    spread = f" ± {scores.std(ddof=1):.1f}" if len(scores) > 1 else ""
    missing = f" ({len(scores)} of {seeds} seeds)" if len(scores) < seeds else ""
    return f"{scores.mean():.1f}{spread}{missing}{'*' if finished.outdated else ''}"


def published(cell: Cell) -> str:
    """The paper's result as text, or nothing."""
    return str(cell.published or "")


def table_rows(table: Table, results: Path, recipe_name: str) -> list[list[str]]:
    """Heading and rows of a table."""
    seeds = recipe(recipe_name).seeds
    head = ["method"]
    for setting in table.settings:
        head += [setting_title(setting, recipe_name)] + (["paper"] if setting in table.published else [])
    rows = [head]
    for variant in table.variants:
        row = [title(variant)]
        for setting in table.settings:
            cell = table.cell(setting, variant)
            row += [ours(cell_records(cell, results, recipe_name), seeds)]
            row += [published(cell)] if setting in table.published else []
        rows.append(row)
    return rows


def comparison_rows(table: Table, results: Path, recipe_name: str) -> list[list[str]]:
    """Heading, and a row for each column in which IKP and a single space can be compared."""
    rows = [["setting", "best single space", "IKP minus it, points", "95 % interval", "seeds"]]
    for setting in table.settings:
        found = compare(table, setting, results, recipe_name)
        if found is not None:
            low, high = (100 * bound for bound in found.interval)
            rows.append(
                [
                    setting_title(setting, recipe_name),
                    title(found.rival),
                    f"{100 * found.difference:+.1f}",
                    f"{low:+.1f} to {high:+.1f}",
                    str(found.seeds),
                ]
            )
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text, the heading first, as a Markdown table."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def recipes_with_results(results: Path) -> list[str]:
    """The recipes that have finished runs, the largest one first."""
    return [name for name in reversed(RECIPES) if any((results / "reproduce" / name).glob("*.json"))]


def note(recipe_name: str) -> str:
    """Explanation of the numbers in a recipe's tables."""
    chosen = recipe(recipe_name)
    seeds = "one seed" if chosen.seeds == 1 else f"mean ± standard deviation over {chosen.seeds} seeds"
    return (
        f"Recipe `{recipe_name}`, {seeds}, {chosen.episodes} unseen episodes each, in percent: successful episodes "
        "for insertion and two elbows, the mean score for sweeping and flipping. The paper's results are from its own "
        "simulator."
    )


def settled_note(cells: Iterable[CellRecords]) -> str:
    """Explanation of the mark of settled rows, with their commits; empty if none of the cells has such results."""
    commits = [found.commits for found in cells if VARIANTS[found.cell.variant].settled]
    names = " and ".join(sorted(set().union(*commits)))
    return (
        f"† An option that is no longer in the configuration; measured with commit {names}." if names else ""
    )


def outdated_note(cells: Iterable[CellRecords]) -> str:
    """Explanation of the mark of results with other settings; empty if none of the cells has such results."""
    return OUTDATED if any(found.outdated for found in cells) else ""


def table_text(table: Table, results: Path, recipe_name: str) -> str:
    """A table with its notes and comparison in Markdown, without its title."""
    parts = [markdown(table_rows(table, results, recipe_name))]
    cells = [cell_records(cell, results, recipe_name) for cell in table.cells]
    parts += [settled_note(cells), outdated_note(cells)]
    comparison = comparison_rows(table, results, recipe_name)
    if len(comparison) > 1:
        parts += ["IKP against the best single action space, on the same episodes:", markdown(comparison)]
    return "\n\n".join(filter(None, parts))


def reproduction_tables(
    results: Path | str, recipe_name: str | None = None, tables: Iterable[str] = ("table1", "table2")
) -> str:
    """Tables with their comparisons in Markdown.

    Args:
        results: folder that holds `reproduce/RECIPE/*.json`.
        recipe_name: the recipe; the largest one with results if not given.
        tables: keys of `TABLES`.

    Raises:
        ValueError: an unknown recipe, or a file that is not a record.
    """
    results = Path(results)
    if recipe_name is None:
        recipe_name = next(iter(recipes_with_results(results)), "standard")
    parts = [note(recipe_name)]
    for name in tables:
        parts += [f"**{TABLES[name].title}**", table_text(TABLES[name], results, recipe_name)]
    return "\n\n".join(parts)
