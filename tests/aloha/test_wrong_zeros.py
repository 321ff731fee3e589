"""Joint maps with zeros that are wrong on purpose."""

import numpy as np
import pytest
import torch

import ikp
from ikp.kinematics import aloha


def test_the_model_sees_other_joints_and_commands_come_back_as_recorded(tmp_path, follower):
    from evaluate import zeros
    from record import record
    from wrong_zeros import main

    root, file = tmp_path / "data", tmp_path / "zeros.json"
    record(follower({400: 4}), root, episodes=1)
    right = ikp.load_dataset(root, robot=aloha())
    main([str(root), str(file), "--degrees", "2"])
    wrong = ikp.load_dataset(root, robot=aloha(), joint_map=file)
    apart = np.degrees((wrong.state - right.state).numpy())
    assert apart.std(0) == pytest.approx(0, abs=1e-4)
    assert 1 < abs(apart[0, :12]).max() <= 2
    assert apart[:, 12:] == pytest.approx(0)
    recorded = wrong.spec.joint_map.actions.to_recorded(wrong.action)
    expected = right.spec.joint_map.actions.to_recorded(right.action)
    assert recorded.numpy() == pytest.approx(expected.numpy(), abs=1e-6)

    torch.manual_seed(0)
    policies = [
        ikp.make_policy(aloha(), data.spec, ikp.PolicyConfig(kind="explicit", action_space="joint"))
        for data in (right, wrong)
    ]
    assert [zeros(policy) for policy in policies] == [0, pytest.approx(abs(apart).max(), abs=0.01)]
