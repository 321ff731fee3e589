"""Positions of an arm's links and the Jacobian of its tip in NumPy, for loops that have less than a millisecond."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from ikp.kinematics import Link, Robot


class TipKinematics:
    """The first tip of a robot as a product of exponentials: each joint moves points about its axis at q = 0.

    `ikp.kinematics` computes all links of many configurations, with gradients; a control period asks for one arm at a
    few configurations, for which a tensor operation costs more than its arithmetic.

    Args:
        robot: the kinematic model.

    Attributes:
        links: names of the links that the joints on the way to the tip move, from the base on.
        reach: largest distance of the tip from the origin of the base [m]; infinite with an unlimited sliding joint.
    """

    def __init__(self, robot: Robot) -> None:
        chain, link = [], robot.tip_indices[0]
        while link >= 0:
            chain.append(link)
            link = robot.parents[link]
        self.reach = sum(_length(robot.links[link]) for link in chain)
        T, joints, axes, anchors, links, origins = np.eye(4), [], [], [], [], []
        for link in reversed(chain):
            T = T @ robot.links[link].T_parent_joint.numpy()
            joint = robot.links[link].joint
            if joint is not None:
                joints.append(joint)
                axes.append(T[:3, :3] @ joint.axis)
                anchors.append(T[:3, :3] @ joint.anchor + T[:3, 3])
                links.append(robot.links[link].name)
                origins.append(T[:3, 3])
        self.links = tuple(links)
        self._tip, self._axes, self._anchors = T[:3, 3], np.array(axes), np.array(anchors)
        self._points = np.array([*origins, self._tip])
        self._slides = np.array([joint.kind == "prismatic" for joint in joints])
        crosses = [_cross_matrix(axis) for axis in axes]
        self._turns = [np.concatenate([K.T, (K @ K).T], axis=1) for K in crosses]
        # The chain's joints are at factors @ q + offsets: a mimic joint follows another one.
        self._factors, self._offsets = np.zeros((len(joints), robot.dof)), np.zeros(len(joints))
        for row, joint in enumerate(joints):
            mimic = joint.mimic
            self._factors[row, robot.joint_index(mimic.joint if mimic else joint.name)] = (
                mimic.multiplier if mimic else 1.0
            )
            self._offsets[row] = mimic.offset if mimic else 0.0

    def positions(self, q: Float[np.ndarray, "n dof"]) -> Float[np.ndarray, "n 3"]:
        """Positions of the tip in the base frame [m]."""
        theta, points = self._theta(q), self._tip[None]
        for i in reversed(range(len(self._axes))):
            points = self._moved(i, points, theta[:, i, None])
        return points

    def all_positions(self, q: Float[np.ndarray, "n dof"]) -> Float[np.ndarray, "points n 3"]:
        """Positions of the origins of `links`, and of the tip as the last one, in the base frame [m]."""
        theta = self._theta(q)
        points = np.repeat(self._points[:, None], len(q), axis=1)
        for i in reversed(range(len(self._axes))):
            points[i:] = self._moved(i, points[i:], theta[:, i, None])
        return points

    def moving_joints(self) -> dict[str, int]:
        """The number of joints that move the origin of each of `links`; a joint in whose axis it lies does not."""
        posture = np.linspace(0.3, 0.9, self._factors.shape[1])  # no axes are parallel by chance
        moved = self.all_positions(np.stack([posture, *(posture + 0.1 * np.eye(len(posture)))]))
        apart = np.linalg.norm(moved[:-1, 1:] - moved[:-1, :1], axis=2) > 1e-6
        return {name: int(count) for name, count in zip(self.links, apart.sum(axis=1), strict=True)}

    def jacobian(self, q: Float[np.ndarray, "dof"]) -> Float[np.ndarray, "6 dof"]:
        """Linear, then angular velocity of the tip in the base frame per joint speed."""
        theta, points = self._theta(q), self._tip[None]
        for i in reversed(range(len(self._axes))):
            points = self._moved(i, points, theta[i])
            points = np.concatenate([[self._anchors[i], self._anchors[i] + self._axes[i]], points])
        anchors, axes, tip = points[:-1:2], points[1:-1:2] - points[:-1:2], points[-1]
        slides = self._slides[:, None]
        linear = np.where(slides, axes, np.cross(axes, tip - anchors))
        return np.concatenate([linear, np.where(slides, 0.0, axes)], axis=1).T @ self._factors

    def _theta(self, q: np.ndarray) -> np.ndarray:
        return q @ self._factors.T + self._offsets

    def _moved(self, i: int, points: np.ndarray, theta: Any) -> np.ndarray:
        """Points (..., n, 3) where joint i, at one position (n, 1) for each, or at one for all, moves them."""
        if self._slides[i]:
            return points + theta * self._axes[i]
        turned = (points - self._anchors[i]) @ self._turns[i]
        return points + np.sin(theta) * turned[..., :3] + (1.0 - np.cos(theta)) * turned[..., 3:]


def _length(link: Link) -> float:
    """Largest distance of a link's frame from its parent's [m]."""
    length, joint = float(link.T_parent_joint[:3, 3].norm()), link.joint
    if joint is None:
        return length
    slide = max(abs(joint.lower), abs(joint.upper)) if joint.kind == "prismatic" else 0.0
    return length + slide + 2.0 * float(np.linalg.norm(joint.anchor))


def _cross_matrix(axis: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The matrix K with K @ v = axis x v."""
    x, y, z = axis
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
