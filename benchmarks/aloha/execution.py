"""Commands at the rate of the robot between the way-points of a decision."""

from __future__ import annotations

import numpy as np


def due_frames(way_points: int, action_rate: float, fps: float) -> np.ndarray:
    """Frames (way_points,) from an observation to its way-points, which are 1 / action_rate seconds apart.

    Raises:
        ValueError: there are more way-points than frames.
    """
    if not 0 < action_rate <= fps:
        raise ValueError(
            f"action_rate is {action_rate:g} way-points per second: give more than 0 and at most {fps:g}"
        )
    return np.rint(np.arange(1, way_points + 1) * fps / action_rate).astype(int)


def interpolated(start: np.ndarray, way_points: np.ndarray, due: np.ndarray) -> np.ndarray:
    """Commands (frames, action) from the frame of the observation to that of the last way-point.

    The command of the frame before a time brings the robot there: `due` frames after the observation, that is the
    command at index due - 1. The recorded action of a frame is thus its way-point at action_rate = fps.

    Args:
        start: (action,) command before the first one.
        way_points: (way_points, action).
        due: (way_points,) frames from the observation to each.
    """
    frames = np.arange(1, due[-1] + 1)
    points = np.vstack([start, way_points])
    return np.stack([np.interp(frames, [0, *due], values) for values in points.T], axis=1)
