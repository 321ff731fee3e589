"""The folder of a data set that is being written: locked, checked, cleaned up, its metadata rebuilt."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from ikp.data.layout import IKP_PATH, INFO_PATH, DatasetError, data_path, read_json
from ikp.data.metadata import Catalogue
from ikp.data.parquet import damaged, episode_info, image_files, numbers, open_data_file
from ikp.data.stats import DatasetStats, image_stats, vector_stats
from ikp.files import TEMPORARY_SUFFIX

try:
    import fcntl
except ImportError:  # Windows has no advisory locks on folders
    fcntl = None


class FolderLock:
    """Keeps a second writer out of a folder, until `release` or the end of the process however it ends.

    Raises:
        OSError: another writer holds the folder.
    """

    def __init__(self, root: Path) -> None:
        self._descriptor: int | None = None
        if fcntl is None:
            return
        self._descriptor = os.open(root, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise BlockingIOError(
                error.errno, f"another process is writing to {root}: wait for it or choose another folder"
            ) from None
        except OSError:
            self.release()  # some network file systems cannot lock; writing there is left to the user's care

    def release(self) -> None:
        """Let others write."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def finished_files(root: Path) -> list[Path]:
    """The data files of a folder in order, after leftovers of a killed writer are removed.

    Raises:
        DatasetError: the folder is not one of ours, or a file is missing.
    """
    if not (root / IKP_PATH).exists():
        other = next((path for path in root.rglob("*") if path.is_file() and not _is_temporary(path)), None)
        if other is not None:
            raise DatasetError(
                f"{root} already holds {other.relative_to(root)} and was not written by ikp (no {IKP_PATH}): "
                "write to a new folder"
            )
    for folder in (root / "data", root / "meta"):
        for path in [path for path in folder.rglob(f".*{TEMPORARY_SUFFIX}") if _is_temporary(path)]:
            path.unlink()
    files = sorted((root / "data").glob("*/*.parquet"))
    listed = len(files)
    if (root / INFO_PATH).exists():
        listed = max(listed, int(read_json(root / INFO_PATH).get("total_episodes", 0)))
    for episode in range(listed):
        expected = root / data_path(episode)
        if episode >= len(files) or files[episode] != expected:
            raise DatasetError(
                f"{expected} is missing, of {listed} episodes: restore it from a copy; without one, delete "
                f"the later data files and {INFO_PATH} to continue from there. (A folder that LeRobot itself "
                "has appended to can be read, but not continued here.)"
            )
    return files


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)


def read_description(root: Path) -> dict[str, Any]:
    """Read meta/ikp.json.

    Raises:
        DatasetError: it is missing or damaged.
    """
    description = read_json(root / IKP_PATH)
    missing = [key for key in ("robot_type", "task", "spec", "units", "extra") if key not in description]
    if missing:
        raise DatasetError(f"{root / IKP_PATH} lacks {missing}: restore it from a copy")
    return description


def check_description(root: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to continue a data set with frames of another kind.

    Raises:
        DatasetError: names what differs.
    """
    pairs = {key: (stored[key], given[key]) for key in ("robot_type", "units")}
    fields = (set(stored["spec"]) | set(given["spec"])) - {"history"}
    if not stored["spec"].get("cameras"):  # written before cameras were described, or without
        fields -= {"cameras"}
    fields = sorted(fields)
    pairs |= {key: (stored["spec"].get(key), given["spec"].get(key)) for key in fields}
    different = [f"{key} is {old} there and {new} now" for key, (old, new) in pairs.items() if old != new]
    if different:
        raise DatasetError(
            f"{root} cannot be continued: {'; '.join(different)}. Use the same settings, or a new folder"
        )


def rebuild_row(
    path: Path, features: Mapping[str, Any], catalogue: Catalogue
) -> tuple[int, str, DatasetStats]:
    """Length, task and statistics of an episode from its data file, for `Catalogue.add`.

    Raises:
        DatasetError: the file is damaged or does not continue the episodes before it.
    """
    file = open_data_file(path)
    try:
        table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error
    if table.column_names != list(features):
        raise DatasetError(f"{path} has the columns {table.column_names}: {list(features)} are expected")
    columns = {
        key: numbers(table.column(key), int(feature["shape"][0]), key, path)
        for key, feature in features.items()
        if feature["dtype"] != "image"
    }
    first = (columns["episode_index"] == catalogue.episodes).all(), columns["index"][0] == catalogue.frames
    if not all(first):
        raise DatasetError(
            f"{path} does not hold episode {catalogue.episodes} starting at frame {catalogue.frames}: "
            "files were exchanged; restore the folder from a copy"
        )
    stats = {}
    for key, feature in features.items():
        if feature["dtype"] == "image":
            files = image_files(table.column(key), key, path)
            pictures = (Image.open(io.BytesIO(image)).convert("RGB") for image in files)
            stats[key] = image_stats([picture.histogram() for picture in pictures])
        else:
            stats[key] = vector_stats(columns[key])
    return len(table), str(episode_info(file).get("task", "")), stats
