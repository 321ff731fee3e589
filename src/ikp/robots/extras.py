"""Modules of the extra `real`, which drive hardware and are imported only when it is used."""

from __future__ import annotations


def missing(package: str, device: str, error: ImportError) -> OSError:
    """The error for a package that is not installed or does not load.

    Args:
        package: its name on PyPI.
        device: what it is for.
        error: of the import.
    """
    return OSError(
        f"{device} needs the package {package}, which is in the extra 'real': pip install 'ikp[real]' ({error})"
    )
