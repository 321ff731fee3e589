"""Write what a survey found as a whole data set: one data file per episode, videos as they are, new metadata."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from ikp.data.layout import (
    CHUNK_SIZE,
    EPISODES,
    IKP_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VIDEO_PATTERN,
    data_path,
)
from ikp.data.metadata import Metadata
from ikp.data.parquet import numbers, with_info, write_table
from ikp.data.survey import Survey
from ikp.files import replaced_atomically

_MADE_AGAIN = ("data", "videos", "images", INFO_PATH, STATS_PATH, TASKS_PATH, EPISODES)
"""Files that are not copied: those that are written anew, and the images of an episode that LeRobot did not finish."""
_COMPUTED = ("codebase_version", "chunks_size", "splits", "data_path", "features")
_KEPT = "the data set as it was is kept"


def write_survey(survey: Survey, folder: Path, bar: tqdm) -> None:
    """Write the episodes of a survey to a new folder.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    info = survey.info
    more = {key: info[key] for key in info if key not in _COMPUTED and not key.startswith("total_")}
    more["video_path"] = VIDEO_PATTERN if survey.videos else None
    metadata = Metadata(folder, survey.features, info["fps"], str(info.get("robot_type")), more)
    _copy_rest(survey.root, folder)
    places = _copy_videos(survey, folder)
    own = (survey.root / IKP_PATH).exists()
    tasks: list[str] = []
    bar.n, bar.total = 0, len(survey.episodes)
    for _, members in groupby(survey.episodes, key=lambda episode: episode.path):
        for episode, table in survey.files.tables(list(members)):
            named = survey.tasks_of(episode)
            texts = list(dict.fromkeys(named.values()))
            tasks += [text for text in texts if text not in tasks]
            path = folder / data_path(metadata.episodes)
            number_of = {index: tasks.index(text) for index, text in named.items()}
            table = _placed(table, metadata.episodes, metadata.frames, number_of, path)
            if own:  # a writer continues only files that have it
                table = with_info(table, episode.info or {"task": texts[0] if texts else ""})
            with replaced_atomically(path, _KEPT) as temporary:
                write_table(table, temporary, dictionary=False)
            stats = {key: episode.stats[key] for key in survey.features if key in episode.stats}
            metadata.add(episode.length, texts, stats, **places[metadata.episodes])
            bar.update()
    metadata.write()


def _placed(table: pa.Table, episode: int, first: int, tasks: Mapping[int, int], path: Path) -> pa.Table:
    """The rows of an episode with its new number, first frame and numbers of tasks."""
    values: dict[str, np.ndarray] = {
        "episode_index": np.full(len(table), episode),
        "index": np.arange(first, first + len(table)),
    }
    if "task_index" in table.column_names:
        old = numbers(table.column("task_index"), 1, "task_index", path)[:, 0]
        values["task_index"] = np.array([tasks[int(index)] for index in old])
    for name, column in values.items():
        place = table.schema.get_field_index(name)
        if place >= 0:
            field = table.schema.field(place)
            array = pa.array(column.reshape(-1), pa.int64())
            table = table.set_column(place, field, array.cast(field.type))
    return table


def _copy_rest(root: Path, folder: Path) -> None:
    """Copy the files that are neither data nor made again."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        is_made = any(name.is_relative_to(made) for made in _MADE_AGAIN)
        if path.is_file() and not is_made and not path.name.startswith("."):
            _copy(path, folder / name)


def _copy_videos(survey: Survey, folder: Path) -> list[dict[str, Any]]:
    """Copy the videos of the episodes; return for each episode the columns of meta/episodes about them."""
    columns: list[dict[str, Any]] = [{} for _ in survey.episodes]
    for key, places in survey.videos.items():
        paths = sorted({places[episode.index].path for episode in survey.episodes})
        numbered = {path: divmod(number, CHUNK_SIZE) for number, path in enumerate(paths)}
        for path, (chunk, file) in numbered.items():
            name = VIDEO_PATTERN.format(video_key=key, chunk_index=chunk, file_index=file)
            _copy(path, folder / name)
        for row, episode in zip(columns, survey.episodes, strict=True):
            path, start, _ = places[episode.index]
            end = start + episode.length / float(survey.info["fps"])
            names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
            values = (*numbered[path], start, end)
            row |= {f"videos/{key}/{name}": value for name, value in zip(names, values, strict=True)}
    return columns


def _copy(path: Path, new: Path) -> None:
    with replaced_atomically(new, _KEPT) as temporary:
        shutil.copyfile(path, temporary)
