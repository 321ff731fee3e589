"""DI-engine's autoregressive implicit BC as a worker: one line in, the work once, one line out.

Runs under the Python of .venv-diengine (`benchmarks/peers/diengine.sh`) and knows nothing of ikp. Arguments: one
JSON object with `obs`, `dims`, `width`, `layers`, `batch`, `negatives`, `candidates`, `iterations`, `rows` and
`threads`. Commands: `train` is one step of its implicit BC policy (sample, cross-entropy over all dimensions,
AdamW), `infer` its AutoRegressiveDFO for `rows` observations. Answers are {"seconds": ...}.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

with contextlib.redirect_stdout(sys.stderr):  # it logs while it is imported
    from ding.model.template.ebm import AutoRegressiveDFO, AutoregressiveEBM


def make_commands(sizes: dict) -> dict[str, Callable[[], None]]:
    """Both commands, over random data of the sizes."""
    dims, batch = sizes["dims"], sizes["batch"]
    model = AutoregressiveEBM(sizes["obs"], dims, sizes["width"], sizes["layers"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    samples = {"train_samples": sizes["negatives"], "inference_samples": sizes["candidates"]}
    sampler = AutoRegressiveDFO(iters=sizes["iterations"], **samples)
    sampler.set_action_bounds(np.stack([-np.ones(dims), np.ones(dims)]))
    obs, action = torch.randn(batch, sizes["obs"]), torch.rand(batch, dims) * 2 - 1
    observed = torch.randn(sizes["rows"], sizes["obs"])

    def train() -> None:
        tiled, negatives = sampler.sample(obs, model)
        targets = torch.cat([action[:, None], negatives], 1)
        tiled = torch.cat([tiled[:, :1], tiled], 1)
        order = torch.rand(targets.shape[:2]).argsort(1)
        targets = targets[torch.arange(batch)[:, None], order]
        truth = (order == 0).nonzero()[:, 1]
        loss = F.cross_entropy(-model(tiled, targets), truth[:, None].repeat(1, dims))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def infer() -> None:
        sampler.infer(observed, model)

    return {"train": train, "infer": infer}


def main() -> None:
    sizes = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(sizes["threads"])
    commands = make_commands(sizes)
    print(json.dumps({"ready": torch.__version__}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        commands[line.strip()]()
        print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()
