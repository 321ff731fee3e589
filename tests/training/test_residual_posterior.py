"""The intervals that a training reports of the learned corrections."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from ikp.kinematics import ur5e
from ikp.nets import EncoderConfig
from ikp.policies import PolicyConfig, make_policy, method_config
from ikp.policies.residual import ANGLE_PRIOR, DRIFT_PRIOR
from ikp.training import residual_posterior as module
from ikp.training.residual_posterior import ResidualPosterior, information_beside, residual_posterior
from ikp.training.trainer import train

from .tiny import CONFIG, tiny_demonstrations, tiny_policy


def small_policy(data, method="ikp", **changes):
    torch.manual_seed(0)
    base = PolicyConfig(width=8, blocks=1, negatives=4, encoder=EncoderConfig(channels=4))
    policy = make_policy(ur5e(), data.spec, replace(method_config(method, base), **changes))
    policy.fit_scales(data.state, data.action, data.environment_state)
    return policy.eval()


def test_a_training_reports_and_logs_the_corrections(tmp_path):
    data = tiny_demonstrations()
    result = train(tiny_policy(data), data, CONFIG, out=tmp_path / "run")
    found = result.residual
    assert found.names == list(ur5e().joint_names)
    values = result.policy.poses.residual.offset.value.rad2deg()
    torch.testing.assert_close(torch.tensor(found.value), values, atol=1e-4, rtol=1e-3)
    assert all(0 < sigma <= 1.0001 * math.degrees(ANGLE_PRIOR) for sigma in found.sigma)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["residual"] == found.to_json()


def test_weights_that_can_answer_other_poses_widen_the_interval(monkeypatch):
    data = tiny_demonstrations()
    policy = small_policy(data, width=16)  # wide enough to depend on all joints at random
    frames = torch.arange(len(data))
    free = residual_posterior(policy, data, frames, count=100_000)
    monkeypatch.setattr(
        module,
        "_covariance_of_weights",
        lambda proposal, features, weight: torch.zeros(
            (len(features) * len(weight),) * 2, dtype=torch.float64
        ),
    )
    fixed = residual_posterior(policy, data, frames, count=100_000)
    assert all(a > 1.2 * b for a, b in zip(free.sigma, fixed.sigma, strict=True))
    assert sum(free.identified) < 4
    assert all(fixed.identified)


def test_without_demonstrations_the_interval_is_that_of_the_prior():
    data = tiny_demonstrations()
    found = residual_posterior(small_policy(data), data, torch.arange(len(data)), count=0)
    assert found.sigma == pytest.approx([math.degrees(ANGLE_PRIOR)] * 6, rel=1e-5)
    assert str(found).count("not identified") == 6


def test_weights_are_integrated_out_as_the_joint_posterior_says():
    torch.manual_seed(0)
    slopes, weights = torch.randn(20, 3).double(), torch.randn(20, 5).double()
    both = torch.cat([slopes, weights], 1)
    joint = both.T @ both + torch.diag(torch.tensor([0.0] * 3 + [1.0] * 5).double())
    marginal = torch.linalg.inv(torch.linalg.inv(joint)[:3, :3])
    torch.testing.assert_close(information_beside(slopes, weights @ weights.T), marginal)


def test_links_and_dense_blocks_are_reported_too():
    data = tiny_demonstrations()
    frames = torch.arange(len(data))
    links = residual_posterior(small_policy(data, residual=("link",)), data, frames, count=10)
    assert len(links.names) == 6 * len(ur5e().links)
    assert links.units[:6] == ["mm"] * 3 + ["deg"] * 3
    policy = small_policy(data, residual=("dense",))
    with torch.no_grad():
        policy.poses.residual.dense.exit_bias[2] = 0.1
    dense = residual_posterior(policy, data, frames, count=10)
    assert dense.value == pytest.approx([0, 0, math.degrees(0.1), 0, 0, 0], abs=1e-3)
    assert residual_posterior(small_policy(data, residual=()), data, frames, count=10) is None


def test_a_drift_is_reported_beside_the_offset():
    data = tiny_demonstrations()
    policy = small_policy(data, residual=("offset", "drift"))
    with torch.no_grad():
        policy.poses.residual.offset.value[1] = 0.02
        policy.poses.residual.drift.value[1] = torch.tensor([0.01, -0.03])
    found = residual_posterior(policy, data, torch.arange(len(data)), count=10)
    values = dict(zip(found.names, found.value, strict=True))
    joint = ur5e().joint_names[1]
    named = {joint: 0.02, f"{joint} drift sin": 0.01, f"{joint} drift cos": -0.03}
    assert {name: value for name, value in values.items() if abs(value) > 1e-4} == pytest.approx(
        {name: math.degrees(value) for name, value in named.items()}, rel=1e-3
    )
    assert len(found.sigma) == 18
    priors = [math.degrees(ANGLE_PRIOR)] * 6 + [math.degrees(DRIFT_PRIOR)] * 12
    assert found.prior == pytest.approx(priors)
    assert all(0 < sigma <= 1.0001 * prior for sigma, prior in zip(found.sigma, priors, strict=True))


def test_a_policy_without_a_regression_has_no_interval():
    data = tiny_demonstrations()
    found = residual_posterior(small_policy(data, "two-step"), data, torch.arange(len(data)), count=10)
    assert found.sigma is None
    assert "the policy has no regression" in str(found)
    assert found.to_json().keys() == {f"{name} [deg]" for name in ur5e().joint_names}


def test_the_text_tells_what_is_identified():
    found = ResidualPosterior(["a", "b"], ["deg", "mm"], [1.0, -2.0], [5.0, 10.0], [0.5, 9.9])
    first, second = str(found).splitlines()
    assert first == "a    1.000 +- 0.980 deg"
    assert second.endswith("mm  not identified: hardly narrower than the prior")
