"""One energy network per action dimension, stacked so that all dimensions are one batched product.

The straightforward form tiles every input to every candidate. Here the first layer is split exactly:
what depends on the observation or on the prefix is computed once per example (`base`), and a candidate
enters through a few scalars of its own (`basis`) times per-example vectors (`slopes`):

    first layer(candidate) = base + sum_k basis_k(candidate) * slopes_k

A joint angle enters linearly, and the pose of a link is linear in (cos, sin) of its own joint, so nothing
is approximated (see `ikp.policies.features`).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.nets.dense import check_width


class StackedLinear(nn.Module):
    """`dims` independent linear layers as one batched product: (dims, rows, inputs) -> (dims, rows, outputs)."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(dims, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(dims, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, dims: slice = slice(None)) -> Tensor:
        weight, bias = self.weight[dims].to(x.dtype), self.bias[dims].to(x.dtype)
        return torch.baddbmm(bias, x, weight)


class StackedBlock(nn.Module):
    """The bottleneck block of `ikp.nets.dense.DenseBlock`, one set of weights per dimension."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        narrow = width // 4
        sizes = [(width, narrow), (narrow, narrow), (narrow, width)]
        self.layers = nn.ModuleList([StackedLinear(dims, inputs, outputs) for inputs, outputs in sizes])

    def forward(self, x: Tensor, dims: slice = slice(None)) -> Tensor:
        h = x
        for layer in self.layers:
            h = layer(torch.relu(h), dims)
        return x + h


class StackedEnergies(nn.Module):
    """Energies E_j of all action dimensions j (paper, Sec. IV-B: one model per dimension).

    Each E_j is a dense residual network of 2 + 3 * blocks layers whose first layer is given by the caller.

    Args:
        dims: number of action dimensions.
        width: units of the residual stream, a multiple of 4.
        blocks: residual blocks; 2 give the paper's 8-layer energies.
    """

    def __init__(self, dims: int, *, width: int, blocks: int) -> None:
        super().__init__()
        check_width(width, blocks)
        self.dims, self.width = dims, width
        self.blocks = nn.ModuleList([StackedBlock(dims, width) for _ in range(blocks)])
        self.head = StackedLinear(dims, width, 1)

    def forward(
        self,
        base: Float[Tensor, "dims batch width"],
        basis: Float[Tensor, "dims batch candidates k"],
        slopes: Float[Tensor, "dims batch k width"],
        *,
        dims: slice = slice(None),
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "dims batch candidates"]:
        """Energies of every candidate of every dimension; low is good.

        Args:
            base: first-layer activation that all candidates of an example share.
            basis: per candidate, the scalars that multiply `slopes`.
            slopes: first-layer activation per unit of each scalar.
            dims: the dimensions that the inputs hold, where they are not all (inference).
            dtype: precision of the layers after the first, that of the inputs if not given. The first layer,
                which carries absolute angles, always stays in the precision of its inputs.
        """
        count, batch, candidates, k = basis.shape
        first = torch.baddbmm(
            base.reshape(count * batch, 1, self.width),
            basis.reshape(count * batch, candidates, k),
            slopes.reshape(count * batch, k, self.width),
        )
        h = first.reshape(count, batch * candidates, self.width).to(dtype or first.dtype)
        for block in self.blocks:
            h = block(h, dims)
        energy = self.head(torch.relu(h), dims)
        return energy.to(first.dtype).reshape(count, batch, candidates)
