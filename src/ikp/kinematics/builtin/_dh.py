"""Denavit-Hartenberg transforms with exact quarter turns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def quarter_pose(quarter_turns: int, translation: Sequence[float], along_axis: float = 0.0) -> Tensor:
    """Trans(translation) @ Rot_x(quarter_turns * pi/2) @ Trans_z(along_axis), with exact zeros and ones."""
    c, s = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter_turns % 4]
    x, y, z = translation
    rows = [[1, 0, 0, x], [0, c, -s, y - s * along_axis], [0, s, c, z + c * along_axis], [0, 0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)
