"""The state of a training run on disk, in numbered safetensors files, from which a killed run resumes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ikp.files import replaced_atomically
from ikp.policies import Policy
from ikp.policies.weights import load_weights, packed, unpacked
from ikp.training.optimizer import MovingAverage

KEPT = 2
DAMAGED = ".damaged"
"""Suffix that a state gets when an older one takes its place."""


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
    """Write `step-N.safetensors`, then remove all but the newest `KEPT` states.

    Raises:
        OSError: the disk is full or the file cannot be written; the older states are kept.
    """
    tensors = {f"model/{key}": value for key, value in policy.state_dict().items()}
    tensors |= {f"average/{i}": value for i, value in enumerate(average.average)}
    for n, optimizer in enumerate(optimizers):
        for i, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{n}/{i}/{key}": value for key, value in state.items()}
    path = folder / f"step-{progress.step:08d}.safetensors"
    with replaced_atomically(path, "the older states are kept") as fresh:
        fresh.write_bytes(packed(tensors, {"progress": json.dumps(vars(progress))}))
    for old in _states(folder)[:-KEPT]:
        old.unlink()
    return path


def has_state(folder: Path) -> bool:
    """Whether a folder holds a state, be it damaged."""
    return bool(_states(folder))


def load_state(
    folder: Path, policy: Policy, optimizers: Sequence[torch.optim.Optimizer], average: MovingAverage
) -> Progress | None:
    """Load the newest state in a folder that is not damaged, with a warning if a newer one is; None if there is none.

    Raises:
        ValueError: all states are damaged, or the state belongs to a policy with other parameters.
    """
    reasons: dict[Path, ValueError] = {}
    for path in reversed(_states(folder)):
        try:
            progress, tensors = _read_state(path)
        except ValueError as error:
            reasons[path] = error
            continue
        try:
            _restore(tensors, policy, optimizers, average)
        except (ValueError, LookupError, RuntimeError) as error:
            raise ValueError(
                f"{path} belongs to a policy with other parameters ({error}): use the same settings, or a new folder"
            ) from None
        for damaged, reason in reasons.items():
            damaged.rename(damaged.with_name(damaged.name + DAMAGED))
            warnings.warn(f"{damaged} is damaged ({reason}): continuing from {path}", stacklevel=2)
        return progress
    if reasons:
        path, reason = next(iter(reasons.items()))
        raise ValueError(
            f"{path} is damaged ({reason}), and there is no older state: delete {folder} to train from the start"
        )
    return None


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"))


def _read_state(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    """Progress and tensors of a state; ValueError if the file is damaged."""
    tensors, metadata = unpacked(path)
    try:
        return Progress(**json.loads(metadata["progress"])), tensors
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("it does not tell the step") from error


def _restore(
    tensors: dict[str, Tensor],
    policy: Policy,
    optimizers: Sequence[torch.optim.Optimizer],
    average: MovingAverage,
) -> None:
    load_weights(policy, _under(tensors, "model/"))
    averages = _under(tensors, "average/")
    average.load([averages[str(i)] for i in range(len(averages))])
    for n, optimizer in enumerate(optimizers):
        _load_optimizer(optimizer, _under(tensors, f"optimizer/{n}/"))


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
