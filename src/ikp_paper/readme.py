"""The tables of the README and of the pages in docs/, rebuilt from `results/*/*.json`: no figure is typed.

python -m ikp_paper.readme [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ikp.files import read_json, replaced_atomically
from ikp.policies.config import METHODS
from ikp.rollouts.summary import TOLERANCES, percent, tolerance_name
from ikp_paper.bench_table import headlines, speed_tables
from ikp_paper.matrix import (
    INSERTION_100,
    INSERTION_1000,
    SWEEPING,
    SWEEPING_MISCALIBRATED,
    TABLES,
    Cell,
    Column,
    Table,
)
from ikp_paper.record import within_of
from ikp_paper.tables import (
    cell_records,
    markdown,
    paired_difference,
    presets_with_results,
    published,
    reproduction_tables,
)
from ikp_paper.variants import VARIANTS

DEMO, PRESET = "insertion_pixels", "standard"
IMAGE_ROWS = ("explicit", "implicit-joint", "ikp", "explicit-image", "implicit-joint-image", "ikp-image")
PIXEL_TABLES = ("recipe", "rates", "time", "moved", "state")
"""Tables of `docs/pixels.md`."""
REPRODUCTION_TABLES = ("budget", "ablations", "demonstrations")
"""Tables of `docs/reproduce.md`."""
PAPER = "paper, its simulator [%]"


def results_table(root: Path | str) -> str:
    """Markdown tables of the demo and of `ikp reproduce table2 | image | state | sweeping`, from files below `root`.

    Raises:
        ValueError: a file that is no result of `ikp evaluate` or of `ikp reproduce`.
    """
    root = Path(root)
    demo = {path.stem: _read(path) for path in (root / DEMO).glob("*.json")}
    demos = [_demo_row(name, demo[name]) for name in VARIANTS if name in demo]
    pixels = [cell for cell in TABLES["table2"].cells if cell.column in (INSERTION_100, INSERTION_1000)]
    state = [cell for cell in TABLES["state"].cells if cell.variant in METHODS]
    plane = [cell for cell in TABLES["image"].cells if cell.variant in IMAGE_ROWS]
    tables = {
        "Block insertion from 96x96 pixels, equal steps": (_rows(pixels, root), [PAPER]),
        "Block insertion from 96x96 pixels, the demo": (demos, [PAPER]),
        "Block insertion from 96x96 pixels, sooner, and with the image plane": (
            _rows(plane, root, paper=False),
            [],
        ),
        "Block insertion from object poses (state)": (_rows(state, root, paper=False), []),
    }
    parts = [f"**{title}**: miscalibrated UR5e\n\n{_insertion(*entry)}" for title, entry in tables.items()]
    return "\n\n".join([*parts, _sweeping(root)])


def _insertion(rows: Sequence[Sequence[str]], further: Sequence[str] = ()) -> str:
    tolerances = [f"within {mm:g} mm, {deg:g}°" for mm, deg in TOLERANCES]
    head = ["method", "demonstrations", "training", *tolerances, "unseen episodes", *further]
    return markdown([head, *rows]) if rows else "not run"


def _demo_row(variant: str, result: Mapping[str, Any]) -> list[str]:
    trained, summary = result["policy"], result["summary"]
    within = [summary["within"][tolerance_name(tolerance)] for tolerance in TOLERANCES]
    count, episodes = str(trained["data"]["episodes"]), str(summary["episodes"])
    paper = published(TABLES["table2"].cell(INSERTION_1000, variant))
    return [
        VARIANTS[variant].title,
        count,
        _budget(trained["seconds"], trained["steps"]),
        *map(percent, within),
        episodes,
        paper,
    ]


def _rows(cells: Sequence[Cell], root: Path, *, paper: bool = True) -> list[list[str]]:
    """What is finished of some cells of insertion; the episodes of all seeds together."""
    rows = []
    for cell in cells:
        finished = cell_records(cell, root, PRESET)
        if not finished.records:
            continue
        shares = finished.together()["within"]
        within = [shares[tolerance_name(tolerance)] for tolerance in TOLERANCES]
        budget = _budget(finished.mean_training("seconds"), finished.mean_training("steps"))
        seeds = len(finished.records)
        seen = f"{seeds} x {finished.episodes // seeds}" if seeds > 1 else str(finished.episodes)
        title = VARIANTS[cell.variant].title
        row = [title, str(cell.column.demonstrations), budget, *map(percent, within), seen]
        rows.append([*row, published(cell)] if paper else row)
    return rows


def _ahead(variant: str, table: Table, columns: Sequence[Column], root: Path) -> str:
    """Points that a method is ahead of a table's other rows, within the loosest and the closest tolerance."""
    tolerances = (TOLERANCES[0], TOLERANCES[-1])
    rows = []
    for column in columns:
        found = {name: cell_records(table.cell(column, name), root, PRESET) for name in table.variants}
        first = found.pop(variant)
        trained_on = str(column.demonstrations) + (f", {column.minutes:g} min" if column.minutes else "")
        for name, other in found.items():
            if other.records == first.records:  # the same trainings under another row's name
                continue
            paired = [
                paired_difference(first, other, partial(within_of, tolerance=each)) for each in tolerances
            ]
            points = [_points(difference, interval) for _, difference, interval in filter(None, paired)]
            if points:
                common = str(len(set(first.records) & set(other.records)))
                rows.append([VARIANTS[name].title, trained_on, *points, common])
    shares = (f"within {mm:g} mm, {deg:g}°" for mm, deg in tolerances)
    head = [f"{VARIANTS[variant].title} minus", "demonstrations", *shares, "seeds"]
    return markdown([head, *rows]) if rows else "not run"


