"""A live view of a session's frames in Rerun (package `rerun-sdk`, extra `view`)."""

from __future__ import annotations

import numpy as np

from ikp.robots.extras import load
from ikp.robots.session import Frame


class LiveView:
    """Shows images and joints over time.

    Args:
        open_window: whether to open Rerun's viewer.

    Raises:
        OSError: Rerun is not installed.
    """

    def __init__(self, open_window: bool = True) -> None:
        self._rerun = load("rerun", "a live view")
        self._rerun.init("ikp", spawn=open_window)

    def show(self, frame: Frame) -> None:
        """Show a frame."""
        rerun = self._rerun
        rerun.set_time("time", duration=frame.time)
        for name, image in frame.observation["images"].items():
            rerun.log(f"camera/{name}", rerun.Image(image))
        for index, value in enumerate(np.asarray(frame.observation["state"]).tolist()):
            rerun.log(f"state/{index}", rerun.Scalars(value))
