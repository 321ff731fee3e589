"""Imitation of the program that ur-rtde runs on the controller: commands in registers to motions of an arm."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np

from ikp.robots.interfaces import Arm


class Code(IntEnum):
    """Commands in input_int_register_0 that the imitation knows; others are answered and do nothing."""

    NONE = 0
    SERVOJ = 11
    SERVO_STOP = 16
    SET_WATCHDOG = 35
    JOINTS_WITHIN_LIMITS = 37
    KICK_WATCHDOG = 99
    STOP_PROGRAM = 255


STREAMED = {Code.SERVOJ, Code.KICK_WATCHDOG}
"""Commands that are repeated and not waited for."""
READY, DONE = 1, 2
STOPPED, PLAYING = 1, 2


class Program:
    """State of the program: registers, whether it runs, and its watchdog.

    Args:
        arm: follows the commands.
    """

    def __init__(self, arm: Arm) -> None:
        self._arm, self._lock = arm, threading.Lock()
        self._inputs: dict[str, Any] = {}
        self._executed: int | None = None
        self._watchdog, self._last = 0.0, 0.0
        self.running, self.servo_commands = False, 0
        self.outputs: dict[str, Any] = {"output_int_register_0": READY}
        self.digital = 0

    def start(self) -> None:
        """The client has sent the program."""
        with self._lock:
            self.running, self._executed, self._watchdog = True, None, 0.0
            self.outputs["output_int_register_0"] = READY

    def stop(self) -> None:
        """End the program; the arm comes to rest."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self.running:
            self.running = False
            self._arm.stop()

    def receive(self, values: Mapping[str, Any]) -> None:
        """Input registers from the client."""
        with self._lock:
            self._last = time.monotonic()
            self._inputs.update(values)
            for kind in ("standard", "tool"):
                mask = int(self._inputs.pop(f"{kind}_digital_output_mask", 0)) << (
                    16 if kind == "tool" else 0
                )
                bits = int(self._inputs.get(f"{kind}_digital_output", 0)) << (16 if kind == "tool" else 0)
                self.digital = (self.digital & ~mask) | (bits & mask)
            if self.running and "input_int_register_0" in values:
                self._execute(int(values["input_int_register_0"]))

    def check_watchdog(self) -> None:
        """End the program if the client has been silent for longer than it promised."""
        with self._lock:
            if self._watchdog and self.running and time.monotonic() - self._last > self._watchdog:
                self._stop()

    def _execute(self, code: int) -> None:
        if code == Code.NONE:
            self._executed = None
            self.outputs["output_int_register_0"] = READY
        elif code in STREAMED:
            if code == Code.SERVOJ:
                self._servo()
            self.outputs["output_int_register_0"] = READY
        elif code != self._executed:
            self._executed = code
            self._act(code)
            self.outputs["output_int_register_0"] = DONE

    def _servo(self) -> None:
        numbers = [float(self._inputs[f"input_double_register_{i}"]) for i in range(11)]
        q, (_, _, period, lookahead, gain) = np.array(numbers[:6]), numbers[6:]
        self.servo_commands += 1
        self._arm.servo(q, period, lookahead, gain)

    def _act(self, code: int) -> None:
        first = float(self._inputs.get("input_double_register_0", 0.0))
        if code == Code.SERVO_STOP:
            self._arm.stop()
        elif code == Code.SET_WATCHDOG:
            self._watchdog = 1.0 / first if first > 0 else 0.0
        elif code == Code.JOINTS_WITHIN_LIMITS:
            self.outputs["output_int_register_1"] = 1
        elif code == Code.STOP_PROGRAM:
            self._stop()
