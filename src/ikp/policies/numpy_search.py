"""The search for a few observations on a CPU, in NumPy: the same decisions at a fraction of the time.

With one observation every product is small, and the time of a search in torch is that of its calls, about 5
microseconds each; a call of NumPy costs one. Formulas are those of `ikp.policies.inference` and of the first layer in
`ikp.policies.features`; here links' features are folded into the weights, so a joint takes one product for them.
Tests compare the decisions.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ikp.kinematics import far_end_poses
from ikp.kinematics._numpy_arcs import ArcWalk
from ikp.policies.config import PolicyConfig
from ikp.policies.features import CHANGE_SCALE, LINK_GAIN, POSE_FEATURES, POSITION_SCALE, pose_features
from ikp.policies.image_plane import ERROR_SCALE, TIP_FEATURES

if TYPE_CHECKING:
    from ikp.policies.implicit import ImplicitPolicy

MOST_ROWS = 2
"""Observations up to which this is the faster form."""


def is_quick(policy: ImplicitPolicy, context: Tensor) -> bool:
    """Whether this form covers a policy and is the faster one for its observations."""
    is_numpy = context.device.type == "cpu" and context.dtype in (torch.float32, torch.float64)
    if not is_numpy or len(context) > MOST_ROWS or policy.config.beam > 1:
        return False
    if policy.poses is None or not policy.config.has_kinematics:
        return True
    residual = policy.poses.residual
    return residual.constant is not None and residual.link is None and ArcWalk.covers(policy.poses.robot)


@torch.no_grad()
def numpy_search(policy: ImplicitPolicy, context: Tensor, joints: Tensor | None) -> Tensor:
    """`ikp.policies.inference.search` where `is_quick`.

    Args:
        context: (rows, context).
        joints: (rows, joints) measured.

    Returns:
        (rows, dims).
    """
    walk = _Walk(policy, context, joints)
    for j, (low, high) in enumerate(
        zip(policy.bounds.low.tolist(), policy.bounds.high.tolist(), strict=True)
    ):
        walk.commit(j, _best(policy.config, walk, j, low, high))
    return context.new_tensor(walk.chosen)


class _Walk:
    """`ikp.policies.inference.Walk`.

    Attributes:
        first: (rows, k, width) of the variable taken up: the first layer's constant, and what it adds per unit of a
            candidate's value and, with links, of the cosine and sine of its turn.
    """

    def __init__(self, policy: ImplicitPolicy, context: Tensor, joints: Tensor | None) -> None:
        first, rows = policy.first, len(context)
        self.mean, self.std = policy.scale.mean.tolist(), policy.scale.std.tolist()
        self.layers = [_array(p) for p in policy.energies.stored()]
        self.own, self.prefix = _array(first.own), _array(first.prefix)
        self.base = _array(first.observe(context))
        self.dtype, self.chosen = self.base.dtype, np.zeros((rows, policy.dims), self.base.dtype)
        self.history = np.zeros((rows, policy.dims, 1 + first.links), self.dtype)
        self.shift = _array(policy.shift(joints).expand(rows, -1))
        self.links, inputs = None, 1 + 1
        if policy.poses is not None and policy.config.has_kinematics and joints is not None:
            self.links = _Links(policy, context, joints, self.own)
            self.base = self.base + self.links.shared
            constant = policy.poses.residual.constant
            assert constant is not None
            self.constant = _array(constant)
            self.turn = self.shift + self.constant - self.links.q
            inputs += 2
        self.first = np.empty((rows, inputs, self.base.shape[-1]), self.dtype)

    def start(self, j: int) -> None:
        """Take up variable j; those before it are committed."""
        self.j, before = j, self.history[:, :j].reshape(len(self.chosen), -1)
        first = self.first
        np.matmul(before, self.prefix[j, : before.shape[1]], out=first[:, 0])
        first[:, 0] += self.base[j]
        first[:, 1] = self.own[j, 0]
        if self.links is not None:
            seen = self.links.terms(j)
            first[:, 0] += seen[:, 0]
            first[:, 2:] = seen[:, 1:]

    def energies(self, candidates: np.ndarray) -> np.ndarray:
        """Of candidates (rows, n), or (1, n) for all rows, of the variable that was taken up: (rows, n)."""
        j, rows, n = self.j, len(self.chosen), candidates.shape[1]
        basis = np.empty((rows, n, self.first.shape[1]), self.dtype)
        basis[..., 0] = 1
        basis[..., 1] = (candidates - self.mean[j]) / self.std[j]
        if self.links is not None:
            turned = candidates + self.turn[:, j, None]
            np.subtract(np.cos(turned), 1, out=basis[..., 2])
            np.sin(turned, out=basis[..., 3])
        h = (basis @ self.first).reshape(rows * n, -1)
        *blocks, head, head_bias = self.layers
        for i in range(0, len(blocks), 6):
            narrow, narrow_bias, inner, inner_bias, wide, wide_bias = (part[j] for part in blocks[i : i + 6])
            x = np.maximum(h, 0) @ narrow
            x += narrow_bias
            np.maximum(x, 0, out=x)
            x = x @ inner
            x += inner_bias
            np.maximum(x, 0, out=x)
            h += x @ wide
            h += wide_bias
        np.maximum(h, 0, out=h)
        return (h @ head[j] + head_bias[j]).reshape(rows, n)

    def commit(self, j: int, values: np.ndarray) -> None:
        """Fix variable j at (rows,)."""
        self.chosen[:, j] = values
        self.history[:, j, 0] = (values - self.mean[j]) / self.std[j]
        if self.links is not None:
            self.history[:, j, 1:] = self.links.commit(j, values + self.shift[:, j] + self.constant[j])


class _Links:
    """`LinkWalk` and `TipWalk`: what the first layer adds for the link that each joint moves.

    Attributes:
        q: (rows, dof) corrected measured joints.
        shared: (dof, rows, width) the share of the first layer that does not depend on the joints before.
    """

    def __init__(self, policy: ImplicitPolicy, context: Tensor, joints: Tensor, own: np.ndarray) -> None:
        poses, plane = policy.poses, policy.plane
        assert poses is not None
        q = poses.residual(joints)
        ends = far_end_poses(poses.robot, q)
        self.q = _array(q)
        self.cos, self.sin = np.cos(self.q)[..., None], np.sin(self.q)[..., None]
        self.measured, self.center = _array(pose_features(ends)), _array(poses.center)
        self.gain = _array(poses.gain)[:, None]
        self.walk = ArcWalk(poses.robot, len(self.q), self.q.dtype)
        self.tip = None
        absolute, change = own[:, 1 : 1 + POSE_FEATURES], own[:, 1 + POSE_FEATURES : 1 + 2 * POSE_FEATURES]
        gain, change = self.gain[..., None], CHANGE_SCALE * change
        measured = self.measured.swapaxes(0, 1)
        self.shared = -gain * (self.center[:, None] @ absolute + measured @ change)
        self.weight = gain * (absolute + change)
        if plane is not None and policy.config.sees_candidates_from_goal:
            self.tip = _Tip(policy, context, ends)
            of_tip = own[:, 1 + 2 * POSE_FEATURES :]
            self.shared = self.shared - (self.tip.origin * self.tip.on_chain) @ of_tip
            self.weight = np.concatenate([self.weight, self.tip.on_chain * of_tip], 1)

    def terms(self, j: int) -> np.ndarray:
        """(rows, 3, width): the first layer at the measured joint, and per unit of (cos r - 1, sin r)."""
        parts = self.parts = self._features(j)
        cos, sin = self.cos[:, j], self.sin[:, j]
        seen = np.empty_like(parts)
        np.add(parts[:, 1] * cos, parts[:, 2] * sin, out=seen[:, 1])
        np.subtract(parts[:, 2] * cos, parts[:, 1] * sin, out=seen[:, 2])
        np.add(parts[:, 0], seen[:, 1], out=seen[:, 0])
        return seen @ self.weight[j]

    def commit(self, j: int, q_j: np.ndarray) -> np.ndarray:
        """Fix joint j, whose `terms` were asked for, at corrected positions (rows,); its features as a prefix."""
        cos, sin = np.cos(q_j)[:, None], np.sin(q_j)[:, None]
        at = self.parts[:, 0] + self.parts[:, 1] * cos + self.parts[:, 2] * sin
        self.walk.commit(j, cos[..., None], sin[..., None])
        pose, gain = at[:, :POSE_FEATURES], self.gain[j]
        seen = [gain * (pose - self.center[j]), gain * CHANGE_SCALE * (pose - self.measured[:, j])]
        if self.tip is not None:
            seen.append(self.tip.on_chain[j] * (at[:, POSE_FEATURES:] - self.tip.origin))
        return np.concatenate(seen, 1)

    def _features(self, j: int) -> np.ndarray:
        """(rows, 3, features) of the link's far end, and of the tip against the goal where there is one."""
        parts = self.walk.arc(j)[:, :, _POSE_COLUMNS].reshape(len(self.q), 3, POSE_FEATURES)
        parts[..., :3] /= POSITION_SCALE
        if self.tip is None:
            return parts
        return np.concatenate([parts, self.tip.features(self.walk.arc(j), j)], 2)


