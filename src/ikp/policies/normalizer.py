"""Scales of inputs and bounds of actions per dimension, set from the demonstrations and stored with the policy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

MARGIN = 0.05
"""Action bounds are the minimum and maximum of the data, each widened by this share of the range (Implicit BC)."""


@dataclass(frozen=True)
class Scaling:
    """x -> (x - mean) / std with given numbers, one set for all rows of a batch or one per row."""

    mean: Float[Tensor, "*batch dims"]
    std: Float[Tensor, "*batch dims"]

    def __call__(self, x: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch dims"]:
        return (x - self.mean) / self.std


class Standardizer(nn.Module):
    """x -> (x - mean) / std per dimension; the identity until `fit`.

    Args:
        dims: size of the vector.
        least: lower bound of the standard deviation, so that noise in constant dimensions is not amplified.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dims: int, least: float = 1e-3) -> None:
        super().__init__()
        self.least = least
        self.register_buffer("mean", torch.zeros(dims))
        self.register_buffer("std", torch.ones(dims))

    def fit(self, values: Float[Tensor, "frames dims"]) -> None:
        """Set mean and standard deviation from data."""
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0, unbiased=False).clamp_min(self.least))

    def forward(self, x: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch dims"]:
        return (x - self.mean) / self.std

    def undo(self, standard: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch dims"]:
        """The vectors that `forward` standardised."""
        return standard * self.std + self.mean


class Bounds(nn.Module):
    """Range of each dimension of encoded actions; [-1, 1] until `fit`.

    Args:
        dims: number of dimensions.
        least: smallest range of a dimension, in its units, for dimensions that are constant in the data.
    """

    low: Tensor
    high: Tensor

    def __init__(self, dims: int, least: float = 0.02) -> None:
        super().__init__()
        self.least = least
        self.register_buffer("low", -torch.ones(dims))
        self.register_buffer("high", torch.ones(dims))

    def fit(self, values: Float[Tensor, "frames dims"]) -> None:
        """Set the range from data: minimum to maximum, widened by `MARGIN` and to at least `least`."""
        low, high = values.amin(0), values.amax(0)
        center, half = (low + high) / 2, (high - low) / 2 * (1 + 2 * MARGIN)
        half = half.clamp_min(self.least / 2)
        self.low.copy_(center - half)
        self.high.copy_(center + half)

    def to_unit(self, values: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch dims"]:
        """Encoded actions scaled to [-1, 1]."""
        return (values - self.low) / (self.high - self.low) * 2 - 1

    def from_unit(self, unit: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch dims"]:
        """Encoded actions from their scaled values in [-1, 1]."""
        return self.low + (unit + 1) / 2 * (self.high - self.low)
