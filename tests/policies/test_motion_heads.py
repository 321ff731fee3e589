"""The gripper's head: what it sees of the chosen motion, and that this is what a fine decision needs."""

from __future__ import annotations

import pytest
import torch

from ikp.kinematics import ur5e
from ikp.policies import DataSpec, PolicyConfig, make_policy, method_config
from ikp.policies.actions import make_action_space
from ikp.policies.motion_heads import GripperHead

CONFIG = PolicyConfig(width=32)
JOINTS = tuple(f"joint_{i}" for i in range(6))


def spec() -> DataSpec:
    return DataSpec(
        (*JOINTS, "vacuum"), (*JOINTS, "holding"), ("g",), {}, joint_dims=tuple(range(6)), discrete_dims=(6,)
    )


def measured_and_commanded() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    q = torch.tensor([-0.3, -1.4, 2.0, -2.2, -1.57, -1.8]) + 0.1 * torch.randn(9, 6)
    target = q + 0.05 * torch.randn(9, 6)
    last = torch.ones(9, 1)
    return torch.cat([q, last], 1), torch.cat([target, last], 1)


@pytest.mark.parametrize("space", ["joint", "cartesian"])
def test_motions_are_the_same_for_absolute_targets_and_for_differences(space):
    state, action = measured_and_commanded()
    relative, absolute = (
        make_action_space(ur5e(), spec(), space, delta=delta, seconds=0.1) for delta in (True, False)
    )
    expected = relative.motions(state, relative.encode(state, action))
    torch.testing.assert_close(
        absolute.motions(state, absolute.encode(state, action)), expected, atol=1e-5, rtol=1e-4
    )
    assert expected.abs().max() > 0.01


def test_the_head_learns_a_threshold_far_below_the_motions_spread():
    """Letting go below a fiftieth of the spread is learned within 100 steps."""
    torch.manual_seed(0)
    size = 10 ** torch.empty(4096, 1).uniform_(-3, 0.5)
    motions = size * torch.nn.functional.normalize(torch.randn(4096, 3), dim=1)
    closed = (size > 0.02).float()
    head = GripperHead(1, 3, (3,), 1, width=32)
    head.fit(motions, closed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3)
    for _ in range(100):
        rows = torch.randint(0, 4096, (256,))
        loss = head.loss(torch.zeros(256, 1), motions[rows], motions[rows], closed[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = head.values(torch.zeros(4096, 1), motions, motions)
    assert float((found != closed).float().mean()) < 0.04


@pytest.mark.parametrize("space", ["joint", "joint+cartesian", "cartesian"])
def test_the_gripper_sees_motions_where_the_variables_are_absolute(space):
    """The decision sees motions from where the robot is, whatever the targets are."""
    torch.manual_seed(0)
    config = PolicyConfig(width=32, action_space=space, targets="absolute")
    policy = make_policy(ur5e(), spec(), config)
    state, action = measured_and_commanded()
    policy.fit_scales(state, action, torch.zeros(9, 1))
    head = policy.gripper
    assert head is not None
    seen = []
    head.register_forward_pre_hook(lambda module, args: seen.append(args[2]))
    observation = {"state": state[:, None], "environment_state": torch.zeros(9, 1, 1)}
    policy.act(observation)
    chosen = policy.choose(policy.encode(observation))
    torch.testing.assert_close(seen[0], policy.actions.motions(state, chosen), atol=1e-3, rtol=0)
    assert (seen[0] - chosen).abs().max() > 0.1


def test_exact_motions_are_shown_in_training():
    """The head sees the expert's motions without the noise of the prefix."""
    state, action = measured_and_commanded()
    batch = {"state": state[:, None], "environment_state": torch.zeros(9, 1, 1), "action": action}
    for method in ("ikp", "explicit"):
        policy = make_policy(ur5e(), spec(), method_config(method, CONFIG))
        policy.fit_scales(state, action, torch.zeros(9, 1))
        expert = policy.actions.encode(state, action)
        assert policy.gripper is not None
        seen = []
        policy.gripper.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[2]))
        policy.loss(batch)
        assert torch.equal(seen[0], expert)
