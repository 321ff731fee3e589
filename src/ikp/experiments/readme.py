"""The tables of the README and of docs/performance.md, rebuilt from `results/*/*.json`: no figure is typed.

python -m ikp.experiments.readme [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ikp.experiments.bench_table import headlines, speed_tables
from ikp.experiments.matrix import INSERTION_1000, SWEEPING, TABLES
from ikp.experiments.presets import METHOD_TITLES
from ikp.experiments.summary import TOLERANCES, count_of, percent, tolerance_name
from ikp.experiments.tables import cell_records, markdown, published
from ikp.experiments.variants import VARIANTS
from ikp.policies.checkpoint import replaced_atomically

DEMO, PRESET = "insertion_pixels", "standard"


def results_table(root: Path | str) -> str:
    """Markdown tables of the demo and of `ikp reproduce state | sweeping`, from their files below `root`.

    Raises:
        ValueError: a file that is no result of `ikp evaluate` or of `ikp reproduce`.
    """
    demo = [_read(path) for path in sorted((Path(root) / DEMO).glob("*.json"))]
    demo.sort(key=_rank)
    tables = {
        "From 96x96 pixels": ([_demo_row(result) for result in demo], ["paper, its simulator [%]"]),
        "From object poses (state)": (_state_rows(Path(root)), []),
    }
    parts = []
    for title, (rows, further) in tables.items():
        tolerances = [f"within {mm:g} mm, {deg:g}°" for mm, deg in TOLERANCES]
        head = ["method", "demonstrations", "training", *tolerances, "unseen episodes", *further]
        table = markdown([head, *rows]) if rows else "not run"
        parts.append(f"**{title}**: miscalibrated UR5e, block insertion\n\n{table}")
    return "\n\n".join([*parts, _sweeping(Path(root))])


def _demo_row(result: Mapping[str, Any]) -> list[str]:
    trained, summary = result["policy"], result["summary"]
    within = [summary["within"][tolerance_name(tolerance)] for tolerance in TOLERANCES]
    count, episodes = str(trained["data"]["episodes"]), str(summary["episodes"])
    method = trained["method"]
    paper = published(TABLES["table2"].cell(INSERTION_1000, method))
    return [METHOD_TITLES[method], count, _budget([trained]), *map(percent, within), episodes, paper]


def _state_rows(root: Path) -> list[list[str]]:
    """Equal steps first, then equal time; the episodes of all seeds together."""
    table, rows = TABLES["state"], []
    for cell in table.cells:
        records = list(cell_records(cell, root, PRESET).records.values())
        if not records:
            continue
        episodes = [len(record["episodes"]["success"]) for record in records]
        within = [
            count_of(sum(r["summary"]["within"][tolerance_name(t)]["count"] for r in records), sum(episodes))
            for t in TOLERANCES
        ]
        budget = _budget([record["training"] for record in records])
        seen = f"{len(records)} x {episodes[0]}" if len(records) > 1 else str(episodes[0])
        title = VARIANTS[cell.variant].title
        rows.append([title, str(cell.column.demonstrations), budget, *map(percent, within), seen])
    return rows


def _sweeping(root: Path) -> str:
    rows = []
    for cell in TABLES["sweeping"].cells:
        records = list(cell_records(cell, root, PRESET).records.values())
        if not records:
            continue
        budget = _budget([record["training"] for record in records])
        moved = " / ".join(f"{100 * record['score']['mean']:.1f} %" for record in records)
        low, high = (100 * bound for bound in records[0]["score"]["interval_95"])
        if len(records) == 1:
            moved += f" ({low:.0f} to {high:.0f} %)"
        paper = published(TABLES["table1"].cell(SWEEPING, cell.variant))
        seen = str(len(records[0]["episodes"]["score"]))
        title = VARIANTS[cell.variant].title
        rows.append([title, str(cell.column.demonstrations), budget, moved, seen, paper])
    head = ["method", "demonstrations", "training", "particles in the bowls", "unseen episodes"]
    table = markdown([[*head, "paper, its simulator [%]"], *rows]) if rows else "not run"
    return f"**Bimanual sweeping from 96x96 pixels**: two iiwa 14\n\n{table}"


def _budget(trained: Sequence[Mapping[str, Any]]) -> str:
    minutes, steps = (sum(run[key] for run in trained) / len(trained) for key in ("seconds", "steps"))
    return f"{minutes / 60:.1f} min, {steps:.0f} steps"


def _read(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text())
    if "summary" not in values or "method" not in values.get("policy", {}):
        raise ValueError(
            f"{path} is no result of 'ikp evaluate --out': it lacks 'summary' or the policy's method"
        )
    return values


def _rank(result: Mapping[str, Any]) -> int:
    return -list(METHOD_TITLES).index(result["policy"]["method"])


def update(readme: Path | str, performance: Path | str, results: Path | str) -> bool:
    """Put the tables between the markers of both pages; whether that changed one.

    Raises:
        ValueError: a page lacks markers.
    """
    bench = Path(results) / "bench"
    pages: dict[Path, dict[str, str]] = {
        Path(readme): {"results": results_table(results), "speed": headlines(bench)},
        Path(performance): {"benchmarks": speed_tables(bench)},
    }
    changed = False
    for page, sections in pages.items():
        text = fresh = page.read_text()
        for section, table in sections.items():
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
    changed = update("README.md", "docs/performance.md", "results")
    if changed and "--check" in sys.argv:
        sys.exit("a table was behind results/: it is rebuilt now, commit it")
