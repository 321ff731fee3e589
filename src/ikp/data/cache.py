"""Decoded images on disk, for data sets whose images do not fit into memory.

A cache file holds the images of one camera at one size as plain uint8 and is mapped into memory: the operating system
reads what a batch needs and keeps what fits. Beside it a list (JSON) says from which files the images were decoded. The
list is written last, so that a file without one is what a killed process left. The folder is the data set's with
".cache" added to its name; it can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ikp.data.layout import IMAGES, DatasetError
from ikp.files import read_json, remove_temporary, replaced_atomically, writable_folder, write_json
from ikp.locks import lock

FORMAT = 1
"""Caches of another format are made again: raise it where the same files are decoded to other images."""
LIST_SUFFIX, IMAGES_SUFFIX = ".images.json", ".images"


class Origin(NamedTuple):
    """Where the images of one episode come from.

    Attributes:
        path: the file, relative to the data set's folder.
        size: its size [byte].
        changed: when it was changed [ns].
        start: where the episode starts in it: a row, or a time [s] in a video.
        frames: number of images.
    """

    path: str
    size: int
    changed: int
    start: float
    frames: int


@dataclass(frozen=True)
class CameraImages:
    """The images of one camera that a cache is asked for.

    Attributes:
        camera: key of the camera in the data set.
        stored: how they are stored there: any JSON value that changes when they are decoded in another way.
        size: (height, width) of the decoded images [pixel].
        origins: where the images of each episode come from, in the order of the episodes.
    """

    camera: str
    stored: str
    size: tuple[int, int]
    origins: tuple[Origin, ...]

    @property
    def kind(self) -> dict[str, Any]:
        """Description that is equal for two caches whose images can stand in for each other."""
        return {"format": FORMAT, "camera": self.camera, "stored": self.stored, "size": list(self.size)}

    @property
    def frames(self) -> int:
        """Number of images."""
        return sum(origin.frames for origin in self.origins)

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return self.size[0] * self.size[1] * 3

    @property
    def bytes(self) -> int:
        """Bytes of all images."""
        return self.frames * self.image_bytes

    @property
    def file_name(self) -> str:
        """Name of the cache file without its suffix."""
        camera = re.sub(r"[^\w-]+", "_", self.camera.removeprefix(IMAGES))
        content = hashlib.sha256(json.dumps([self.kind, self.origins]).encode()).hexdigest()
        return f"{camera}-{self.size[0]}x{self.size[1]}-{content[:12]}"


class ImageFile:
    """A cache file that is being filled, image by image in any order and from any thread."""

    def __init__(self, file: BinaryIO, image_bytes: int) -> None:
        self._file, self._image_bytes = file, image_bytes
        self._lock = threading.Lock()

    def __setitem__(self, frame: int | np.integer, image: np.ndarray) -> None:
        """Write the image (height, width, 3) of a frame.

        Raises:
            OSError: the disk is full.
        """
        # Written and not mapped: a full disk is an error here, and would end the process in a mapped file.
        with self._lock:
            self._file.seek(int(frame) * self._image_bytes)
            self._file.write(np.ascontiguousarray(image).data)


def cache_folder(root: Path) -> Path:
    """The folder of a data set's caches, beside the data set (or beside a link to it)."""
    root = Path(os.path.abspath(root))  # noqa: PTH100 - as Path.resolve, but follows no link
    return root.with_name(f"{root.name}.cache")


def origin_of(root: Path, path: Path, start: float, frames: int) -> Origin:
    """Where the images of an episode come from; a file that is missing has the size -1."""
    name = path.relative_to(root).as_posix()
    if not path.exists():
        return Origin(name, -1, 0, start, frames)
    found = path.stat()
    return Origin(name, found.st_size, found.st_mtime_ns, start, frames)


def cached_images(
    root: Path,
    wanted: Mapping[str, CameraImages],
    fill: Callable[[Mapping[str, ImageFile]], None],
) -> dict[str, UInt8[Tensor, "frame _ _ 3"]]:
    """Images of some cameras, mapped from their cache files; what is missing there is decoded first.

    The tensors cannot be written to: the system ends a process that tries. Where another process is filling the cache,
    this one waits for it.

    Args:
        root: folder of the data set.
        wanted: camera to what its images are.
        fill: decodes all images of some cameras into their files. If it fails, or the process is killed, the cache
            remains as it was.

    Raises:
        DatasetError: the folder cannot be written, or the disk lacks the space.
        OSError: the disk became full.
    """
    folder = cache_folder(root)
    found = _find(folder, wanted)
    if set(found) != set(wanted):
        _make_folder(folder, wanted)
        with _only_builder(folder) as alone:
            found = _find(folder, wanted)  # another process may have made them by now
            missing = {name: images for name, images in wanted.items() if name not in found}
            if alone:
                _remove_useless(root, folder, missing)
            if missing:
                _check_space(folder, missing)
                with ExitStack() as files:
                    fill(
                        {name: files.enter_context(_new(folder, images)) for name, images in missing.items()}
                    )
            found = _find(folder, wanted)
    return {name: found[name] for name in wanted}


