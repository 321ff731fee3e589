"""The tables of the loop on a robot, from `results/robots/*.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikp.files import read_json
from ikp.rollouts.summary import percent
from ikp_paper.rows import NOT_RUN, markdown

TITLES = {"ikp": "IKP"}
LOOP_HEAD = (
    "task", "policy", "demonstrations", "training", "success, unseen starts", "mean score", "median time of a success",
    "failures",
)  # fmt: skip
TIMING_HEAD = (
    "bench", "time", "policy's rate", "period error, 99 %", "controller's rate", "period error, 99 %",
    "growth of memory", "load",
)  # fmt: skip


def loop_table(results: Path) -> str:
    """A row per record of `tools/robot_record.py`.

    Args:
        results: folder that holds `robots/*.json`.
    """
    records = [record for record in _records(results) if "task" in record]
    return markdown([LOOP_HEAD, *map(_loop_row, records)]) if records else NOT_RUN


def timing_table(results: Path) -> str:
    """A row per record of `tools/robot_timing.py`."""
    records = [record for record in _records(results) if "by_minute" in record]
    return markdown([TIMING_HEAD, *map(_timing_row, records)]) if records else NOT_RUN


def _records(results: Path) -> list[Mapping[str, Any]]:
    return [read_json(path) for path in sorted((results / "robots").glob("*.json"))]


def _loop_row(record: Mapping[str, Any]) -> list[str]:
    training, report = record["training"], record["deployment"]
    scores = report.get("scores", ())
    title: str = TITLES.get(str(training["method"])) or str(training["method"])
    if training["recipe"] == "demo":
        title += " + image plane"
    times = sorted(
        time for time, success in zip(report["seconds"], report["successes"], strict=True) if success
    )
    failures = ", ".join(f"{count} {what}" for what, count in sorted(record["failures"].items()))
    return [
        record["task"],
        title,
        f"{record['demonstrations']['episodes']}, {record['demonstrations']['frames']} frames",
        f"{training['steps']} steps of {training['train']['batch_size']}",
        f"{percent(record['success'])} of {len(report['successes'])}",
        f"{100 * sum(scores) / len(scores):.0f} %" if scores else "",
        f"{times[len(times) // 2]:.1f} s" if times else "",
        failures or "none",
    ]


def _timing_row(record: Mapping[str, Any]) -> list[str]:
    report, rows = record["report"], record["by_minute"]
    growth = [value for value in record["memory_per_hour"].values() if value is not None]
    controllers = [row["controller_rate"] for row in rows]
    loads = [row["load"] for row in rows]
    return [
        record["bench"],
        f"{record['minutes']} min",
        f"{report['rate']:.2f} Hz",
        f"{1000 * report['jitter']:.1f} ms",
        f"{sum(controllers) / len(controllers):.1f} Hz",
        f"{1000 * report['controller_jitter']:.2f} ms",
        f"{sum(growth):+.1f} MiB per hour" if growth else "",
        f"{sum(loads) / len(loads):.1f} on {record['provenance']['machine']['cores']} cores",
    ]
