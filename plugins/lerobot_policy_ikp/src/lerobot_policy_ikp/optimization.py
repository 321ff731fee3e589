"""Optimiser and schedule of ikp's recipes, in the form that LeRobot builds, saves and resumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lerobot.optim.optimizers import OptimizerConfig
from lerobot.optim.schedulers import LRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ikp.training.config import TrainConfig
from ikp.training.optimizer import CLIP, WEIGHT_DECAY, optimizers_of, schedule


class JoinedOptimizer(torch.optim.Optimizer):
    """Several optimisers, each with its own parameters, as one: LeRobot trains with a single one.

    Args:
        parts: the optimisers; their groups and states become those of this one.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts: list[torch.optim.Optimizer] = []  # add_param_group, which is called below, needs none
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._parts = list(parts)
        self._share()

    def _share(self) -> None:
        """Give each part its groups, and all of them the one state."""
        place = 0
        for part in self._parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[place : place + count]
            part.state = self.state
            place += count

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; see `torch.optim.Optimizer.load_state_dict`."""
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One step of every part."""
        if closure is not None:
            raise ValueError("a step takes no closure: the loss is evaluated once")
        for part in self._parts:
            part.step()


@OptimizerConfig.register_subclass("ikp")
@dataclass
class IKPOptimizerConfig(OptimizerConfig):
    """The optimiser of `ikp train`: Muon for weight matrices and AdamW for the rest, or AdamW throughout.

    Attributes:
        lr: learning rate of heads and energies.
        encoder_lr: learning rate of the image encoders.
        algorithm: `muon` or `adamw`.
        weight_decay: of weight matrices.
        grad_clip_norm: largest gradient norm.

    Raises:
        ValueError: a value is not allowed.
    """

    lr: float = TrainConfig.learning_rate
    encoder_lr: float = TrainConfig.encoder_learning_rate
    algorithm: str = TrainConfig.optimizer
    weight_decay: float = WEIGHT_DECAY
    grad_clip_norm: float = CLIP

    def build(self, params: dict[str, nn.Parameter]) -> torch.optim.Optimizer:  # type: ignore[override]
        """The optimiser of a policy's parameters by name (`IKPPolicy.get_optim_params`)."""
        settings = TrainConfig(
            optimizer=self.algorithm, learning_rate=self.lr, encoder_learning_rate=self.encoder_lr
        )
        parts = optimizers_of(params, settings)
        for group in (group for part in parts for group in part.param_groups):
            if group["weight_decay"]:
                group["weight_decay"] = self.weight_decay
        return JoinedOptimizer(parts)


@LRSchedulerConfig.register_subclass("ikp")
@dataclass
class IKPSchedulerConfig(LRSchedulerConfig):
    """Linear warm-up over the first 2 % of the steps, then cosine decay to zero, as in `ikp train`.

    Attributes:
        num_warmup_steps: not used; the warm-up is a share of the steps.
    """

    num_warmup_steps: int | None = None

    def build(self, optimizer: torch.optim.Optimizer, num_training_steps: int) -> LambdaLR:
        """The schedule of a training of so many steps."""
        return LambdaLR(optimizer, lambda step: schedule(step / num_training_steps))
