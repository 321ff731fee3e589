"""The search in NumPy decides as the one in torch does, whatever the policy sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ikp.policies.inference import search
from ikp.policies.numpy_search import is_quick, numpy_search

from ikp.kinematics import PrefixPose, Robot, iiwa14, iiwa14_dual, load_robot, ur5e
from ikp.kinematics._numpy_arcs import ArcWalk
from ikp.policies import implicit

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
        plain = search(policy, context, joints)
        assert plain.std() > 0.01, "the decisions differ from one observation to the next"
        return plain, numpy_search(policy, context, joints)


@pytest.mark.parametrize("window", [0.01, 0.1, 0.0])
@pytest.mark.parametrize("method", ["ikp", "implicit-joint", "implicit-cartesian"])
def test_it_decides_as_the_search_in_torch(robot, method, window):
    policy, batch = fitted(robot, method, window=window, blocks=2, refinements=2)
    plain, quick = decisions(policy, batch)
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


def test_one_observation_is_answered_by_it_and_as_among_many(robot, monkeypatch):
    policy, batch = fitted(robot, "ikp")
    policy, together, calls = policy.eval(), policy.act(batch), []
    quick = implicit.numpy_search
    monkeypatch.setattr(implicit, "numpy_search", lambda *given: calls.append(1) or quick(*given))
    first = {name: part[:1] if torch.is_tensor(part) else part for name, part in batch.items()}
    assert torch.allclose(policy.act(first), together[:1], atol=1e-4)
    assert calls == [1]
    policy.act(batch)
    assert calls == [1]


def test_robots_that_slide_or_mimic_are_left_to_torch(tmp_path):
    def arm(joints):
        return f"""<robot name="r"><link name="a"/><link name="b"/><link name="c"/>{joints}</robot>"""

    def joint(name, kind, parent, child, more=""):
        limit = '<limit lower="-1" upper="1" effort="1" velocity="1"/>'
        ends = f'<parent link="{parent}"/><child link="{child}"/><axis xyz="0 0 1"/>'
        return f'<joint name="{name}" type="{kind}">{ends}{limit}{more}</joint>'

    turns = joint("one", "revolute", "a", "b")
    covered = {}
    for name, second in {
        "turns": joint("two", "revolute", "b", "c"),
        "slides": joint("two", "prismatic", "b", "c"),
        "mimics": joint("two", "revolute", "b", "c", '<mimic joint="one"/>'),
    }.items():
        path = tmp_path / f"{name}.urdf"
        path.write_text(arm(turns + second))
        covered[name] = ArcWalk.covers(load_robot(path))
    assert covered == {"turns": True, "slides": False, "mimics": False}


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
