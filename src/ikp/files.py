"""Files that are written completely or not at all, and JSON files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_SUFFIX = ".tmp"
"""The name of a file that is being written begins with a dot and ends like this."""


@contextmanager
def replaced_atomically(path: Path, kept: str = "the file as it was before is kept") -> Iterator[Path]:
    """Yield a temporary path to write to; it is flushed and renamed to `path` if the block ends without an error.

    A reader sees the old file or the new one, never a part, even after a power loss.

    Raises:
        OSError: the disk is full or the file cannot be written; `kept` says in the message what is safe.
    """
    with failed_writes_explained(path, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
        try:
            yield temporary
            _flush(temporary, os.O_RDWR)
            temporary.replace(path)
            _flush(path.parent, os.O_RDONLY)
        finally:
            temporary.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file.

    Raises:
        OSError: the disk is full or the file cannot be written.
    """
    with failed_writes_explained(path), path.open("a") as file:
        file.write(line + "\n")


@contextmanager
def failed_writes_explained(path: Path, kept: str = "what is in it is kept") -> Iterator[None]:
    """Let an OSError in the block name the file, the reason, the fix, and, as `kept`, what is safe."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fix = "free some space" if full else "check the disk and its rights"
        message = f"could not write {path} ({error.strerror or error}): {fix} and try again; {kept}"
        raise OSError(error.errno or errno.EIO, message) from error


def writable_folder(path: Path | str) -> Path:
    """Make a folder for results, before the work whose results it will hold, and check that files can be made in it.

    Raises:
        OSError: the path or a part of it is a file, or nothing can be written there.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}{TEMPORARY_SUFFIX}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror or str(error)
        raise OSError(
            error.errno or errno.EIO, f"cannot write into the folder {path} ({reason}): choose another one"
        ) from error
    return path


def writable_file(path: Path | str) -> Path:
    """Check that a file of results can be written, before the work whose results it will hold; its folder is made.

    Raises:
        OSError: the path is a folder, or nothing can be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{path} is a folder: give the name of a file in it")
    writable_folder(path.parent)
    return path


def remove_temporary(folder: Path) -> None:
    """Remove what a killed process left of files that it was writing; nobody else may be writing there."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path | str, values: dict[str, Any]) -> Path:
    """Write a JSON file completely or not at all; a list takes one line unless it holds objects."""
    path = Path(path)
    with replaced_atomically(path) as fresh:
        fresh.write_text(_json_text(values) + "\n")
    return path


def read_json(
    path: Path | str,
    error: type[ValueError] = ValueError,
    fix: str = "restore it from a copy",
    keys: Mapping[str, type | tuple[type, ...]] | None = None,
) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        error: the class of the error for a damaged file.
        fix: what the user can do about a damaged file; it ends the message.
        keys: keys that the object must have, each with the type of its value.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `error`, the file is damaged, holds no object, or lacks a key.
    """
    try:
        value = json.loads(Path(path).read_text(), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as damage:  # neither JSON nor UTF-8, nested too deep, or a key twice
        raise error(f"{path} is not valid JSON ({damage}): {fix}") from damage
    if not isinstance(value, dict):
        raise error(f"{path} holds a {type(value).__name__}, not an object: {fix}")
    check_keys(value, keys or {}, str(path), error, fix)
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file, whose reader would take the last of two values with one key."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in values if names.count(name) > 1)
        raise ValueError(f"the key {doubled!r} is there twice")
    return values


def check_keys(
    values: Mapping[str, Any],
    keys: Mapping[str, type | tuple[type, ...]],
    where: str,
    error: type[ValueError] = ValueError,
    fix: str = "restore it from a copy",
) -> None:
    """Check that an object from a JSON file has some keys with values of certain types.

    Args:
        values: the object.
        keys: keys and the types of their values.
        where: the file, and the place of the object in it, for the message.
        error, fix: as for `read_json`.

    Raises:
        ValueError: as `error`, a key is missing or its value of another type.
    """
    missing = [key for key in keys if key not in values]
    if missing:
        raise error(f"{where} lacks {', '.join(missing)}: {fix}")
    for key, kinds in keys.items():
        if not isinstance(values[key], kinds):
            raise error(f"{where} holds a {type(values[key]).__name__} as {key!r}: {fix}")


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
        raise TypeError(f"{key!r} cannot be a key of a JSON object: use a string")
    return key
