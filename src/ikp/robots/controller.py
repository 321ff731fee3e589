"""The control loop: commands to joint targets within the limits, one period after another."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float

from ikp.kinematics import forward_kinematics
from ikp.kinematics.rotations import log_rotation
from ikp.robots.commands import (
    Command,
    Confirm,
    JointVelocity,
    SetLag,
    Status,
    Stop,
    TipVelocity,
    Waypoints,
)
from ikp.robots.config import ControllerConfig
from ikp.robots.differential import joint_speeds
from ikp.robots.interfaces import Arm, ArmState, Mode, RobotStopped, stopped_by
from ikp.robots.lag import LagEstimate
from ikp.robots.limits import CLIP, MotionLimits
from ikp.robots.silence import Silence
from ikp.robots.trajectory import Trajectory

KINEMATICS_RATE = 100.0
"""Rate of differential inverse kinematics and of the check of the workspace [Hz]."""
ROWS = 16
"""Way-points that are taken in a period: to check them takes a part of a millisecond; others wait for the next."""
KEPT = 1024
"""Way-points that may wait, to be taken or to be reached."""
HORIZON = 60.0
"""Way-points that are further ahead are refused: their clock is another one [s]."""
AT_REST = 1e-4
"""Speed below which the arm rests [rad/s]."""
MOVING = 0.05
"""Measured speed of a joint from which the arm does not count as resting; encoders are noisy [rad/s]."""


class ControlLoop:
    """The controller without its process and its clock. `tick` raises what has to end in a stop.

    Args:
        arm: an open arm.
        config: settings.
        now: time [s].

    Raises:
        RobotStopped: the arm is not ready, or its controller sees the tip elsewhere than the model.
        OSError: the arm cannot be reached.
    """

    def __init__(self, arm: Arm, config: ControllerConfig, now: float) -> None:
        self._arm, self._config = arm, config
        self.limits = MotionLimits(arm.robot, config)
        self.silence = Silence(config.state_age)
        self.status = Status.WAITING
        self.state = arm.state()
        self._check(now)
        check_tip(arm, self.state, config.tip_tolerance, config.tip_angle)
        self.q, self.qd = self.state.q.copy(), np.zeros(arm.robot.dof)
        self._warn_outside()
        self.late = self.clipped = self.stale = self.ticks = 0
        self._trajectory = Trajectory(now, self.q)
        self._teleoperation: TipVelocity | JointVelocity | None = None
        self._speeds, self._kinematics_at = np.zeros(arm.robot.dof), -np.inf
        self._lag = 0.0 if config.lag is None else config.lag
        self.lag = LagEstimate()
        self._inbox: deque[Command] = deque()

    def _warn_outside(self) -> None:
        outside = self.limits.workspace.said_outside(self.q)
        if outside:
            warnings.warn(
                f"the arm starts outside the workspace: {outside}. No motion may bring it "
                "further out: move it inside, with the pendant or the device, or correct workspace in the settings",
                stacklevel=3,
            )

    def tick(self, now: float, commands: Iterable[Command] = ()) -> None:
        """One period: measure, take commands, send the next target.

        Raises:
            RobotStopped, OSError: the arm has to be stopped; the message says why.
        """
        self.state = self._arm.state()
        self._check(now)
        self._inbox.extend(commands)
        self._take_some(now)
        self.ticks += 1
        if self.status is Status.WAITING:
            self.q = self.state.q.copy()
            self._trajectory = Trajectory(now, self.q)
            return
        self._advance(*self._wanted(now))
        if not self._config.dry_run:
            self._arm.servo(self.q, self._config.period, self._config.lookahead, self._config.gain)
        self.lag.add(self.q, self.qd, self.state.q)

    def _advance(self, wanted: Float[np.ndarray, "dof"], speed: Float[np.ndarray, "dof"]) -> None:
        """The next target on the way to `wanted`: the limits come last, whatever was asked for."""
        period, limits = self._config.period, self.limits
        q, qd, limited = limits.step(self.q, self.qd, wanted, speed, period)
        if not (np.isfinite(q).all() and np.isfinite(qd).all()):
            raise RobotStopped(
                f"the next target is not finite ({q.tolist()}): check the policy or the device"
            )
        outside = limits.way_out(self.q, q, qd)
        if outside is not None:
            # The corners between way-points are not on the lines that `checked` has looked at.
            if limits.refuses and self.status is Status.FOLLOWING:
                place = limits.workspace.place(outside, self.q)
                raise RobotStopped(
                    f"the way between two way-points leads {place}, out of the workspace: "
                    f"set workspace, or workspace_links and link_clearance for a link; {CLIP}"
                )
            (q, qd), limited = limits.braked(self.q, self.qd, period), True
        self.q, self.qd = q, qd
        self.clipped += limited

    def _check(self, now: float) -> None:
        """Raise RobotStopped where the arm says or shows that something is wrong."""
        state, config = self.state, self._config
        if state.mode is not Mode.RUNNING:
            raise stopped_by(state.mode)
        if not (np.isfinite(state.q).all() and np.isfinite(state.qd).all()):
            raise RobotStopped(f"the arm reports joints that are not finite ({state.q.tolist()})")
        if self.silence.look(now, state.time):
            raise RobotStopped(
                f"the arm has sent no new state for {self.silence.seconds:.2f} s: check the network, and start again"
            )
        if self.status is not Status.WAITING and not config.dry_run:
            apart = np.abs(self.q - state.q)
            if apart.max() > config.following_error:
                worst = int(apart.argmax())
                raise RobotStopped(
                    f"joint {self._arm.robot.joint_names[worst]!r} is {apart[worst]:.2f} rad from its target: the arm "
                    "does not follow; look for an obstacle, or raise gain or following_error"
                )

    def _take_some(self, now: float) -> None:
        """Take commands in their order, but a stop at once, and way-points only as fast as the loop's rate allows."""
        for stop in (command for command in self._inbox if isinstance(command, Stop)):
            self._take(stop, now)
        waiting = sum(np.size(command.times) for command in self._inbox if isinstance(command, Waypoints))
        waiting += self._trajectory.waiting(now)
        if waiting > KEPT:
            raise RobotStopped(
                f"{waiting} way-points wait for the arm, allowed are {KEPT}: send each once, not long before its time"
            )
        rows = 0
        while self._inbox and rows < ROWS:
            command = self._inbox.popleft()
            rows += np.size(command.times) if isinstance(command, Waypoints) else 0
            self._take(command, now)

    def _take(self, command: Command, now: float) -> None:
        if isinstance(command, Stop):
            raise RobotStopped(command.reason)
        if isinstance(command, Confirm):
            if self.status is Status.WAITING:
                self._begin()
            return
        if isinstance(command, SetLag):
            if not np.isfinite(command.lag):
                raise RobotStopped(f"the lag is not finite ({command.lag}): measure it again")
            self._lag = float(np.clip(command.lag, 0.0, 0.3))
            return
        if self.status is Status.WAITING:
            return
        if isinstance(command, Waypoints):
            self._schedule(command, now + self._lag)
            return
        self._check_velocity(command)
        if type(command) is not type(self._teleoperation):
            self._kinematics_at = -np.inf  # a hand-over takes effect at once
        self._teleoperation, self.status = command, Status.TELEOPERATED

    def _begin(self) -> None:
        """Take over from the person who has agreed to the first motion."""
        speeds = np.abs(self.state.qd)
        if speeds.max() > MOVING:
            worst = int(speeds.argmax())
            raise RobotStopped(
                f"joint {self._arm.robot.joint_names[worst]!r} moves at {speeds[worst]:.2f} rad/s while its first "
                "motion is confirmed: let the arm rest, end free drive and programs on the pendant, and start again"
            )
        self.status = Status.RESTING
        self.limits.workspace.start(self.q)

    def _check_velocity(self, command: TipVelocity | JointVelocity) -> None:
        """Raise RobotStopped for a velocity of another arm, or one that is not finite."""
        size = 6 if isinstance(command, TipVelocity) else len(self.q)
        if command.velocity.shape != (size,):
            raise RobotStopped(f"a velocity has the shape {command.velocity.shape}: it must be ({size},)")
        if not (np.isfinite(command.velocity).all() and np.isfinite(command.time)):
            raise RobotStopped(
                f"a velocity is not finite ({command.velocity.tolist()} at {command.time}): check the device"
            )

    def _schedule(self, command: Waypoints, at: float) -> None:
        """Check way-points, clip them if that is allowed, and put them on the path."""
        times, rows = command.times, command.q
        if times.ndim != 1 or rows.ndim != 2 or len(times) != len(rows) or not len(times):
            raise RobotStopped(f"{len(times)} times and {len(rows)} way-points: give as many of both")
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise RobotStopped(f"the times of way-points must increase, got {times.tolist()}")
        if times[-1] > at + HORIZON:
            raise RobotStopped(
                f"a way-point is {times[-1] - at:.0f} s ahead, allowed are {HORIZON:.0f}: give times of this machine's "
                "monotonic clock"
            )
        start, checked = self.q, list(rows)
        if not self.limits.all_open(start, rows):
            for i, row in enumerate(rows):
                checked[i], changed = self.limits.checked(start, row)
                self.clipped += changed
                start = checked[i]
        if self.status is not Status.FOLLOWING:
            self._trajectory = Trajectory(at, self.q)
        self.late += self._trajectory.schedule(times, np.stack(checked), at, self.q)
        self._teleoperation, self.status = None, Status.FOLLOWING

    def _wanted(self, now: float) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "dof"]]:
        """Joints to be at and speeds to have there after this period."""
        at = now + self._lag + self._config.period
        if self.status is Status.TELEOPERATED and self._teleoperation is not None:
            if abs(now - self._teleoperation.time) > self._config.stale:  # a time to come is another clock's
                self._rest(at)
            else:
                self._update_speeds(now)
                return self.q + self._speeds * self._config.period, self._speeds
        elif self.status is Status.FOLLOWING and at > self._trajectory.end + self._config.stale:
            self.status = Status.RESTING
            self.stale += 1
        return self._trajectory.at(at)

    def _rest(self, at: float) -> None:
        """Rest where the arm comes to a stop at half the largest acceleration."""
        self.stale += bool(np.abs(self.qd).max() > AT_REST)
        distance = self.qd * np.abs(self.qd) / self.limits.acceleration
        self._trajectory = Trajectory(at, self.limits.kept(self.q + distance, self.q))
        self._teleoperation, self.status = None, Status.RESTING

    def _update_speeds(self, now: float) -> None:
        """Joint speeds of the teleoperation, at `KINEMATICS_RATE`."""
        if now - self._kinematics_at < 0.999 / KINEMATICS_RATE or self._teleoperation is None:
            return
        self._kinematics_at = now
        command, config = self._teleoperation, self._config
        in_joints = isinstance(command, JointVelocity)
        full = config.joint_speed if in_joints else np.repeat([config.linear_speed, config.angular_speed], 3)
        beyond = max(float((np.abs(command.velocity) / full).max()), 1.0)  # of a device's full deflection
        velocity = command.velocity / beyond
        speeds = velocity if in_joints else joint_speeds(self.limits.tip, self.q, velocity)
        # All joints slow down together, so that the tip keeps its direction.
        tip = self.limits.tip.jacobian(self.q) @ speeds
        excess = max(
            float((np.abs(speeds) / self.limits.speed).max()),
            float(np.linalg.norm(tip[:3])) / config.tip_speed,
            float(np.linalg.norm(tip[3:])) / config.tip_turn_speed,
            1.0,
        )
        self.clipped += max(beyond, excess) > 1.001
        self._speeds = self._inside(speeds / excess)

    def _inside(self, speeds: Float[np.ndarray, "dof"]) -> Float[np.ndarray, "dof"]:
        """The speeds, or rest where the arm would leave the workspace within the time of a stop."""
        ahead = float((np.abs(speeds) / self.limits.acceleration).max()) + 2.0 / KINEMATICS_RATE
        if not self.limits.workspace.leaving(np.stack([self.q, self.q + ahead * speeds]))[1]:
            return speeds
        self.clipped += 1
        return np.zeros_like(speeds)


