"""One training step of IKP beside its straightforward form and DI-engine, and where the time goes.

.venv/bin/python benchmarks/bench_training.py   writes results/bench/training.json

A step is a batch from the demonstrations, loss, gradient, clipping, AdamW and the moving average, at the standard
preset. The straightforward form does the same work on the same batch with the same networks and negatives. DI-engine
gets features instead of observations, so it stands beside the step from state alone. Each row of ours also holds
a breakdown, the peak memory, and the energies' share of the processor's matrix rate.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common import Row, command_line, describe, measure, not_run, write_rows
from diengine_peer import NAME, diengine
from ikp.kinematics import iiwa14_dual, ur5e
from ikp.policies import ImplicitPolicy
from ikp.policies.policy import batch_to
from ikp.recipes import recipe
from ikp.training.memory import reuse_freed_memory
from ikp.training.optimizer import CLIP, MovingAverage, make_optimizers
from policy_cases import NO_GPU, Case
from straightforward import Straightforward

CASES = [Case(robot, gripper, pixels) for robot, gripper in ((ur5e, True), (iiwa14_dual, False))
         for pixels in (True, False)]  # fmt: skip
MATRIX = 2048
"""Side of the square matrices whose product stands for what the processor can do."""


class Step:
    """A training step as the trainer does it.

    Args:
        case: the sizes.
        straightforward: take the straightforward form instead of the policy.
        device: where it runs.
    """

    def __init__(self, case: Case, *, straightforward: bool = False, device: str = "cpu") -> None:
        self.config = recipe("standard").train
        self.demonstrations = case.demonstrations()
        self.policy = case.policy(self.demonstrations).to(device)
        self.device = torch.device(device)
        self.model: nn.Module = Straightforward(self.policy) if straightforward else self.policy
        self.model.to(device).train()
        self.optimizers = make_optimizers(self.model, self.config)
        self.average = MovingAverage(self.model)
        self.count = 0

    def __call__(self) -> None:
        loss = self.loss(self.batch())
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.update()

    def batch(self) -> dict[str, Any]:
        """A random batch."""
        frames = torch.randint(0, len(self.demonstrations), (self.config.batch_size,))
        return batch_to(self.demonstrations.batch(frames, self.policy.config.history), self.device)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The loss alone."""
        loss = self.model.loss(batch)
        return loss[0] if isinstance(loss, tuple) else loss

    def update(self) -> None:
        """The part of a step that follows the gradient."""
        torch.nn.utils.clip_grad_norm_(self.average.parameters, CLIP, foreach=True)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update(self.count)
        self.count += 1


