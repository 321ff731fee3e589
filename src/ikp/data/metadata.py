"""The metadata of a data set, in its folder `meta`.

`meta/ikp.json` holds what only the author of the data set knows: robot, task, specification, units. The rest (one
row per episode, statistics, tasks, info.json) follows from it and from the data files: a crash between two writes
costs nothing, because `ikp.data.recovery` rebuilds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ikp.data.damage import damaged, is_pointer
from ikp.data.info import check_info, check_spec, is_count, wrong
from ikp.data.layout import (
    CHUNK_SIZE,
    DATA_PATTERN,
    EPISODES_PATTERN,
    IKP_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VERSION,
    DatasetError,
)
from ikp.data.parquet import read_table, write_table
from ikp.data.stats import DatasetStats, from_row, join_stats, to_json, to_row
from ikp.files import read_json, replaced_atomically, write_json
from ikp.spec import DataSpec
from ikp.words import differences

EPISODES_PER_FILE = 100
"""Rows per file under meta/episodes. Every update rewrites the last file, so this limits what an update costs."""

SHOWN = 6
"""Differences that a message lists."""


def read_info(root: Path, *, counts: bool = True) -> dict[str, Any]:
    """Read meta/info.json; check the version of the format and the values that readers use.

    Args:
        root: folder of the data set.
        counts: False takes its numbers of episodes and frames as they are, or as 0 where they are none.

    Raises:
        DatasetError: the file is missing, damaged or of another version, or a value has a wrong type or size.
    """
    if root.is_file():
        raise DatasetError(f"{root} is a file: give the folder of the data set, which holds {INFO_PATH}")
    totals = ("total_episodes", "total_frames")
    keys = ("codebase_version", "fps", "features", *(totals if counts else ()))
    info = _read(root, INFO_PATH, dict.fromkeys(keys, object))
    if not counts:
        info |= {key: info[key] if is_count(info.get(key)) else 0 for key in totals}
    path, version = root / INFO_PATH, str(info["codebase_version"])
    if version.startswith(("v1", "v2.0")):
        raise DatasetError(
            f"{path} says format {version}, {VERSION} is needed, and only v2.1 converts to it: convert to v2.1 with a "
            "LeRobot of before 0.4 (its lerobot/datasets folders v2 and v21), then to v3.0 with "
            "`python -m lerobot.scripts.convert_dataset_v21_to_v30`"
        )
    if version.startswith("v2"):
        raise DatasetError(
            f"{path} says format {version}, {VERSION} is needed: convert it with "
            "`python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=<name on the hub>`"
        )
    if not version.startswith("v3."):
        raise DatasetError(f"{path} says codebase_version {version!r}: only {VERSION} can be read")
    check_info(path, info)
    return info


def read_description(root: Path) -> dict[str, Any]:
    """Read meta/ikp.json: robot_type, task, spec, units and extra.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    path = root / IKP_PATH
    kinds = {"robot_type": str, "task": str, "spec": dict, "units": dict, "extra": dict}
    description = _read(root, IKP_PATH, kinds)
    check_spec(path, description["spec"])
    try:
        DataSpec.from_json(description["spec"])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        reason = str(error).strip().split("\n")[0]
        raise wrong(path, "spec", description["spec"], f"a data specification ({reason})") from error
    units = description["units"]
    if not all(isinstance(names, list) for names in units.values()):
        raise wrong(path, "units", units, "an object of lists of texts")
    return description


