"""Estimates of time and memory before any run is finished."""

import json
from itertools import pairwise

import pytest

from ikp_paper import cli
from ikp_paper.cli import default_jobs
from ikp_paper.queue.board import Board
from ikp_paper.queue.estimates import BASE_MEMORY, collecting, fitting, memory_of
from ikp_paper.queue.runner import listing
from ikp_paper.run import Places, resolve
from ikp_paper.tables import Cell, Setting

GB = 1e9


def run_of(task, count, observation="pixels", recipe="standard"):
    return resolve(Cell(Setting(task, count, observation), "ikp"), recipe, 0)


def test_memory_follows_the_images():
    sweeping, few = run_of("sweeping", 1000), run_of("sweeping", 1000, recipe="quick")
    assert 7 * GB < memory_of(sweeping) < 9 * GB
    assert memory_of(sweeping) - BASE_MEMORY == pytest.approx(5 * (memory_of(few) - BASE_MEMORY))
    sizes = [memory_of(run_of(task, 1000)) for task in ("insertion", "flipping", "sweeping")]
    assert all(smaller < larger for smaller, larger in pairwise(sizes))
    assert memory_of(run_of("sweeping", 1000, "state")) == BASE_MEMORY


def test_the_largest_runs_fit_together():
    planned = [run_of("insertion", 100), run_of("sweeping", 1000), run_of("sweeping", 1000)]
    large, small = memory_of(planned[1]), memory_of(planned[0])
    assert fitting(planned, 2 * large + small) == 3
    assert fitting(planned, 2 * large + small - 1) == 2
    assert fitting(planned, 2 * large - 1) == 1
    assert fitting(planned, 0) == 1, "one is always tried"


def test_default_jobs_are_no_more_than_cores_and_memory(monkeypatch):
    planned = [run_of("sweeping", 1000)] * 3
    pages = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 1000 * GB}
    monkeypatch.setattr("os.sysconf", pages.get)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(cli, "usable_cores", lambda: 2)
    assert default_jobs(planned) == 2
    pages["SC_PHYS_PAGES"] = 1.5 * memory_of(planned[0])
    assert default_jobs(planned) == 1


def test_only_what_is_not_collected_yet_takes_time(tmp_path):
    places = Places(tmp_path / "results", tmp_path / "out")
    few, many, other = run_of("insertion", 100), run_of("insertion", 1000), run_of("sweeping", 1000)
    assert collecting([], places, 2) == 0
    whole = collecting([few, many], places, 2)
    assert whole == collecting([many], places, 2) > 0, "they share one data set"
    assert collecting([many], places, 1) == pytest.approx(2 * whole)
    assert collecting([many, other], places, 2) > 5 * whole, "sweeping's episodes are long"
    info = places.data(many) / "meta" / "info.json"
    info.parent.mkdir(parents=True)
    action = {"dtype": "float32", "shape": [6]}
    counts = {"fps": 10, "features": {"action": action}, "total_episodes": 750, "total_frames": 19500}
    info.write_text(json.dumps({"codebase_version": "v3.0", **counts}))
    assert collecting([many], places, 2) == pytest.approx(whole / 4)
    assert collecting([few], places, 2) == 0
    assert "of it for demonstrations" in listing([many], places, jobs=2, workers=2)
    assert "demonstrations" not in listing([few], places, jobs=2, workers=2)


def test_the_time_left_is_not_negative_when_less_was_done_than_expected(capsys):
    with Board(total=100.0, done=50.0) as board:
        board.show(80.0, 40.0, "1 of 2 runs", {})
    shown = capsys.readouterr().err
    assert "1 of 2 runs" in shown
    assert "-" not in shown
