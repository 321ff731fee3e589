"""The terminal's keys in place of a 3D mouse."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from types import ModuleType

import numpy as np

from ikp.robots.interfaces import Motion

termios: ModuleType | None
tty: ModuleType | None
try:
    import termios
    import tty
except ImportError:  # Windows
    termios = tty = None

HELD = 0.25
"""Time that a key counts as held after it was read [s]; terminals repeat a held key, after a first delay."""
DEFLECTION = 0.4
AXES = {
    "w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1),
    "u": (3, 1), "o": (3, -1), "i": (4, 1), "k": (4, -1), "j": (5, 1), "l": (5, -1),
}  # fmt: skip
"""Axis and direction of each key."""
KEYS = "w/s x, a/d y, r/f z, u/o i/k j/l turns; space gripper; tab joints; enter ends the episode"


class Keyboard:
    """A `Teleoperator` on the terminal from which the command was started.

    Args:
        descriptor: of the terminal; standard input by default.

    Raises:
        OSError: it is no terminal.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._input = sys.stdin.fileno() if descriptor is None else descriptor
        if termios is None or tty is None or not os.isatty(self._input):
            raise OSError(
                "the keyboard needs a terminal: start the command in one, or choose --device scripted"
            )
        self._before = termios.tcgetattr(self._input)
        tty.setcbreak(self._input)
        self.reset()

    def reset(self) -> None:
        """Open the gripper, leave joint space and forget the keys, also those that were typed since the last look."""
        forget_keys(self._input)
        self._held: dict[str, float] = {}
        self._closed = self._in_joint_space = self._done = False

    def read(self, now: float) -> Motion:
        """The keys that are held."""
        while select.select([self._input], [], [], 0)[0]:
            for key in os.read(self._input, 64).decode(errors="ignore"):
                self._press(key.lower(), now)
        axes = np.zeros(6)
        for key, time in self._held.items():
            if now - time < HELD:
                axis, direction = AXES[key]
                axes[axis] += DEFLECTION * direction
        return Motion(axes, float(self._closed), self._in_joint_space, self._done)

    def _press(self, key: str, now: float) -> None:
        if key in AXES:
            self._held[key] = now
        elif key == " ":
            self._closed = not self._closed
        elif key == "\t":
            self._in_joint_space = not self._in_joint_space
        elif key in "\r\n":
            self._done = True

    def close(self) -> None:
        """Give the terminal back as it was."""
        if termios is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)


def forget_keys(descriptor: int | None = None) -> None:
    """Drop what was typed and not read yet, where there is a terminal; by default on standard input."""
    if descriptor is None and sys.stdin.isatty():
        descriptor = sys.stdin.fileno()
    if termios is not None and descriptor is not None:
        termios.tcflush(descriptor, termios.TCIFLUSH)
