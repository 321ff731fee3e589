"""Allocator settings that keep freed memory for reuse.

By default glibc maps new memory for every large tensor, and the kernel clears its pages each time, which takes a third
of a training step on a CPU. With these settings freed blocks are reused.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc refuses more


def reuse_freed_memory() -> bool:
    """Make the allocator of this process keep large freed blocks; returns False if it is not glibc."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_M_TRIM_THRESHOLD, 2**31 - 1),
        (_M_TOP_PAD, 2**26),
    )
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
