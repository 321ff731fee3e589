"""Locks between processes, which the operating system frees when their holder ends in any way."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a folder or a lock file exclusively while the block runs.

    The lock belongs to the open file: a killed process holds nothing, and the empty lock file that it leaves
    behind locks nothing.

    Args:
        path: a folder that exists, which itself is locked, or a lock file, which is made (with its folder) and
            removed at the end.
        wait: wait until the lock is free.

    Yields:
        Whether the lock is held; False only without `wait`, where another process holds it.

    Raises:
        OSError: the system or the file system (some network file systems) has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path, wait)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            if not path.is_dir():
                path.unlink(missing_ok=True)
            os.close(descriptor)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other writers out of a folder while the block runs; without effect on systems that have no locks.

    Raises:
        BlockingIOError: another process is writing to the folder.
    """
    with ExitStack() as stack:
        try:
            held = stack.enter_context(lock(folder))
        except OSError:  # no locks on this system or network file system: the user has to take care
            held = True
        if not held:
            raise BlockingIOError(
                errno.EWOULDBLOCK,
                f"another process is writing to {folder}: wait for it or choose another folder",
            )
        yield


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        descriptor = _open(path, create=False)
    except FileNotFoundError:
        return False
    try:
        return not _flock(descriptor, wait=False, shared=True)
    finally:
        os.close(descriptor)


def _acquire(path: Path, wait: bool) -> int | None:
    while True:
        descriptor = _open(path, create=True)
        try:
            held = _flock(descriptor, wait)
        except BaseException:
            os.close(descriptor)
            raise
        if held and _is_file_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        if not held:
            return None
        # else the holder removed the file after it was opened here: try again with a new file


def _open(path: Path, create: bool) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY)
    return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)


def _flock(descriptor: int, wait: bool, shared: bool = False) -> bool:
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "this system has no file locks (flock)")
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
