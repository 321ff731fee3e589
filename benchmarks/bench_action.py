"""Latency of one decision: IKP at the standard preset from 96x96 pixels, beside the explicit policy.

.venv/bin/python benchmarks/bench_action.py   writes results/bench/action.json

The cost does not depend on the weights, so an untrained policy is timed.
"""

from __future__ import annotations

import torch

from common import measure, write_rows
from ikp.experiments.presets import policy_for, preset
from ikp.kinematics import ur5e
from ikp.policies import DataSpec, make_policy
from ikp.training.memory import reuse_freed_memory

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
    batches = {size: observation(size) for size in (1, 16)}
    policies = {
        name: make_policy(ur5e(), SPEC, policy_for(name, preset("standard").policy))
        for name in ("ikp", "explicit")
    }
    for policy in policies.values():
        state = batches[16]["state"][:, 0]
        policy.fit_scales(state, state + 0.1 * torch.randn(16, 7))
    rows = [
        measure(
            "one action from 96x96 pixels, IKP",
            f"batch {size}",
            {
                "IKP": lambda batch=batch: policies["ikp"].act(batch),
                "Explicit (joints)": lambda batch=batch: policies["explicit"].act(batch),
            },
        )
        for size, batch in batches.items()
    ]
    write_rows("action", "Latency of one action", rows)


if __name__ == "__main__":
    main()
