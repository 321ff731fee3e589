"""Reading parts of mapped files before they are needed."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterable
from functools import cache

from jaxtyping import UInt8
from torch import Tensor


def read_ahead(images: UInt8[Tensor, "frame _ _ 3"], frames: Iterable[int]) -> None:
    """Ask the system to read images of a mapped file; it returns at once, and does nothing where it cannot.

    Without it, each page that is not in memory is read when it is touched, one after another.
    """
    advise = _advise()
    if advise is None:
        return
    size = images[0].nbytes
    for frame in frames:
        start = images.data_ptr() + frame * size
        begin = start - start % mmap.PAGESIZE
        advise(ctypes.c_void_p(begin), ctypes.c_size_t(start + size - begin), mmap.MADV_WILLNEED)


@cache
def _advise() -> Callable[..., int] | None:
    return ctypes.CDLL(None).madvise if sys.platform.startswith("linux") else None
