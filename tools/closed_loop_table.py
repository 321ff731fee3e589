"""Tables of the benchmarks on other people's tasks: success of each method under each decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ikp.files import read_json
from ikp.rollouts.summary import count_of, percent
from ikp_paper.rows import NOT_RUN, markdown

PARTICLE = {f"particle-{dims}": f"{dims} dimensions" for dims in (2, 8, 16)}
LIFT = {"lift-15": "15 demonstrations"}
METHODS = {
    "explicit": "Explicit",
    "implicit": "Implicit (raw actions)",
    "implicit-joint": "Implicit (joints)",
    "ikp": "IKP",
}
DECISIONS = ("pooled", "energies", "regression")
Record = Mapping[str, Any]


def closed_loop_table(results: Path, columns: Mapping[str, str]) -> str:
    """A row per method and decision, a column per benchmark; the episodes of all seeds together.

    Args:
        results: folder that holds `closed_loop/*.json`, the records of `benchmarks/closed_loop.py`.
        columns: titles by the name of a benchmark.
    """
    found = [read_json(path) for path in sorted((results / "closed_loop").glob("*.json"))]
    records = [record for record in found if record["run"]["name"] in columns]
    made = {record["run"]["name"]: [] for record in records}
    for record in records:
        made[record["run"]["name"]].append(record)
    names = [name for name in columns if name in made]
    rows = []
    for method, title in METHODS.items():
        for decision in DECISIONS:
            cells = [_cell(made[name], method, decision) for name in names]
            if any(cells):
                rows.append([f"{title}{_label(records, method, decision)}", *cells])
    head = ["method", *(f"{columns[name]}, {_one(made[name], 'steps')} steps" for name in names)]
    return markdown([head, *rows]) if rows else NOT_RUN


def _cell(records: Sequence[Record], method: str, decision: str) -> str:
    """Success over all seeds with its interval, and the number of episodes; empty without a record."""
    chosen = [
        r["decisions"][decision]
        for r in records
        if r["run"]["method"] == method and decision in r["decisions"]
    ]
    if not chosen:
        return ""
    counts = [len(one["episodes"]["success"]) for one in chosen]
    share = count_of(sum(one["success"]["count"] for one in chosen), sum(counts))
    return f"{percent(share)}, {len(chosen)} x {counts[0]}"


def _label(records: Sequence[Record], method: str, decision: str) -> str:
    """The rule that decides, for a policy that has a choice."""
    if method == "explicit":
        return ""
    if decision == "pooled":
        weights = {
            r["settings"]["policy"]["search"]["regression"] for r in records if r["run"]["method"] == method
        }
        return f", as it decides (weight of the regression {', '.join(f'{w:g}' for w in sorted(weights))})"
    return {"energies": ", by its energies alone", "regression": ", by the regression inside it"}[decision]


def _one(records: Sequence[Record], key: str) -> int:
    """The value that the trainings of all records share.

    Raises:
        ValueError: they differ, so they do not belong into one column.
    """
    values = {record["training"][key] for record in records}
    if len(values) > 1:
        raise ValueError(
            f"records of {records[0]['run']['name']!r} have the {key} {sorted(values)}: a column has records of one "
            "training; move the others"
        )
    return values.pop()
