"""A RealSense camera (package `pyrealsense2`, extra `real`)."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import numpy as np

from ikp.robots.extras import load
from ikp.robots.interfaces import Picture

FIRST_IMAGE = 5.0
"""Time that the camera may take to deliver its first image [s]."""
WAIT = 1000
"""Time without an image after which the camera counts as lost [ms]."""


class RealSense:
    """The colour images of a RealSense camera, such as a D435; a thread keeps the newest one.

    Args:
        serial: serial number; the only camera if empty.
        height, width: of the images [pixel].
        fps: images per second.

    Raises:
        OSError: the package is missing, there is no such camera, or it delivers nothing.
    """

    def __init__(self, serial: str = "", height: int = 480, width: int = 640, fps: int = 30) -> None:
        rs = load("pyrealsense2", "a RealSense camera")
        self._name = serial or "the RealSense camera"
        self._pipeline, config, self._domains = rs.pipeline(), rs.config(), rs.timestamp_domain
        if serial:
            config.enable_device(serial)
        config.enable_stream(rs.stream.color, width, height, rs.format.rgb8, fps)
        try:
            self._pipeline.start(config)
        except RuntimeError as error:
            raise OSError(
                f"{self._name} cannot be started ({error}): plug it into a USB 3 port, and check its serial number"
            ) from error
        self._newest: Picture | None = None
        self._failure: str | None = None
        self._ended, self._first = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._first.wait(FIRST_IMAGE):
            self.close()
            raise OSError(f"{self._name} delivers no image: plug it into a USB 3 port")

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                frame = self._pipeline.wait_for_frames(WAIT).get_color_frame()
                taken, image = self._taken(frame), np.asanyarray(frame.get_data()).copy()
            except RuntimeError as error:
                self._failure = str(error)
                return
            self._newest = Picture(taken, image)
            self._first.set()

    def _taken(self, frame: Any) -> float:
        """When a frame was taken by its time stamp [s], if that is of this machine's clock; otherwise now."""
        domains = self._domains
        age = 0.0
        if frame.get_frame_timestamp_domain() in (domains.global_time, domains.system_time):
            age = time.time() - frame.get_timestamp() / 1000
        return time.monotonic() - max(age, 0.0)

    def taken_at(self) -> float:
        """When the newest image was taken, or arrived if its time stamp is of the camera's own clock [s]."""
        return self.read().time

    def read(self) -> Picture:
        """The newest image."""
        if self._newest is None or self._failure is not None:
            raise OSError(f"{self._name} is lost ({self._failure}): check the cable")
        return self._newest

    def close(self) -> None:
        """Stop the camera."""
        self._ended.set()
        self._thread.join(2.0)
        with contextlib.suppress(RuntimeError):
            self._pipeline.stop()
