"""The report of `ikp reproduce`: one folder with tables and figures that opens offline, rebuilt from the records."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ikp.demo.page import html_page, picture, table
from ikp.demo.plots import save_figure
from ikp.files import read_json, replaced_atomically
from ikp.tasks.registry import task_entry
from ikp_paper.figures import (
    demonstrations_figure,
    expert_figure,
    has_curve,
    offset_figure,
    time_figure,
    training_figure,
)
from ikp_paper.matrix import FIGURES, TABLES, Table
from ikp_paper.tables import (
    NOT_RUN,
    cell_records,
    column_title,
    comparison_rows,
    markdown,
    note,
    table_rows,
)
from ikp_paper.trajectories import trajectory_path

PAGE, TEXT, PICTURES = "index.html", "tables.md", "figures"


def write_reproduction(folder: Path, results: Path, preset_name: str) -> Path:
    """Write `index.html`, `tables.md` and `figures/*.png` from the records of a preset; returns the page's path.

    Raises:
        ValueError: a file below `results` is no record.
    """
    pages, texts = [], [f"# Reproduction\n\n{note(preset_name)}"]
    for name, entry in TABLES.items():
        html, text = _table_section(folder, name, entry, results, preset_name)
        pages.append(html)
        texts.append(text)
    for name in FIGURES:
        html, text = _figure_section(folder, name, results)
        pages.append(html)
        texts.append(text)
    head = f"<h1>Implicit Kinematic Policies, reproduced</h1><p class='lead'>{escape(note(preset_name))}</p>"
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (folder / TEXT, "\n\n".join(texts) + "\n"),
        (folder / PAGE, html_page("IKP, reproduced", [head, *pages])),
    ):
        with replaced_atomically(path) as fresh:
            fresh.write_text(text, encoding="utf-8")
    return folder / PAGE


def _table_section(folder: Path, name: str, entry: Table, results: Path, preset_name: str) -> tuple[str, str]:
    rows, comparison = table_rows(entry, results, preset_name), comparison_rows(entry, results, preset_name)
    source = f"Source of the paper's figures: {entry.source}." if entry.source else "A table of our own."
    html = [f"<h2>{escape(entry.title)}</h2><p>{escape(source)}</p>", table(rows[0], rows[1:])]
    text = [f"## {entry.title}", source, markdown(rows)]
    if len(comparison) > 1:
        words = (
            "IKP against the best single action space, on the same episodes. That space is chosen by these very "
            "results, which favours it; the interval is a bootstrap over trainings and episodes."
        )
        html += [f"<p>{words}</p>", table(comparison[0], comparison[1:])]
        text += [words, markdown(comparison)]
    for path, caption in _table_figures(folder / PICTURES, name, entry, results, preset_name):
        html.append(picture(path, escape(caption)))
        text.append(f"![{caption}]({PICTURES}/{path.name})")
    return "\n".join(html), "\n\n".join(text)


def _table_figures(
    folder: Path, name: str, entry: Table, results: Path, preset_name: str
) -> Sequence[tuple[Path, str]]:
    found = {
        column: [
            cell_records(entry.cell(column, variant), results, preset_name) for variant in entry.variants
        ]
        for column in entry.columns
    }
    found = {
        column: [cell for cell in cells if cell.records]
        for column, cells in found.items()
        if any(cell.records for cell in cells)
    }
    if not found:
        return []
    by_variant = {
        variant: chosen
        for variant in entry.variants
        if (chosen := [cell for cells in found.values() for cell in cells if cell.cell.variant == variant])
    }
    if name == "demonstrations":
        path = save_figure(demonstrations_figure(by_variant), folder / "demonstrations.png")
        return [(path, "Every dot is one training, evaluated on unseen episodes.")]
    if name == "time":
        path = save_figure(time_figure(by_variant), folder / "time.png")
        return [
            (path, "Every point is trainings of that length, one or more seeds; bars are 95 % intervals.")
        ]
    drawn = []
    for column, all_cells in found.items():
        cells = [cell for cell in all_cells if has_curve(cell)]
        if not cells:
            continue
        title = column_title(column, preset_name)
        place = f"{name}-{column.task}-{column.demonstrations}-{column.budget}".strip("-")
        path = save_figure(training_figure(title, cells), folder / f"{place}.png")
        drawn.append((path, f"Learning curves, {title}."))
    return drawn


def _figure_section(folder: Path, name: str, results: Path) -> tuple[str, str]:
    title, tasks = FIGURES[name]
    html, text = [f"<h2>{escape(title)}</h2>"], [f"## {title}"]
    for task in tasks:
        heading, path = task_entry(task).title, trajectory_path(results, task)
        if not path.exists():
            words = f"{heading}: {NOT_RUN}"
            html.append(f"<p>{escape(words)}</p>")
            text.append(words)
            continue
        draw = expert_figure if name == "figure4" else offset_figure
        drawn = save_figure(draw(heading, read_json(path)), folder / PICTURES / f"{name}-{task}.png")
        html.append(picture(drawn, escape(heading)))
        text.append(f"![{heading}]({PICTURES}/{drawn.name})")
    return "\n".join(html), "\n\n".join(text)
