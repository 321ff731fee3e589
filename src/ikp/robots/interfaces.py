"""Interfaces of the robot loop to hardware: an arm, a gripper, cameras and a device that a person holds.

Real drivers and simulated twins have these methods and nothing in common otherwise. All times are of
`time.monotonic` [s].
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from ikp.kinematics import Robot

STOP_DECELERATION = 20.0
"""Deceleration that an arm is asked for when it has to stop [rad/s^2]; no setting accelerates it faster, so that
the way of a stop is never longer than the one that was checked."""


class RobotStopped(RuntimeError):
    """The robot has been stopped; the message says why and what to do."""


class Mode(StrEnum):
    """State that an arm's own controller reports."""

    RUNNING = "running"
    PROTECTIVE_STOP = "protective stop"
    EMERGENCY_STOP = "emergency stop"
    SAFEGUARD_STOP = "safeguard stop"
    NOT_READY = "not ready"


FIXES = {
    Mode.PROTECTIVE_STOP: "look what the arm ran into, clear the stop on the pendant, and start again",
    Mode.EMERGENCY_STOP: "release the emergency stop, start the arm on the pendant, and start again",
    Mode.SAFEGUARD_STOP: "clear what guards the cell, reset it, and start again",
    Mode.NOT_READY: "start the arm on the pendant, with remote control, and start again",
}


def stopped_by(mode: Mode) -> RobotStopped:
    """The error for an arm that reports another mode than running, with what to do about it."""
    return RobotStopped(f"the arm reports {mode.value}: {FIXES[mode]}")


@dataclass(frozen=True)
class ArmState:
    """A measurement of an arm: when it was made [s], joints [rad], their speeds [rad/s] and the mode."""

    time: float
    q: Float[np.ndarray, "dof"]
    qd: Float[np.ndarray, "dof"]
    mode: Mode = Mode.RUNNING


@runtime_checkable
class Arm(Protocol):
    """An arm that follows a stream of joint targets. One process uses it, which also opens it."""

    robot: Robot
    """Kinematic model; its first tip is the tool that the arm's controller calls TCP."""

    def open(self) -> None:
        """Connect. Raises OSError if the arm cannot be reached, RobotStopped if it is not ready."""
        ...

    def state(self) -> ArmState:
        """The newest measurement. Raises OSError if the connection is lost."""
        ...

    def tip_pose(self) -> Float[np.ndarray, "4 4"]:
        """T_base_tip (4, 4) as the arm's own controller computes it."""
        ...

    def servo(self, q: Float[np.ndarray, "dof"], period: float, lookahead: float, gain: float) -> None:
        """Follow a joint target (dof,) [rad] until the next one, which comes after `period` [s].

        Args:
            q: joint target.
            period: time between two targets [s].
            lookahead: time over which the arm smooths targets [s].
            gain: proportional gain of the arm's drives towards the target.

        Raises:
            OSError: the connection is lost.
        """
        ...

    def stop(self) -> None:
        """Come to rest as fast as the arm's drives do smoothly; safe to call at any time."""
        ...

    def close(self) -> None:
        """Stop and disconnect."""
        ...


@runtime_checkable
class Gripper(Protocol):
    """A gripper or a suction cup: 0 is open or off, 1 closed or on."""

    def set(self, closed: float) -> None:
        """Move towards a position; returns at once."""
        ...

    def read(self) -> float:
        """Measured position, or 1.0 while a suction cup holds something."""
        ...

    def close(self) -> None:
        """Disconnect and leave the gripper as it is."""
        ...


@dataclass(frozen=True)
class Picture:
    """A camera's image (height, width, 3) uint8 RGB and when it was taken [s]."""

    time: float
    image: UInt8[np.ndarray, "height width 3"]


@runtime_checkable
class CameraStream(Protocol):
    """A camera that delivers images by itself."""

    def taken_at(self) -> float:
        """When the newest image was taken [s]; for a camera that takes them when it is read, now."""
        ...

    def read(self) -> Picture:
        """The newest image, which may be the same as before. Raises OSError if the camera is lost."""
        ...

    def close(self) -> None:
        """Stop the camera."""
        ...


@dataclass(frozen=True)
class Motion:
    """Motion of a person's hand on a device.

    Attributes:
        axes: (6,) x, y, z and turns about x, y, z in the base frame, each from -1 to 1; in joint space the first `dof`
            of them move the joints in their order.
        closed: the gripper's command, 0 to 1.
        in_joint_space: whether the axes move joints.
        done: whether the person says that the episode is over.
    """

    axes: Float[np.ndarray, "axes"]
    closed: float = 0.0
    in_joint_space: bool = False
    done: bool = False


@runtime_checkable
class Teleoperator(Protocol):
    """A device that a person moves the robot with."""

    def reset(self) -> None:
        """Forget the last episode."""
        ...

    def read(self, now: float) -> Motion:
        """Motion of the hand at a time [s]."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...
