"""The report: one folder with tables and figures that opens offline, made from records."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ikp.demo.page import html_page, picture, table
from ikp.demo.plots import save_figure
from ikp.files import read_json, replaced_atomically
from ikp.tasks.registry import task_entry
from ikp_paper.figures.plots import (
    demonstrations_figure,
    expert_figure,
    has_curve,
    offset_figure,
    time_figure,
    training_figure,
)
from ikp_paper.figures.trajectories import trajectory_path
from ikp_paper.rows import (
    NOT_RUN,
    comparison_rows,
    markdown,
    note,
    setting_title,
    settled_note,
    table_rows,
)
from ikp_paper.statistics import CellRecords, cell_records
from ikp_paper.tables import FIGURES, TABLES, Setting

PAGE, TEXT, PICTURES = "index.html", "tables.md", "figures"
COMPARED = (
    "IKP against the best single action space, on the same episodes. That space is chosen by these results, which "
    "favours it; the interval is a bootstrap over trainings and episodes."
)
FIGURE_OF_TABLE = {
    "demonstrations": (demonstrations_figure, "Every dot is one training, evaluated on unseen episodes."),
    "time": (
        time_figure,
        "Every point is trainings of that length, one or more seeds; bars are 95 % intervals.",
    ),
}


def write_reproduction(folder: Path, results: Path, recipe_name: str) -> Path:
    """Write `index.html`, `tables.md` and `figures/*.png` from the records of a recipe; return the page's path.

    Raises:
        ValueError: a file below `results` is not a record.
    """
    sections = [_table_section(folder, name, results, recipe_name) for name in TABLES]
    sections += [_figure_section(folder, name, results) for name in FIGURES]
    head = f"<h1>Implicit Kinematic Policies, reproduced</h1><p class='lead'>{escape(note(recipe_name))}</p>"
    html = html_page("IKP, reproduced", [head, *(html for html, _ in sections)])
    text = "\n\n".join([f"# Reproduction\n\n{note(recipe_name)}", *(text for _, text in sections)]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in ((folder / TEXT, text), (folder / PAGE, html)):
        with replaced_atomically(path) as fresh:
            fresh.write_text(content, encoding="utf-8")
    return folder / PAGE


def _table_section(folder: Path, name: str, results: Path, recipe_name: str) -> tuple[str, str]:
    """A table in HTML and in Markdown."""
    entry = TABLES[name]
    rows, comparison = table_rows(entry, results, recipe_name), comparison_rows(entry, results, recipe_name)
    source = f"Source of the paper's results: {entry.source}." if entry.source else "A table of our own."
    html = [f"<h2>{escape(entry.title)}</h2><p>{escape(source)}</p>", table(rows[0], rows[1:])]
    text = [f"## {entry.title}", source, markdown(rows)]
    found = {
        setting: [
            cell_records(entry.cell(setting, variant), results, recipe_name) for variant in entry.variants
        ]
        for setting in entry.settings
    }
    marks = settled_note(cell for cells in found.values() for cell in cells)
    if marks:
        html.append(f"<p>{escape(marks)}</p>")
        text.append(marks)
    if len(comparison) > 1:
        html += [f"<p>{COMPARED}</p>", table(comparison[0], comparison[1:])]
        text += [COMPARED, markdown(comparison)]
    finished = {
        setting: kept
        for setting, cells in found.items()
        if (kept := [cell for cell in cells if cell.records])
    }
    for path, caption in _table_figures(folder / PICTURES, name, finished, recipe_name):
        html.append(picture(path, escape(caption)))
        text.append(f"![{caption}]({PICTURES}/{path.name})")
    return "\n".join(html), "\n\n".join(text)


def _table_figures(
    folder: Path, name: str, finished: dict[Setting, list[CellRecords]], recipe_name: str
) -> Sequence[tuple[Path, str]]:
    """Figures of a table with their captions; `finished` has the cells with results by column."""
    if not finished:
        return []
    if name in FIGURE_OF_TABLE:
        draw, caption = FIGURE_OF_TABLE[name]
        by_variant = {
            variant: chosen
            for variant in TABLES[name].variants
            if (
                chosen := [
                    cell for cells in finished.values() for cell in cells if cell.cell.variant == variant
                ]
            )
        }
        return [(save_figure(draw(by_variant), folder / f"{name}.png"), caption)]
    drawn = []
    for setting, all_cells in finished.items():
        cells = [cell for cell in all_cells if has_curve(cell)]
        if not cells:
            continue
        title = setting_title(setting, recipe_name)
        place = f"{name}-{setting.task}-{setting.demonstrations}-{setting.budget}".strip("-")
        path = save_figure(training_figure(title, cells), folder / f"{place}.png")
        drawn.append((path, f"Learning curves, {title}."))
    return drawn


def _figure_section(folder: Path, name: str, results: Path) -> tuple[str, str]:
    """A figure of the paper in HTML and in Markdown."""
    title, tasks = FIGURES[name]
    draw = expert_figure if name == "figure4" else offset_figure
    html, text = [f"<h2>{escape(title)}</h2>"], [f"## {title}"]
    for task in tasks:
        heading, path = task_entry(task).title, trajectory_path(results, task)
        if not path.exists():
            html.append(f"<p>{escape(heading)}: {NOT_RUN}</p>")
            text.append(f"{heading}: {NOT_RUN}")
            continue
        drawn = save_figure(draw(heading, read_json(path)), folder / PICTURES / f"{name}-{task}.png")
        html.append(picture(drawn, escape(heading)))
        text.append(f"![{heading}]({PICTURES}/{drawn.name})")
    return "\n".join(html), "\n\n".join(text)
