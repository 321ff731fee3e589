"""Modules of the extras `real` and `view`, which drive hardware or show it, and are imported only when it is used."""

from __future__ import annotations

import importlib
from typing import Any

PACKAGES = {
    "rtde_control": ("ur-rtde", "real"),
    "rtde_receive": ("ur-rtde", "real"),
    "rtde_io": ("ur-rtde", "real"),
    "pyrealsense2": ("pyrealsense2", "real"),
    "pyspacemouse": ("pyspacemouse", "real"),
    "rerun": ("rerun-sdk", "view"),
}
"""Name on PyPI and extra of each module."""


def load(module: str, device: str) -> Any:
    """Import a module of an extra.

    Args:
        module: one of `PACKAGES`.
        device: what needs it, for the message.

    Raises:
        OSError: it is not installed, or does not load.
    """
    package, extra = PACKAGES[module]
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # some load a library of the system
        raise OSError(
            f"{device} needs the package {package}, which is in the extra {extra!r}: pip install 'ikp[{extra}]' "
            f"({error})"
        ) from error
