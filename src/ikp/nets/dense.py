"""Dense residual network (Implicit BC, arXiv 2109.00137, appendix)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class DenseBlock(nn.Module):
    """Pre-activation bottleneck with a skip connection: ReLU, width/4; ReLU, width/4; ReLU, width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = width // 4
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Linear(width, narrow),
            nn.ReLU(),
            nn.Linear(narrow, narrow),
            nn.ReLU(),
            nn.Linear(narrow, width),
        )

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        _, first, _, second, _, third = self.layers
        h = _linear(first, torch.relu(x))
        h = _linear(second, torch.relu(h))
        return x + _linear(third, torch.relu(h))


class DenseResNet(nn.Sequential):
    """Dense(width), `blocks` bottleneck blocks, ReLU, Dense(outputs): 2 + 3 * blocks dense layers.

    Args:
        inputs: size of the input vector.
        outputs: size of the output vector.
        width: units of the residual stream, a multiple of 4.
        blocks: number of residual blocks; 2, 4 and 6 give 8, 14 and 20 dense layers.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int, blocks: int) -> None:
        check_width(width, blocks)
        super().__init__(
            nn.Linear(inputs, width),
            *[DenseBlock(width) for _ in range(blocks)],
            nn.ReLU(),
            nn.Linear(width, outputs),
        )

    def features(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch width"]:
        """The last layer's inputs."""
        first, *blocks, _, _ = self
        h = _linear(first, x)
        for block in blocks:
            h = block(h)
        return torch.relu(h)

    def last(self, features: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch outputs"]:
        """The outputs for `features`."""
        *_, last = self
        return _linear(last, features)

    def forward(  # the name of the argument is that of nn.Sequential
        self,
        input: Float[Tensor, "*batch inputs"],  # noqa: A002
    ) -> Float[Tensor, "*batch outputs"]:
        return self.last(self.features(input))


def _linear(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer without a module call, which for a single row takes as long as the product.

    A layer that somebody replaced or hooked is called.
    """
    hooked = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks
    if type(layer) is not nn.Linear or hooked or layer._backward_pre_hooks:
        return layer(x)
    return F.linear(x, layer.weight, layer.bias)


def check_width(width: int, blocks: int) -> None:
    """Raise ValueError unless the width is a positive multiple of 4 and the number of blocks is not negative."""
    if width < 4 or width % 4:
        raise ValueError(f"width is {width}: it must be a positive multiple of 4")
    if blocks < 0:
        raise ValueError(f"blocks is {blocks}: it must be 0 or more")
