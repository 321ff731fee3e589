"""Elementwise steps of a dense network with fewer passes over memory.

On a CPU, oneDNN adds a bias, a residual or a ReLU while it writes a product. A ReLU and the mask of its gradient work
on the bits: a float has the sign of the integer with the same bits, and integer operations run at memory speed, while
bfloat16 operations convert to float32 and back.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_ONEDNN_DTYPES = (torch.float32, torch.bfloat16)
FEW_ROWS = 256  # up to here the overhead of the call exceeds the passes that it saves


def linear_relu(
    x: Float[Tensor, "rows inputs"], weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, " outputs"]
) -> Float[Tensor, "rows outputs"]:
    """relu(x @ weight.T + bias), without gradient."""
    if _pays_onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu", [], "")
    return relu_(torch.nn.functional.linear(x, weight, bias))


def linear_add(
    x: Float[Tensor, "rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"],
    residual: Float[Tensor, "rows outputs"],
) -> Float[Tensor, "rows outputs"]:
    """residual + x @ weight.T + bias, without gradient."""
    if _pays_onednn(x):
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, bias, "add")
    return torch.nn.functional.linear(x, weight, bias).add_(residual)


def relu(x: Tensor) -> Tensor:
    """max(x, 0). A NaN with its sign bit set becomes 0."""
    return torch.clamp_min(_bits(x), 0).view(x.dtype)


def relu_(x: Tensor) -> Tensor:
    """`relu` in place."""
    _bits(x).clamp_min_(0)
    return x


def mask_(gradient: Tensor, activation: Tensor) -> Tensor:
    """Gradient of a ReLU, in place: zero where its output `activation`, which is never negative, is zero."""
    _bits(gradient).mul_(torch.clamp_max(_bits(activation), 1))
    return gradient


def _bits(x: Tensor) -> Tensor:
    return x.view(_BITS[x.element_size()])


def _pays_onednn(x: Tensor) -> bool:
    fits = x.device.type == "cpu" and x.dtype in _ONEDNN_DTYPES and len(x) > FEW_ROWS
    return fits and torch.backends.mkldnn.is_available()
