"""Tables of speed from `results/bench/*.json`, which `benchmarks/common.py` writes.

`speed_tables` has every row; `headlines` has a few, each in one line with all its peers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ikp.files import read_json

Row = Mapping[str, Any]

HEADLINES = (
    ("kinematics", "forward, iiwa14", "batch 65536"),
    ("inference", "one action from 96x96 pixels, IKP", "6 joints + gripper, 1 env"),
)
"""File, name and beginning of the size of the rows in the README."""


def speed_tables(root: Path | str) -> str:
    """One table per benchmark file in the folder `root`, in the order of their names.

    Our cells hold a time, a peer's cells a time and, in brackets, its multiple of ours.

    Raises:
        ValueError: a file that no benchmark wrote.
    """
    parts = [_benchmark(path) for path in sorted(Path(root).glob("*.json"))]
    return "\n\n".join(parts) or "not run"


def headlines(root: Path | str) -> str:
    """The rows of `HEADLINES` that the folder `root` has, one line each.

    Raises:
        ValueError: a file that no benchmark wrote.
    """
    lines = []
    for file, name, size in HEADLINES:
        path = Path(root) / f"{file}.json"
        rows = _read(path)["rows"] if path.is_file() else []
        lines += [_line(row) for row in rows if row["name"].startswith(name) and row["size"].startswith(size)]
    head = ["| | size | ours | beside it, in the same run (times ours) |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *lines]) if lines else "not run"


def _line(row: Row) -> str:
    if "not_run" in row:
        return f"| {row['name']} | {row['size']} | not run: {row['not_run']} | |"
    peers = [f"{p['name']} {_peer(p, row['unit'])}" for p in row["peers"] if "not_run" not in p]
    return f"| {row['name']} | {row['size']} | {_time(row['ours'], row['unit'])} | {'; '.join(peers)} |"


def _read(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not {"title", "rows", "provenance"} <= values.keys():
        raise ValueError(f"{path} is not a result of a benchmark: it needs 'title', 'rows' and 'provenance'")
    return values


def _benchmark(path: Path) -> str:
    values = _read(path)
    peers = list(dict.fromkeys(peer["name"] for row in values["rows"] for peer in row.get("peers", ())))
    header = ["", "size", "threads", "ours", *peers]
    lines = [header, ["---"] * len(header), *(_cells(row, peers) for row in values["rows"])]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    made, machine = values["provenance"], values["provenance"]["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}"
    return f"**{values['title']}** ({where}, torch {made['torch']}, commit {made['commit']})\n\n{table}"


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
    compiled = f", compiled in {_digits(entry['compile_s'], 2)} s" if "compile_s" in entry else ""
    return f"{_time(entry['value'], unit)} ({_digits(entry['ratio'], 2)} ×{compiled})"


def _time(value: float, unit: str) -> str:
    return f"{_digits(value, 3)} {unit.replace('us', 'µs')}"


def _digits(value: float, significant: int) -> str:
    """The value with that many significant digits, never as a power of ten."""
    return f"{float(f'{value:.{significant}g}'):.{12}f}".rstrip("0").rstrip(".")
