"""The tables of other people's tasks: seeds together, a row per decision, no mixed trainings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from closed_loop_table import PARTICLE, closed_loop_table


def store(results, name, method, seed, steps=100, **successes):
    """The record of a run; `successes` has the episodes of each decision."""
    record = {
        "run": {"name": name, "method": method, "seed": seed},
        "training": {"steps": steps, "seconds": 1.0},
        "settings": {"policy": {"search": {"regression": 0.3}}},
        "decisions": {
            decision: {"success": {"count": sum(episodes)}, "episodes": {"success": episodes}}
            for decision, episodes in successes.items()
        },
    }
    path = results / "closed_loop" / f"{name}-{steps}-{method}-{seed}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))


def rows_of(table):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_seeds_are_counted_together_and_each_decision_has_a_row(tmp_path):
    for seed, solved in enumerate(([1, 1, 1, 1], [0, 0, 1, 1])):
        store(tmp_path, "particle-8", "implicit", seed, pooled=solved, energies=[0, 0, 0, 0])
    store(tmp_path, "particle-2", "explicit", 0, regression=[1, 0])
    rows = rows_of(closed_loop_table(tmp_path, PARTICLE))
    assert rows["method"] == ["2 dimensions, 100 steps", "8 dimensions, 100 steps"]
    assert rows["Explicit"][0].startswith("50 % (")
    assert rows["Explicit"][0].endswith("), 1 x 2")
    assert rows["Explicit"][1] == ""
    pooled = rows["Implicit (raw actions), as it decides (weight of the regression 0.3)"]
    assert pooled[0] == ""
    assert pooled[1].startswith("75 % (")
    assert pooled[1].endswith("), 2 x 4")
    assert rows["Implicit (raw actions), by its energies alone"][1].startswith("0 % (")
    assert len(rows) == 5  # with the line below the heading


def test_trainings_of_different_length_are_not_mixed(tmp_path):
    for steps in (100, 200):
        store(tmp_path, "particle-2", "explicit", 0, steps=steps, regression=[1])
    with pytest.raises(ValueError, match=r"particle-2.*steps \[100, 200\]"):
        closed_loop_table(tmp_path, PARTICLE)


def test_without_records_nothing_was_run(tmp_path):
    assert closed_loop_table(tmp_path, PARTICLE) == "not run"
