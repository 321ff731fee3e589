"""Options of a training, the same for every method within a recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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
        held_out: share of the demonstrations kept for validation.
        validate_every: steps between validations.
        checkpoint_every: steps between saved states, from which a run can resume.
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
    held_out: float = 0.05
    validate_every: int = 1000
    checkpoint_every: int = 500
    log_every: int = 50
    seed: int = 0
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
        for name in ("steps", "batch_size", "validate_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("learning_rate", "encoder_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be positive")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}: it must be at least 0 and below 1")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes is {self.minutes}: it must be positive, or left out")

    def to_json(self) -> dict[str, Any]:
        """The configuration as a dict of plain JSON values."""
        return asdict(self)
