"""Indices of dimensions in the cheapest form."""

from __future__ import annotations

from collections.abc import Sequence


def as_slice(indices: Sequence[int], first: int = 0) -> slice | list[int]:
    """Indices counted from `first`; consecutive ones as a slice, with which indexing makes no copy and is faster."""
    if not indices or list(indices) != list(range(indices[0], indices[0] + len(indices))):
        return [i - first for i in indices]
    return slice(indices[0] - first, indices[-1] + 1 - first)
