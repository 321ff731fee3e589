"""The N-D particle: its expert, its success, and the record of a run with every decision."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def particle():
    """The benchmark; it is in no package and imports a module beside it."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("particle", BENCHMARKS / "particle.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_the_expert_reaches_both_goals_in_order(particle):
    data = particle.demonstrations(8, count=50)
    assert (data.episodes, len(data)) == (50, 50 * particle.STEPS)
    assert data.success.all()
    first, second = data.environment_state[: particle.STEPS].unflatten(1, (2, 8)).unbind(1)
    assert torch.equal(data.action[0], first[0])
    assert torch.equal(data.action[particle.STEPS - 1], second[0])


def test_only_the_right_order_counts(particle):
    particles = particle.Particles(40, 2, seed=3)
    for _ in range(particle.STEPS):
        particles.step(particles.goals[:, 1])
    never_near_the_first = ~particles.reached[:, 0]
    assert never_near_the_first.sum() > 20
    assert not particles.reached[never_near_the_first, 1].any()


def test_a_run_is_recorded_once_with_every_decision(particle, tmp_path, monkeypatch):
    sizes = ["--steps", "3", "--demonstrations", "20", "--episodes", "5"]
    arguments = ["--method", "implicit", *sizes, "--results", str(tmp_path), "--out", str(tmp_path)]
    particle.main(arguments)
    record = json.loads((tmp_path / "particle-2-3steps-implicit-seed0.json").read_text())
    assert set(record["decisions"]) == {"pooled", "energies", "regression"}
    chosen = {name: decision["episodes"]["first_goal"] for name, decision in record["decisions"].items()}
    assert all(len(values) == 5 for values in chosen.values())
    assert record["decisions"]["pooled"]["success"]["interval_95"]
    assert record["training"]["steps"] == 3
    monkeypatch.setattr(particle, "rollouts", None)
    particle.main(arguments)  # not trained or evaluated again


def test_the_regression_alone_decides_by_its_mean(particle):
    policy = particle.ikp.make_policy(None, particle.spec_of(2), particle.METHODS["implicit"])
    data = particle.demonstrations(2, count=20)
    policy.fit_scales(data.state, data.action, data.environment_state)
    policy.eval()
    batch = data.batch(torch.arange(0, 1000, 37))
    context = policy.encode(batch)
    mean = policy.proposal(context.features).mean * policy.scale.std + policy.scale.mean
    expected = torch.minimum(torch.maximum(mean, policy.bounds.low), policy.bounds.high)
    chosen = particle.closed_loop.decisions(policy)["regression"]().choose(context)
    assert (chosen - expected).abs().max() < 0.02 * (policy.bounds.high - policy.bounds.low).min()
