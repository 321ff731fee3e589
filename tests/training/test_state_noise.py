"""Noise on measured joints: its size, what it leaves alone, and that the action leads back from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ikp.training.config import TrainConfig
from ikp.training.state_noise import state_noise
from ikp.training.trainer import train

from .tiny import CONFIG, tiny_demonstrations, tiny_policy

FRAMES = torch.arange(120)


def noisy(data, share: float = 0.5, repeats: int = 200):
    """A batch, and the same with noise many times."""
    policy = tiny_policy(data)
    noise = state_noise(data, policy, share)
    assert noise is not None
    torch.manual_seed(0)
    batch = data.batch(FRAMES)
    return policy, batch, [noise(batch) for _ in range(repeats)]


def test_noise_is_a_share_of_the_demonstrated_steps_of_each_joint():
    data = tiny_demonstrations()
    _, batch, found = noisy(data)
    added = torch.stack([each["state"] - batch["state"] for each in found])[:, :, 0, :6]
    steps = (data.action - data.state)[:, :6].std(0, unbiased=False)
    torch.testing.assert_close(added.std((0, 1)), 0.5 * steps, rtol=0.03, atol=0)
    torch.testing.assert_close(added.mean((0, 1)) / steps, torch.zeros(6), rtol=0, atol=0.02)


def test_it_leaves_all_but_the_measured_joints_alone():
    _, batch, (found, *_) = noisy(tiny_demonstrations())
    assert torch.equal(found["state"][..., 6], batch["state"][..., 6]), "the gripper's state"
    assert found["action"] is batch["action"]
    assert found["images"] is batch["images"]


def test_the_encoded_action_leads_back_to_the_recorded_command():
    policy, batch, (found, *_) = noisy(tiny_demonstrations())
    encoded = policy.actions.encode(found["state"][:, -1], found["action"])
    assert not torch.allclose(encoded, policy.actions.encode(batch["state"][:, -1], batch["action"]))
    torch.testing.assert_close(found["state"][:, -1, :6] + encoded, batch["action"][:, :6])


def test_a_joint_that_turns_without_limits_takes_the_shorter_way():
    data = tiny_demonstrations()
    steps = (data.action - data.state)[:, 5].std(unbiased=False)
    data.action[::2, 5] += 2 * torch.pi
    policy = tiny_policy(data)
    links = list(policy.robot.links)
    last = links[policy.robot.joint_links[5]]
    links[policy.robot.joint_links[5]] = replace(last, joint=replace(last.joint, kind="continuous"))
    policy.robot = replace(policy.robot, links=tuple(links))
    noise = state_noise(data, policy, 0.5)
    assert noise is not None
    torch.testing.assert_close(noise.std[5], 0.5 * steps, rtol=1e-3, atol=0)


def test_there_is_none_for_a_share_of_zero_or_without_measured_joints():
    data = tiny_demonstrations()
    policy = tiny_policy(data)
    assert state_noise(data, policy, 0.0) is None
    unnamed = replace(data, spec=replace(data.spec, joint_dims=()))
    assert state_noise(unnamed, policy, 0.3) is None


def test_a_training_with_noise_differs_and_repeats_itself(tmp_path):
    losses = []
    for i, share in enumerate((0.0, 0.3, 0.3)):
        data = tiny_demonstrations()
        config = replace(CONFIG, steps=3, state_noise=share)
        result = train(tiny_policy(data), data, config, out=tmp_path / str(i))
        losses.append([p.detach().clone() for p in result.policy.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(losses[1], losses[2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(losses[0], losses[1], strict=True))


@pytest.mark.parametrize("share", [-0.1, float("nan"), float("inf"), 1e30])
def test_shares_that_make_no_sense_are_refused(share):
    with pytest.raises(ValueError, match=r"state_noise is .*: it must be from 0 to 10"):
        TrainConfig(state_noise=share)
