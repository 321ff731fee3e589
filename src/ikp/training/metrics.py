"""Reads `metrics.jsonl`, the log of a training: losses, errors of the chosen actions, and the perception probe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl in order; lines that a killed run wrote after its last state are left out."""
    lines: dict[tuple, dict[str, Any]] = {}
    newest = 0
    for text in Path(path).read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # cut off by the kill
            continue
        if line["step"] < newest:  # resumed from an earlier state
            lines = {key: kept for key, kept in lines.items() if kept["step"] < line["step"]}
        newest = line["step"]
        lines[newest, *sorted(line)] = line
    return list(lines.values())


def last_probe(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The result of the perception probe at the end of training; empty where there is none."""
    return next((line["probe"] for line in reversed(metrics) if "probe" in line), {})


def last_sigmas(metrics: Sequence[Mapping[str, Any]]) -> list[float]:
    """Standard deviations of the learned corrections at the end of training [deg or mm]; empty where there are none."""
    found = next((line["residual"] for line in reversed(metrics) if "residual" in line), {})
    return [value for name, value in found.items() if " sigma " in name]
