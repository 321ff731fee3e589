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

LIBRARIES = {"pyrealsense2": "libusb-1.0-0", "pyspacemouse": "libhidapi-hidraw0"}
"""Debian's or Ubuntu's package with the library of the system that a module loads."""


def load(module: str, device: str) -> Any:
    """Import a module of an extra.

    Args:
        module: one of `PACKAGES`.
        device: what needs it, for the message.

    Raises:
        OSError: it is not installed, or does not load, for want of a library of the system.
    """
    package, extra = PACKAGES[module]
    try:
        return importlib.import_module(module)
    except (
        ImportError,
        OSError,
        AttributeError,
        TypeError,
    ) as error:  # as their own loading of a library fails
        if not isinstance(error, ModuleNotFoundError):
            library = LIBRARIES.get(module)
            fix = f"sudo apt install {library}" if library else "install it as its page says"
            raise OSError(
                f"{device} needs the package {package}, which is installed, but does not load ({error}). A library of "
                f"the system is probably missing: {fix}"
            ) from error
        raise OSError(
            f"{device} needs the package {package}, which is in the extra {extra!r}: pip install 'ikp[{extra}]' "
            f"({error})"
        ) from error
