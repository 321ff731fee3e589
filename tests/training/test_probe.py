"""The perception probe, and the share of joints that wrongly stay."""

from __future__ import annotations

import math

import pytest
import torch

from ikp.kinematics import forward_kinematics
from ikp.training.probe import perception_probe
from ikp.training.validation import stay_share

from .tiny import tiny_demonstrations, tiny_policy


def features_from(policy, make):
    """Let the policy's camera features be a function of the frames' states."""
    policy.encoder.parts = lambda batch: {"front": make(batch["state"][:, -1])}
    return policy.eval()


def test_features_that_hold_the_goal_are_read_and_noise_is_not():
    data = tiny_demonstrations(episodes=60)
    fit, test = data.split(0.3)
    policy = tiny_policy(data)
    goals = {tuple(state.tolist()): goal for state, goal in zip(data.state, data.goal_state, strict=True)}

    def goal_poses(state):
        goal = torch.stack([goals[tuple(row.tolist())] for row in state])
        tip = forward_kinematics(policy.robot, goal[:, :6])[:, policy.robot.tip_indices[0], :3]
        mixing = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))[0]
        return tip.flatten(1) @ mixing

    known = perception_probe(features_from(policy, goal_poses), data, fit, test)
    assert known["probe_mm_p90"] < 0.2 * known["blind_mm_p90"]
    assert known["probe_deg_p90"] < 0.2 * known["blind_deg_p90"]

    noise = perception_probe(
        features_from(policy, lambda state: torch.randn(len(state), 12)), data, fit, test
    )
    assert noise["probe_mm_median"] == pytest.approx(noise["blind_mm_median"], rel=0.25)
    assert noise["blind_mm_median"] == pytest.approx(known["blind_mm_median"])


def test_the_blind_guess_knows_the_phase():
    """Each state of the gripper has a goal of its own, and the mean of its goals is the guess."""
    data = tiny_demonstrations(episodes=40)
    fit, test = data.split(0.3)
    found = perception_probe(
        features_from(tiny_policy(data), lambda state: state[:, :1] * 0), data, fit, test
    )
    goal = forward_kinematics(tiny_policy(data).robot, data.goal_state[:, :6].double())[:, -1, :3, 3]
    holding = data.state[:, 6] > 0.5
    misses = [
        (goal[test[holding[test] == phase]] - goal[fit[holding[fit] == phase]].mean(0)).norm(dim=-1)
        for phase in (False, True)
    ]
    assert found["blind_mm_median"] == pytest.approx(1e3 * torch.cat(misses).median().item(), rel=0.02)


def test_staying_counts_where_the_demonstration_moves():
    measured = torch.zeros(2, 2)
    demonstrated = torch.tensor([[2.0, -4.0], [0.5, 4.0]]).deg2rad()  # three motions above one degree
    chosen = torch.tensor([[0.1, -3.0], [0.0, 0.5]]).deg2rad()
    assert stay_share(measured, demonstrated, chosen) == pytest.approx(1 / 3)
    assert stay_share(measured, measured, chosen) == 0
    assert math.isclose(stay_share(measured, demonstrated, measured), 1)
