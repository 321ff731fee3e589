"""One energy network per action dimension, with stacked weights.

The straightforward form tiles every input for every candidate. Here the first layer is split exactly: the part that
depends on the observation and the prefix is computed once per example (`base`), and a candidate adds a few scalars
(`basis`) times per-example vectors (`slopes`):

    first layer(candidate) = base + sum_k basis_k(candidate) * slopes_k

This is exact, because a joint position enters linearly and the pose of a link is linear in the cosine and sine of its
joint (`ikp.policies.link_features`).

The layers after the first are one autograd function with a hand-written gradient. It processes one dimension after
another, so that activations stay in the cache, with as few passes over them as possible (`ikp.nets.fused`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ikp.kinematics._functional import transforms_active
from ikp.nets.dense import check_width
from ikp.nets.fused import FEW_ROWS, linear_add, linear_relu, mask_, relu

ROWS_IN_CACHE = 2000
"""Candidates of one dimension that a search evaluates at a time on a CPU; the activations of more leave the cache."""


class StackedLinear(nn.Module):
    """`dims` independent linear layers: `weight` (dims, inputs, outputs), `bias` (dims, 1, outputs)."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(dims, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(dims, 1, outputs).uniform_(-bound, bound))


class StackedBlock(nn.Module):
    """The bottleneck block of `ikp.nets.dense.DenseBlock`, one set of weights per dimension."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        narrow = width // 4
        sizes = [(width, narrow), (narrow, narrow), (narrow, width)]
        self.layers = nn.ModuleList([StackedLinear(dims, inputs, outputs) for inputs, outputs in sizes])


class StackedEnergies(nn.Module):
    """Energies E_j of all action dimensions j (paper, Sec. IV-B: one model per dimension).

    Each E_j is a dense residual network of 2 + 3 * blocks layers; the caller computes its first layer.

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
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "dims batch candidates"]:
        """Energies of every candidate of every dimension; lower is better.

        Differentiable once. Forward-mode derivatives and the transforms of `torch.func` take a slower form that is
        differentiable any number of times.

        Args:
            base: first-layer activation that all candidates of an example share.
            basis: scalars of each candidate that multiply `slopes`.
            slopes: first-layer activation per unit of each scalar.
            dtype: precision of the layers after the first; by default that of the inputs. The first layer, whose inputs
                are absolute angles, always has the precision of its inputs.
        """
        dtype = dtype or base.dtype
        parameters = self.stored()
        if transforms_active():
            return _functional_energies(base, basis, slopes, parameters, dtype)
        if torch.is_grad_enabled():
            return _Energies.apply(dtype, base, basis, slopes, *parameters)
        weights = _per_dimension(parameters, dtype)
        return torch.stack([_forward(base[d], basis[d], slopes[d], w)[0] for d, w in enumerate(weights)])

    def unstacked(self) -> list[SingleEnergy]:
        """The energy of each dimension as a separate function without gradient, cheap to call many times."""
        parameters = self.stored()
        layers = [p.unbind(0) for p in parameters]
        by_dimension = zip(
            _per_dimension(parameters, self.head.weight.dtype), zip(*layers, strict=True), strict=True
        )
        return [SingleEnergy(weights, stored) for weights, stored in by_dimension]

    def stored(self) -> list[Tensor]:
        """Weight (dims, inputs, outputs) and bias (dims, 1, outputs) of every layer in order, the head last."""
        layers = [layer for block in self.blocks for layer in cast(StackedBlock, block).layers]
        return [cast(Tensor, p) for layer in (*layers, self.head) for p in (layer.weight, layer.bias)]


Weights = list[tuple[Tensor, Tensor]]
"""Weight (outputs, inputs) and bias (outputs,) of every layer of one dimension, the head last."""


