"""The table of the calibration, from `results/calibration/*.json`, which `benchmarks/calibration.py` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikp.files import read_json
from ikp_paper.rows import NOT_RUN, markdown

KINDS = {
    "poses": "tip poses",
    "positions": "tip positions",
    "poses-base-unknown": "tip poses, base unknown",
    "poses-noisy-joints": "tip poses, 0.05° of noise on the joints too",
    "sockets": "ball in two sockets",
    "point": "held point",
    "plane": "plane touched",
    "demonstrations": "upright tool, table height",
}
"""Titles by kind of measurement."""
BASE_KNOWN = ("poses", "positions", "poses-noisy-joints")
ROBOTS = ("ur5e", "iiwa14", "so101")
HEAD = (
    "arm",
    "measured",
    "poses",
    "joints identified",
    "offset error (rms)",
    "within 0.05°",
    "tip error before",
    "tip error after",
    "95 % intervals that hold",
    "drifts found",
    "named right",
    "false alarms",
)


def calibration_table(results: Path) -> str:
    """A row per arm and kind of measurement."""
    rows = []
    for robot in ROBOTS:
        for kind, title in KINDS.items():
            path = results / "calibration" / f"{robot}-{kind}.json"
            if path.exists():
                record = read_json(path)
                rows.append([robot, title, str(record["configurations"]), *_cells(record)])
    return markdown([HEAD, *rows]) if rows else NOT_RUN


def _cells(record: Mapping[str, Any]) -> list[str]:
    made, draws = record["summary"], record["draws"]
    aligned = "" if record["kind"] in BASE_KNOWN else "_aligned"
    error = made["offset_error_deg"]
    counts = made["identified"].values()
    always = sum(count == draws for count in counts)
    sometimes = sum(0 < count < draws for count in counts)
    return [
        f"{always} of {len(counts)}" + (f", {sometimes} at times" if sometimes else ""),
        f"{error['root_mean_square']:.3f}°",
        f"{100 * error['within_0.05_deg']:.0f} %",
        f"{made['tip_mm'][f'before{aligned}']:.1f} mm",
        f"{made['tip_mm'][f'after{aligned}']:.3f} mm",
        f"{100 * made['covered_by_95_percent_interval']:.0f} % of {made['parameters']}",
        *("{} of {}".format(*made[key]) for key in ("drift_found", "drift_named", "false_alarms")),
    ]
