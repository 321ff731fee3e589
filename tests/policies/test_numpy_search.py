"""The search in NumPy decides as the one in torch does, whatever the policy sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ikp.kinematics import PrefixPose, Robot, iiwa14, iiwa14_dual, ur5e
from ikp.kinematics.arc_walk import ArcWalk
from ikp.policies.inference import search
from ikp.policies.numpy_search import is_quick, numpy_search

from .conftest import fitted
from .test_image_plane import imaged


def decisions(policy, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """In torch and in NumPy, of weights and offsets that have moved from where they start."""
    policy = policy.eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
        context, joints = policy.context(batch).double(), policy._joints(batch)
        policy, joints = policy.double(), joints if joints is None else joints.double()
        assert is_quick(policy, context[:1])
        return search(policy, context, joints), numpy_search(policy, context, joints)


@pytest.mark.parametrize("window", [0.01, 0.1, 0.0])
@pytest.mark.parametrize("method", ["ikp", "implicit-joint", "implicit-cartesian"])
def test_it_decides_as_the_search_in_torch(robot, method, window):
    policy, batch = fitted(robot, method, window=window, blocks=2, refinements=2)
    plain, quick = decisions(policy, batch)
    assert plain.std() > 0.01
    assert torch.allclose(plain, quick, atol=1e-9), (plain - quick).abs().max()


def test_it_decides_alike_where_only_the_tip_is_seen(robot):
    plain, quick = decisions(*fitted(robot, "ikp", links="tip"))
    assert torch.allclose(plain, quick, atol=1e-9)


def test_it_decides_alike_with_an_image_plane(robot):
    plain, quick = decisions(*imaged(robot))
    assert torch.allclose(plain, quick, atol=1e-9)


def test_single_precision_is_close(robot):
    policy, batch = fitted(robot, "ikp")
    policy = policy.eval()
    with torch.no_grad():
        context, joints = policy.context(batch), policy.measured_joints(batch)
        found = numpy_search(policy, context, joints)
        assert found.dtype == torch.float32
        assert torch.allclose(found, search(policy, context, joints), atol=1e-4)


@pytest.mark.parametrize("changes", [{"residual": ("dense",)}, {"residual": ("link",)}, {"beam": 2}])
def test_what_it_does_not_cover_is_left_to_torch(robot, changes):
    policy, batch = fitted(robot, "ikp", **changes)
    assert not is_quick(policy, policy.context(batch)[:1])


@pytest.mark.parametrize("robot", [ur5e(), iiwa14(), iiwa14_dual()], ids=lambda robot: robot.name)
def test_arcs_are_those_of_the_prefix(robot: Robot):
    q = robot.random_q((3,), generator=torch.Generator().manual_seed(0)).double()
    walk, prefix = ArcWalk(robot, 3, np.dtype(np.float64)), PrefixPose(robot, (3,), torch.float64)
    for j in range(robot.dof):
        arc = prefix.arc(j)
        expected = torch.stack([arc.constant, arc.cos, arc.sin], 1).transpose(2, 3)
        assert np.allclose(walk.arc(j), expected, atol=1e-12)
        walk.commit(j, *(f(q[:, j].numpy())[:, None, None] for f in (np.cos, np.sin)))
        prefix.commit(j, q[:, j])
