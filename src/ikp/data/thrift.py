"""Thrift's compact protocol, in which Parquet files write the headers of their pages and their footer.

A structure is a dictionary from the number of a field to its type and value; a list is the type and the values of its
items. Only what Parquet uses is supported (no maps).
"""

from __future__ import annotations

import struct
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, _, STRUCT = range(1, 13)
Struct = dict[int, tuple[int, Any]]
_INTEGERS = (I16, I32, I64)
_DEEPEST = 16
"""Bound on structures inside of structures; a footer has 6."""


class ThriftError(ValueError):
    """The bytes are no structure."""


def read_struct(data: bytes | memoryview, position: int = 0, depth: int = 0) -> tuple[Struct, int]:
    """Read a structure; returns it and the position after it.

    Raises:
        ThriftError: the bytes at this position are no structure.
    """
    values: Struct = {}
    number = 0
    if depth > _DEEPEST:
        raise ThriftError("structures are nested too deep")
    try:
        while True:
            head = data[position]
            position += 1
            if head == 0:
                return values, position
            kind = head & 0x0F
            if head >> 4:
                number += head >> 4
            else:
                number, position = _read_integer(data, position)
            values[number], position = _read_field(data, position, kind, depth)
    except (IndexError, struct.error) as error:
        raise ThriftError("the bytes end inside of a structure") from error


def _read_field(
    data: bytes | memoryview, position: int, kind: int, depth: int
) -> tuple[tuple[int, Any], int]:
    if kind in (TRUE, FALSE):  # the type of a field is its value
        return (kind, kind == TRUE), position
    value, position = _read_value(data, position, kind, depth)
    return (kind, value), position


def _read_value(data: bytes | memoryview, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (TRUE, FALSE, BYTE):
        return data[position], position + 1
    if kind in _INTEGERS:
        return _read_integer(data, position)
    if kind == DOUBLE:
        return struct.unpack_from("<d", data, position)[0], position + 8
    if kind == BINARY:
        size, position = _read_size(data, position)
        if position + size > len(data):
            raise ThriftError("a text is longer than the bytes")
        return bytes(data[position : position + size]), position + size
    if kind in (LIST, SET):
        head = data[position]
        size, position = (head >> 4, position + 1) if head >> 4 < 15 else _read_size(data, position + 1)
        items = []
        for _ in range(size):
            item, position = _read_value(data, position, head & 0x0F, depth + 1)
            items.append(item)
        return (head & 0x0F, items), position
    if kind == STRUCT:
        return read_struct(data, position, depth + 1)
    raise ThriftError(f"there is no type {kind}")


def _read_size(data: bytes | memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ThriftError("a number has more than 64 bits")


def _read_integer(data: bytes | memoryview, position: int) -> tuple[int, int]:
    value, position = _read_size(data, position)
    return (value >> 1) ^ -(value & 1), position


def struct_bytes(values: Struct) -> bytes:
    """The bytes of a structure."""
    parts, before = [], 0
    for number, (kind, value) in sorted(values.items()):
        step = number - before
        parts.append(bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _integer_bytes(number))
        if kind not in (TRUE, FALSE):
            parts.append(_value_bytes(kind, value))
        before = number
    return b"".join(parts) + b"\0"


def _value_bytes(kind: int, value: Any) -> bytes:
    if kind in (TRUE, FALSE, BYTE):
        return bytes([value])
    if kind in _INTEGERS:
        return _integer_bytes(value)
    if kind == DOUBLE:
        return struct.pack("<d", value)
    if kind == BINARY:
        return _size_bytes(len(value)) + value
    if kind == STRUCT:
        return struct_bytes(value)
    item, items = value
    head = (
        bytes([len(items) << 4 | item]) if len(items) < 15 else bytes([0xF0 | item]) + _size_bytes(len(items))
    )
    return head + b"".join(_value_bytes(item, each) for each in items)


def _size_bytes(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _integer_bytes(value: int) -> bytes:
    return _size_bytes(value << 1 ^ value >> 63)
