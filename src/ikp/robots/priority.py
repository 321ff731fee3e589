"""Processes that should not pause."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

PRIORITY = 20
"""Real-time priority, where it is asked for and the system grants it."""


def keep_from_pausing(realtime: bool = False) -> None:
    """No garbage collection in this process, and real-time priority if it is wanted and the system grants it.

    A process with this priority is never interrupted by ordinary ones: it has to sleep in every period.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    if realtime and sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
