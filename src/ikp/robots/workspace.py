"""The workspace: the box in which the tip of an arm and its links stay."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from ikp.kinematics import Robot
from ikp.robots.config import ControllerConfig
from ikp.robots.tip import TipKinematics

FLOOR = -0.01
"""Least height of the tip over the plane of the base, where the settings name no workspace [m]."""
SLACK = 1e-4
"""Depth beyond the workspace that rounding may cause [m]."""
BACK = 1e-3
"""Depth that a point may gain again while the arm comes back from outside, since its way there is a curve [m]."""
FAR = 4.0
"""Largest coordinate of a workspace, as a multiple of the arm's reach: one further out would limit nothing."""


class Workspace:
    """Depths of points of an arm beyond the sides of a box: the tip, and the origins of some links' frames.

    A point that is outside a side, as after a change of the settings, may come in: its depth beyond that side falls,
    and no depth of another point or side grows meanwhile.

    Args:
        robot: the kinematic model.
        tip: its tip.
        config: settings.

    Attributes:
        low, high: corners of the box of the tip [m].
        links: names of the links that stay in it as well.

    Raises:
        ValueError: a link is unknown, or the box is none for this robot, such as one in millimetres.
    """

    def __init__(self, robot: Robot, tip: TipKinematics, config: ControllerConfig) -> None:
        self._robot, self._tip = robot, tip
        box = config.workspace
        if box is None:
            box = ((-robot.reach, -robot.reach, FLOOR), (robot.reach, robot.reach, 2 * robot.reach))
        else:
            self._check_reach(box)
        self.low, self.high = np.array(box[0]), np.array(box[1])
        self.links = self._links(config.workspace_links)
        self._checked = [tip.links.index(name) for name in self.links] + [len(tip.links)]
        # The arm has to reach through a side that is between base and tip: that one is for the tip alone.
        lower, upper = self.low <= 0.0, self.high >= 0.0
        lower[2] = True  # a floor is for all
        low = np.where(lower, self.low + config.link_clearance, -np.inf)
        high = np.where(upper, self.high - config.link_clearance, np.inf)
        if self.links and not (low < high).all():
            raise ValueError(
                f"workspace is {box} and link_clearance {config.link_clearance}: no room is left for the links; lower "
                "link_clearance"
            )
        count = len(self.links)
        self._low = np.stack([low] * count + [self.low])[:, None]
        self._high = np.stack([high] * count + [self.high])[:, None]
        self._reached = np.full((count + 1, 6), np.inf)

    def _check_reach(self, box: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        reach = self._tip.reach
        low, high = np.array(box)
        nearest = float(np.linalg.norm(np.maximum(np.maximum(low, -high), 0.0)))
        largest = float(np.abs(box).max())
        if nearest <= reach and largest <= FAR * reach:
            return
        what = "the robot cannot reach it" if nearest > reach else "so far out it limits nothing"
        raise ValueError(
            f"workspace is {box}: {what}, since {self._robot.name!r} reaches {reach:.2f} m from its base; give the "
            f"least and the largest x, y, z of the tip in metres, at most {FAR * reach:.1f}"
        )

    def _links(self, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        """The links whose frames stay in the workspace, of those before the tip."""
        if wanted is None:
            return tuple(name for name, count in self._tip.moving_joints().items() if count > 1)
        moved = ", ".join(self._tip.links)
        for name in wanted:
            if name not in self._tip.links:
                raise ValueError(
                    f"workspace_links has {name!r}: the joints of {self._robot.name!r} move {moved}"
                )
        return wanted

    def depths(self, q: Float[np.ndarray, "n dof"]) -> Float[np.ndarray, "n points 6"]:
        """How far each point is beyond each side, the three lower sides first [m]; 0 inside."""
        points = self._tip.all_positions(q)[self._checked]
        beyond = np.concatenate([self._low - points, points - self._high], axis=2)
        return np.maximum(beyond, 0.0).transpose(1, 0, 2)

    def outside(self, q: Float[np.ndarray, "n dof"]) -> Float[np.ndarray, " n"]:
        """The largest of the depths [m]; 0 inside."""
        return self.depths(q).max(axis=(1, 2))

    def start(self, q: Float[np.ndarray, "dof"]) -> None:
        """The arm begins at these joints: no point gets deeper than it is here."""
        self._reached = self.depths(q[None])[0]

    def leaving(self, way: Float[np.ndarray, "n dof"], arrived: bool = False) -> Bool[np.ndarray, " n"]:
        """Which postures of a way bring a point outside a side, or deeper than it has been on this way or before.

        Args:
            way: joints, first those where it starts.
            arrived: whether the arm is at the first ones: what it has come in so far counts from now on.
        """
        depth = self.depths(way)
        least = np.minimum(np.minimum.accumulate(depth, axis=0), self._reached)
        if arrived:
            self._reached = least[0]
        beyond = depth - np.where(least > SLACK, least + BACK, SLACK)
        return beyond.max(axis=(1, 2)) > 0.0

    def place(self, q: Float[np.ndarray, "dof"], start: Float[np.ndarray, "dof"] | None = None) -> str:
        """Which point is furthest outside, or has gained most depth since `start`, and where, in words."""
        depth = self.depths(q[None])[0]
        gained = depth if start is None else depth - self.depths(start[None])[0]
        point = int(gained.max(axis=1).argmax())
        where = self._tip.all_positions(q[None])[self._checked[point], 0]
        return f"{self._name(point)} to {np.round(where, 3).tolist()} m"

    def said_outside(self, q: Float[np.ndarray, "dof"]) -> str:
        """For each side that a point is outside of, the deepest point in words; empty inside."""
        depth, words = self.depths(q[None])[0], []
        for side in np.flatnonzero(depth.max(axis=0) > SLACK):
            point = int(depth[:, side].argmax())
            bounds, sign = (self._low, ">=") if side < 3 else (self._high, "<=")
            limit = f"{'xyz'[side % 3]} {sign} {bounds[point, 0, side % 3]:g}"
            words.append(f"{self._name(point)} is {depth[point, side]:.3f} m beyond {limit}")
        return ", ".join(words)

    def _name(self, point: int) -> str:
        return f"link {self.links[point]!r}" if point < len(self.links) else "the tip"
