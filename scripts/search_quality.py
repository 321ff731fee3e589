"""What the coarse-to-fine search loses against an exhaustive grid, on a trained policy and held-out demonstrations.

.venv/bin/python scripts/search_quality.py outputs/demo/runs/ikp/policy outputs/demo/data

Writes results/search_quality.json: over the decisions of every dimension, how much more energy the found value has than
the best of 4001 grid points given the same prefix [nats], and how far apart they are [deg], for the plain search.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch

import ikp
from ikp.policies import ImplicitPolicy
from ikp.policies.inference import search
from ikp.training.origin import origin, write_json

FRAMES, POINTS, HELD_OUT = 200, 4001, 0.05


@torch.no_grad()
def main(folder: str, data: str) -> None:
    """Compare and write; `folder` is a policy's, `data` that of its demonstrations."""
    policy, dataset = ikp.load_policy(folder), ikp.load_dataset(data)
    assert isinstance(policy, ImplicitPolicy), "search is what an implicit policy does"
    policy.config = replace(policy.config, window=0.0)
    first = round(len(dataset) * (1 - HELD_OUT))
    frames = torch.linspace(first, len(dataset) - 1, FRAMES).long()
    batch = dataset.batch(frames, policy.config.history)
    context = policy.context(batch)
    joints = policy.measured_joints(batch) if policy.config.has_kinematics else None
    chosen = search(policy, context, joints)
    unit = torch.linspace(0, 1, POINTS)
    low, high = policy.bounds.low[:, None], policy.bounds.high[:, None]
    grid = low + unit * (high - low)
    excess, distance = [], []
    for row in range(FRAMES):
        one = slice(row, row + 1)
        energies = policy.given(context[one], None if joints is None else joints[one], chosen[one])
        least, at = energies(grid[None]).min(-1)
        found = energies(chosen[one, :, None])[..., 0]
        excess.append(found - least)
        distance.append((chosen[one] - grid.gather(1, at[0, :, None])[:, 0]).abs().rad2deg())
    lost, apart = torch.cat(excess).flatten(), torch.cat(distance).flatten()
    result = {
        "decisions": len(lost),
        "excess_nats": {"median": float(lost.median()), "max": float(lost.max())},
        "share_above_0.01_nats": float((lost > 0.01).float().mean()),
        "share_apart_by_0.05_deg": float((apart > 0.05).float().mean()),
        "exhaustive_cell_deg": float((high - low).max().rad2deg() / (POINTS - 1)),
    }
    print(result)
    print(write_json("results/search_quality.json", {**result, "policy": folder, "origin": origin()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
