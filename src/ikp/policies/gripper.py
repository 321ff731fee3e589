"""Discrete action dimensions, such as a gripper: decided last, from the observation and the motion chosen before."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ikp.nets import DenseResNet
from ikp.policies.normalizer import Standardizer

FINE_SCALES = (0.05, 0.2)
"""Scales at which motions are shown once more, in units of their own spread."""


class GripperHead(nn.Module):
    """Logits of the discrete dimensions given the continuous ones.

    Whether to let go is decided by the last millimetres of a motion, while its standard deviation is that of long
    moves: a head that sees motions in those units alone learns late to open at the goal, and a robot that stops there,
    holding, never recovers. It is shown them as tanh(motion / scale) at finer scales as well; zero is to stay.

    Args:
        context: size of the observation's features.
        motions: number of continuous variables.
        outputs: number of discrete dimensions.
        width: of its dense network.
    """

    def __init__(self, context: int, motions: int, outputs: int, *, width: int) -> None:
        super().__init__()
        self.spread = Standardizer(motions)
        inputs = context + motions * (1 + len(FINE_SCALES))
        self.net = DenseResNet(inputs, outputs, width=width, blocks=1)

    def fit(self, motions: Float[Tensor, "frames motions"]) -> None:
        """Take the motions' spread from demonstrations."""
        self.spread.fit(motions)

    def forward(
        self,
        context: Float[Tensor, "batch context"],
        standard: Float[Tensor, "batch motions"],
        motions: Float[Tensor, "batch motions"],
    ) -> Float[Tensor, "batch outputs"]:
        """The logits; positive is 1, closed.

        Args:
            context: features of the observation.
            standard: the chosen continuous variables, standardised.
            motions: the same as differences from what is measured, in their own units.
        """
        relative = motions / self.spread.std
        fine = [torch.tanh(relative / scale) for scale in FINE_SCALES]
        return self.net(torch.cat([context, standard, *fine], -1))

    def loss(
        self, context: Tensor, standard: Tensor, motions: Tensor, closed: Float[Tensor, "batch outputs"]
    ) -> Float[Tensor, ""]:
        """Two-way cross-entropy: the InfoNCE loss over both values of a discrete dimension."""
        return F.binary_cross_entropy_with_logits(self(context, standard, motions), closed)
