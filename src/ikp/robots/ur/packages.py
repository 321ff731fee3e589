"""Packages of RTDE, the Real-Time Data Exchange of Universal Robots' controllers (its guide describes them)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

HEADER = struct.Struct(">HB")  # size of the whole package, kind
VERSION = (5, 11, 1, 0)
"""Version of the controller that is imitated: an e-Series robot."""


class Kind(IntEnum):
    """The kind of a package."""

    PROTOCOL_VERSION = ord("V")
    CONTROLLER_VERSION = ord("v")
    TEXT = ord("M")
    DATA = ord("U")
    SETUP_OUTPUTS = ord("O")
    SETUP_INPUTS = ord("I")
    START = ord("S")
    PAUSE = ord("P")


FORMATS = {
    "BOOL": "?", "UINT8": "B", "UINT32": "I", "UINT64": "Q", "INT32": "i", "DOUBLE": "d",
    "VECTOR3D": "3d", "VECTOR6D": "6d", "VECTOR6INT32": "6i",
}  # fmt: skip
OUTPUTS = {
    "timestamp": "DOUBLE", "actual_execution_time": "DOUBLE", "robot_mode": "INT32", "safety_mode": "INT32",
    "joint_mode": "VECTOR6INT32", "runtime_state": "UINT32", "robot_status_bits": "UINT32",
    "safety_status_bits": "UINT32", "speed_scaling": "DOUBLE", "target_speed_fraction": "DOUBLE",
    "target_q": "VECTOR6D", "target_qd": "VECTOR6D", "actual_q": "VECTOR6D", "actual_qd": "VECTOR6D",
    "actual_TCP_pose": "VECTOR6D", "target_TCP_pose": "VECTOR6D", "tcp_offset": "VECTOR6D",
    "actual_digital_output_bits": "UINT64",
}  # fmt: skip
"""Type of each variable that the imitation sends, beside the output registers."""
INPUTS = {
    "standard_digital_output_mask": "UINT8", "standard_digital_output": "UINT8",
    "tool_digital_output_mask": "UINT8", "tool_digital_output": "UINT8",
}  # fmt: skip


def type_of(name: str, inputs: bool) -> str:
    """The type of a variable, `NOT_FOUND` for one that is not known."""
    known = INPUTS if inputs else OUTPUTS
    direction = "input" if inputs else "output"
    for middle, kind in (("int", "INT32"), ("double", "DOUBLE")):
        if name.startswith(f"{direction}_{middle}_register_"):
            return kind
    return known.get(name, "NOT_FOUND")


class Recipe:
    """The variables of a data package and how they are packed, big-endian after the recipe's number.

    Args:
        number: of the recipe.
        names: variables, all known.
        inputs: whether they go to the controller.
    """

    def __init__(self, number: int, names: Sequence[str], inputs: bool) -> None:
        self.number, self.names = number, tuple(names)
        self.types = tuple(type_of(name, inputs) for name in names)
        self._formats = [FORMATS[kind] for kind in self.types]
        self._struct = struct.Struct(">B" + "".join(self._formats))

    def pack(self, values: Mapping[str, Any]) -> bytes:
        """The body of a data package; a variable without a value is 0."""
        numbers: list[Any] = []
        for name, form in zip(self.names, self._formats, strict=True):
            count = int(form[:-1] or 1)
            value = values.get(name, 0)
            numbers += [value] * count if count == 1 or value == 0 else list(value)
        return self._struct.pack(self.number, *numbers)

    def unpack(self, body: bytes) -> dict[str, Any]:
        """The values of a data package; vectors are tuples.

        Raises:
            ValueError: the body has another size.
        """
        if len(body) != self._struct.size:
            raise ValueError(
                f"a package of recipe {self.number} has {len(body)} bytes, not {self._struct.size}"
            )
        numbers = list(self._struct.unpack(body)[1:])
        values: dict[str, Any] = {}
        for name, form in zip(self.names, self._formats, strict=True):
            count = int(form[:-1] or 1)
            part, numbers = numbers[:count], numbers[count:]
            values[name] = part[0] if count == 1 else tuple(part)
        return values


def package(kind: Kind, body: bytes = b"") -> bytes:
    """A whole package."""
    return HEADER.pack(HEADER.size + len(body), kind) + body


def received(connection: socket.socket) -> tuple[int, bytes]:
    """Kind and body of the next package.

    Raises:
        ConnectionError: the other side has closed the connection.
    """
    size, kind = HEADER.unpack(_exactly(connection, HEADER.size))
    return kind, _exactly(connection, size - HEADER.size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("the connection was closed")
        parts += part
    return parts