def check_tip(arm: Arm, state: ArmState, tolerance: float, angle: float) -> None:
    """Compare the tip by the model with the one that the arm's own controller computes.

    Raises:
        RobotStopped: they are further apart than `tolerance` [m], or turned by more than `angle` [rad].
    """
    robot, name = arm.robot, arm.robot.tip_names[0]
    ours = forward_kinematics(robot, torch.from_numpy(state.q))[robot.tip_indices[0]].numpy()
    theirs = arm.tip_pose()
    apart = float(np.linalg.norm(ours[:3, 3] - theirs[:3, 3]))
    if not apart <= tolerance:
        raise RobotStopped(
            f"the model's tip {name!r} is at {np.round(ours[:3, 3], 4).tolist()} m, the arm's controller has its TCP "
            f"at {np.round(theirs[:3, 3], 4).tolist()} m, {1000 * apart:.1f} mm apart (allowed: "
            f"{1000 * tolerance:.1f}): set the same tool frame on both, and load a URDF with the arm's calibration, "
            "which ur_calibration reads from the controller"
        )
    turned = float(log_rotation(torch.from_numpy(ours[:3, :3].T @ theirs[:3, :3])).norm())
    if not turned <= angle:
        raise RobotStopped(
            f"the model's tip {name!r} and the TCP of the arm's controller are at one place but turned by "
            f"{np.degrees(turned):.1f} degrees (allowed: {np.degrees(angle):.1f}): set RX, RY, RZ of the TCP on the "
            "pendant, or choose the right frame with --tips (flange and tool0 differ by a turn); where the turn of a "
            "round tool is arbitrary, raise tip_angle in the settings"
        )
