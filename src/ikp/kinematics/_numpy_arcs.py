"""`PrefixPose` in NumPy, for small batches on a CPU, where per-call overhead exceeds the arithmetic.

A frame is stored as its columns (4, 3): the directions of x, y and z, then the position. The fixed links between two
joints are folded into the constants of the second joint, so each joint costs one product.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from ikp.kinematics._arcs import nominal_arc_constants
from ikp.kinematics.robot import Robot


class ArcWalk:
    """Arcs of one joint after another from base to tip, given the joints committed before; without link residuals.

    Args:
        robot: without prismatic and mimic joints (`covers`).
        count: number of configurations.
        dtype: float32 or float64.
    """

    def __init__(self, robot: Robot, count: int, dtype: np.dtype) -> None:
        self._before, self._parts = _folded(robot, np.dtype(dtype))
        eye = np.eye(4, 3, dtype=dtype)
        self._frames = {-1: np.broadcast_to(eye, (count, 4, 3))}
        self._arcs: dict[int, np.ndarray] = {}

    @staticmethod
    def covers(robot: Robot) -> bool:
        """Whether all joints of a robot are revolute or continuous and none is a mimic joint."""
        joints = [link.joint for link in robot.links if link.joint is not None]
        return all(joint.kind != "prismatic" and joint.mimic is None for joint in joints)

    def arc(self, j: int) -> np.ndarray:
        """Child-frame pose of joint j as (count, 3, 4, 3): the constant part, that times cos and that times sin."""
        return self._place(j)[:, 1]

    def commit(self, j: int, cos: np.ndarray, sin: np.ndarray) -> None:
        """Fix joint j at its cosine and sine (count, 1, 1), after the joints before it in its chain."""
        constant, by_cos, by_sin = self._place(j)[:, 0].swapaxes(0, 1)
        self._frames[j] = constant + by_cos * cos + by_sin * sin

    def keep(self, rows: np.ndarray) -> None:
        """Select configurations by index; an index may repeat."""
        self._frames = {j: frame[rows] for j, frame in self._frames.items()}
        self._arcs.clear()

    def _place(self, j: int) -> np.ndarray:
        """Parts (count, 2, 3, 4, 3) of the joint's own frame and of its child frame."""
        if j not in self._arcs:
            parent = self._frames[self._before[j]]
            self._arcs[j] = (self._parts[j] @ parent).reshape(len(parent), 2, 3, 4, 3)
        return self._arcs[j]


@lru_cache(maxsize=64)
def _folded(robot: Robot, dtype: np.dtype) -> tuple[tuple[int, ...], tuple[np.ndarray, ...]]:
    """The joint before each joint in its chain (-1 for the base), and the joint's parts (2 * 3 * 4, 4) there."""
    constants = nominal_arc_constants(robot, torch.float64, torch.device("cpu"))
    links, both = constants.link_frames[0].numpy(), constants.both[:3].numpy()
    before, parts = [], []
    for j, link in enumerate(robot.joint_links):
        fixed, parent = np.eye(4), robot.parents[link]
        while parent >= 0 and parent not in robot.joint_links:
            fixed, parent = links[parent] @ fixed, robot.parents[parent]
        before.append(robot.joint_links.index(parent) if parent >= 0 else -1)
        placed = np.einsum("rs,pesc->epcr", fixed, both[:, j])
        parts.append(np.ascontiguousarray(placed.reshape(-1, 4), dtype=dtype))
    return tuple(before), tuple(parts)
