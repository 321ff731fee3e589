"""What runs are expected to take, before any of them is finished."""

from itertools import pairwise

import pytest

from ikp.experiments import reproduce
from ikp.experiments.estimates import BASE_MEMORY, fitting, memory_of
from ikp.experiments.matrix import Cell, Column
from ikp.experiments.planning import resolve
from ikp.experiments.reproduce import default_jobs

GB = 1e9


def run_of(task, count, observation="pixels", preset="standard"):
    return resolve(Cell(Column(task, count, observation), "ikp"), preset, 0)


def test_memory_follows_the_images():
    sweeping, few = run_of("sweeping", 1000), run_of("sweeping", 1000, preset="quick")
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
    monkeypatch.setattr(reproduce, "usable_cores", lambda: 2)
    assert default_jobs(planned) == 2
    pages["SC_PHYS_PAGES"] = 1.5 * memory_of(planned[0])
    assert default_jobs(planned) == 1
