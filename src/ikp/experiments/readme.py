"""The README's tables of results and of speed, rebuilt from `results/*/*.json`: no figure is typed.

python -m ikp.experiments.readme [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ikp.experiments.bench_table import speed_tables
from ikp.experiments.presets import METHOD_TITLES
from ikp.experiments.summary import TOLERANCES, percent, tolerance_name
from ikp.policies.checkpoint import replaced_atomically

PAPER = {
    "explicit": "74.2 ± 2.5",
    "explicit-fk": "75.4 ± 2.8",
    "implicit-cartesian": "0.0 ± 0.0",
    "implicit-joint": "85.2 ± 3.1",
    "ikp": "92.4 ± 2.6",
}
"""The paper's Table II, miscalibrated insertion from pixels with 1000 demonstrations, mean and std over 3 seeds [%]."""
GROUPS = {"insertion_pixels": "From 96x96 pixels", "insertion_state": "From object poses (state)"}


def results_table(root: Path | str) -> str:
    """Markdown tables of every result file below `root`, one table per group.

    Raises:
        ValueError: a file that is no result of `ikp evaluate`.
    """
    parts = []
    for folder, title in GROUPS.items():
        results = [_read(path) for path in sorted((Path(root) / folder).glob("*.json"))]
        results.sort(key=lambda r: (r["policy"]["train"]["minutes"] is not None, _rank(r)))
        parts.append(
            f"**{title}**: miscalibrated UR5e, block insertion\n\n{_group(results, 'pixels' in folder)}"
        )
    return "\n\n".join(parts)


def _group(results: Sequence[Mapping[str, Any]], pixels: bool) -> str:
    if not results:
        return "not run"
    tolerances = [f"within {mm:g} mm, {deg:g}°" for mm, deg in TOLERANCES]
    header = ["method", "demonstrations", "training", *tolerances, "unseen episodes"]
    header += ["paper, its simulator [%]"] if pixels else []
    rows = [header, ["---"] * len(header)]
    for result in results:
        trained, summary = result["policy"], result["summary"]
        method = trained["method"]
        budget = f"{trained['seconds'] / 60:.1f} min, {trained['steps']} steps"
        shares = [percent(summary["within"][tolerance_name(tolerance)]) for tolerance in TOLERANCES]
        row = [
            METHOD_TITLES[method],
            str(trained["data"]["episodes"]),
            budget,
            *shares,
            str(summary["episodes"]),
        ]
        rows.append([*row, PAPER[method]] if pixels else row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _read(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text())
    if "summary" not in values or "method" not in values.get("policy", {}):
        raise ValueError(
            f"{path} is no result of 'ikp evaluate --out': it lacks 'summary' or the policy's method"
        )
    return values


def _rank(result: Mapping[str, Any]) -> int:
    return -list(METHOD_TITLES).index(result["policy"]["method"])


def update(readme: Path | str, results: Path | str) -> bool:
    """Put the tables between the README's markers; whether that changed it.

    Raises:
        ValueError: the README lacks markers.
    """
    readme = Path(readme)
    text = readme.read_text()
    fresh = _between(text, "results", results_table(results), readme)
    fresh = _between(fresh, "speed", speed_tables(Path(results) / "bench"), readme)
    if fresh == text:
        return False
    with replaced_atomically(readme) as path:
        path.write_text(fresh)
    return True


def _between(text: str, section: str, table: str, readme: Path) -> str:
    """The text with the table between the markers of its section."""
    begin, end = f"<!-- {section}:begin", f"<!-- {section}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{readme} needs the lines '{begin} ... -->' and '{end}' once each")
    start = text.index("\n", text.index(begin)) + 1
    return f"{text[:start]}\n{table}\n\n{text[text.index(end) :]}"


if __name__ == "__main__":
    changed = update("README.md", "results")
    if changed and "--check" in sys.argv:
        sys.exit("README.md was behind results/: it is rebuilt now, commit it")
