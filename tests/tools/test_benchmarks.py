"""The benchmarks: their command lines, and what they time."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["inference", "kinematics", "rollouts", "training"])
def test_help_explains_a_benchmark_and_measures_nothing(monkeypatch, capsys, name):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module(f"bench_{name}")
    monkeypatch.setattr(module, "measure", lambda *_, **__: pytest.fail("it measures"))
    monkeypatch.setattr(sys, "argv", [f"bench_{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"results/bench/{name}.json" in shown
    assert "--threads" in shown


def test_a_training_step_changes_the_policy(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("bench_training")
    step = module.Step(module.CASES[1])
    before = [parameter.clone() for parameter in step.model.parameters()]
    step()
    assert step.count == 1
    assert any(not torch.equal(*pair) for pair in zip(before, step.model.parameters(), strict=True))


def test_the_energies_of_a_step_are_timed_alone(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("bench_training")
    step = module.Step(module.CASES[1])
    run, flops = module.energies_alone(step, step.batch())
    run()
    dims, config = 6, step.policy.config
    candidates = step.config.batch_size * dims * (1 + config.negatives)
    assert flops > 6 * candidates * config.blocks * config.width**2 / 2
