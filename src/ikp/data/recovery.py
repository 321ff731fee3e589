"""Recovery after a crash: leftovers of a killed writer are removed, missing metadata rebuilt from the data files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from ikp.data.index import image_shape
from ikp.data.layout import IKP_PATH, INFO_PATH, DatasetError, data_path, parquet_files
from ikp.data.metadata import Metadata
from ikp.data.parquet import damaged_data, decode_image, episode_info, image_files, numbers, open_data_file
from ikp.data.stats import DatasetStats, image_stats, vector_stats
from ikp.files import TEMPORARY_SUFFIX, read_json

NUMERIC = ("float", "int", "uint", "bool")
"""Beginnings of the data types of features that hold numbers."""


def finished_files(root: Path) -> list[Path]:
    """Remove leftovers of a killed writer and return the data files in order.

    Raises:
        DatasetError: the folder holds something that ikp did not write, or a data file is missing.
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
    files = parquet_files(root / "data")
    listed = len(files)
    if (root / INFO_PATH).exists():
        listed = max(listed, int(read_json(root / INFO_PATH, DatasetError).get("total_episodes", 0)))
    for episode in range(listed):
        expected = root / data_path(episode)
        if episode >= len(files) or files[episode] != expected:
            raise DatasetError(
                f"{expected} is missing, of {listed} episodes: restore it from a copy; without one, delete "
                f"the later data files and {INFO_PATH} to continue from there. (A folder that LeRobot itself "
                "has appended to can be read, but not continued here.)"
            )
    if files and not episode_info(open_data_file(files[-1]), files[-1]):
        raise DatasetError(
            f"{files[-1]} was not written by ikp: another tool, such as LeRobot, has appended to {root}, which can be "
            "read but not continued here; write to a new folder"
        )
    return files


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)


def rebuild_row(
    path: Path, features: Mapping[str, Any], metadata: Metadata
) -> tuple[int, list[str], DatasetStats]:
    """Length, tasks and statistics of an episode from its data file: the arguments of `Metadata.add`.

    Raises:
        DatasetError: the file is damaged or does not continue the episodes before it.
    """
    file = open_data_file(path)
    try:
        table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise damaged_data(path, error) from error
    if table.column_names != list(features):
        raise DatasetError(f"{path} has the columns {table.column_names}: {list(features)} are expected")
    if not len(table):
        raise DatasetError(f"{path} has no rows: restore it from a copy")
    stats = episode_stats(table, features, path)
    place = {key: numbers(table.column(key), 1, key, path) for key in ("episode_index", "index")}
    if not ((place["episode_index"] == metadata.episodes).all() and place["index"][0] == metadata.frames):
        raise DatasetError(
            f"{path} does not hold episode {metadata.episodes} starting at frame {metadata.frames}: "
            "files were exchanged; restore the folder from a copy"
        )
    return len(table), [str(episode_info(file, path).get("task", ""))], stats


def episode_stats(table: pa.Table, features: Mapping[str, Any], path: Path) -> DatasetStats:
    """The statistics of an episode's numbers and images. All are read, so that damage is found.

    Args:
        table: the rows of the episode.
        features: the features of info.json; those without numbers or images are left out.
        path: the data file, for messages.

    Raises:
        DatasetError: numbers or images are missing, damaged or of another size.
    """
    stats: DatasetStats = {}
    with ThreadPoolExecutor() as pool:
        for key, feature in features.items():
            if feature["dtype"] == "image":
                size = image_shape(feature)[:2]
                files = image_files(table.column(key), key, path)
                stats[key] = image_stats(list(pool.map(partial(_histogram, path, size=size), files)))
            elif feature["dtype"].startswith(NUMERIC):
                shape = tuple(feature["shape"])
                found = vector_stats(numbers(table.column(key), math.prod(shape), key, path))
                stats[key] = {
                    name: value if name == "count" else value.reshape(shape) for name, value in found.items()
                }
    return stats


def _histogram(path: Path, image: bytes, size: tuple[int, int]) -> list[int]:
    try:
        return Image.fromarray(decode_image(image, *size)).histogram()
    except ValueError as error:
        raise DatasetError(f"{path}: an image {error}: restore the file from a copy") from error
