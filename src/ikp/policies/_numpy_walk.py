"""`EnergyWalk` in NumPy, for small batches on a CPU, where per-call overhead exceeds the arithmetic.

A torch call costs about 5 microseconds, a NumPy call about one. The map from poses to link features is folded into the
first layer, so that each joint costs one product. Tests compare the decisions with those of torch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ikp.kinematics._numpy_arcs import ArcWalk
from ikp.policies.energy import ActionEnergies, Conditioning
from ikp.policies.link_features import LinkInputs

MOST_ROWS = 2
"""Largest number of observations for which this is faster than torch."""


def is_quick(conditioning: Conditioning) -> bool:
    """Whether NumPy can evaluate a batch and is faster than torch for it."""
    features, links = conditioning.features, conditioning.link_inputs
    fits = features.device.type == "cpu" and features.dtype in (torch.float32, torch.float64)
    fits = fits and len(features) <= MOST_ROWS
    if not fits or links is None:
        return fits
    residual = links.poses.residual
    return (
        residual.constant_offset is not None
        and residual.link_residual is None
        and ArcWalk.covers(links.poses.robot)
    )


class NumpyWalk:
    """Energies of one dimension after another (`ikp.policies.search.Walk`), if `is_quick`."""

    xp = np

    def __init__(self, energies: ActionEnergies, conditioning: Conditioning) -> None:
        first = energies.first_layer
        self.mean, self.std = conditioning.scale.mean.tolist(), conditioning.scale.std.tolist()
        self.layers = _rearranged([_array(p) for p in energies.stack.stored()])
        self.own, self.prefix = _array(first.own), _array(first.prefix)
        self.base, self.shift = (
            _array(first.observation_term(conditioning.features)),
            _array(conditioning.shift),
        )
        self.chosen = np.zeros_like(self.shift)
        self.history = np.zeros((*self.chosen.shape, 1 + first.link_features), self.chosen.dtype)
        self.link_walk = None
        if conditioning.link_inputs is not None:
            constant = conditioning.link_inputs.poses.residual.constant_offset
            assert constant is not None
            self.link_walk, self.constant_offset = (
                _NumpyLinks(conditioning.link_inputs, self.own),
                _array(constant),
            )
            self.base = self.base + self.link_walk.shared
            self.turn = self.shift + self.constant_offset - _array(conditioning.link_inputs.q)

    def energies(self, j: int) -> Callable[[np.ndarray], np.ndarray]:
        """Energies (rows, n) of candidates (rows or 1, n) for dimension j, given the committed dimensions."""
        rows, before = len(self.chosen), self.history[:, :j].reshape(len(self.chosen), -1)
        entry = np.empty((rows, 2 if self.link_walk is None else 4, self.base.shape[-1]), self.chosen.dtype)
        np.matmul(before, self.prefix[j, : before.shape[1]], out=entry[:, 0])
        entry[:, 1] = self.own[j, 0] / self.std[j]  # of a candidate as it is, not standardised
        entry[:, 0] += self.base[j] - self.mean[j] * entry[:, 1]
        if self.link_walk is not None:
            terms = self.link_walk.terms(j)
            entry[:, 0] += terms[:, 0]
            entry[:, 2:] = terms[:, 1:]
        layers = [part[j] for part in self.layers]
        return lambda candidates: self._energies(j, layers, entry, candidates)

    def _energies(
        self, j: int, layers: list[np.ndarray], entry: np.ndarray, candidates: np.ndarray
    ) -> np.ndarray:
        rows, n = len(self.chosen), candidates.shape[1]
        basis = np.empty((rows, n, entry.shape[1]), entry.dtype)
        basis[..., 0] = 1
        basis[..., 1] = candidates
        if self.link_walk is not None:
            turned = candidates + self.turn[:, j, None]
            np.subtract(np.cos(turned), 1, out=basis[..., 2])
            np.sin(turned, out=basis[..., 3])
        h = (basis @ entry).reshape(rows * n, -1)
        *blocks, least, head, head_bias = layers
        for i in range(0, len(blocks), 6):
            block_least, narrow, narrow_bias, inner, inner_bias, wide = blocks[i : i + 6]
            x = np.maximum(h, block_least) @ narrow
            x += narrow_bias
            np.maximum(x, 0, out=x)
            x = x @ inner
            x += inner_bias
            np.maximum(x, 0, out=x)
            h += x @ wide
        np.maximum(h, least, out=h)
        return (h @ head + head_bias).reshape(rows, n)

    def commit(self, j: int, values: np.ndarray) -> None:
        """Fix dimension j at `values` (rows,)."""
        self.chosen[:, j] = values
        if j + 1 == self.chosen.shape[1]:  # no dimension after it sees it
            return
        self.history[:, j, 0] = (values - self.mean[j]) / self.std[j]
        if self.link_walk is not None:
            self.history[:, j, 1:] = self.link_walk.commit(
                j, values + self.shift[:, j] + self.constant_offset[j]
            )

    def keep(self, rows: np.ndarray) -> None:
        """Select rows by index; an index may repeat."""
        self.base = self.base[:, rows]
        self.chosen, self.shift, self.history = self.chosen[rows], self.shift[rows], self.history[rows]
        if self.link_walk is not None:
            self.turn = self.turn[rows]
            self.link_walk.keep(rows)


class _NumpyLinks:
    """`LinkWalk` in NumPy, with features multiplied by the weights of the first layer.

    Attributes:
        shared: (dof, rows, width) the term of the first layer that does not depend on the joints before.
    """

    def __init__(self, inputs: LinkInputs, own: np.ndarray) -> None:
        q, weight, self.bias = (_array(x) for x in (inputs.q, inputs.features.weight, inputs.features.bias))
        self.cos, self.sin = np.cos(q)[..., None], np.sin(q)[..., None]
        self.walk = ArcWalk(inputs.poses.robot, len(q), q.dtype)
        # ArcWalk stores poses by column: (column, row) entries instead of (row, column)
        by_column = weight.reshape(*weight.shape[:-2], 3, 4, -1).swapaxes(-3, -2).reshape(weight.shape)
        self.weight = np.broadcast_to(by_column, (*q.shape, *weight.shape[-2:]))
        self.shared = self.bias.swapaxes(0, 1) @ own[:, 1:]
        folded = by_column @ own[:, 1:]
        self.folded = np.broadcast_to(folded, (*q.shape, *folded.shape[-2:]))

    def terms(self, j: int) -> np.ndarray:
        """First-layer terms (rows, 3, width) at the measured joint, and per unit of cos r - 1 and sin r."""
        parts = self.walk.arc(j).reshape(len(self.cos), 3, -1)
        cos, sin = self.cos[:, j], self.sin[:, j]
        seen = np.empty_like(parts)
        np.add(parts[:, 1] * cos, parts[:, 2] * sin, out=seen[:, 1])
        np.subtract(parts[:, 2] * cos, parts[:, 1] * sin, out=seen[:, 2])
        np.add(parts[:, 0], seen[:, 1], out=seen[:, 0])
        return seen @ self.folded[:, j]

    def commit(self, j: int, q_j: np.ndarray) -> np.ndarray:
        """Fix joint j at corrected positions (rows,) and return its features there, for the prefix."""
        cos, sin = np.cos(q_j)[:, None], np.sin(q_j)[:, None]
        parts = self.walk.arc(j).reshape(len(cos), 3, -1)
        at = parts[:, 0] + parts[:, 1] * cos + parts[:, 2] * sin
        self.walk.commit(j, cos[..., None], sin[..., None])
        return (at[:, None] @ self.weight[:, j])[:, 0] + self.bias[:, j]

    def keep(self, rows: np.ndarray) -> None:
        """Select rows by index."""
        self.bias, self.cos, self.sin = self.bias[rows], self.cos[rows], self.sin[rows]
        self.weight, self.folded = self.weight[rows], self.folded[rows]
        self.walk.keep(rows)


def _rearranged(parameters: list[np.ndarray]) -> list[np.ndarray]:
    """The layers without the biases of the wide ones, which take longer to add to all candidates than a product.

    relu(h + b) w = max(h, -b) w + b w, so the sum b of the biases before a layer joins that layer's bias. In place of
    it, the layer gets the least value -b of its inputs.

    Args:
        parameters: `StackedEnergies.stored` as arrays.

    Returns:
        For each block the least inputs, the narrow weight and bias, the inner weight and bias, and the wide weight;
        then the least inputs, the weight and the bias of the head.
    """
    *blocks, head, head_bias = parameters
    layers, total = [], np.zeros((len(head), 1, head.shape[1]), head.dtype)
    least = np.zeros((len(head), 1, 1), head.dtype)
    for i in range(0, len(blocks), 6):
        narrow, narrow_bias, inner, inner_bias, wide, wide_bias = blocks[i : i + 6]
        layers += [least, narrow, narrow_bias + total @ narrow if i else narrow_bias, inner, inner_bias, wide]
        total = total + wide_bias
        least = -total
    return [*layers, least, head, head_bias + total @ head]


def _array(x: Tensor) -> np.ndarray:
    return x.detach().numpy()
