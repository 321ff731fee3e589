"""Optimisers, learning-rate schedule and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ikp.policies import Policy
from ikp.training.config import TrainConfig
from ikp.training.muon import Muon, is_matrix

MUON_SHARE = 1.5
"""Muon's learning rate as a multiple of `TrainConfig.learning_rate`."""
RESIDUAL_LEARNING_RATE = 3e-4
"""AdamW's learning rate for kinematic residuals and camera corrections; at 3e-3 the offsets drift by 20 degrees."""
WEIGHT_DECAY = 1e-4
WARMUP = 0.02
"""Share of the schedule in which the learning rate rises."""
EMA = 0.998
"""Decay of the moving average of the weights; the averaged policy is evaluated and saved."""
CLIP = 5.0
"""Largest gradient norm."""


def make_optimizers(policy: Policy, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Make the optimisers of a policy (`optimizers_of`)."""
    return optimizers_of(dict(policy.named_parameters()), config)


def optimizers_of(parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Make the optimisers of parameters, with separate learning rates for encoders and residuals.

    `muon` optimises weight matrices with Muon and all other parameters with AdamW; `adamw` uses AdamW throughout.
    Residuals and vectors (biases, norms) have no weight decay. Each group stores its rate before the schedule as
    `base_lr`.

    Args:
        parameters: a policy's parameters by name; the names tell encoders and residuals from the rest.
        config: optimiser and learning rates.
    """
    adamw_rates = {
        "encoder": config.encoder_learning_rate,
        "residual": RESIDUAL_LEARNING_RATE,
        "head": config.learning_rate,
    }
    matrices: list[nn.Parameter] = []
    others: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        is_residual = ".residual." in name or name.endswith("camera_pose")
        kind = "residual" if is_residual else "encoder" if name.startswith("encoder.images") else "head"
        if config.optimizer == "muon" and kind != "residual" and is_matrix(parameter):
            matrices.append(parameter)
        else:
            decay = WEIGHT_DECAY if parameter.ndim > 1 and kind != "residual" else 0.0
            others.setdefault((adamw_rates[kind], decay), []).append(parameter)
    groups = [_group(group, *settings) for settings, group in others.items()]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.99), fused=True)]
    if matrices:
        optimizers.append(Muon([_group(matrices, MUON_SHARE * config.learning_rate, WEIGHT_DECAY)]))
    return optimizers


def _group(parameters: list[nn.Parameter], rate: float, weight_decay: float) -> dict[str, Any]:
    return {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": weight_decay}


def schedule(progress: float) -> float:
    """Factor on the learning rate at `progress` (0 to 1): linear warm-up, then cosine decay to zero."""
    if progress < WARMUP:
        return max(progress / WARMUP, 0.01)
    return 0.5 * (1 + math.cos(math.pi * min((progress - WARMUP) / (1 - WARMUP), 1.0)))


class MovingAverage:
    """Exponential moving average of a policy's parameters.

    At the beginning the decay is (1 + step) / (10 + step), so that the initial weights do not dominate the average.

    Args:
        policy: the policy that is trained.
        decay: decay per update.
        average: tensors that hold the average, such as the parameters of a copy; clones of the weights if not given.
    """

    def __init__(self, policy: Policy, decay: float = EMA, average: Sequence[Tensor] | None = None) -> None:
        self.decay = decay
        self.parameters = list(policy.parameters())
        clones = [parameter.detach().clone() for parameter in self.parameters] if average is None else average
        self.average = list(clones)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the current weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def copy_to(self, policy: Policy) -> None:
        """Write the average into a policy of the same structure."""
        for parameter, average in zip(policy.parameters(), self.average, strict=True):
            parameter.copy_(average)

    def load(self, tensors: list[Tensor]) -> None:
        """Load a stored average."""
        for average, tensor in zip(self.average, tensors, strict=True):
            average.copy_(tensor)
