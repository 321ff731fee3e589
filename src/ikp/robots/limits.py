"""Limits of a robot's motion: targets that are refused or clipped, and steps within speed and acceleration."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ikp.kinematics import Robot
from ikp.robots.config import ControllerConfig
from ikp.robots.interfaces import RobotStopped
from ikp.robots.tip import TipKinematics

FLOOR = -0.01
"""Least height of the tip over the plane of the base, where the settings name no workspace [m]."""
SAMPLES = 17
"""Postures on the way to a way-point that are checked against the workspace."""
SPEED = 2.0 * np.pi
"""Largest speed of joints whose model names none [rad/s or m/s]."""
CLIP = 'to go as far as is allowed, give settings with {"on_limit": "clip"} (--config FILE)'
"""The fix of a target beyond the limits."""
SLACK = 1e-4
"""Depth beyond the workspace that rounding may cause [m]."""


class MotionLimits:
    """Joint, speed, acceleration and workspace limits of a robot.

    Args:
        robot: the kinematic model; its first tip is the tool.
        config: settings.
    """

    def __init__(self, robot: Robot, config: ControllerConfig) -> None:
        self.robot, self.refuses = robot, config.on_limit == "refuse"
        self.tip = TipKinematics(robot)
        self.lower = robot.lower.numpy() + config.joint_margin
        self.upper = robot.upper.numpy() - config.joint_margin
        speed = robot.velocity.numpy()
        self.speed = config.speed * np.where(np.isfinite(speed), speed, SPEED)
        self.acceleration = np.full(robot.dof, config.acceleration)
        box = config.workspace
        if box is None:
            reach = robot.reach
            box = ((-reach, -reach, FLOOR), (reach, reach, 2 * reach))
        self.low, self.high = np.array(box[0]), np.array(box[1])
        self.links = self._links(config.workspace_links)
        self._checked = [self.tip.links.index(name) for name in self.links] + [len(self.tip.links)]
        # The arm has to reach through a side that is between base and tip: that one is for the tip alone.
        lower, upper = self.low <= 0.0, self.high >= 0.0
        lower[2] = True  # a floor is for all
        low = np.where(lower, self.low + config.link_clearance, -np.inf)
        high = np.where(upper, self.high - config.link_clearance, np.inf)
        count = len(self.links)
        self._low = np.stack([low] * count + [self.low])[:, None]
        self._high = np.stack([high] * count + [self.high])[:, None]

    def _links(self, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        """The links whose frames stay in the workspace, of those before the tip."""
        if wanted is None:
            return tuple(name for name, count in self.tip.moving_joints().items() if count > 1)
        for name in wanted:
            if name not in self.tip.links:
                raise ValueError(
                    f"workspace_links has {name!r}: the joints of {self.robot.name!r} move {', '.join(self.tip.links)}"
                )
        return wanted

    def _depths(self, q: Float[np.ndarray, "n dof"]) -> Float[np.ndarray, "points n"]:
        points = self.tip.all_positions(q)[self._checked]
        return np.maximum(np.maximum(self._low - points, points - self._high), 0.0).max(axis=2)

    def outside(self, q: Float[np.ndarray, "n dof"]) -> Float[np.ndarray, " n"]:
        """How far the arm is outside the workspace with that point which is furthest out [m]; 0 inside."""
        return self._depths(q).max(axis=0)

    def place(self, q: Float[np.ndarray, "dof"]) -> str:
        """Which point is furthest outside the workspace, and where, in words."""
        point = int(self._depths(q[None])[:, 0].argmax())
        where = self.tip.all_positions(q[None])[self._checked[point], 0]
        what = f"link {self.links[point]!r}" if point < len(self.links) else "the tip"
        return f"{what} to {np.round(where, 3).tolist()} m"

    def checked(
        self, start: Float[np.ndarray, "dof"], target: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, "dof"], bool]:
        """A way-point that may be approached from `start` along a straight line in joint space, and whether it was
        changed.

        Raises:
            RobotStopped: the target has the wrong size or is not finite; or it is beyond the limits and these are not
                to be clipped.
        """
        if target.shape != start.shape:
            raise RobotStopped(f"a way-point has the shape {target.shape}: the arm has {len(start)} joints")
        if not np.isfinite(target).all():
            raise RobotStopped(f"a way-point is not finite ({target.tolist()}): check the policy")
        inside = np.clip(target, self.lower, self.upper)
        if self.refuses and not np.array_equal(inside, target):
            worst = int(np.abs(inside - target).argmax())
            raise RobotStopped(
                f"a way-point moves joint {self.robot.joint_names[worst]!r} to {target[worst]:.3f}: allowed are "
                f"{self.lower[worst]:.3f} to {self.upper[worst]:.3f} [rad or m]; {CLIP}"
            )
        way = start + np.linspace(0.0, 1.0, SAMPLES)[:, None] * (inside - start)
        depth = self.outside(way)
        # From outside, as after a change of the workspace, only the way back is open.
        bad = np.flatnonzero(depth[1:] > np.maximum(depth[:-1], SLACK) - 1e-9)
        bad = bad[depth[1:][bad] > SLACK]
        if not len(bad):
            return inside, not np.array_equal(inside, target)
        if self.refuses:
            raise RobotStopped(
                f"a way-point leads {self.place(way[1 + depth[1:].argmax()])}, outside the workspace "
                f"{np.round(self.low, 3).tolist()} to {np.round(self.high, 3).tolist()}: set workspace, or "
                f"workspace_links and link_clearance for a link; {CLIP}"
            )
        return way[bad[0]], True

    def step(
        self,
        q: Float[np.ndarray, "dof"],
        qd: Float[np.ndarray, "dof"],
        q_wanted: Float[np.ndarray, "dof"],
        qd_wanted: Float[np.ndarray, "dof"],
        dt: float,
    ) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "dof"], bool]:
        """The joints and speeds after a period `dt` [s] on the way to a moving target, and whether a speed had to be
        limited.

        The target is where the arm should be, and how fast it should move, after the period.

        The speed towards the target falls in time to stop on it at half the largest acceleration.
        """
        error = q_wanted - qd_wanted * dt - q  # of now; the target moves on by itself
        closing = np.minimum(np.abs(error) / (2 * dt), np.sqrt(self.acceleration * np.abs(error)))
        free = qd_wanted + np.sign(error) * closing
        speed = np.clip(free, -self.speed, self.speed)
        room = np.maximum(self.upper - q, 0.0), np.maximum(q - self.lower, 0.0)
        toward_upper, toward_lower = (np.sqrt(self.acceleration * side) for side in room)
        speed = np.clip(speed, -toward_lower, toward_upper)
        change = self.acceleration * dt
        speed = np.clip(speed, qd - change, qd + change)
        # A joint that starts beyond its limit may only return.
        kept = np.clip(q + speed * dt, np.minimum(self.lower, q), np.maximum(self.upper, q))
        return kept, (kept - q) / dt, bool((np.abs(free) > self.speed * 1.001).any())

    def braked(
        self, q: Float[np.ndarray, "dof"], qd: Float[np.ndarray, "dof"], dt: float
    ) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "dof"]]:
        """Joints and speeds after a period `dt` [s] of braking as hard as is allowed, along a line in joint space."""
        seconds = float((np.abs(qd) / self.acceleration).max())
        speed = qd * max(1.0 - dt / seconds, 0.0) if seconds > 0 else qd
        kept = np.clip(q + speed * dt, np.minimum(self.lower, q), np.maximum(self.upper, q))
        return kept, (kept - q) / dt

    def way_out(
        self, before: Float[np.ndarray, "dof"], q: Float[np.ndarray, "dof"], qd: Float[np.ndarray, "dof"]
    ) -> Float[np.ndarray, "dof"] | None:
        """The posture in which the arm leaves the workspace, or goes further out, even if it brakes at `q`, if any.

        Args:
            before: joints of the period before.
            q, qd: joints and speeds that are to be commanded.
        """
        way = 0.5 * qd * float((np.abs(qd) / self.acceleration).max())
        postures = np.stack([before, q, q + 0.75 * way, q + way])
        depth = self.outside(postures)
        worst = int(depth.argmax())
        return postures[worst] if depth[worst] > max(depth[0], SLACK) else None
