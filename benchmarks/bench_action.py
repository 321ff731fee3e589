"""Latency of one decision: IKP at the standard preset from 96x96 pixels, one environment and sixteen at once.

.venv/bin/python benchmarks/bench_action.py   writes results/bench/action.json

The cost does not depend on the weights, so an untrained policy is timed.
"""

from __future__ import annotations

import statistics
import time

import torch
from tqdm import trange

from ikp.experiments.presets import policy_for, preset
from ikp.kinematics import ur5e
from ikp.policies import DataSpec, make_policy
from ikp.training.memory import reuse_freed_memory
from ikp.training.origin import origin, write_json

ROUNDS = 60
JOINTS = tuple(f"joint_{i}" for i in range(6))
SPEC = DataSpec(
    (*JOINTS, "vacuum"), (*JOINTS, "holding"), (), {"front": (96, 96, 3)},
    joint_dims=tuple(range(6)), discrete_dims=(6,),
)  # fmt: skip


def observation(batch: int) -> dict:
    """Random images and joints near a usual pose."""
    home = torch.tensor([-0.3, -1.4, 2.0, -2.2, -1.57, -1.8, 0.0])
    state = home + 0.1 * torch.randn(batch, 1, 7)
    return {
        "state": state,
        "images": {"front": torch.randint(0, 255, (batch, 1, 96, 96, 3), dtype=torch.uint8)},
    }


def main() -> None:
    torch.manual_seed(0)
    reuse_freed_memory()
    rows = []
    policies = {
        name: make_policy(ur5e(), SPEC, policy_for(name, preset("standard").policy))
        for name in ("ikp", "explicit")
    }
    batches = {size: observation(size) for size in (1, 16)}
    seconds: dict[tuple[str, int], list[float]] = {}
    for policy in policies.values():
        policy.fit_scales(batches[16]["state"][:, 0], batches[16]["state"][:, 0] + 0.1 * torch.randn(16, 7))
    for _ in trange(ROUNDS, desc="rounds"):
        for name, policy in policies.items():
            for size, batch in batches.items():
                started = time.perf_counter()
                policy.act(batch)
                seconds.setdefault((name, size), []).append(time.perf_counter() - started)
    for (name, size), values in seconds.items():
        milliseconds = 1e3 * statistics.median(values[5:])
        rows.append({"method": name, "environments": size, "milliseconds": round(milliseconds, 2)})
        print(f"{name:10s} {size:3d} environments: {milliseconds:7.2f} ms")
    write_json(
        "results/bench/action.json", {"threads": torch.get_num_threads(), "rows": rows, "origin": origin()}
    )


if __name__ == "__main__":
    main()
