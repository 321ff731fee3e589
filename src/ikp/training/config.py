"""How a policy is trained; the same for every method within a preset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

OPTIMIZERS = ("muon", "adamw")


@dataclass(frozen=True)
class TrainConfig:
    """Budget and optimisation.

    Attributes:
        steps: optimiser steps of the whole schedule.
        minutes: time budget instead: the schedule then follows the clock, and the run ends at this time or
            after `steps`, whichever comes first. Such a run is not reproducible to the bit.
        batch_size: frames per step.
        optimizer: `muon` (orthogonalised momentum for weight matrices, AdamW for the rest) or `adamw`.
        muon_learning_rate: of the matrices that Muon moves (all rates: linear warm-up, cosine decay to zero).
        learning_rate: of AdamW, in the heads and energies.
        encoder_learning_rate: of AdamW, in the image encoders.
        residual_learning_rate: of the kinematic residuals; larger ones drift.
        weight_decay: on matrices.
        warmup: share of the schedule with a rising learning rate.
        ema: decay of the weights' moving average, which is what is evaluated and saved.
        clip: largest gradient norm.
        image_shift: random shift of the images by up to this many pixels, 0 for none.
        scene_turn: turn scenes, joints and objects, about the axis of the robot's base by up to this many degrees;
            for few demonstrations (`ikp.training.scene_motion`).
        scene_shift: shift them along the table by up to this many metres.
        held_out: share of the episodes kept for validation.
        validate_every: steps between validations.
        checkpoint_every: steps between states to resume from.
        log_every: steps between lines of the log.
        seed: of weights, batches and negatives.
        device: torch device; `auto` takes a GPU where there is one.
        threads: torch threads, 0 for torch's own choice.
    """

    steps: int = 15_000
    minutes: float | None = None
    batch_size: int = 64
    optimizer: str = "muon"
    muon_learning_rate: float = 3e-3
    learning_rate: float = 2e-3
    encoder_learning_rate: float = 1e-3
    residual_learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    warmup: float = 0.02
    ema: float = 0.998
    clip: float = 5.0
    image_shift: int = 0
    scene_turn: float = 0.0
    scene_shift: float = 0.0
    held_out: float = 0.05
    validate_every: int = 1000
    checkpoint_every: int = 1000
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
        for name in ("muon_learning_rate", "learning_rate", "encoder_learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be positive")
        tops = {"ema": 1.0, "held_out": 1.0, "warmup": 1.0, "scene_turn": 90.0, "scene_shift": 1.0}
        for name, top in tops.items():
            if not 0 <= getattr(self, name) < top:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 0 and below {top}")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes is {self.minutes}: it must be positive, or left out")

    @property
    def moves_scenes(self) -> bool:
        """Whether `ikp.training.scene_motion` is used."""
        return self.scene_turn > 0 or self.scene_shift > 0

    def to_json(self) -> dict[str, Any]:
        """The configuration as a dict of plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        """Rebuild a configuration written by `to_json`; ValueError on an unknown key."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"unknown keys {unknown} in a TrainConfig")
        return cls(**values)
