"""A UR arm through ur-rtde (package `ur-rtde`, extra `real`)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ikp.kinematics import Robot
from ikp.kinematics.rotations import exp_rotation
from ikp.robots.extras import load
from ikp.robots.interfaces import STOP_DECELERATION, ArmState, Mode, RobotStopped, stopped_by

VARIABLES = [
    "timestamp", "actual_q", "actual_qd", "actual_TCP_pose", "robot_mode", "robot_status_bits", "safety_status_bits",
]  # fmt: skip
WATCHDOG = 10.0
"""Least rate of commands, below which the controller stops its program [Hz]."""
SPARE = 2.5
"""Least rate of targets, as a multiple of the watchdog's: a busy machine delays one now and then."""
STATE_DELAY = 0.1
"""Time within which the state that names a stop follows the end of the program [s]."""
POWER_ON = 1
NORMAL_OR_REDUCED = 1 << 0 | 1 << 1
SAFETY = {
    Mode.EMERGENCY_STOP: 1 << 5 | 1 << 6 | 1 << 7,
    Mode.PROTECTIVE_STOP: 1 << 2,
    Mode.SAFEGUARD_STOP: 1 << 3 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 10,  # also recovery, violation, fault
}
"""Bits of RTDE's safety_status_bits; the arm may move in normal and reduced mode only."""


class URArm:
    """A Universal Robots arm; `open` connects, in the controller's process.

    Args:
        robot: kinematic model with the same tool frame as on the pendant.
        host: address of the robot's controller.
        rate: joint targets per second [Hz].
        watchdog: the controller stops its program when commands come more rarely [Hz].

    Raises:
        ValueError: the rate is too low for the watchdog.
    """

    def __init__(self, robot: Robot, host: str, rate: float, watchdog: float = WATCHDOG) -> None:
        if rate < SPARE * watchdog:
            raise ValueError(
                f"rate is {rate:g}: a UR arm needs at least {SPARE * watchdog:g} targets per second, since its "
                f"controller stops when one is {1000 / watchdog:.0f} ms late; the built-in rate is 250"
            )
        self.robot, self._host, self._rate, self._watchdog = robot, host, rate, watchdog
        self._control: Any = None
        self._receive: Any = None
        self._timestamp, self._time, self._watched = -np.inf, -np.inf, False

    def open(self) -> None:
        """Connect and start ur-rtde's program on the controller.

        Raises:
            OSError: the package is missing, or the controller cannot be reached.
            RobotStopped: the program does not start.
        """
        rtde_control, rtde_receive = (load(each, "a UR arm") for each in ("rtde_control", "rtde_receive"))
        try:
            self._receive = rtde_receive.RTDEReceiveInterface(self._host, self._rate, VARIABLES)
            self._control = rtde_control.RTDEControlInterface(self._host, self._rate)
        except (RuntimeError, ValueError) as error:
            raise RobotStopped(
                f"the UR controller at {self._host} did not answer as expected ({error}): check the address and the "
                "cable, switch the arm on, and choose Remote Control on the pendant"
            ) from error

    def state(self) -> ArmState:
        """The newest measurement; its time is when the controller's own clock last moved on."""
        receive = self._receive
        timestamp = receive.getTimestamp()
        if timestamp < self._timestamp:
            raise ConnectionResetError(
                f"the clock of the UR controller at {self._host} went back: it was started anew, so start again"
            )
        if timestamp > self._timestamp:  # one that is no number is no news
            self._timestamp, self._time = timestamp, time.monotonic()
        if not receive.isConnected():
            raise self._lost()
        return ArmState(
            self._time, np.array(receive.getActualQ()), np.array(receive.getActualQd()), self._mode()
        )

    def _mode(self) -> Mode:
        safety = self._receive.getSafetyStatusBits()
        for mode, bits in SAFETY.items():
            if safety & bits:
                return mode
        ready = safety & NORMAL_OR_REDUCED and self._receive.getRobotStatus() & POWER_ON
        return Mode.RUNNING if ready else Mode.NOT_READY

    def tip_pose(self) -> Float[np.ndarray, "4 4"]:
        """T_base_tip (4, 4) of the TCP that is set on the pendant."""
        pose = np.array(self._receive.getActualTCPPose())
        T = np.eye(4)
        T[:3, :3] = exp_rotation(torch.from_numpy(pose[3:])).numpy()
        T[:3, 3] = pose[:3]
        return T

    def servo(self, q: Float[np.ndarray, "dof"], period: float, lookahead: float, gain: float) -> None:
        """Send a joint target with servoJ; from the first one on the controller's watchdog wants more."""
        if not self._watched:
            if not self._control.setWatchdog(self._watchdog):
                raise RobotStopped(
                    f"the UR controller at {self._host} did not take the watchdog: start again"
                )
            self._watched = True
        if not self._control.isConnected():
            raise self._lost()
        begun = time.monotonic()
        try:
            taken = self._control.servoJ(q.tolist(), 0.0, 0.0, period, lookahead, gain)
        except RuntimeError as error:
            raise self._lost() from error
        if time.monotonic() - begun > 1.0 / self._watchdog:
            raise self._lost()  # ur-rtde has connected again by itself and would go on
        if not taken:
            raise self._refused()

    def _refused(self) -> RobotStopped | ConnectionResetError:
        """Why a target was not taken: a stop ends the program, and the state that names it may arrive after that."""
        limit = time.monotonic() + STATE_DELAY
        while self._mode() is Mode.RUNNING and time.monotonic() < limit:
            time.sleep(1.0 / self._rate)
        if self._mode() is not Mode.RUNNING:
            return stopped_by(self._mode())
        return ConnectionResetError(
            f"the UR controller at {self._host} no longer takes targets: its program has ended; look at the pendant"
        )

    def _lost(self) -> ConnectionResetError:
        return ConnectionResetError(
            f"the connection to the UR controller at {self._host} is lost: check the cable"
        )

    def stop(self) -> None:
        """End servoJ; the controller decelerates. Without a connection its watchdog does so."""
        if self._control is not None and self._control.isConnected():
            with contextlib.suppress(RuntimeError):
                self._control.servoStop(STOP_DECELERATION)

    def close(self) -> None:
        """Stop, end the program and disconnect."""
        self.stop()
        for end in self._endings():
            with contextlib.suppress(RuntimeError):
                end()
        self._control = self._receive = None

    def _endings(self) -> list[Callable[[], object]]:
        """The steps of closing; each is to be tried, whatever becomes of those before it."""
        endings = [each.disconnect for each in (self._control, self._receive) if each is not None]
        if self._control is not None and self._control.isConnected():  # ur-rtde would connect again
            endings.insert(0, self._control.stopScript)
        return endings