_POSE_COLUMNS = np.array([3, 0, 1])


class _Tip:
    """`ImagePlane.arcs`: place and heading of the tip against the goal, carried by one joint's link."""

    def __init__(self, policy: ImplicitPolicy, context: Tensor, ends: Tensor) -> None:
        plane = policy.plane
        assert plane is not None
        point, axis = (_array(part)[..., 0] for part in plane.reach(ends))
        whole = np.ones_like(point[..., :1])
        self.point, self.axis = np.concatenate([point, whole], -1), axis
        place, heading = (_array(part) for part in plane.shown(context))
        cos, sin = heading.T
        self.heading = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -1).swapaxes(1, 2)
        height = np.full_like(place[:, :1], float(plane.height))
        facing = np.broadcast_to(np.array([1, 0], place.dtype), place.shape)
        self.origin = LINK_GAIN * np.concatenate([place / ERROR_SCALE, height / ERROR_SCALE, facing], -1)
        self.on_chain = _array(plane.on_chain)[:, None]

    def features(self, arc: np.ndarray, j: int) -> np.ndarray:
        """(rows, 3, 5) of an arc (rows, 3, 4, 3), the goal's own not yet subtracted."""
        found = np.empty((*arc.shape[:2], TIP_FEATURES), arc.dtype)
        carried = arc.swapaxes(2, 3)
        found[..., :3] = (carried @ self.point[:, j, None, :, None])[..., 0] * (LINK_GAIN / ERROR_SCALE)
        flat = (carried[:, :, :2, :3] @ self.axis[:, j, None, :, None])[..., 0]
        found[..., 3:] = LINK_GAIN * (flat @ self.heading)
        return found


