"""Processes that must not pause."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

PRIORITY = 20
"""Real-time priority, where the system grants one."""


def keep_from_pausing(realtime: bool = True) -> None:
    """No garbage collection in this process, and real-time priority if it is wanted and the system grants it.

    The controller needs this, and the simulated world and the imitated controller, which stand for hardware that has a
    processor of its own.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    if realtime and sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