@dataclass(frozen=True)
class SingleEnergy:
    """The energy of one dimension: `StackedEnergies.forward` without the leading dimension of its arguments.

    Attributes:
        weights: weights of the layers.
        stored: the same weights as stored: weight (inputs, outputs) and bias (1, outputs) of every layer in order.
    """

    weights: Weights
    stored: tuple[Tensor, ...]

    def __call__(self, base: Tensor, basis: Tensor, slopes: Tensor) -> Float[Tensor, "batch candidates"]:
        """Energies without gradient; call it only where autograd is off."""
        batch, candidates = basis.shape[:2]
        if batch * candidates > FEW_ROWS:
            examples = max(1, ROWS_IN_CACHE // candidates) if base.device.type == "cpu" else batch
            parts = [slice(start, start + examples) for start in range(0, batch, examples)]
            return torch.cat([_forward(base[p], basis[p], slopes[p], self.weights)[0] for p in parts])
        return self._few(torch.baddbmm(base[:, None], basis, slopes).flatten(0, 1)).view(batch, candidates)

    def _few(self, h: Float[Tensor, "rows width"]) -> Float[Tensor, "rows 1"]:
        """Few torch calls: with few rows, the overhead of a call exceeds its arithmetic."""
        *blocks, head, head_bias = self.stored
        for i in range(0, len(blocks), 6):
            narrow, narrow_bias, inner, inner_bias, wide, wide_bias = blocks[i : i + 6]
            x = torch.addmm(narrow_bias, h.relu(), narrow).relu_()
            x = torch.addmm(inner_bias, x, inner).relu_()
            h = h.addmm_(x, wide).add_(wide_bias)
        return torch.addmm(head_bias, h.relu_(), head)


def _per_dimension(parameters: list[Tensor], dtype: torch.dtype) -> list[Weights]:
    weights = [w.to(dtype).transpose(1, 2).unbind(0) for w in parameters[::2]]
    biases = [b.to(dtype).squeeze(1).unbind(0) for b in parameters[1::2]]
    pairs = [list(zip(w, b, strict=True)) for w, b in zip(weights, biases, strict=True)]
    return [list(layers) for layers in zip(*pairs, strict=True)]


def _forward(
    base: Tensor, basis: Tensor, slopes: Tensor, weights: Weights
) -> tuple[Float[Tensor, "batch candidates"], list[Tensor]]:
    """Energies of one dimension, and the activations that its gradient needs, in the order of the layers."""
    batch, candidates = basis.shape[:2]
    h = torch.baddbmm(base[:, None], basis, slopes).flatten(0, 1).to(weights[0][0].dtype)
    activations = []
    for i in range(0, len(weights) - 1, 3):
        wide = relu(h)
        narrow = linear_relu(wide, *weights[i])
        inner = linear_relu(narrow, *weights[i + 1])
        h = linear_add(inner, *weights[i + 2], h)
        activations += [wide, narrow, inner]
    activations.append(relu(h))
    weight, bias = weights[-1]
    energy = torch.nn.functional.linear(activations[-1], weight, bias)
    return energy.to(base.dtype).reshape(batch, candidates), activations


def _functional_energies(
    base: Tensor, basis: Tensor, slopes: Tensor, parameters: list[Tensor], dtype: torch.dtype
) -> Float[Tensor, "dims batch candidates"]:
    """`StackedEnergies.forward` by operations that function transforms and dual tensors can follow."""
    weights = [w.to(dtype)[:, None] for w in parameters[::2]]
    biases = [b.to(dtype)[:, None] for b in parameters[1::2]]
    h = (base[:, :, None] + basis @ slopes).to(dtype)
    for i in range(0, len(weights) - 1, 3):
        x = h
        for weight, bias in zip(weights[i : i + 3], biases[i : i + 3], strict=True):
            x = x.relu() @ weight + bias
        h = h + x
    return (h.relu() @ weights[-1] + biases[-1]).to(base.dtype).squeeze(-1)


def _backward(gradient: Tensor, weights: Weights, activations: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Gradient (rows, width) of the first layer's output, and gradients of the parameters as `stored`."""
    dtype = activations[-1].dtype
    last = gradient.reshape(-1, 1).to(dtype)
    parameters = [activations[-1].t() @ last, gradient.sum().reshape(1, 1)]
    g = mask_(last @ weights[-1][0], activations[-1])
    for i in reversed(range(0, len(weights) - 1, 3)):
        y, block = g, []
        for layer in (i + 2, i + 1, i):
            block = [activations[layer].t() @ y, y.sum(0, keepdim=True), *block]
            y = mask_(y @ weights[layer][0], activations[layer])
        g = y.add_(g)
        parameters = block + parameters
    return g, parameters


class _Energies(torch.autograd.Function):
    """Energies (dims, batch, candidates) and their gradient, computed one dimension after another."""

    @staticmethod
    def forward(
        ctx: Any, dtype: torch.dtype, base: Tensor, basis: Tensor, slopes: Tensor, *parameters: Tensor
    ) -> Tensor:
        per_dimension = _per_dimension(list(parameters), dtype)
        energies, saved = [], []
        for d, weights in enumerate(per_dimension):
            energy, activations = _forward(base[d], basis[d], slopes[d], weights)
            energies.append(energy)
            saved += activations
        ctx.save_for_backward(basis, slopes, *saved)
        ctx.weights = per_dimension
        return torch.stack(energies)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        basis, slopes, *saved = ctx.saved_tensors
        per_dimension, kept = ctx.weights, len(saved) // len(ctx.weights)
        dtype, needs_basis = saved[0].dtype, ctx.needs_input_grad[2]
        basis, slopes = basis.to(dtype), slopes.to(dtype)
        results: list[list[Tensor]] = []
        for d, weights in enumerate(per_dimension):
            g, parameters = _backward(gradient[d], weights, saved[d * kept : (d + 1) * kept])
            g = g.reshape(*basis.shape[1:3], -1)
            of_basis = [torch.bmm(g, slopes[d].transpose(1, 2))] if needs_basis else []
            of_slopes = torch.bmm(basis[d].transpose(1, 2), g)
            results.append([g.sum(1), of_slopes, *of_basis, *parameters])
        base, slope, *rest = [torch.stack(parts).to(gradient.dtype) for parts in zip(*results, strict=True)]
        return None, base, rest.pop(0) if needs_basis else None, slope, *rest
