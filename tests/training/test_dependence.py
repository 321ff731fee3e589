"""Decisions by the state alone or by what the policy sees, and the warning against copied motion."""

from __future__ import annotations

import warnings

import pytest
import torch

from ikp.training.dependence import dependence, warn_of_copied_motion

from .tiny import tiny_demonstrations, tiny_policy


def found_for(decide, *, episodes: int = 20) -> dict[str, float]:
    """The dependence of a policy whose decisions are a function of the batch."""
    data = tiny_demonstrations(episodes=episodes)
    training, held_out = data.split(0.3)
    policy = tiny_policy(data).eval()
    policy.fit_scales(data.state, data.action, data.environment_state)
    batches = []
    policy.encode = lambda batch: batches.append(batch) or batch
    policy.choose = lambda batch: decide(policy, batch)
    return dependence(policy, data, training, held_out)


def of_goal(policy, batch):
    return batch["environment_state"][:, -1, :1].repeat(1, policy.dims)


def of_state(policy, batch):
    return batch["state"][:, -1, : policy.dims]


def demonstrated(policy, batch):
    return policy.actions.encode(batch["state"][:, -1], batch["action"])


def test_a_policy_that_copies_the_motion_depends_on_nothing_it_sees():
    found = found_for(of_state)
    assert found["change_front"] == found["change_environment_state"] == 0
    with pytest.warns(UserWarning, match=r"front 0\.00, environment_state 0\.00 .*--action-rate"):
        warn_of_copied_motion(found)


def test_a_policy_that_looks_changes_with_what_it_sees():
    found = found_for(of_goal)
    assert found["change_front"] == 0
    assert found["change_environment_state"] > 0


def test_a_good_policy_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_copied_motion({"error_policy": 0.1, "change_front": 0.0, "change_wrist": 0.3})
        warn_of_copied_motion({"error_policy": 0.1})  # it sees nothing


def test_the_state_alone_foretells_what_depends_on_it_and_nothing_else():
    """The goal moves the first two joints of the tiny data; the state is worth much for the others."""
    found = found_for(demonstrated, episodes=60)
    assert found["error_policy"] == pytest.approx(0, abs=1e-5)
    assert 0.1 < found["error_state_alone"] < 0.9
    data = tiny_demonstrations(episodes=60)
    assert torch.unique(data.environment_state, dim=0).shape[0] == 60
