"""Options of a training, the same for every method within a recipe."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ikp.checks import in_range, one_of, plain_types

OPTIMIZERS = ("muon", "adamw")


@dataclass(frozen=True)
class TrainConfig:
    """Budget and optimisation.

    Attributes:
        steps: optimiser steps of the whole schedule.
        minutes: time budget of the schedule; the run ends at this time or after `steps`, whichever comes first. Such a
            run is not reproducible bit by bit.
        batch_size: frames per step.
        optimizer: `muon` (orthogonalised momentum for weight matrices, AdamW for the rest) or `adamw`.
        learning_rate: learning rate of AdamW for heads and energies; Muon's is 1.5 times as large. All rates rise
            linearly over the first 2 % of the schedule and then fall to zero as a cosine.
        encoder_learning_rate: learning rate of AdamW for the image encoders.
        moved_scenes: rotate and shift whole scenes, joints and objects, as additional demonstrations
            (`ikp.training.scene_motion`); for tasks that are the same anywhere on a table.
        state_noise: standard deviation of noise on the measured joints, as a share of that of the demonstrated steps
            (`ikp.training.state_noise`). It helps policies that drift away from undisturbed demonstrations, where
            images show the joints well enough; where they do not, it costs precision.
        held_out: share of the demonstrations kept for validation.
        validate_every: steps between validations.
        checkpoint_every: steps between saved states, from which a run can resume; one is saved every minute as well.
        log_every: steps between log entries.
        seed: seed of weights, batches and negatives.
        device: torch device; `auto` uses a GPU if there is one.
        threads: number of torch threads; 0 leaves it to torch.

    Raises:
        ValueError: an option is unknown or a number out of range.
    """

    steps: int = 8000
    minutes: float | None = None
    batch_size: int = 64
    optimizer: str = "muon"
    learning_rate: float = 2e-3
    encoder_learning_rate: float = 1e-3
    moved_scenes: bool = False
    state_noise: float = 0.0
    held_out: float = 0.05
    validate_every: int = 1000
    checkpoint_every: int = 500
    log_every: int = 50
    seed: int = 0
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        plain_types(self)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        every = dict.fromkeys(("validate_every", "checkpoint_every", "log_every"), (1, 10**9))
        in_range(self, steps=(1, 10**9), batch_size=(1, 10**6), **every)
        in_range(self, seed=(0, 2**32 - 1), threads=(0, 512), state_noise=(0, 10))
        for name in ("learning_rate", "encoder_learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be positive and finite")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}: it must be a share above 0 and below 1")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes is {self.minutes}: it must be positive and finite, or left out")

    def to_json(self) -> dict[str, Any]:
        """The configuration as a dict of plain JSON values."""
        return asdict(self)