def _find(folder: Path, wanted: Mapping[str, CameraImages]) -> dict[str, Tensor]:
    """The cameras whose images are there."""
    lists = [(path, _read_list(path)) for path in sorted(folder.glob(f"*{LIST_SUFFIX}"))]
    found: dict[str, Tensor] = {}
    for name, images in wanted.items():
        for path, (kind, origins) in lists:
            start = _position(images.origins, origins) if kind == images.kind else None
            data = _data_file(path)
            whole = sum(origin.frames for origin in origins) * images.image_bytes
            if start is not None and data.exists() and data.stat().st_size == whole:
                first = sum(origin.frames for origin in origins[:start])
                found[name] = _mapped(data, first, images)
    return found


def _read_list(path: Path) -> tuple[dict[str, Any], list[Origin]]:
    """Kind and origins of a cache file's images; both empty where the list is damaged."""
    try:
        values = read_json(path)
        origins = [Origin(*origin) for origin in values.pop("origins")]
        valid = all(type(origin.path) is str and type(origin.frames) is int for origin in origins)
    except (OSError, ValueError, KeyError, TypeError):
        return {}, []
    return (values, origins) if valid else ({}, [])


def _data_file(path: Path) -> Path:
    """The cache file of a list."""
    return path.with_name(path.name.removesuffix(LIST_SUFFIX) + IMAGES_SUFFIX)


def _position(part: Sequence[Origin], whole: Sequence[Origin]) -> int | None:
    """Where some episodes follow each other in a list; None where they do not."""
    if not part or part[0] not in whole:
        return None
    start = whole.index(part[0])
    return start if tuple(whole[start : start + len(part)]) == tuple(part) else None


def _mapped(path: Path, first: int, images: CameraImages) -> Tensor:
    # Mapped for reading only: a private mapping that could be written to is refused where it exceeds the memory.
    shape = (images.frames, *images.size, 3)
    array = np.memmap(path, np.uint8, mode="r", offset=first * images.image_bytes, shape=shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


@contextmanager
def _new(folder: Path, images: CameraImages) -> Iterator[ImageFile]:
    """A new cache file, which counts once the block has ended without an error."""
    path = folder / (images.file_name + IMAGES_SUFFIX)
    with (
        replaced_atomically(
            path, "the images are decoded again next time; a smaller --image-size needs less"
        ) as new,
        new.open("wb") as file,
    ):
        file.truncate(images.bytes)
        yield ImageFile(file, images.image_bytes)
    write_json(folder / (images.file_name + LIST_SUFFIX), {**images.kind, "origins": images.origins})


def _make_folder(folder: Path, wanted: Mapping[str, CameraImages]) -> None:
    try:
        writable_folder(folder)
    except OSError as error:
        raise DatasetError(
            f"the images need {_gib(wanted)} decoded, more than the memory takes, and cannot be kept on disk: {error}; "
            "link the data set into a folder that can be written (ln -s) and give the link, or choose a smaller "
            "image_size (--image-size), fewer episodes or fewer cameras"
        ) from error


def _check_space(folder: Path, missing: Mapping[str, CameraImages]) -> None:
    free, needed = shutil.disk_usage(folder).free, sum(images.bytes for images in missing.values())
    if needed > free:
        raise DatasetError(
            f"the images need {_gib(missing)} ({needed} bytes) decoded, more than the memory takes, and the disk of "
            f"{folder} has {free / 2**30:.1f} GiB ({free} bytes) free: free some space, or choose a smaller image_size "
            "(--image-size), fewer episodes or fewer cameras"
        )


def _gib(wanted: Mapping[str, CameraImages]) -> str:
    return f"{sum(images.bytes for images in wanted.values()) / 2**30:.1f} GiB"


@contextmanager
def _only_builder(folder: Path) -> Iterator[bool]:
    """Wait until no other process fills the cache; yields False on systems that cannot tell."""
    with ExitStack() as stack:
        try:
            held = stack.enter_context(lock(folder, wait=True))
        except OSError:  # no locks on this network file system: both processes fill files of their own
            held = False
        yield held


def _remove_useless(root: Path, folder: Path, missing: Mapping[str, CameraImages]) -> None:
    """Remove leftovers of killed processes, caches of files that have changed, and those that new ones will contain."""
    remove_temporary(folder)
    for path in folder.glob(f"*{LIST_SUFFIX}"):
        kind, origins = _read_list(path)
        replaced = any(
            kind == images.kind and _position(origins, images.origins) is not None
            for images in missing.values()
        )
        if kind.get("format") != FORMAT or replaced or _changed(root, origins):
            path.unlink(missing_ok=True)
    for path in folder.glob(f"*{IMAGES_SUFFIX}"):
        if not path.with_name(path.name.removesuffix(IMAGES_SUFFIX) + LIST_SUFFIX).exists():
            path.unlink(missing_ok=True)


def _changed(root: Path, origins: Sequence[Origin]) -> bool:
    """Whether a file is no longer what the images were decoded from."""
    files = {(origin.path, origin.size, origin.changed) for origin in origins}
    return any(origin_of(root, root / path, 0, 0)[1:3] != (size, changed) for path, size, changed in files)
