"""The records and tables of the loop on a robot."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from robot_record import ends
from robot_timing import per_hour
from robots_table import loop_table, timing_table


class Deployed:
    """Four episodes of three frames; the state's last dimension says whether something is held."""

    success = torch.tensor([True, False, False, False])
    episode_bounds = torch.tensor([[0, 3], [3, 6], [6, 9], [9, 12]])
    state = torch.tensor([0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0.0])[:, None]


def test_failures_are_told_apart_by_what_was_held():
    assert ends(Deployed()) == ["nothing was held", "still holding", "let go"]


def test_a_growth_is_counted_per_hour_after_the_first_minutes():
    assert per_hour([0.0, 500.0, 3.0, 4.0, 5.0, *np.arange(10) / 60]) == pytest.approx(1.0)
    assert per_hour([1.0, 2.0]) is None


def test_the_tables_have_a_row_per_record(tmp_path):
    assert loop_table(tmp_path) == timing_table(tmp_path) == "not run"
    folder = tmp_path / "robots"
    folder.mkdir()
    machine = {"machine": {"cores": 2}}
    loop = {
        "task": "alignment",
        "success": {"share": 0.5, "interval_95": [0.1, 0.9]},
        "failures": {"let go": 1},
        "demonstrations": {"episodes": 100, "frames": 4521},
        "training": {"method": "ikp", "recipe": "demo", "steps": 7, "train": {"batch_size": 32}},
        "deployment": {"successes": [True, False], "scores": [1.0, 0.25], "seconds": [4.0, 60.0]},
    }
    timing = {
        "bench": "twin:alignment",
        "minutes": 2,
        "memory_per_hour": {"session": 0.5, "ikp-world": -0.25},
        "report": {"rate": 9.99, "jitter": 0.0012, "controller_jitter": 0.0004},
        "by_minute": [{"controller_rate": 249.0, "load": 1.0}, {"controller_rate": 250.0, "load": 2.0}],
        "provenance": machine,
    }
    (folder / "alignment.json").write_text(json.dumps(loop))
    (folder / "hour.json").write_text(json.dumps(timing))
    (folder / "faults.json").write_text("{}")
    (row,) = loop_table(tmp_path).splitlines()[2:]
    assert row.startswith("| alignment | IKP + image plane | 100, 4521 frames | 7 steps of 32 |")
    assert row.endswith("| 50 % (10 to 90 %) of 2 | 62 % | 4.0 s | 1 let go |")
    assert timing_table(tmp_path).splitlines()[2:] == [
        "| twin:alignment | 2 min | 9.99 Hz | 1.2 ms | 249.5 Hz | 0.40 ms | +0.2 MiB per hour | 1.5 on 2 cores |"
    ]
