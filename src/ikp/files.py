"""Files that are whole or absent: written under a temporary name, flushed to the disk and renamed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of every file that is being written; the name also begins with a dot."""


@contextmanager
def replaced_atomically(path: Path, kept: str = "the file as it was before is kept") -> Iterator[Path]:
    """A temporary path to write to, flushed and renamed to `path` when the block ends without an error.

    A reader sees the old file or the new one, never a part, even after a power loss.

    Raises:
        OSError: the disk is full or the file cannot be written; `kept` says in the message what is safe.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        _flush(temporary, os.O_RDWR)
        temporary.replace(path)
        _flush(path.parent, os.O_RDONLY)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fix = "free some space" if full else "check the disk and its rights"
        message = f"could not write {path} ({error.strerror or error}): {fix} and try again; {kept}"
        raise OSError(error.errno or errno.EIO, message) from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path | str, values: dict[str, Any]) -> Path:
    """Write a JSON file complete or not at all; a list takes one line unless it holds objects."""
    path = Path(path)
    with replaced_atomically(path) as fresh:
        fresh.write_text(_json_text(values) + "\n")
    return path


def _json_text(value: Any, indent: str = "") -> str:
    inner = f"{indent} "
    if isinstance(value, dict) and value:
        lines = [f"{json.dumps(_key(key))}: {_json_text(item, inner)}" for key, item in value.items()]
        opening, closing = "{}"
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        lines = [_json_text(item, inner) for item in value]
        opening, closing = "[]"
    else:
        return json.dumps(value)
    return f"{opening}\n{inner}" + f",\n{inner}".join(lines) + f"\n{indent}{closing}"


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{key!r} is no key of a JSON object: use a string")
    return key
