"""The table of perception: results of the probe on insertion's encoders beside the success of their policies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikp.rollouts.summary import TOLERANCES, percent, tolerance_name
from ikp_paper.rows import NOT_RUN, markdown, recipes_with_results, title
from ikp_paper.statistics import cell_records
from ikp_paper.tables import TABLES

HEAD = (
    "method, recipe",
    "demonstrations",
    "steps",
    "probe, median",
    "probe, 90 %",
    "joints that wrongly stay",
    "large misses",
    "within 10 mm, 15°",
)


def perception_table(results: Path) -> str:
    """Every training of insertion from pixels in the paper's Table II that has a probe (`ikp.training.probe`)."""
    rows: list[list[str]] = []
    blind: list[float] = []
    cells = [cell for cell in TABLES["table2"].cells if cell.setting.task == "insertion"]
    for name in recipes_with_results(results):
        for cell in cells:
            for record in cell_records(cell, results, name).records.values():
                if record.get("probe"):
                    blind.append(record["probe"]["blind_mm_median"])
                    rows.append([f"{title(cell.variant)}, {name}", *_seen(record)])
    if not rows:
        return NOT_RUN
    guess = (
        f"Without the image the best guess is off by {min(blind):.0f} to {max(blind):.0f} mm at the median."
    )
    return f"{markdown([HEAD, *rows])}\n\n{guess}"


def _seen(record: Mapping[str, Any]) -> list[str]:
    probe, curve = record["probe"], record["curve"]
    return [
        str(record["settings"]["demonstrations"]),
        str(record["training"]["steps"]),
        *(f"{probe[f'probe_mm_{q}']:.0f} mm, {probe[f'probe_deg_{q}']:.0f}°" for q in ("median", "p90")),
        *(f"{100 * curve[key][-1]:.1f} %" for key in ("stay", "miss")),
        percent(record["summary"]["within"][tolerance_name(TOLERANCES[0])]),
    ]
