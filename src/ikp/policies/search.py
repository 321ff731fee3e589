"""The decision rule: autoregressive decoding of an action of low energy.

For each dimension, a uniform grid is followed by finer grids around the best cell. With a beam, prefixes compete by
their normalised log-density. With a `window`, the most probable neighbourhood is chosen instead of the point of least
energy: demonstrations contain many actions that are almost exactly zero, and this narrow peak would otherwise make the
policy stay still where that is merely possible. The result is then the mean of the neighbourhood. A parabola through
the smoothed grid with one finer grid around its vertex is closer to an exhaustive search than two finer grids alone.

The search works with any object that implements `Walk`, in torch or in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from ikp.policies.config import SearchConfig

TINY, FLAT = 1e-30, 1e-6
"""Bounds that keep logarithms and quotients finite."""
Array = Any
"""A torch tensor or a NumPy array; the functions below use only methods that both have."""


@runtime_checkable
class Walk(Protocol):
    """Energies of one action dimension after another, for rows of prefixes.

    Attributes:
        xp: `torch` or `numpy`, the library of all arrays.
        chosen: (rows, dims) encoded actions; the dimensions committed so far are set.
    """

    xp: Any
    chosen: Array

    def energies(self, j: int) -> Callable[[Array], Array]:
        """Energies (rows, n) of candidates (rows or 1, n) for dimension j, given the committed dimensions."""
        ...

    def commit(self, j: int, values: Array) -> None:
        """Fix dimension j at `values` (rows,)."""
        ...

    def keep(self, rows: Array) -> None:
        """Select rows by index; an index may repeat."""
        ...


def search(walk: Walk, low: Sequence[float], high: Sequence[float], config: SearchConfig) -> Array:
    """Find encoded actions of least energy by autoregressive decoding with `config.beam` prefixes.

    Args:
        walk: energies, with no dimension committed yet.
        low, high: bounds of each dimension.
        config: resolution, beam and window.

    Returns:
        Encoded actions (rows, dims), for the rows that `walk` had at the start.
    """
    xp, batch = walk.xp, len(walk.chosen)
    observation = xp.arange(batch)[:, None]
    score = xp.zeros_like(walk.chosen[:, :1])
    for j, bounds in enumerate(zip(low, high, strict=True)):
        values, log_density = best_values(walk, j, *bounds, config)
        if log_density is None:
            walk.commit(j, values[:, 0])
            continue
        kept, width = score.shape[1], values.shape[1]
        total = (score[:, :, None] + log_density.reshape(batch, kept, width)).reshape(batch, -1)
        order = xp.argsort(-total, 1)[:, : config.beam]
        score = _take(xp, total, order)
        walk.keep((observation * kept + order // width).reshape(-1))
        walk.commit(j, _take(xp, values.reshape(batch, -1), order).reshape(-1))
    return walk.chosen.reshape(batch, -1, len(low))[:, 0]


def best_values(
    walk: Walk, j: int, low: float, high: float, config: SearchConfig
) -> tuple[Array, Array | None]:
    """Best values (rows, kept) of dimension j, best first, and with a beam also their log-densities."""
    xp, rows, energies = walk.xp, len(walk.chosen), walk.energies(j)
    unit = _unit_grid(config.grid, walk.chosen)
    grid = 0.5 * (low + high) + 0.5 * (high - low) * unit
    cell = (high - low) / (config.grid - 1)
    log_density = height = -energies(grid[None])
    if config.window:
        kernel = _smoothing(config.grid, config.window * (config.grid - 1), height)
        height = _softmax(xp, log_density) @ kernel
    index, exists = _local_maxima(xp, height, config.beam)
    best, reach = grid[index], cell
    if config.window:
        best, reach = best + cell * _vertex(xp, height, index), 2 * config.window * (high - low)
    unit, fine = _unit_grid(config.fine_points, walk.chosen), None
    for _ in range(config.refinements):
        values = (best[..., None] + reach * unit).clip(low, high)
        fine = energies(values.reshape(rows, -1)).reshape(values.shape)
        if config.window:  # one mean-shift step with a Gaussian of half the reach
            fine = fine + 2 * unit**2
            best = (_softmax(xp, -fine) * values).sum(-1)
        else:
            best = _take(xp, values, fine.argmin(-1)[..., None])[..., 0]
            reach = 2 * reach / (config.fine_points - 1)
    if exists is None:
        return best, None
    log_partition = _logsumexp(xp, log_density)[:, None]
    if fine is None:
        found = _take(xp, height, index)
        found = xp.log(found) if config.window else found - log_partition
    else:
        found = (_logsumexp(xp, -fine) if config.window else -xp.amin(fine, -1)) - log_partition
    return best, xp.where(exists, found, -xp.inf)


def _local_maxima(xp: Any, height: Array, count: int) -> tuple[Array, Array | None]:
    """Indices of the `count` highest local maxima of the grid, highest first, and a mask of those that exist.

    The mask is None for a count of one, which always exists.
    """
    if count == 1:
        return height.argmax(1)[:, None], None
    is_maximum = xp.ones_like(height, dtype=bool)
    is_maximum[:, 1:] &= height[:, 1:] >= height[:, :-1]
    is_maximum[:, :-1] &= height[:, :-1] >= height[:, 1:]
    ranked = xp.where(is_maximum, -height, xp.inf)
    index = xp.argsort(ranked, 1)[:, :count]
    return index, xp.isfinite(_take(xp, ranked, index))


def _vertex(xp: Any, probability: Array, index: Array) -> Array:
    """Offset of the vertex of the parabola through -log of a maximum and its neighbours, in cells; 0 at the ends."""
    if xp is np:  # a few rows, for which floats are ten times as fast as arrays
        rows = [
            [_offset(row[i - 1 : i + 2].tolist()) for i in at]
            for row, at in zip(probability, index.tolist(), strict=True)
        ]
        return np.array(rows, probability.dtype)
    last = probability.shape[1] - 1
    if last < 2:
        return torch.zeros_like(probability[:, : index.shape[1]])
    inner = index.clip(1, last - 1)
    near = probability.gather(1, torch.cat((inner - 1, inner, inner + 1), 1)).clip(TINY)
    before, at, after = torch.log(near).reshape(len(index), 3, -1).swapaxes(0, 1)
    moved = (after - before) / (2 * (2 * at - before - after).clip(FLAT))
    return torch.where(inner == index, moved, 0 * moved).clip(-0.5, 0.5)


def _offset(near: Sequence[float]) -> float:
    """The same of three neighbours; 0 where there are fewer."""
    if len(near) < 3:
        return 0.0
    before, at, after = (math.log(max(p, TINY)) for p in near)
    return min(max((after - before) / (2 * max(2 * at - before - after, FLAT)), -0.5), 0.5)


def _softmax(xp: Any, logits: Array) -> Array:
    weights = xp.exp(logits - _most(xp, logits)[..., None])
    weights /= weights.sum(-1)[..., None]
    return weights


def _logsumexp(xp: Any, logits: Array) -> Array:
    most = _most(xp, logits)
    return most + xp.log(xp.exp(logits - most[..., None]).sum(-1))


def _most(xp: Any, values: Array) -> Array:
    """The largest value along the last dimension."""
    return values.max(-1) if xp is np else values.amax(-1)  # np.amax is slower for small arrays


def _take(xp: Any, values: Array, index: Array) -> Array:
    """Values at indices along the last dimension."""
    if xp is torch:
        return values.gather(-1, index)
    if values.ndim > 2:
        return np.take_along_axis(values, index, -1)
    return values[
        np.arange(len(values))[:, None], index
    ]  # several times faster than take_along_axis for few rows


def _unit_grid(points: int, like: Array) -> Array:
    return _even(points, *_kind(like))


def _smoothing(points: int, cells: float, like: Array) -> Array:
    """Symmetric matrix (points, points) that convolves with a Gaussian of `cells` cells, cut off at three of them."""
    return _gaussian(points, cells, *_kind(like))


@lru_cache(maxsize=16)
def _even(points: int, dtype: Any, device: Any) -> Array:
    return _made(np.linspace(-1, 1, points), dtype, device)


@lru_cache(maxsize=64)
def _gaussian(points: int, cells: float, dtype: Any, device: Any) -> Array:
    reach = max(1, round(3 * cells))
    apart = np.abs(np.arange(points)[:, None] - np.arange(points))
    whole = np.exp(-0.5 * (np.arange(-reach, reach + 1) / cells) ** 2).sum()
    return _made(np.where(apart <= reach, np.exp(-0.5 * (apart / cells) ** 2) / whole, 0), dtype, device)


def _kind(like: Array) -> tuple[Any, Any]:
    return like.dtype, like.device if isinstance(like, torch.Tensor) else None


def _made(values: np.ndarray, dtype: Any, device: Any) -> Array:
    is_torch = isinstance(dtype, torch.dtype)
    return torch.from_numpy(values).to(device, dtype) if is_torch else values.astype(dtype)