def check_description(root: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to continue a data set with frames of another kind.

    Raises:
        DatasetError: the descriptions differ; the message names where.
    """
    ignored = {"history"} if stored["spec"].get("cameras") else {"history", "cameras"}  # cameras came later
    old, new = (
        {
            "robot_type": values["robot_type"],
            "units": values["units"],
            **{key: value for key, value in values["spec"].items() if key not in ignored},
        }
        for values in (stored, given)
    )
    found = differences(old, new)
    if found:
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        raise DatasetError(
            f"{root} cannot be continued: {'; '.join([*found[:SHOWN], *more])}. Use the same settings, or a new folder"
        )


def _read(root: Path, name: Path, keys: Mapping[str, type]) -> dict[str, Any]:
    try:
        if is_pointer(root / name):
            raise damaged(root / name, "not JSON")
        return read_json(root / name, DatasetError, keys=keys)
    except FileNotFoundError:
        raise DatasetError(
            f"{root / name} is missing: {root} is not a LeRobot data set, or its copy is incomplete"
        ) from None


class Metadata:
    """Counts, statistics and rows of the finished episodes of a data set that is being written.

    Args:
        root: folder of the data set.
        features: the features of info.json.
        fps: frames per second.
        robot_type: name of the robot.
        more: further keys of info.json.
    """

    def __init__(
        self,
        root: Path,
        features: dict[str, Any],
        fps: float,
        robot_type: str,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self._root = root
        self._features = features
        # LeRobot expects an integer where it can be one.
        self._fps = int(fps) if float(fps).is_integer() else fps
        self._robot_type = robot_type
        self._more = dict(more or {})
        self._open_rows: list[dict[str, Any]] = []
        self._stats: DatasetStats | None = None
        self._written: int | None = None
        self.tasks: list[str] = []
        self.episodes = 0
        self.frames = 0

    def task_index(self, task: str) -> int:
        """The index of a task's description; the next free index if no episode has that task."""
        return self.tasks.index(task) if task in self.tasks else len(self.tasks)

    def add(self, length: int, tasks: Sequence[str], stats: DatasetStats, **more: Any) -> None:
        """Register the next episode, whose data file exists; `write` writes the metadata to disk.

        Args:
            length: number of frames.
            tasks: descriptions of its tasks.
            stats: statistics of its features.
            more: further columns of its row.
        """
        file = self.episodes // EPISODES_PER_FILE
        row = {
            "episode_index": self.episodes,
            "tasks": list(tasks),
            "length": length,
            "data/chunk_index": self.episodes // CHUNK_SIZE,
            "data/file_index": self.episodes % CHUNK_SIZE,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
            "meta/episodes/chunk_index": file // CHUNK_SIZE,
            "meta/episodes/file_index": file % CHUNK_SIZE,
        }
        self._add_row(row | more | to_row(stats), stats)

    def restore(self, data_files: int) -> None:
        """Read the rows on disk until one is unreadable, out of order or without a data file.

        The caller adds the episodes after `episodes` from their data files.

        Args:
            data_files: number of data files, one per episode.
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
            rows = read_table(self._root / _rows_path(file)).to_pylist()
        except DatasetError:
            return
        for row in rows[: data_files - self.episodes]:
            if row.get("episode_index") != self.episodes or row.get("dataset_from_index") != self.frames:
                return
            stats, tasks = from_row(row, self._features), row.get("tasks")
            whole = isinstance(tasks, list) and all(isinstance(task, str) for task in tasks)
            if (
                stats is None
                or not whole
                or row.get("dataset_to_index") != self.frames + row.get("length", -1)
            ):
                return
            self._add_row(row, stats)
            self._written = self.episodes

    def write(self) -> None:
        """Bring meta/ on disk up to date; info.json comes last, so that it never lists what is not there.

        Raises:
            OSError: the disk is full or not writable; the data files are not touched.
        """
        if self._written == self.episodes:
            return
        if self._open_rows:
            file = (self.episodes - 1) // EPISODES_PER_FILE
            with replaced_atomically(self._root / _rows_path(file)) as temporary:
                write_table(pa.Table.from_pylist(self._open_rows), temporary)
        if self._stats is not None:
            write_json(self._root / STATS_PATH, to_json(self._stats))
        if self.tasks:
            with replaced_atomically(self._root / TASKS_PATH) as temporary:
                write_table(_tasks_table(self.tasks), temporary)
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
            **self._more,
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
