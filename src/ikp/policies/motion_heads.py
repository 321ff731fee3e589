"""Action dimensions that are no joints, such as a gripper, decided last: from the observation and the chosen motion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ikp.nets import DenseResNet
from ikp.policies.normalizer import Bounds, Standardizer

FINE_SCALES = (0.05, 0.2)
"""Scales of the additional inputs tanh(motion / scale), in units of the motions' standard deviation."""


class MotionHead(nn.Module, ABC):
    """Decides some dimensions of the action by a network of the observation and the encoded action.

    The last millimetres of a motion decide whether to release, but the standard deviation of motions is dominated by
    long moves. A head that sees only standardised motions learns late to open at the goal, and a robot that stops
    there while holding never recovers. So motions are also inputs as tanh(motion / scale) at finer scales.

    Args:
        context: size of the observation's features.
        motions: number of dimensions of an encoded action.
        dims: the action dimensions that it decides.
        way_points: number of way-points at which it decides them; its outputs are those of the first one, of the
            second one, ...
        width: width of the dense network.
    """

    def __init__(
        self, context: int, motions: int, dims: Sequence[int], way_points: int, *, width: int
    ) -> None:
        super().__init__()
        self.dims, self.outputs = list(dims), len(dims) * way_points
        self.spread = Standardizer(motions)
        inputs = context + motions * (1 + len(FINE_SCALES))
        self.net = DenseResNet(inputs, self.outputs, width=width, blocks=1)

    def fit(self, motions: Float[Tensor, "frames motions"], values: Float[Tensor, "frames outputs"]) -> None:
        """Set the scales of motions and values from demonstrations."""
        self.spread.fit(motions)

    @abstractmethod
    def values(self, context: Tensor, standard: Tensor, motions: Tensor) -> Float[Tensor, "batch outputs"]:
        """The decided values; the arguments are those of `forward`."""

    @abstractmethod
    def loss(
        self, context: Tensor, standard: Tensor, motions: Tensor, values: Float[Tensor, "batch outputs"]
    ) -> Float[Tensor, ""]:
        """The loss of demonstrated values; the other arguments are those of `forward`."""

    def forward(
        self,
        context: Float[Tensor, "batch context"],
        standard: Float[Tensor, "batch motions"],
        motions: Float[Tensor, "batch motions"],
    ) -> Float[Tensor, "batch outputs"]:
        """The network's outputs.

        Args:
            context: features of the observation.
            standard: the encoded action, standardised.
            motions: the encoded action as a difference from the measured joints or pose (`ActionSpace.motions`).
        """
        relative = motions / self.spread.std
        fine = [torch.tanh(relative / scale) for scale in FINE_SCALES]
        return self.net(torch.cat([context, standard, *fine], -1))


class GripperHead(MotionHead):
    """Classification of the discrete dimensions; the network's outputs are logits, positive for 1 (closed)."""

    def values(self, context: Tensor, standard: Tensor, motions: Tensor) -> Float[Tensor, "batch outputs"]:
        """0 or 1."""
        return (self(context, standard, motions) > 0).to(context.dtype)

    def loss(
        self, context: Tensor, standard: Tensor, motions: Tensor, values: Float[Tensor, "batch outputs"]
    ) -> Float[Tensor, ""]:
        """Binary cross-entropy, which is the InfoNCE loss over both values of a discrete dimension."""
        closed = (values > 0.5).to(context.dtype)
        return F.binary_cross_entropy_with_logits(self(context, standard, motions), closed)


class ExtraHead(MotionHead):
    """Regression of continuous dimensions that move no joint of the robot, such as the width of a gripper."""

    def __init__(
        self, context: int, motions: int, dims: Sequence[int], way_points: int, *, width: int
    ) -> None:
        super().__init__(context, motions, dims, way_points, width=width)
        self.scale, self.bounds = Standardizer(self.outputs), Bounds(self.outputs)

    def fit(self, motions: Float[Tensor, "frames motions"], values: Float[Tensor, "frames outputs"]) -> None:
        """Set the scale of the motions, and scale and range of the numbers, from demonstrations."""
        super().fit(motions, values)
        self.scale.fit(values)
        self.bounds.fit(values)

    def values(self, context: Tensor, standard: Tensor, motions: Tensor) -> Float[Tensor, "batch outputs"]:
        """The numbers, within the range of the demonstrations."""
        values = self(context, standard, motions) * self.scale.std + self.scale.mean
        return values.clamp(self.bounds.low, self.bounds.high)

    def loss(
        self, context: Tensor, standard: Tensor, motions: Tensor, values: Float[Tensor, "batch outputs"]
    ) -> Float[Tensor, ""]:
        """Mean squared error of the standardised numbers."""
        return F.mse_loss(self(context, standard, motions), self.scale(values))
