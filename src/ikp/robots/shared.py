"""Numbers that one process writes and others read, where neither ever waits for the other.

A lock would let a reader that is killed or delayed hold up the control loop, and a single copy would let a delayed
writer do so: a loop with real-time priority would wait for a process that it keeps from running.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
from jaxtyping import Float

SLOTS = 8
"""Copies of the numbers. The writer takes them in turn, so that a finished one stays as it is for a while."""


_order = threading.Lock()


def _fence() -> None:
    """Let no memory access pass this point: processors other than x86 reorder writes, and reads.

    Releasing a lock keeps what is before it before it, acquiring keeps what follows behind; nobody contends for it.
    """
    with _order:
        pass
    with _order:
        pass


def _memory(context: BaseContext | None, size: int) -> Any:
    return np.zeros(size) if context is None else context.RawArray("d", size)


class Flag:
    """A flag that one process sets and others look at.

    An event of `multiprocessing` makes who sets it wait until those that it wakes have woken up, for ever if one of
    them has been killed meanwhile: a controller would not stop, or a session not end.
    """

    def __init__(self, context: BaseContext) -> None:
        self._value = context.RawValue("b", 0)

    def set(self) -> None:
        """Set it, for good."""
        self._value.value = 1

    def is_set(self) -> bool:
        """Whether it has been set."""
        return bool(self._value.value)


class SharedNumbers:
    """Named vectors of float64 in shared memory, with one writer at a time. It can be handed to a process that is being
    started, which may become the writer.

    Args:
        context: of `multiprocessing`; None for numbers that only this process uses.
        sizes: length of each vector by name.
    """

    def __init__(self, context: BaseContext | None, sizes: Mapping[str, int]) -> None:
        self._sizes = dict(sizes)
        self._memory = _memory(context, 1 + SLOTS * sum(sizes.values()))
        self._view()

    def _view(self) -> None:
        numbers = np.frombuffer(self._memory, dtype=np.float64)
        self._count, self._slots = numbers[:1], numbers[1:].reshape(SLOTS, -1)
        ends = np.cumsum(list(self._sizes.values()))
        self._slices = {
            name: slice(end - size, end) for (name, size), end in zip(self._sizes.items(), ends, strict=True)
        }

    def __getstate__(self) -> tuple[Any, dict[str, int]]:
        return self._memory, self._sizes

    def __setstate__(self, state: tuple[Any, dict[str, int]]) -> None:
        self._memory, self._sizes = state
        self._view()

    def write(self, **values: Any) -> None:
        """Write some of the vectors; the others stay as they are."""
        count = int(self._count[0]) + 1
        slot = self._slots[count % SLOTS]
        slot[:] = self._slots[(count - 1) % SLOTS]
        for name, value in values.items():
            slot[self._slices[name]] = value
        _fence()  # the numbers are there before the count says so
        self._count[0] = count
        _fence()  # and it does before the next slot is touched

    def read(self) -> dict[str, np.ndarray]:
        """Copies of all vectors, of one moment."""
        while True:
            count = int(self._count[0])
            _fence()
            copy = self._slots[count % SLOTS].copy()
            _fence()
            if int(self._count[0]) - count < SLOTS - 1:  # the writer has not come round to this slot
                return {name: copy[where] for name, where in self._slices.items()}


class SharedTable:
    """The last rows that one process has added to a table.

    Args:
        context: as above.
        rows: number of rows that are kept.
        columns: numbers in a row.
    """

    def __init__(self, context: BaseContext | None, rows: int, columns: int) -> None:
        self._shape = (rows, columns)
        self._memory = _memory(context, 1 + rows * columns)
        self._view()

    def _view(self) -> None:
        numbers = np.frombuffer(self._memory, dtype=np.float64)
        self._count, self._rows = numbers[:1], numbers[1:].reshape(self._shape)

    def __getstate__(self) -> tuple[Any, tuple[int, int]]:
        return self._memory, self._shape

    def __setstate__(self, state: tuple[Any, tuple[int, int]]) -> None:
        self._memory, self._shape = state
        self._view()

    def add(self, row: Float[np.ndarray, " columns"]) -> None:
        """Add a row, in place of the oldest."""
        count = int(self._count[0])
        self._rows[count % len(self._rows)] = row
        _fence()
        self._count[0] = count + 1
        _fence()

    def read(self) -> Float[np.ndarray, "rows columns"]:
        """Copies of the rows, oldest first."""
        count = int(self._count[0])
        _fence()
        copy = self._rows.copy()
        _fence()
        # Older rows were overwritten meanwhile, or are now.
        oldest = max(int(self._count[0]) + 1 - len(self._rows), 0)
        return copy[np.arange(min(oldest, count), count) % len(self._rows)]
