"""The table of ALOHA's tasks: seeds together, a row per method and way-points, published figures below."""

from __future__ import annotations

import json
from types import MappingProxyType

from aloha_table import EXPERT, PUBLISHED, aloha_table
from ikp.policies.checkpoint import FORMAT
from ikp.policies.timing import REPLANNED


def store(results, task, method, seed, rewards, seen=MappingProxyType({"format": FORMAT}), **timing):
    record = {
        "task": task,
        "timing": {"rate": 2.5, "way_points": 5, "executed": 1.0, **timing},
        "rewards": {str(reward): rewards.count(reward) for reward in range(5)},
        "episodes": [{"reward": reward} for reward in rewards],
    }
    if method is not None:
        record["training"] = {"method": method, "steps": 1500, "data": {"episodes": 50}, **seen}
    folder = results / "aloha"
    folder.mkdir(exist_ok=True)
    (folder / f"{task}_{method}_{seed}_{len(timing)}_{len(seen)}.json").write_text(json.dumps(record))


def rows_of(results):
    lines = aloha_table(results).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_seeds_are_counted_together_and_methods_have_the_tables_order(tmp_path):
    assert aloha_table(tmp_path) == "not run"
    store(tmp_path, "insertion", "ikp", 0, [4, 4, 3, 0])
    store(tmp_path, "insertion", "ikp", 1, [4, 4, 4, 4])
    store(tmp_path, "transfer", "explicit", 0, [4, 0])
    store(tmp_path, "transfer", None, 0, [4, 4])
    explicit, ikp, expert, *published = rows_of(tmp_path)
    assert explicit[:3] == ["Explicit (joints)", "5 x 0.4 s", "50 demonstrations, 1500 steps"]
    assert explicit[3].startswith("50 % (")
    assert explicit[4] == ""
    assert ikp[4].startswith("75 % (")
    assert ikp[4].endswith("), 2 x 4")
    assert expert[0] == EXPERT
    assert [row[0] for row in published] == list(PUBLISHED)


def test_decisions_that_differ_are_not_mixed(tmp_path):
    store(tmp_path, "insertion", "ikp", 0, [4, 4])
    store(tmp_path, "insertion", "ikp", 0, [0, 0], executed=0.4)
    whole, part, *_ = sorted(row[1] for row in rows_of(tmp_path) if row[1])
    assert (whole, part) == ("5 x 0.4 s", "5 x 0.4 s, 40 % executed")


def test_cameras_and_versions_are_not_mixed(tmp_path):
    store(tmp_path, "insertion", "ikp", 0, [4, 4])
    store(tmp_path, "insertion", "ikp", 0, [4, 0], seen={})
    store(tmp_path, "insertion", "ikp", 0, [0, 0], seen={"cameras": ["top", "angle"], "format": FORMAT})
    shown = {row[2]: row[4] for row in rows_of(tmp_path) if row[2]}
    assert list(shown) == [f"50 demonstrations, 1500 steps{more}" for more in ("", "*", ", 2 cameras")]
    assert [cell.split()[0] for cell in shown.values()] == ["100", "50", "0"]


def test_wrong_zeros_make_a_row_of_their_own(tmp_path):
    for seed, off in enumerate((0.0, 1.7, 1.9)):
        store(tmp_path, "insertion", "ikp", seed, [4, 0], seen={"format": FORMAT, "zeros_deg": off})
    assert [(row[2], row[4][-5:]) for row in rows_of(tmp_path) if row[2]] == [
        ("50 demonstrations, 1500 steps", "1 x 2"),
        ("50 demonstrations, 1500 steps, encoders off by up to 2°", "2 x 2"),
    ]


def test_the_short_table_has_the_present_defaults_alone(tmp_path):
    store(tmp_path, "insertion", "ikp", 0, [4, 0])
    store(tmp_path, "insertion", "ikp", 0, [4, 4], executed=REPLANNED)
    store(tmp_path, "insertion", "explicit", 0, [4, 4], seen={}, executed=REPLANNED)
    rows = [line.split("|")[2].strip() for line in aloha_table(tmp_path, is_short=True).splitlines()[2:]]
    assert rows[: -len(PUBLISHED)] == ["5 x 0.4 s, 40 % executed"]
