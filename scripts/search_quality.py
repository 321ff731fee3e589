"""What the search loses against an exhaustive one, on a trained policy: in single decisions and in success.

.venv/bin/python scripts/search_quality.py outputs/demo/runs/ikp/policy outputs/demo/data

Writes results/search_quality.json. The exhaustive search looks at 2001 points of every dimension by the policy's own
rule. On held-out demonstrations: how far apart both decide [deg], and how many candidates each scores. On the same
unseen episodes: how often each succeeds. For the plain rule (the very point of least energy) also how much more energy
the search's decision has than the best of the 2001 points given the same prefix [nats].
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch
from ikp.policies.inference import search
from torch import Tensor

import ikp
from ikp.files import write_json
from ikp.policies import ImplicitPolicy
from ikp.provenance import provenance
from ikp.rollouts.evaluate import evaluate
from ikp.rollouts.summary import summarize
from ikp.runs import policy_provenance
from ikp.tasks import check_stored_id

FRAMES, POINTS, HELD_OUT, EPISODES = 300, 2001, 0.05, 100


def exhaustive(policy: ImplicitPolicy) -> ImplicitPolicy:
    """Make the policy score `POINTS` values of every dimension, and return it."""
    policy.config = replace(policy.config, grid=POINTS)
    return policy


@torch.no_grad()
def decisions(folder: str, data: str) -> dict[str, Any]:
    """Both searches on held-out frames."""
    policy, dataset = _load(folder), ikp.load_dataset(data)
    first = round(len(dataset) * (1 - HELD_OUT))
    frames = torch.linspace(first, len(dataset) - 1, FRAMES).long()
    batch = dataset.batch(frames, policy.config.history)
    context = policy.context(batch)
    joints = policy.measured_joints(batch) if policy.config.has_kinematics else None
    config = policy.config
    found = search(policy, context, joints)
    apart = (found - search(exhaustive(policy), context, joints)).abs().rad2deg().flatten()
    policy.config = replace(config, window=0.0)
    plain = search(policy, context, joints)
    unit = torch.linspace(0, 1, POINTS)
    grid = policy.bounds.low[:, None] + unit * (policy.bounds.high - policy.bounds.low)[:, None]
    energies = policy.given(context, joints, plain)
    lost = energies(plain[..., None])[..., 0] - energies(grid.expand(FRAMES, -1, -1)).amin(-1)
    return {
        "decisions": apart.numel(),
        "candidates": config.grid + config.refinements * config.fine_points,
        "exhaustive_candidates": POINTS + config.refinements * max(POINTS // 3, 3),
        "apart_deg": {
            "median": float(apart.median()),
            "q99": _quantile(apart, 0.99),
            "max": float(apart.max()),
        },
        "share_apart_by_0.05_deg": float((apart > 0.05).float().mean()),
        "plain_excess_nats": {"median": float(lost.median()), "q99": _quantile(lost.flatten(), 0.99)},
        "share_plain_above_0.01_nats": float((lost > 0.01).float().mean()),
    }


def successes(folder: str) -> dict[str, Any]:
    """Both searches on the same unseen episodes."""
    task = policy_provenance(folder)["task"]
    env_id = check_stored_id(task["env_id"], folder)
    result = {}
    for name, policy in (("search", _load(folder)), ("exhaustive", exhaustive(_load(folder)))):
        found = evaluate(env_id, policy, episodes=EPISODES, seed=0, env_kwargs=task["env_kwargs"])
        summary = summarize(found.to_json())
        result[name] = {key: summary[key] for key in ("success", "within") if key in summary}
    return result


def _load(folder: str) -> ImplicitPolicy:
    policy = ikp.load_policy(folder)
    if not isinstance(policy, ImplicitPolicy):
        raise ValueError(
            f"{folder} holds a policy of kind {policy.config.kind!r}: only an implicit one searches"
        )
    return policy


def _quantile(values: Tensor, share: float) -> float:
    return float(values.quantile(share))


def main(folder: str, data: str) -> None:
    """Compare and write; `folder` is a policy's, `data` that of its demonstrations."""
    result = {**decisions(folder, data), "episodes": EPISODES, **successes(folder), "policy": folder}
    print(result)
    print(write_json("results/search_quality.json", {**result, "provenance": provenance()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
