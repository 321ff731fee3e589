"""Muon: descent by orthogonalised momentum, for the weight matrices of a network.

The gradient of a matrix is dominated by few directions. Muon replaces its momentum by the nearest semi-orthogonal
matrix, so that all directions move equally far (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; scaled
to the step length of AdamW as in Liu et al., arXiv 2502.16982). `torch.optim.Muon` takes only single matrices; here a
tensor may be a stack of them, one per action dimension, and matrices of about equal shape are processed together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x -> a x + b x^3 + c x^5, which moves every singular value in (0, 1] towards about 1."""
ITERATIONS = 5
LARGE = 96
"""Rows from which bfloat16 is faster than float32 on a processor that multiplies it."""
BLOCK = 16
"""Rows and columns are padded to its multiples: products of other sizes take several times as long."""
ADAMW_RMS = 0.2
"""Root mean square of a typical AdamW update in units of its learning rate."""


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon can optimise a tensor: matrices, stacks of them or convolution filters, with rank above 1."""
    return parameter.ndim in (2, 3, 4) and min(_as_matrices(parameter).shape[1:]) > 1


@torch.no_grad()
def orthogonalize(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Approximate the nearest semi-orthogonal matrices by Newton-Schulz; singular values become 0.7 to 1.2.

    Large matrices are computed in bfloat16, which is precise enough for a direction. A zero matrix stays zero.

    Args:
        matrices: with at most as many rows as columns, which is the faster order.
    """
    is_large = matrices.shape[1] >= LARGE or matrices.is_cuda
    norm = torch.linalg.matrix_norm(matrices, keepdim=True)
    x = (matrices / (norm + 1e-12)).to(torch.bfloat16 if is_large else matrices.dtype)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        gram = torch.bmm(x, x.transpose(1, 2))
        odd = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, odd, x, beta=a)
    return x.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    Args:
        params: parameters, or groups of them, for which `is_matrix` holds.
        lr: learning rate, comparable to AdamW's.
        weight_decay: weight decay as in AdamW.
        momentum: decay of the momentum.

    Raises:
        ValueError: a parameter is not a matrix.
    """

    def __init__(
        self, params: Iterable[Any], *, lr: float = 3e-3, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if not is_matrix(parameter):
                raise ValueError(
                    f"a parameter of shape {tuple(parameter.shape)} is no matrix: Muon takes tensors of 2 to 4 "
                    "dimensions with more than one row and column; leave vectors and biases to AdamW"
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Take one step along the orthogonalised momentum; parameters without a gradient do not change."""
        if closure is not None:
            raise ValueError("Muon evaluates the loss once a step: it takes no closure")
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, [p.grad for p in parameters], group)

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        momenta = [self._momentum(p) for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        matrices = [_as_matrices(tensor) for tensor in ahead]
        wide = [_wide(each) for each in matrices]
        for indices in _by_shape(wide):
            directions = _orthogonalize_together([wide[i] for i in indices])
            for i, direction in zip(indices, directions, strict=True):
                scale = ADAMW_RMS * math.sqrt(direction.shape[2])
                update = direction if wide[i] is matrices[i] else direction.transpose(1, 2)
                parameters[i].add_(update.reshape(parameters[i].shape), alpha=-group["lr"] * scale)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]


def _as_matrices(tensor: Tensor) -> Float[Tensor, "n rows columns"]:
    return tensor if tensor.ndim == 3 else tensor.reshape(1, len(tensor), -1)


def _wide(matrices: Float[Tensor, "n rows columns"]) -> Tensor:
    """The matrices, or their transposes where they have more rows than columns."""
    return matrices if matrices.shape[1] <= matrices.shape[2] else matrices.transpose(1, 2)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _by_shape(stacks: list[Tensor]) -> list[list[int]]:
    """Indices of stacks of matrices, grouped by the padded shape of their matrices."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, stack in enumerate(stacks):
        groups.setdefault((_padded(stack.shape[1]), _padded(stack.shape[2])), []).append(i)
    return list(groups.values())


def _orthogonalize_together(stacks: list[Tensor]) -> list[Tensor]:
    """`orthogonalize` of stacks with one padded shape; rows and columns of zeros change no other entry."""
    rows, columns = _padded(stacks[0].shape[1]), _padded(stacks[0].shape[2])
    together = stacks[0].new_zeros(sum(map(len, stacks)), rows, columns)
    parts = together.split([len(stack) for stack in stacks])
    for part, stack in zip(parts, stacks, strict=True):
        part[:, : stack.shape[1], : stack.shape[2]] = stack
    directions = orthogonalize(together).split([len(stack) for stack in stacks])
    return [
        direction[:, : stack.shape[1], : stack.shape[2]]
        for direction, stack in zip(directions, stacks, strict=True)
    ]
