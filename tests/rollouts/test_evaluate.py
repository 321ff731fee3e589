"""Rollouts: which episodes end standing still."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ikp.kinematics import ur5e
from ikp.policies import DataSpec, PolicyConfig, make_policy
from ikp.rollouts.evaluate import ALIKE, STANDING, evaluate, is_standing

JOINTS = tuple(f"joint_{i}" for i in range(6))


def test_standing_is_many_actions_that_are_alike():
    still = [np.array([0.5, 0.5 * ALIKE * (i % 2), 1.0]) for i in range(STANDING)]
    assert is_standing(still)
    assert not is_standing(still[1:]), "too few to tell"
    creeping = [np.array([2 * ALIKE * i / STANDING, 0.0]) for i in range(STANDING)]
    assert not is_standing(creeping)
    flickering = [np.array([0.0, float(i == 3)]) for i in range(STANDING)]
    assert not is_standing(flickering), "a gripper that opens and closes"


@pytest.mark.parametrize("speed", [0.0, 0.02])
def test_an_episode_tells_whether_the_robot_stood_still_at_its_end(speed, monkeypatch):
    """A policy that keeps the measured joints, or turns the last one all the time; neither inserts the block."""
    names, poses = (*JOINTS, "vacuum"), tuple("xyzabcdef")
    spec = DataSpec(names, names, poses, {}, joint_dims=tuple(range(6)), discrete_dims=(6,))
    policy = make_policy(ur5e(), spec, PolicyConfig(width=16, blocks=1)).eval()

    def act(observation):
        action = torch.cat([observation["state"][:, -1, :6], torch.zeros(len(observation["state"]), 1)], -1)
        action[:, 5] += speed
        return action

    monkeypatch.setattr(policy, "act", act)
    ended = evaluate("insertion", policy, episodes=2, env_kwargs={"observation": "state"}, progress=False)
    assert [episode.standing for episode in ended.episodes] == [speed == 0.0] * 2
    assert ended.successes == 0
    assert ended.to_json()["episodes"][0]["standing"] == (speed == 0.0)
