"""A live view of a session's frames in Rerun (package `rerun-sdk`, extra `view`)."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from ikp.robots.session import Frame


def load_rerun() -> ModuleType:
    """Rerun's module.

    Raises:
        OSError: it is not installed.
    """
    try:
        import rerun  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise OSError(
            "a view in Rerun needs the package rerun-sdk, which is in the extra 'view': pip install 'ikp[view]' "
            f"({error})"
        ) from error
    return rerun


class LiveView:
    """Shows images and joints over time.

    Args:
        open_window: whether to open Rerun's viewer.

    Raises:
        OSError: Rerun is not installed.
    """

    def __init__(self, open_window: bool = True) -> None:
        self._rerun = load_rerun()
        self._rerun.init("ikp", spawn=open_window)

    def show(self, frame: Frame) -> None:
        """Show a frame."""
        rerun = self._rerun
        rerun.set_time("time", duration=frame.time)
        for name, image in frame.observation["images"].items():
            rerun.log(f"camera/{name}", rerun.Image(image))
        for index, value in enumerate(np.asarray(frame.observation["state"]).tolist()):
            rerun.log(f"state/{index}", rerun.Scalars(value))
