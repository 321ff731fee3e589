"""The state of a training run on disk, in numbered safetensors files, from which a killed run resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ikp.files import replaced_atomically
from ikp.policies import Policy
from ikp.training.optimizer import MovingAverage

KEPT = 2


@dataclass
class Progress:
    """Progress of a run: optimiser steps done, and seconds spent on them."""

    step: int = 0
    seconds: float = 0.0


def save_state(
    folder: Path,
    policy: Policy,
    optimizers: Sequence[torch.optim.Optimizer],
    average: MovingAverage,
    progress: Progress,
) -> Path:
    """Write `step-N.safetensors`, then remove all but the newest `KEPT` states."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model/{key}": value for key, value in policy.state_dict().items()}
    tensors |= {f"average/{i}": value for i, value in enumerate(average.average)}
    for n, optimizer in enumerate(optimizers):
        for i, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{n}/{i}/{key}": value for key, value in state.items()}
    path = folder / f"step-{progress.step:08d}.safetensors"
    stored = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with replaced_atomically(path) as fresh:
        save_file(stored, fresh, metadata={"progress": json.dumps(vars(progress))})
    for old in sorted(folder.glob("step-*.safetensors"))[:-KEPT]:
        old.unlink()
    return path


def load_state(
    folder: Path, policy: Policy, optimizers: Sequence[torch.optim.Optimizer], average: MovingAverage
) -> Progress | None:
    """Load the newest state in a folder; returns None if there is none.

    Raises:
        ValueError: the state belongs to a policy with other parameters.
    """
    paths = sorted(folder.glob("step-*.safetensors"))
    if not paths:
        return None
    with safe_open(str(paths[-1]), framework="pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    try:
        policy.load_state_dict(_under(tensors, "model/"))
        averages = _under(tensors, "average/")
        average.load([averages[str(i)] for i in range(len(averages))])
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{paths[-1]} belongs to another configuration: {error}. Use a new output folder, or the same settings"
        ) from None
    for n, optimizer in enumerate(optimizers):
        _load_optimizer(optimizer, _under(tensors, f"optimizer/{n}/"))
    return progress


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = _laid_out_like(parameters[int(index)], value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Copy values to the parameter's memory layout, because the fused optimiser pairs them by memory position."""
    return value if value.shape != parameter.shape else torch.empty_like(parameter.detach()).copy_(value)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
