"""Markdown tables of the benchmarks' files, `results/bench/*.json`, which `benchmarks/common.py` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def speed_tables(root: Path | str) -> str:
    """One table per benchmark file in the folder `root`, in the order of their names.

    A cell of ours is its time, one of a peer its time and, in brackets, by how much that is more than ours.

    Raises:
        ValueError: a file that no benchmark wrote.
    """
    parts = [_benchmark(path) for path in sorted(Path(root).glob("*.json"))]
    return "\n\n".join(parts) or "not run"


def _benchmark(path: Path) -> str:
    values = json.loads(path.read_text())
    if not {"title", "rows", "origin"} <= values.keys():
        raise ValueError(f"{path} is no result of a benchmark: it needs 'title', 'rows' and 'origin'")
    peers = list(dict.fromkeys(peer["name"] for row in values["rows"] for peer in row.get("peers", ())))
    header = ["", "size", "threads", "ours", *peers]
    lines = [header, ["---"] * len(header), *(_cells(row, peers) for row in values["rows"])]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    origin, machine = values["origin"], values["origin"]["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}"
    return f"**{values['title']}** ({where}, torch {origin['torch']}, commit {origin['commit']})\n\n{table}"


def _cells(row: Row, peers: Sequence[str]) -> list[str]:
    head = [row["name"], row["size"], str(row["threads"])]
    if "not_run" in row:
        return [*head, f"not run: {row['not_run']}", *("" for _ in peers)]
    entries = {peer["name"]: peer for peer in row["peers"]}
    return [
        *head,
        _time(row["ours"], row["unit"]),
        *(_peer(entries.get(name), row["unit"]) for name in peers),
    ]


def _peer(entry: Row | None, unit: str) -> str:
    if entry is None:
        return ""
    if "not_run" in entry:
        return f"not run: {entry['not_run']}"
    return f"{_time(entry['value'], unit)} ({_digits(entry['ratio'], 2)} ×)"


def _time(value: float, unit: str) -> str:
    return f"{_digits(value, 3)} {unit.replace('us', 'µs')}"


def _digits(value: float, significant: int) -> str:
    """The value with so many significant digits, never as a power of ten."""
    return f"{float(f'{value:.{significant}g}'):.{12}f}".rstrip("0").rstrip(".")
