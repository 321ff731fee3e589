"""The search in NumPy decides as the one in torch does, whatever the policy sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ikp.kinematics import PrefixPose, Robot, iiwa14, iiwa14_dual, load_robot, ur5e
from ikp.kinematics._numpy_arcs import ArcWalk
from ikp.policies import implicit
from ikp.policies._numpy_walk import NumpyWalk, is_quick
from ikp.policies.image_plane import Goal
from ikp.policies.policy import Context
from ikp.policies.search import search

from .conftest import fitted, searched
from .test_image_plane import imaged


def numpy_searched(policy, context) -> torch.Tensor:
    """The encoded actions that the search finds in NumPy, whatever the number of rows."""
    walk = policy.pooled_walk(context, NumpyWalk)
    low, high = policy.bounds.low.tolist(), policy.bounds.high.tolist()
    return torch.from_numpy(search(walk, low, high, policy.config.search))


def in_double(context: Context) -> Context:
    """The context in double precision; encoders run in single."""
    parts = {name: getattr(context, name) for name in ("state", "features", "q", "far_ends")}
    doubled = {name: None if part is None else part.double() for name, part in parts.items()}
    goal = context.goal and Goal(*(part.double() for part in vars(context.goal).values()))
    return Context(**doubled, goal=goal)


def decisions(policy, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Decisions in torch and in NumPy, with weights and offsets that have moved from where they start."""
    policy = policy.eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
        context = in_double(policy.encode(batch))
        policy = policy.double()
        assert is_quick(policy.conditioning(context.rows(torch.tensor([0]))))
        plain = searched(policy, context)
        assert plain.std(0).min() > 5e-4, "each dimension differs from one observation to the next"
        return plain, numpy_searched(policy, context)


@pytest.mark.parametrize("window", [0.01, 0.1, 0.0])
@pytest.mark.parametrize("method", ["ikp", "implicit-joint", "implicit-cartesian"])
def test_it_decides_as_the_search_in_torch(robot, method, window):
    policy, batch = fitted(robot, method, window=window, blocks=2, refinements=2)
    plain, quick = decisions(policy, batch)
    assert torch.allclose(plain, quick, atol=1e-9), (plain - quick).abs().max()


@pytest.mark.parametrize("window", [0.01, 0.0])
def test_it_decides_alike_with_a_beam(robot, window):
    plain, quick = decisions(*fitted(robot, "ikp", beam=3, window=window))
    assert torch.allclose(plain, quick, atol=1e-9)


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
        context = policy.encode(batch)
        found = numpy_searched(policy, context)
        assert found.dtype == torch.float32
        assert torch.allclose(found, searched(policy, context), atol=1e-4)


def test_one_observation_is_answered_by_it_and_as_among_many(robot, monkeypatch):
    policy, batch = fitted(robot, "ikp")
    policy, together, calls = policy.eval(), policy.act(batch), []
    monkeypatch.setattr(implicit, "NumpyWalk", lambda *given: calls.append(1) or NumpyWalk(*given))
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


@pytest.mark.parametrize("changes", [{"residual": (kind,)} for kind in ("drift", "dense", "link")])
def test_what_it_does_not_cover_is_left_to_torch(robot, changes):
    policy, batch = fitted(robot, "ikp", **changes)
    assert not is_quick(policy.conditioning(policy.encode(batch).rows(torch.tensor([0]))))


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
