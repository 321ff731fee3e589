"""Real grippers: a Robotiq gripper through its URCap's socket, and a tool or suction valve on a digital output."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from ikp.robots.extras import load

ROBOTIQ_PORT = 63352
TIMEOUT = 2.0
FORCE, SPEED = 60, 200
"""Force and speed of a Robotiq gripper, where 255 is full."""
STANDARD_OUTPUTS = 8


class RobotiqGripper:
    """A Robotiq 2F gripper whose URCap runs on the robot's controller; it needs no package.

    Args:
        host: address of the robot's controller.
        port: of the URCap.

    Raises:
        OSError: nothing answers there, or the gripper is not activated.
    """

    def __init__(self, host: str, port: int = ROBOTIQ_PORT) -> None:
        self._lock, self._where = threading.Lock(), f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), TIMEOUT)
        except OSError as error:
            raise OSError(
                error.errno or 0,
                f"no Robotiq gripper answers at {self._where} ({error.strerror or error}): install and start its URCap",
            ) from error
        if self._asked("STA") != 3:
            self.close()
            raise OSError(f"the gripper at {self._where} is not activated: activate it on the pendant")
        self._ask(f"SET SPE {SPEED} FOR {FORCE}")

    def set(self, closed: float) -> None:
        """Go to a position from 0 (open) to 1 (closed)."""
        self._ask(f"SET POS {round(255 * min(max(closed, 0.0), 1.0))} GTO 1")

    def read(self) -> float:
        """Measured position from 0 to 1."""
        return self._asked("POS") / 255.0

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _asked(self, name: str) -> int:
        words = self._ask(f"GET {name}").split()
        if len(words) != 2 or words[0] != name or not words[1].isdigit():
            raise OSError(
                f"the gripper at {self._where} answered {' '.join(words)!r} to {name}: restart its URCap"
            )
        return int(words[1])

    def _ask(self, text: str) -> str:
        with self._lock:
            try:
                self._socket.sendall(f"{text}\n".encode())
                answer = self._socket.recv(1024)
            except OSError as error:
                raise OSError(
                    error.errno or 0,
                    f"the gripper at {self._where} is lost ({error.strerror or error}): check its cable and its URCap",
                ) from error
        if not answer:
            raise ConnectionResetError(f"the gripper at {self._where} closed the connection")
        return answer.decode(errors="replace").strip()


class OutputGripper:
    """A valve or tool on a digital output of a UR controller; it measures nothing.

    Args:
        host: address of the robot's controller.
        output: 0 to 7 for the standard outputs.

    Raises:
        OSError: the package ur-rtde is missing, or the controller cannot be reached.
        ValueError: there is no such output.
    """

    def __init__(self, host: str, output: int = 0) -> None:
        if not 0 <= output < STANDARD_OUTPUTS:
            raise ValueError(f"output is {output}: a UR controller has the standard outputs 0 to 7")
        rtde_io = load("rtde_io", "a gripper on a UR controller's output")
        try:
            self._io: Any = rtde_io.RTDEIOInterface(host)
        except (RuntimeError, ValueError) as error:
            raise OSError(
                f"the UR controller at {host} did not answer ({error}): check address and cable"
            ) from error
        self._output, self._on = output, False

    def set(self, closed: float) -> None:
        """Switch the output on above 0.5."""
        if (closed > 0.5) != self._on:
            self._on = closed > 0.5
            self._io.setStandardDigitalOut(self._output, self._on)

    def read(self) -> float:
        """The last command."""
        return float(self._on)

    def close(self) -> None:
        """Disconnect; the output stays as it is."""
        self._io.disconnect()
