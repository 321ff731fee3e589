"""Limits of a robot's motion: targets that are refused or clipped, and steps within speed and acceleration."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ikp.kinematics import Robot
from ikp.robots.config import ControllerConfig
from ikp.robots.interfaces import RobotStopped
from ikp.robots.tip import TipKinematics
from ikp.robots.workspace import Workspace

SAMPLES = 17
"""Postures on the way to a way-point that are checked against the workspace."""
SPEED = 2.0 * np.pi
"""Largest speed of joints whose model names none [rad/s or m/s]."""
CLIP = 'to go as far as is allowed, give settings with {"on_limit": "clip"} (--config FILE)'
"""The fix of a target beyond the limits."""


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
        self.workspace = Workspace(robot, self.tip, config)

    def kept(
        self, q: Float[np.ndarray, "*n dof"], start: Float[np.ndarray, "dof"]
    ) -> Float[np.ndarray, "*n dof"]:
        """Joints within the limits; one that is beyond its limit at `start` may rest there or return."""
        return np.clip(q, np.minimum(self.lower, start), np.maximum(self.upper, start))

    def all_open(self, start: Float[np.ndarray, "dof"], targets: Float[np.ndarray, "n columns"]) -> bool:
        """Whether `checked` takes all of a row of way-points as they are, found out at once."""
        if targets.shape[1:] != start.shape or not np.isfinite(targets).all():
            return False
        if not np.array_equal(self.kept(targets, start), targets):
            return False
        corners = np.concatenate([start[None], targets])
        parts = np.linspace(0.0, 1.0, SAMPLES)[1:, None]
        ways = corners[:-1, None] + parts * np.diff(corners, axis=0)[:, None]
        return not self.workspace.leaving(np.concatenate([start[None], *ways])).any()

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
        inside = self.kept(target, start)
        if self.refuses and not np.array_equal(inside, target):
            worst = int(np.abs(inside - target).argmax())
            raise RobotStopped(
                f"a way-point moves joint {self.robot.joint_names[worst]!r} to {target[worst]:.3f}: allowed are "
                f"{self.lower[worst]:.3f} to {self.upper[worst]:.3f} [rad or m]; {CLIP}"
            )
        way = start + np.linspace(0.0, 1.0, SAMPLES)[:, None] * (inside - start)
        bad = np.flatnonzero(self.workspace.leaving(way)[1:])
        if not len(bad):
            return inside, not np.array_equal(inside, target)
        if self.refuses:
            out = way[1 + bad]
            worst = out[self.workspace.outside(out).argmax()]
            raise RobotStopped(
                f"a way-point leads {self.workspace.place(worst, start)}, outside the {self._box()}"
            )
        return way[bad[0]], True

    def _box(self) -> str:
        low, high = np.round(self.workspace.low, 3).tolist(), np.round(self.workspace.high, 3).tolist()
        return f"workspace {low} to {high}: set workspace, or workspace_links and link_clearance for a link; {CLIP}"

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
        kept = self.kept(q + speed * dt, q)
        return kept, (kept - q) / dt, bool((np.abs(free) > self.speed * 1.001).any())

    def braked(
        self, q: Float[np.ndarray, "dof"], qd: Float[np.ndarray, "dof"], dt: float
    ) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "dof"]]:
        """Joints and speeds after a period `dt` [s] of braking as hard as is allowed, along a line in joint space."""
        seconds = float((np.abs(qd) / self.acceleration).max())
        speed = qd * max(1.0 - dt / seconds, 0.0) if seconds > 0 else qd
        kept = self.kept(q + speed * dt, q)
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
        leaving = self.workspace.leaving(postures, arrived=True)[1:]
        return postures[1:][leaving][-1] if leaving.any() else None
