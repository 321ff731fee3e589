"""Two-step regression and flow matching: their decisions, and the link poses of their noisy action."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ikp.kinematics import far_end_poses
from ikp.policies import make_policy
from ikp.policies.denoising import FLOW_STEPS, REFINED_SHARE
from ikp.policies.link_features import CHANGE_SECONDS, LINK_GAIN, POSITION_SCALE
from ikp.policies.timing import TimingConfig

from .conftest import fitted


def test_a_flow_ends_at_one_of_two_answers(robot, monkeypatch):
    """With the exact network of an action that is -1 or, slightly more often, 1."""

    def denoised(context, x, share):
        return torch.tanh((share * x + 0.01) / (1 - share) ** 2)

    policy, batch = fitted(robot, "flow")
    monkeypatch.setattr(policy, "denoised", denoised)
    policy.bounds.low.fill_(-100.0)
    policy.bounds.high.fill_(100.0)
    chosen = policy.scale(policy.choose(policy.encode(batch)))
    torch.testing.assert_close(chosen, torch.ones_like(chosen), atol=1e-2, rtol=0)


def test_two_step_refines_its_own_answer(robot):
    policy, batch = fitted(robot, "two-step")
    context = policy.encode(batch)
    first = policy.denoised(context, torch.zeros(len(batch["state"]), 6), 0.0)
    second = policy.denoised(context, REFINED_SHARE * first, REFINED_SHARE)
    expected = policy.scale.undo(second).clamp(policy.bounds.low, policy.bounds.high)
    torch.testing.assert_close(policy.choose(context), expected)


def test_a_flow_follows_its_differential_equation(robot):
    policy, batch = fitted(robot, "flow")
    context = policy.encode(batch)
    x = torch.zeros(len(batch["state"]), 6)
    for k in range(FLOW_STEPS):
        t = k / FLOW_STEPS
        x = x + (policy.denoised(context, x, t) - x) / (1 - t) / FLOW_STEPS
    expected = policy.scale.undo(x).clamp(policy.bounds.low, policy.bounds.high)
    torch.testing.assert_close(policy.choose(context), expected)


@pytest.mark.parametrize("links", ["all", "tip"])
@pytest.mark.parametrize("way_points", [1, 3])
def test_a_noisy_action_is_seen_as_the_pose_of_every_link(robot, links, way_points):
    """Against the far ends of the noisy joint targets, link by link."""
    policy, batch = fitted(robot, "two-step", links=links)
    if way_points > 1:
        timing = TimingConfig(rate=policy.spec.fps, way_points=way_points)
        policy = make_policy(robot, policy.spec, replace(policy.config, timing=timing))
        actions = batch["action"][:, None].repeat(1, way_points, 1)
        policy.fit_scales(batch["state"][:, -1], actions, batch["environment_state"][:, -1])
    context = policy.encode(batch)
    x = torch.randn(len(batch["state"]), policy.dims)
    found = policy._link_features(context, x).reshape(len(x), way_points, -1, 18)
    measured = batch["state"][:, -1, :6]
    targets = measured[:, None] + policy.scale.undo(x).reshape(len(x), way_points, 6)
    shown = list(range(6)) if links == "all" else [5]
    at, before = (far_end_poses(robot, q)[..., shown, :, :] for q in (targets, measured))
    gain = LINK_GAIN * CHANGE_SECONDS * policy.spec.fps / POSITION_SCALE
    change = gain * (at[..., :3, 3] - before[:, None, :, :3, 3])
    torch.testing.assert_close(found[..., 9:12], change, atol=1e-4, rtol=1e-4)
    spread = found[..., :3].diff(dim=0)  # without the mean over the demonstrations
    torch.testing.assert_close(
        spread, LINK_GAIN / POSITION_SCALE * at[..., :3, 3].diff(dim=0), atol=1e-4, rtol=1e-4
    )
