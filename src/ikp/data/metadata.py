"""The metadata of a data set that is being written: one row per episode, statistics, tasks, info.json.

The truth lies in the data files and in meta/ikp.json. Everything here follows from them, is written
atomically and can be rebuilt, so a crash between two writes costs nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ikp.data.layout import (
    CHUNK_SIZE,
    DATA_PATTERN,
    EPISODES_PATTERN,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VERSION,
)
from ikp.data.stats import DatasetStats, from_row, join_stats, to_json, to_row
from ikp.files import replaced_atomically, write_json

EPISODES_PER_FILE = 100
"""Rows per file under meta/episodes. The last file is rewritten as it grows: this bounds an update's cost."""


class Catalogue:
    """Counts, statistics and rows of the finished episodes.

    Args:
        root: folder of the data set.
        features: the features of info.json.
        fps: frames per second.
        robot_type: name of the robot.
    """

    def __init__(self, root: Path, features: dict[str, Any], fps: float, robot_type: str) -> None:
        self._root = root
        self._features = features
        # LeRobot expects an integer where it can be one.
        self._fps = int(fps) if float(fps).is_integer() else fps
        self._robot_type = robot_type
        self._open_rows: list[dict[str, Any]] = []
        self._stats: DatasetStats | None = None
        self._written: int | None = None
        self.tasks: list[str] = []
        self.episodes = 0
        self.frames = 0

    def task_index(self, task: str) -> int:
        """Index of a task's description; the next free one if no episode has had it."""
        return self.tasks.index(task) if task in self.tasks else len(self.tasks)

    def add(self, length: int, task: str, stats: DatasetStats) -> None:
        """Register the next episode, whose data file exists; `write` brings it to disk."""
        file = self.episodes // EPISODES_PER_FILE
        row = {
            "episode_index": self.episodes,
            "tasks": [task],
            "length": length,
            "data/chunk_index": self.episodes // CHUNK_SIZE,
            "data/file_index": self.episodes % CHUNK_SIZE,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
            "meta/episodes/chunk_index": file // CHUNK_SIZE,
            "meta/episodes/file_index": file % CHUNK_SIZE,
        }
        self._add_row(row | to_row(stats), stats)

    def restore(self, data_files: int) -> None:
        """Take over the rows on disk, as far as they are readable, in order and backed by a data file.

        Rows beyond that are left to the caller, who rebuilds them from the data files.
        """
        try:
            for file in range(-(-data_files // EPISODES_PER_FILE)):
                self._restore_file(file, data_files)
                if self.episodes != min((file + 1) * EPISODES_PER_FILE, data_files):
                    break
        finally:
            self._written = None  # the other files may lag behind the rows

    def _restore_file(self, file: int, data_files: int) -> None:
        try:
            rows = pq.read_table(self._root / _rows_path(file)).to_pylist()
        except (OSError, pa.ArrowException):
            return
        for row in rows[: data_files - self.episodes]:
            if row.get("episode_index") != self.episodes or row.get("dataset_from_index") != self.frames:
                return
            self._add_row(row, from_row(row))
            self._written = self.episodes

    def write(self) -> None:
        """Bring meta/ on disk up to date; info.json last, so it never promises what is not there.

        Raises:
            OSError: the disk is full or not writable; the data files are not touched.
        """
        if self._written == self.episodes:
            return
        if self._open_rows:
            file = (self.episodes - 1) // EPISODES_PER_FILE
            with replaced_atomically(self._root / _rows_path(file)) as temporary:
                pq.write_table(pa.Table.from_pylist(self._open_rows), temporary)
        if self._stats is not None:
            write_json(self._root / STATS_PATH, to_json(self._stats))
        if self.tasks:
            with replaced_atomically(self._root / TASKS_PATH) as temporary:
                pq.write_table(_tasks_table(self.tasks), temporary)
        write_json(self._root / INFO_PATH, self._info())
        self._written = self.episodes

    def _add_row(self, row: dict[str, Any], stats: DatasetStats) -> None:
        if len(self._open_rows) == EPISODES_PER_FILE:
            self._close_rows()
        self._open_rows.append(row)
        self.tasks += [task for task in row["tasks"] if task not in self.tasks]
        self._stats = join_stats(self._stats, stats)
        self.episodes += 1
        self.frames = row["dataset_to_index"]

    def _close_rows(self) -> None:
        self.write()  # a full file must be complete on disk before its rows are forgotten
        self._open_rows = []

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": VERSION,
            "robot_type": self._robot_type,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": DATA_PATTERN,
            "video_path": None,
            "features": self._features,
        }


def _rows_path(file: int) -> Path:
    return Path(EPISODES_PATTERN.format(chunk_index=file // CHUNK_SIZE, file_index=file % CHUNK_SIZE))


def _tasks_table(tasks: list[str]) -> pa.Table:
    """Tasks as LeRobot reads them: a pandas frame whose index holds the descriptions."""
    index = list(range(len(tasks)))
    table = pa.table({"task_index": pa.array(index, pa.int64()), "task": pa.array(tasks, pa.string())})
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type, "metadata": None}
        for name, kind, numpy_type in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
