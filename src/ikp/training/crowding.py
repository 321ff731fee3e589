"""Whether other processes take the processor from a training that computes with several threads.

The threads of a convolution wait for one another in loops that do not give their core away. Where another process has
one of the cores, a training step can take thirty times as long, and nothing shows it but the rate.
"""

from __future__ import annotations

import time
import warnings

import torch

from ikp.cores import load, usable_cores

PATIENCE = 20.0
"""Time over which the share of the cores is measured [s]."""
ENOUGH = 0.75
"""Share of its threads' time that a training gets on a machine of its own; it waits a little for data and for calls."""


class Crowding:
    """Measures a training's share of the cores, and warns once if others need them too.

    Args:
        device: where the training computes; only a CPU can be crowded.
    """

    def __init__(self, device: torch.device) -> None:
        self._watches = device.type == "cpu" and torch.get_num_threads() > 1
        self._start()

    def _start(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def look(self) -> None:
        """Warn if the last `PATIENCE` seconds were crowded; called now and then during the training."""
        seconds = time.perf_counter() - self._wall
        if not self._watches or seconds < PATIENCE:
            return
        threads = torch.get_num_threads()
        share = (time.process_time() - self._processor) / (seconds * threads)
        self._start()
        if share < ENOUGH and load() > usable_cores():
            self._watches = False
            warnings.warn(
                f"other processes need the processor: the {threads} threads of this training had {100 * share:.0f} % "
                f"of {threads} cores, and wait for one another, which can make a step many times as slow. Stop it and "
                "go on with one thread: --threads 1 --resume (TrainConfig(threads=1) and resume=True)",
                stacklevel=2,
            )
