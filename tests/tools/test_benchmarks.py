"""The benchmarks' command lines."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["inference", "kinematics", "rollouts", "training"])
def test_help_explains_a_benchmark_and_measures_nothing(monkeypatch, capsys, name):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    module = importlib.import_module(f"bench_{name}")
    monkeypatch.setattr(module, "measure", lambda *_, **__: pytest.fail("it measures"))
    monkeypatch.setattr(sys, "argv", [f"bench_{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"results/bench/{name}.json" in shown
    assert "--threads" in shown