def _best(config: PolicyConfig, walk: _Walk, j: int, low: float, high: float) -> np.ndarray:
    """(rows,) as `ikp.policies.inference._best_of_dimension`, with one prefix."""
    walk.start(j)
    dtype = walk.dtype
    unit = _unit_grid(config.grid, dtype)
    grid = (0.5 * (low + high) + 0.5 * (high - low) * unit).astype(dtype, copy=False)
    cell = (high - low) / (config.grid - 1)
    energy = walk.energies(grid[None])
    if config.window:
        likely = _softmax(-energy) @ _smoothing(config.grid, config.window * (config.grid - 1), dtype)
        index = likely.argmax(1)
        best = grid[index] + np.array(
            [cell * _vertex(*at) for at in zip(likely, index.tolist(), strict=True)], dtype
        )
        reach = 2 * config.window * (high - low)
    else:
        best, reach = grid[energy.argmin(1)], cell
    unit = _unit_grid(config.fine_points, dtype)
    for _ in range(config.refinements):
        values = np.minimum(np.maximum(best[:, None] + dtype.type(reach) * unit, low), high)
        fine = walk.energies(values)
        if config.window:
            best = (_softmax(-fine - 2 * unit**2) * values).sum(1)
        else:
            best = np.take_along_axis(values, fine.argmin(1)[:, None], 1)[:, 0]
            reach = 2 * reach / (config.fine_points - 1)
    return best


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return weights


def _vertex(likely: np.ndarray, index: int) -> float:
    """Where the parabola through -log of the likeliest cell and its neighbours is least, in cells from it."""
    if not 0 < index < len(likely) - 1:
        return 0.0
    before, at, after = (-math.log(max(value, 1e-30)) for value in likely[index - 1 : index + 2].tolist())
    moved = (before - after) / (2 * max(before - 2 * at + after, 1e-6))
    return min(max(moved, -0.5), 0.5)


@lru_cache(maxsize=16)
def _unit_grid(points: int, dtype: np.dtype) -> np.ndarray:
    return np.linspace(-1, 1, points, dtype=dtype)


@lru_cache(maxsize=64)
def _smoothing(points: int, cells: float, dtype: np.dtype) -> np.ndarray:
    """(points, points), symmetric: a product with it sums under a Gaussian of `cells` cells out to three of them."""
    reach = max(1, round(3 * cells))
    apart = np.abs(np.arange(points)[:, None] - np.arange(points))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / cells) ** 2)
    near = np.exp(-0.5 * (apart / cells) ** 2) / kernel.sum()
    return np.where(apart <= reach, near, 0).astype(dtype)


def _array(x: Tensor) -> np.ndarray:
    return x.detach().numpy()
