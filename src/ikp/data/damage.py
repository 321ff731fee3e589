"""The error for a file of a data set that cannot be read, with what mends it."""

from __future__ import annotations

from pathlib import Path

from ikp.data.layout import DatasetError

_POINTER = b"version https://git-lfs"
"""The first bytes of a file whose content Git LFS has not fetched."""


def damaged(path: Path, error: object, fix: str = "restore it from a copy") -> DatasetError:
    """The error for a file that cannot be read; it says how to fetch the content where the file is a pointer to it."""
    if is_pointer(path):
        return DatasetError(
            f"{path} is a pointer of Git LFS, its content is not here: run `git lfs pull` in the data set's folder"
        )
    reason = str(error).strip().split("\n")[0]
    return DatasetError(f"{path} is damaged ({reason}): {fix}")


def is_pointer(path: Path) -> bool:
    """Whether a file holds a pointer of Git LFS instead of its content."""
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False