def _points(difference: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _perception(root: Path) -> str:
    """What the encoders of insertion see (`ikp.training.probe`) beside what their policies reach."""
    rows: list[list[str]] = []
    blind: list[float] = []
    cells = [cell for cell in TABLES["table2"].cells if cell.column.task == "insertion"]
    for name in presets_with_results(root):
        for cell in cells:
            for record in cell_records(cell, root, name).records.values():
                if record.get("probe"):
                    blind.append(record["probe"]["blind_mm_median"])
                    rows.append([f"{VARIANTS[cell.variant].title}, {name}", *_seen(record)])
    head = [
        "method, preset",
        "demonstrations",
        "steps",
        "probe, median",
        "probe, 90 %",
        "joints that wrongly stay",
        "large misses",
        "within 10 mm, 15°",
    ]
    if not rows:
        return "not run"
    guess = (
        f"Without the image the best guess is off by {min(blind):.0f} to {max(blind):.0f} mm at the median."
    )
    return f"{markdown([head, *rows])}\n\n{guess}"


def _seen(record: Mapping[str, Any]) -> list[str]:
    probe, curve = record["probe"], record["curve"]
    return [
        str(record["settings"]["demonstrations"]),
        str(record["training"]["steps"]),
        *(f"{probe[f'probe_mm_{q}']:.0f} mm, {probe[f'probe_deg_{q}']:.0f}°" for q in ("median", "p90")),
        *(f"{100 * curve[key][-1]:.1f} %" for key in ("stay", "miss")),
        percent(record["summary"]["within"][tolerance_name(TOLERANCES[0])]),
    ]


def _sweeping(root: Path) -> str:
    rows = []
    calibrated, table2 = TABLES["sweeping"].cells, TABLES["table2"].cells
    papers = [TABLES["table1"].cell(SWEEPING, VARIANTS[cell.variant].method) for cell in calibrated]
    exact = [(cell, "exact", paper) for cell, paper in zip(calibrated, papers, strict=True)]
    off = [(cell, "off", cell) for cell in table2 if cell.column == SWEEPING_MISCALIBRATED]
    for cell, encoders, paper in (*exact, *off):
        finished = cell_records(cell, root, PRESET)
        records = list(finished.records.values())
        if not records:
            continue
        budget = _budget(finished.mean_training("seconds"), finished.mean_training("steps"))
        moved = " / ".join(f"{100 * record['score']['mean']:.1f} %" for record in records)
        low, high = (100 * bound for bound in records[0]["score"]["interval_95"])
        if len(records) == 1:
            moved += f" ({low:.0f} to {high:.0f} %)"
        seen = str(len(records[0]["episodes"]["score"]))
        title = VARIANTS[cell.variant].title
        rows.append([title, encoders, str(cell.column.demonstrations), budget, moved, seen, published(paper)])
    head = [
        "method",
        "encoders",
        "demonstrations",
        "training",
        "particles in the bowls",
        "unseen episodes",
        PAPER,
    ]
    table = markdown([head, *rows]) if rows else "not run"
    return f"**Bimanual sweeping from 96x96 pixels**: two iiwa 14\n\n{table}"


def _budget(seconds: float, steps: float) -> str:
    return f"{seconds / 60:.1f} min, {steps:.0f} steps"


def _read(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if "summary" not in values or "method" not in values.get("policy", {}):
        raise ValueError(
            f"{path} is no result of 'ikp evaluate --out': it lacks 'summary' or the policy's method"
        )
    return values


def sections(results: Path | str) -> dict[str, dict[str, str]]:
    """Page, from the repository's root, to the text between each of its markers."""
    bench, root = Path(results) / "bench", Path(results)
    insertion = {
        name: _insertion(_rows(TABLES[name].cells, root, paper=False))
        for name in ("image", *PIXEL_TABLES, *REPRODUCTION_TABLES)
    }
    image, ablations = TABLES["image"], TABLES["ablations"]
    state = replace(TABLES["state"], variants=tuple(METHODS))
    return {
        "README.md": {"results": results_table(results), "speed": headlines(bench)},
        "docs/performance.md": {"benchmarks": speed_tables(bench)},
        "docs/reproduce.md": {
            **{name: insertion[name] for name in REPRODUCTION_TABLES},
            "ahead-state": _ahead("ikp", state, state.columns, root),
            "ahead-ablations": _ahead("ikp", ablations, ablations.columns, root),
            "quick": reproduction_tables(results, "quick", ["table2"]),
        },
        "docs/image_plane.md": {
            "image": insertion["image"],
            "ahead": _ahead("ikp-image", image, image.columns[:1], root),
        },
        "docs/pixels.md": {
            **{name: insertion[name] for name in PIXEL_TABLES},
            "perception": _perception(root),
        },
    }


def update(root: Path | str, results: Path | str) -> bool:
    """Put the tables between the markers of all pages; whether that changed one.

    Args:
        root: the repository, or a copy of its pages.
        results: folder of the result files.

    Raises:
        ValueError: a page lacks markers.
    """
    changed = False
    for name, tables in sections(results).items():
        page = Path(root) / name
        text = fresh = page.read_text()
        for section, table in tables.items():
            fresh = _between(fresh, section, table, page)
        if fresh != text:
            changed = True
            with replaced_atomically(page) as path:
                path.write_text(fresh)
    return changed


def _between(text: str, section: str, table: str, page: Path) -> str:
    """The text with the table between the markers of its section."""
    begin, end = f"<!-- {section}:begin", f"<!-- {section}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{page} needs the lines '{begin} ... -->' and '{end}' once each")
    start = text.index("\n", text.index(begin)) + 1
    return f"{text[:start]}\n{table}\n\n{text[text.index(end) :]}"


if __name__ == "__main__":
    changed = update(".", "results")
    if changed and "--check" in sys.argv:
        sys.exit("a table was behind results/: it is rebuilt now, commit it")