def energies_alone(step: Step, batch: dict[str, Any]) -> tuple[Callable[[], None], float]:
    """Forward and backward of the energies' layers on the inputs of a real step, and its multiply-adds x 2."""
    energies = step.policy.energies.stack
    seen: list[tuple[tuple[Tensor, ...], dict[str, Any]]] = []
    hook = energies.register_forward_pre_hook(
        lambda _, inputs, options: seen.append((inputs, options)), with_kwargs=True
    )
    step.loss(batch)
    hook.remove()
    inputs, options = seen[0]
    leaves = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
    wanted = [x for x in leaves if x.requires_grad] + list(energies.parameters())
    gradient = torch.randn_like(energies(*leaves, **options))

    def run() -> None:
        torch.autograd.grad(energies(*leaves, **options), wanted, gradient)

    basis, width = inputs[1], step.policy.config.width
    blocks = step.policy.config.blocks * (width * width // 2 + (width // 4) ** 2)
    per_candidate = basis.shape[-1] * width + blocks + width
    return run, 3 * 2 * per_candidate * basis.numel() / basis.shape[-1]


def breakdown(step: Step) -> Row:
    """Parts of a step, each timed alone in rounds that alternate with the whole [ms]; the rest by difference."""
    policy, batch = step.policy, step.batch()

    def encoder() -> None:
        wanted = [p for p in policy.encoder.parameters() if p.requires_grad]
        features = policy.encoder(batch)
        if wanted:
            torch.autograd.grad(features, wanted, torch.ones_like(features))

    energies, flops = energies_alone(step, batch)
    squares = {
        dtype: torch.randn(2, MATRIX, MATRIX, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    }
    step.loss(batch).backward()
    parts = {
        "step": step,
        "encoder": encoder,
        "energies": energies,
        "clipping, AdamW, moving average": step.update,
        "data": step.batch,
        "float32": lambda: torch.mm(*squares[torch.float32]),
        "bfloat16": lambda: torch.mm(*squares[torch.bfloat16]),
    }
    row = measure("parts of a step", "", parts, budget_s=15)
    ms = {"step": row["ours"]} | {peer["name"]: peer["value"] for peer in row["peers"]}
    rates = {name: 2 * MATRIX**3 / (ms.pop(name) * 1e6) for name in ("float32", "bfloat16")}
    rest = ms["step"] - sum(value for name, value in ms.items() if name != "step")
    ms["kinematics, first layer, proposal, gripper, loss (the rest)"] = rest
    rate = flops / (ms["energies"] * 1e6)
    return {
        "breakdown_ms": {name: round(value, 2) for name, value in ms.items()},
        "energies_gflops": round(rate, 1),
        "matrix_gflops": {name: round(value, 1) for name, value in rates.items()},
        "energies_share_of_matrix_rate": round(rate / rates["bfloat16"], 3),
    }


def peak_memory(case: Case, straightforward: bool, threads: int) -> float:
    """How much three steps add to the memory of a fresh process [MB]."""
    torch.set_num_threads(threads)
    step = Step(case, straightforward=straightforward)
    before = _high_water_mb()
    for _ in range(3):
        step()
    return round(_high_water_mb() - before, 1)


def _high_water_mb() -> float:
    # getrusage would begin with the size of the process that started this one
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_fresh_process(work: Callable[..., float], *arguments: object) -> float:
    """The result of a function of this module in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def training_row(case: Case) -> Row:
    """The row of one case on the processor."""
    ours, plain = Step(case), Step(case, straightforward=True)
    config, policy = ours.policy.config, ours.policy
    assert isinstance(policy, ImplicitPolicy)
    size = f"{case.joints}, batch {ours.config.batch_size}, {config.negatives} negatives"
    contenders: dict[str, Any] = {"IKP": ours, "straightforward form": plain}
    name = f"training step from {case.source}"
    if case.pixels:
        row = measure(name, size, contenders, budget_s=20)
    else:
        with diengine("train", policy, batch=ours.config.batch_size) as peer:
            row = measure(name, size, contenders | {NAME: peer}, budget_s=20)
    row |= breakdown(ours)
    threads = torch.get_num_threads()
    row["memory_mb"] = {
        name: in_fresh_process(peak_memory, case, plain_form, threads)
        for name, plain_form in (("IKP", False), ("straightforward form", True))
    }
    print(
        describe(row),
        {key: row[key] for key in ("breakdown_ms", "energies_share_of_matrix_rate", "memory_mb")},
    )
    return row


def gpu_row(case: Case) -> Row:
    """The row of one case on a GPU."""
    name, size = f"training step on a GPU from {case.source}", case.joints
    if not torch.cuda.is_available():
        return not_run(name, size, NO_GPU)
    steps = {
        "IKP": Step(case, device="cuda"),
        "straightforward form": Step(case, straightforward=True, device="cuda"),
    }
    return measure(name, size, steps, device="cuda")


def main() -> None:
    torch.set_num_threads(command_line(__doc__).parse_args().threads)
    torch.manual_seed(0)
    reuse_freed_memory()
    rows = [training_row(case) for case in CASES]
    write_rows("training", "One training step", [*rows, *(gpu_row(case) for case in CASES)])


if __name__ == "__main__":
    main()
