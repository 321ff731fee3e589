"""The table of ALOHA's simulated tasks: success of each method beside published figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ikp.files import read_json
from ikp.policies.checkpoint import FORMAT
from ikp.policies.timing import REPLANNED
from ikp.rollouts.summary import count_of, percent
from ikp_paper.rows import NOT_RUN, markdown
from ikp_paper.variants import VARIANTS

TASKS = {"transfer": "TransferCube", "insertion": "Insertion"}
PUBLISHED = {
    "ACT (arXiv 2304.13705), 50 demonstrations of its script": ("86 %", "32 %"),
    "best Diffusion Policy found, the same": ("90 %", "63 %"),
}
EXPERT = "the scripted expert, at the way-points of its own motion"
METHODS = (*VARIANTS, EXPERT)
ONE_CAMERA = ("top",)
"""Cameras of the records that name none."""
Record = Mapping[str, Any]


def aloha_table(results: Path, *, is_short: bool = False) -> str:
    """A row per method, way-points and training; the episodes of all seeds together. A * marks earlier versions.

    Args:
        results: folder that holds `aloha/*.json`, the records of `benchmarks/aloha/evaluate.py`.
        is_short: only policies of the present version that decide again as they do by default.
    """
    records = [read_json(path) for path in sorted((results / "aloha").glob("*.json"))]
    if is_short:
        records = [
            record
            for record in records
            if record["timing"]["executed"] == REPLANNED and record["training"].get("format") == FORMAT
        ]
    if not records:
        return NOT_RUN
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(_row(record), []).append(record)
    order = sorted(groups, key=lambda row: (METHODS.index(row[0]), row))
    rows = [
        [_title(row[0]), *row[1:], *(_cell([r for r in groups[row] if r["task"] == task]) for task in TASKS)]
        for row in order
    ]
    rows += [[name, "", "", *shares] for name, shares in PUBLISHED.items()]
    return markdown([["method", "way-points", "training", *TASKS.values()], *rows])


def _row(record: Record) -> tuple[str, str, str]:
    """The method, its way-points and its training, which make a row."""
    timing, training = record["timing"], record.get("training")
    rate = timing["rate"] or 50
    way_points = f"{timing['way_points']} x {1 / rate:g} s"
    if timing["executed"] < 1:
        way_points += f", {100 * timing['executed']:g} % executed"
    if training is None:
        return EXPERT, way_points, ""
    cameras, zeros = len(training.get("cameras", ONE_CAMERA)), training.get("zeros_deg", 0.0)
    return (
        training["method"],
        way_points,
        f"{training['data']['episodes']} demonstrations, {training['steps']} steps"
        + f", {cameras} cameras" * (cameras > 1)
        + f", encoders off by up to {math.ceil(zeros)}°" * (zeros > 0)
        + "*" * (training.get("format") != FORMAT),
    )


def _title(method: str) -> str:
    return VARIANTS[method].title if method in VARIANTS else method


def _cell(records: Sequence[Record]) -> str:
    """Success over all seeds with its interval, and the number of episodes; empty without a record."""
    if not records:
        return ""
    counts = [len(record["episodes"]) for record in records]
    solved = sum(record["rewards"]["4"] for record in records)
    return f"{percent(count_of(solved, sum(counts)))}, {len(records)} x {counts[0]}"
