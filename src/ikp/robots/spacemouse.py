"""A 3Dconnexion SpaceMouse (package `pyspacemouse`, extra `real`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ikp.robots.extras import load
from ikp.robots.interfaces import Motion

DEADBAND = 0.05
"""Deflection that counts as none."""
REPORTS = 64
"""Reports that the system keeps of a device until they are read."""
LONG_PRESS = 0.8
"""Time to hold the second button for the end of the episode [s]; a short press changes between tip and joints."""


class SpaceMouse:
    """A `Teleoperator`: the first button opens and closes the gripper, the second one changes between tip and joints,
    and ends the episode if it is held.

    The device lies before a person who faces the robot's base along x: x forwards, y to the left, z up.

    Raises:
        OSError: the package is missing, or there is no device.
    """

    def __init__(self) -> None:
        pyspacemouse = load("pyspacemouse", "a SpaceMouse")
        try:
            self._device: Any = pyspacemouse.open()
        except Exception as error:
            raise OSError(
                f"no SpaceMouse answers ({error}): plug it in, and let your user read /dev/hidraw*"
            ) from error
        if not self._device:
            raise OSError("there is no SpaceMouse: plug it in, and let your user read /dev/hidraw*")
        self._buttons = (False, False)
        self.reset()

    def reset(self) -> None:
        """Open the gripper and leave joint space."""
        self._closed = self._in_joint_space = self._done = False
        self._pressed_at: float | None = None

    def read(self, now: float) -> Motion:
        """Motion of the hand on the mouse.

        Raises:
            OSError: the device is lost.
        """
        state = self._newest()
        first, second = (bool(button) for button in list(state.buttons)[:2])
        if first and not self._buttons[0]:
            self._closed = not self._closed
        if second and not self._buttons[1]:
            self._pressed_at = now
        elif second and self._pressed_at is not None and now - self._pressed_at > LONG_PRESS:
            self._done, self._pressed_at = True, None
        elif not second and self._pressed_at is not None:
            self._in_joint_space, self._pressed_at = not self._in_joint_space, None
        self._buttons = (first, second)
        # The device's y points away from the person and its x to the right.
        raw = np.array([state.y, -state.x, state.z, state.roll, state.pitch, -state.yaw], dtype=float)
        size = np.maximum(np.abs(raw) - DEADBAND, 0.0) / (1.0 - DEADBAND)
        axes = np.clip(np.sign(raw) * size, -1.0, 1.0)
        return Motion(axes, float(self._closed), self._in_joint_space, self._done)

    def _newest(self) -> Any:
        """The state after all reports that have arrived: the device sends more of them than are asked for here, and the
        library takes one at a time, so that the hand would be followed later and later.
        """
        try:
            state = self._device.read()
            for _ in range(REPORTS):
                before = state.t
                state = self._device.read()
                if state.t == before:
                    break
        except (OSError, ValueError) as error:
            raise OSError(f"the SpaceMouse is lost ({error}): check its cable or its receiver") from error
        return state

    def close(self) -> None:
        """Disconnect."""
        self._device.close()
