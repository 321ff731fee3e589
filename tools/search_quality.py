"""Compare the search of a trained policy with an exhaustive one: single decisions, and success.

python tools/search_quality.py outputs/demo/runs/ikp/policy outputs/demo/data

Writes results/search_quality.json. The exhaustive search scores 2001 points of every dimension by the policy's own
rule. Both are compared on held-out demonstrations (distance of the decisions [deg], number of candidates) and on the
same unseen episodes (success). For the rule without a window, the point of least energy, the file also has the energy
by which the search's decision lies above the best of the 2001 points given the same prefix [nats].
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch
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
    return with_search(policy, grid=POINTS)


def with_search(policy: ImplicitPolicy, **changes: Any) -> ImplicitPolicy:
    """Change options of the policy's search, and return it."""
    policy.config = replace(policy.config, search=replace(policy.config.search, **changes))
    return policy


@torch.no_grad()
def decisions(folder: str, data: str) -> dict[str, Any]:
    """Both searches on held-out frames."""
    policy, dataset = _load(folder), ikp.load_dataset(data)
    first = round(len(dataset) * (1 - HELD_OUT))
    frames = torch.linspace(first, len(dataset) - 1, FRAMES).long()
    batch = dataset.batch(frames, policy.config.history)
    context, settings = policy.encode(batch), policy.config.search
    found = policy.choose(context)
    apart = (found - exhaustive(policy).choose(context)).abs().rad2deg().flatten()
    plain = with_search(policy, grid=settings.grid, window=0.0).choose(context)
    unit = torch.linspace(0, 1, POINTS)
    grid = policy.bounds.low[:, None] + unit * (policy.bounds.high - policy.bounds.low)[:, None]
    energies = policy.conditional_energies(context, plain)
    lost = energies(plain[..., None])[..., 0] - energies(grid.expand(FRAMES, -1, -1)).amin(-1)
    return {
        "decisions": apart.numel(),
        "candidates": settings.grid + settings.refinements * settings.fine_points,
        "exhaustive_candidates": POINTS + settings.refinements * replace(settings, grid=POINTS).fine_points,
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
    """Compare and write; `folder` holds the policy, `data` its demonstrations."""
    result = {**decisions(folder, data), "episodes": EPISODES, **successes(folder), "policy": folder}
    print(result)
    print(write_json("results/search_quality.json", {**result, "provenance": provenance()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
