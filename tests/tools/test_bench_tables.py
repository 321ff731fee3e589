"""Tables of speed, and the measuring that their numbers come from."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

import pytest

from bench_tables import HEADLINES, headlines, speed_tables

COMMON = Path(__file__).parents[2] / "benchmarks" / "common.py"


@pytest.fixture
def common(tmp_path, monkeypatch):
    """The module that the benchmarks share; it is in no package."""
    spec = importlib.util.spec_from_file_location("benchmarks_common", COMMON)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


def sleeper(seconds):
    return lambda: time.sleep(seconds)


def missing():
    import a_package_that_nobody_has

    return a_package_that_nobody_has.run


def test_medians_and_ratios_of_what_ran_and_reasons_for_what_did_not(common):
    contenders = {"ours": sleeper(4e-3), "slow": sleeper(16e-3), "absent": common.or_reason(missing)}
    row = common.measure("sleep", "n", contenders, budget_s=0.1)
    slow, absent = row["peers"]
    assert 4 <= row["ours"] < slow["value"]
    assert slow["value"] >= 16
    assert 1 < slow["ratio"] < 5  # a busy machine makes both longer
    assert absent == {
        "name": "absent",
        "not_run": "the package a_package_that_nobody_has is not installed; 'make bench' installs it",
    }
    assert "not run, the package" in common.describe(row)
    assert common.measure("x", "n", {"ours": "no device"})["not_run"] == "no device"


def test_the_time_of_compiling_is_kept_beside_the_time_of_a_call(common):
    def compiled():
        time.sleep(1e-3)

    compiled.compile_s = 41.234
    row = common.measure("sleep", "n", {"ours": sleeper(1e-3), "compiled": compiled}, budget_s=0.1)
    assert row["peers"][0]["compile_s"] == 41.0


def test_tables_hold_what_the_benchmarks_wrote(common, tmp_path):
    peers = [
        {"name": "fast", "value": 0.004321, "ratio": 0.0361},
        {"name": "far", "value": 123456.0, "ratio": 1000.4, "compile_s": 41.0},
    ]
    ran = {"name": "work", "size": "n 7", "threads": 2, "unit": "us", "rounds": 5, "ours": 0.12171}
    rows = [
        ran | {"peers": peers},
        ran | {"peers": [{"name": "absent", "not_run": "it is absent"}]},
        common.not_run("work", "n 8", "no GPU here"),
    ]
    common.write_rows("some", "Some work", rows)
    table = speed_tables(tmp_path / "results" / "bench")
    assert table.startswith("**Some work** (")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert cells[0] == ["", "size", "threads", "ours", "fast", "far", "absent"]
    assert cells[2] == [
        "work",
        "n 7",
        "2",
        "0.122 µs",
        "0.00432 µs (0.036 ×)",
        "123000 µs (1000 ×, compiled in 41 s)",
        "",
    ]
    assert cells[3][3:] == ["0.122 µs", "", "", "not run: it is absent"]
    assert cells[4][3:] == ["not run: no GPU here", "", "", ""]


def test_headlines_are_rows_of_the_files_with_their_peers(common, tmp_path):
    file, name, size = HEADLINES[0]
    peers = [
        {"name": "far", "value": 30.0, "ratio": 20.0},
        {"name": "gone", "not_run": "it is absent"},
    ]
    row = {"threads": 2, "unit": "us", "rounds": 5, "ours": 1.5, "peers": peers}
    rows = [row | {"name": name, "size": size}, row | {"name": name, "size": "another"}]
    common.write_rows(file, "Some work", rows)
    lines = headlines(tmp_path / "results" / "bench").splitlines()
    assert lines[2:] == [f"| {name} | {size} | 1.5 µs | far 30 µs (20 ×) |"]
    assert headlines(tmp_path / "empty") == "not run"


def test_this_projects_headlines_all_exist():
    bench = Path(__file__).parents[2] / "results" / "bench"
    assert len(headlines(bench).splitlines()) == 2 + len(HEADLINES)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(ValueError, match="not a result of a benchmark"):
        speed_tables(tmp_path)
    assert speed_tables(tmp_path / "empty") == "not run"
