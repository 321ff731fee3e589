"""Parts that all benchmarks share: interleaved rounds of ours and its peers in one process, and one file of rows.

A case is one thing measured at one size by several contenders; ours comes first. After a warm-up each round
times every contender once, so that whatever slows the machine for a while slows all of them, and what is
compared is the ratio within a round. A row holds medians over the rounds.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from ikp.files import write_json
from ikp.provenance import provenance
from ikp.training.memory import reuse_freed_memory

Contender = Callable[[], object] | str
"""Does the work once and keeps nothing, or the reason why it cannot be run here."""

Row = dict[str, Any]

_M_MMAP_MAX = -4
_SHORTEST_S = 2e-2  # less is repeated within a round, so that none meets the caches that a peer left
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 41


def or_reason(build: Callable[[], Callable[[], object]]) -> Contender:
    """Return the result of `build`; where a package that it needs is missing, the reason."""
    try:
        return build()
    except ModuleNotFoundError as error:
        return missing(error)


def missing(error: ModuleNotFoundError) -> str:
    """The reason for not running what needs a package that is not there."""
    return f"the package {error.name} is not installed; 'make bench' installs it"


def measure(
    name: str,
    size: str,
    contenders: Mapping[str, Contender],
    *,
    unit: str = "ms",
    budget_s: float = 5.0,
    device: str = "cpu",
) -> Row:
    """Time the contenders, ours first, in interleaved rounds.

    Args:
        name: what is measured.
        size: at which size, with its unit.
        contenders: by name; the first is ours. One that is a reason gives an entry that says so.
        unit: "us", "ms" or "s", for the values of the row.
        budget_s: time to spend about; at least 5 and at most 41 rounds.
        device: "cuda" waits for the device at both ends of every measurement.

    Returns:
        The row: `ours` is the median time of one call, each peer has its own and `ratio`, the median over
        rounds of the peer's time by ours. A peer that has the attribute `compile_s` leaves it in its entry.
    """
    ours, *peers = contenders
    if isinstance(contenders[ours], str):
        return not_run(name, size, contenders[ours])
    work = {key: run for key, run in contenders.items() if not isinstance(run, str)}
    per_unit = {"us": 1e6, "ms": 1e3, "s": 1.0}[unit]
    repeats = {key: _repeats(run, device) for key, run in work.items()}
    round_s = sum(_seconds(run, repeats[key], device) * repeats[key] for key, run in work.items())
    rounds = max(_FEWEST_ROUNDS, min(_MOST_ROUNDS, int(budget_s / round_s)))
    seconds: dict[str, list[float]] = {key: [] for key in work}
    for _ in tqdm(range(rounds), desc=f"{name}, {size}", leave=False, disable=None):
        gc.collect()
        for key, run in work.items():
            seconds[key].append(_seconds(run, repeats[key], device))
    row: Row = {"name": name, "size": size, "threads": torch.get_num_threads(), "unit": unit}
    row |= {"rounds": rounds, "ours": _median(seconds[ours], per_unit), "peers": []}
    for peer in peers:
        entry: Row = {"name": peer}
        if peer in work:
            ratio = [theirs / own for theirs, own in zip(seconds[peer], seconds[ours], strict=True)]
            entry |= {"value": _median(seconds[peer], per_unit), "ratio": _median(ratio)}
            if (compile_s := getattr(work[peer], "compile_s", None)) is not None:
                entry["compile_s"] = float(f"{compile_s:.2g}")
        else:
            entry["not_run"] = contenders[peer]
        row["peers"].append(entry)
    return row


def not_run(name: str, size: str, reason: str) -> Row:
    """The row of something that cannot be measured here."""
    return {"name": name, "size": size, "threads": torch.get_num_threads(), "not_run": reason}


def keep_freed_memory() -> None:
    """No block is mapped anew, however large; ours and the peers' outputs alike.

    Without it glibc maps every output of more than 32 MB when it is allocated, and the kernel clears its pages
    one by one: up to ten times the work that is measured, and different from call to call.
    """
    if reuse_freed_memory():
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_MAX, 0)


def command_line(text: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have; `text` is the module's docstring."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="of torch (default: one for each core)"
    )
    return parser


def write_rows(benchmark: str, title: str, rows: Sequence[Row]) -> None:
    """Print the rows and write results/bench/<benchmark>.json, of one thread <benchmark>_1_thread.json."""
    for row in rows:
        print(describe(row))
    values = {"title": title, "rows": list(rows), "provenance": provenance()}
    suffix = "_1_thread" if all(row["threads"] == 1 for row in rows) else ""
    print(write_json(f"results/bench/{benchmark}{suffix}.json", values))


def describe(row: Row) -> str:
    """One line of text."""
    head = f"{row['name']}, {row['size']}, {row['threads']} threads"
    if "not_run" in row:
        return f"{head}: not run, {row['not_run']}"
    parts = [f"ours {row['ours']:g} {row['unit']}"]
    for peer in row["peers"]:
        what = (
            f"not run, {peer['not_run']}" if "not_run" in peer else f"{peer['value']:g} ({peer['ratio']:g} x)"
        )
        parts.append(f"{peer['name']} {what}")
    return f"{head}: {'; '.join(parts)}"


def _repeats(run: Callable[[], object], device: str) -> int:
    """Calls that one measurement of it needs to be long enough, after two to warm up."""
    _seconds(run, 2, device)
    once = _seconds(run, 1, device)
    return max(1, round(_SHORTEST_S / once))


def _seconds(run: Callable[[], object], repeats: int, device: str) -> float:
    """Time of one call, the mean of `repeats`, without garbage collection."""
    gc.disable()
    try:
        _wait(device)
        started = time.perf_counter()
        for _ in range(repeats):
            run()
        _wait(device)
        return (time.perf_counter() - started) / repeats
    finally:
        gc.enable()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _median(values: Sequence[float], factor: float = 1.0) -> float:
    return float(f"{statistics.median(values) * factor:.4g}")
