"""Simplicity of a motion in a space: its distance from a polyline of a few pieces (paper, Sec. V and Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

PIECES = 6


def polyline_error(
    time: Float[np.ndarray, "points"], values: Float[np.ndarray, "points channels"], pieces: int = PIECES
) -> float:
    """Distance of a motion from the best polyline through `pieces` + 1 of its points.

    Args:
        time: rising.
        values: the motion, all channels in one unit.
        pieces: straight pieces, at least 1.

    Returns:
        Root mean square distance from the polyline, as a share of that from the motion's mean; 0 without a motion.

    Raises:
        ValueError: fewer than 2 points, or no piece.
    """
    count = len(time)
    if count < 2 or pieces < 1:
        raise ValueError(f"a polyline needs 2 points and 1 piece at least, got {count} and {pieces}")
    spread = float(np.square(values - values.mean(0)).sum())
    if spread == 0:
        return 0.0
    cost = _straight_costs(time, values)
    best = cost[0]  # from the first point to every other one, with one piece
    for _ in range(min(pieces, count - 1) - 1):
        best = np.minimum(best, (best[:, None] + cost).min(0))
    return float(np.sqrt(best[-1] / spread))


def _straight_costs(
    time: Float[np.ndarray, "points"], values: Float[np.ndarray, "points channels"]
) -> Float[np.ndarray, "points points"]:
    """Squared distance of the points between i and j from the line between those two; infinite for j < i."""
    count = len(time)
    cost = np.full((count, count), np.inf)
    np.fill_diagonal(cost, 0.0)
    for i in range(count - 1):
        for j in range(i + 1, count):
            share = (time[i : j + 1] - time[i]) / (time[j] - time[i])
            line = values[i] + share[:, None] * (values[j] - values[i])
            cost[i, j] = np.square(values[i : j + 1] - line).sum()
    return cost


def linearity(recorded: Mapping[str, Any]) -> dict[str, float]:
    """Mean `polyline_error` over episodes of `ikp_paper.figures.trajectories`, in joints and at the tips."""
    errors: dict[str, list[float]] = {"joints": [], "tip": []}
    for episode in recorded["episodes"]:
        time = np.array(episode["time"])
        tips = np.array(episode["position_true"]).reshape(len(time), -1)
        errors["joints"].append(polyline_error(time, np.array(episode["q_measured"])))
        errors["tip"].append(polyline_error(time, tips))
    return {space: float(np.mean(found)) for space, found in errors.items()}
