"""The episodes of damaged data files: what can be read, in whole episodes whose numbers and images were checked."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ikp.data.episodes import PLACE_COLUMNS, split_rows
from ikp.data.footers import with_new_footer
from ikp.data.layout import ACTION, ENVIRONMENT_STATE, INDEX_COLUMNS, STATE, DatasetError
from ikp.data.parquet import episode_info, episode_table, numbers, open_data_file
from ikp.data.recovery import episode_stats
from ikp.data.stats import DatasetStats

_OWN_COLUMNS = ("index", "task_index")
"""Columns that may differ in two copies of an episode."""


@dataclass(frozen=True, eq=False)
class SavedEpisode:
    """An episode whose rows are whole.

    Attributes:
        index: its index as recorded.
        path: its data file.
        rows: (frame,) its rows among those that can be read, in the order of its frames.
        first: its first value of the column "index", or -1 without this column.
        tasks: indices of its tasks; empty without the column "task_index".
        stats: statistics of its numbers and of images that are no videos.
        info: the information that ikp stored with it.
        is_open: rows may be lost after its last one.
    """

    index: int
    path: Path
    rows: np.ndarray
    first: int
    tasks: tuple[int, ...]
    stats: DatasetStats
    info: Mapping[str, Any]
    is_open: bool

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.rows)


@dataclass
class _Rows:
    """The rows of a data file that can be read.

    Attributes:
        table: the rows, each once.
        info: the information of the file.
        open_episodes: episodes after whose last row rows may be lost.
        notes: what was mended or lost.
    """

    table: pa.Table
    info: Mapping[str, Any]
    open_episodes: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


class DataFiles:
    """The data files of a data set, possibly damaged.

    Args:
        root: folder of the data set.
        paths: its data files.
        features: the features of info.json.
    """

    def __init__(self, root: Path, paths: Sequence[Path], features: Mapping[str, Any]) -> None:
        self._root, self._paths = root, paths
        self._features = {key: value for key, value in features.items() if value["dtype"] != "video"}
        self._kept = {*self._features, *INDEX_COLUMNS}

    def episodes(self, path: Path) -> tuple[list[SavedEpisode], dict[int, str], list[str]]:
        """The whole episodes of a file, the faults of its other ones, and what was mended or lost.

        Raises:
            DatasetError: nothing of the file can be read.
        """
        rows = self._read(path)
        saved, faults = [], {}
        columns = {
            name: numbers(rows.table.column(name), 1, name, path)[:, 0]
            for name in (*PLACE_COLUMNS, "task_index")
            if name in rows.table.column_names
        }
        for index, members, fault in split_rows(columns):
            try:
                if fault is not None:
                    raise DatasetError(fault)
                table = taken(rows.table, members)
                self._check_finite(table, path)
                stats = episode_stats(table, self._features, path)
            except DatasetError as error:
                faults[index] = str(error).removeprefix(f"{path}: ").partition(": restore")[0]
                continue
            first = int(columns["index"][members[0]]) if "index" in columns else -1
            tasks = (
                tuple(np.unique(columns["task_index"][members]).tolist()) if "task_index" in columns else ()
            )
            is_open = index in rows.open_episodes
            saved.append(SavedEpisode(index, path, members, first, tasks, stats, rows.info, is_open))
        return saved, faults, rows.notes

    def tables(self, episodes: Sequence[SavedEpisode]) -> Iterator[tuple[SavedEpisode, pa.Table]]:
        """The rows of episodes of one file, one after another."""
        if episodes:
            table = self._read(episodes[0].path).table
            for episode in episodes:
                yield episode, taken(table, episode.rows)

    def is_copy(self, one: SavedEpisode, other: SavedEpisode) -> bool:
        """Whether two episodes hold the same, apart from their place in the data set."""
        tables = [_compared(next(self.tables([episode]))[1]) for episode in (one, other)]
        return tables[0].equals(tables[1])

    @cached_property
    def _sample(self) -> bytes:
        """A Parquet file without rows that has the columns of the data files."""
        for path in self._paths:
            try:
                with open_data_file(path) as file:
                    schema = file.schema_arrow
            except DatasetError:
                continue
            if set(self._features) <= set(schema.names):
                return _file_bytes(schema.empty_table())
        nothing = {key: np.zeros(0) for key in self._features}
        try:
            return _file_bytes(episode_table(nothing, dict.fromkeys(nothing, ()), self._features, {}))
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise ValueError(f"no whole file tells its columns ({error})") from error

    def _read(self, path: Path) -> _Rows:
        notes = []
        cut = False
        try:
            file = open_data_file(path)
        except DatasetError as error:
            sizes = {key: int(np.prod(feature["shape"])) for key, feature in self._features.items()}
            try:
                content, cut = with_new_footer(path.read_bytes(), self._sample, sizes)
            except ValueError as reason:
                raise DatasetError(f"{self._name(path)} cannot be read: {reason}") from error
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            notes.append(f"{self._name(path)} had no valid footer")
        with file:
            return self._read_groups(file, path, cut, notes)

    def _read_groups(self, file: pq.ParquetFile, path: Path, cut: bool, notes: list[str]) -> _Rows:
        """The groups of rows that can be read; `cut`: rows may be lost after the last one."""
        missing = [key for key in ("episode_index", *self._features) if key not in file.schema_arrow.names]
        if missing:
            raise DatasetError(f"{self._name(path)} lacks the columns {missing}")
        tables: list[pa.Table] = []
        last: list[int] = []  # the last episode before each loss
        for group in range(file.num_row_groups):
            try:
                table = file.read_row_group(group)
                table = table.select([name for name in table.column_names if name in self._kept])
                table.validate(full=True)
                tables.append(table)
            except (OSError, pa.ArrowException, ValueError):
                notes.append(
                    f"{self._name(path)}: {file.metadata.row_group(group).num_rows} rows are damaged"
                )
                last += _episodes_of(tables[-1:])[-1:]
        if not tables:
            raise DatasetError(f"{self._name(path)} cannot be read: all its rows are damaged")
        last += _episodes_of(tables[-1:])[-1:] if cut else []
        kept, repeated = _without_repeats(pa.concat_tables(tables), path)
        if repeated:
            notes.append(f"{self._name(path)}: {repeated} repeated rows were left out")
        held = [_episodes_of([table]) for table in tables]
        one_each = all(len(set(each)) == 1 for each in held) and len({each[0] for each in held}) == len(held)
        try:
            info = episode_info(file, path)
        except DatasetError:
            info = {}
            notes.append(f"{self._name(path)}: the task of its episode is damaged")
        return _Rows(kept, info, set() if one_each else set(last), notes)

    def _check_finite(self, table: pa.Table, path: Path) -> None:
        for key in (STATE, ENVIRONMENT_STATE, ACTION):
            if key in self._features:
                values = numbers(table.column(key), int(np.prod(self._features[key]["shape"])), key, path)
                wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
                if len(wrong):
                    raise DatasetError(f"{key!r} is not finite in frame {int(wrong[0])}")

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Some rows of a table; without a copy where they follow each other."""
    follow = len(rows) and int(rows[-1]) - int(rows[0]) == len(rows) - 1 and (np.diff(rows) == 1).all()
    return table.slice(int(rows[0]), len(rows)) if follow else table.take(pa.array(rows))


def _file_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _episodes_of(tables: Sequence[pa.Table]) -> list[int]:
    """The column "episode_index" of the tables, empty where there is none."""
    return [
        number
        for table in tables
        if "episode_index" in table.column_names
        for number in table.column("episode_index").to_pylist()
    ]


def _compared(table: pa.Table) -> pa.Table:
    """The columns that are equal in copies of rows."""
    return table.drop_columns([name for name in _OWN_COLUMNS if name in table.column_names])


def _without_repeats(table: pa.Table, path: Path) -> tuple[pa.Table, int]:
    """The rows without those that repeat another one of their episode and frame in all values; and their number."""
    if not {"episode_index", "frame_index"} <= set(table.column_names):
        return table, 0
    episode, frame = (
        numbers(table.column(name), 1, name, path)[:, 0] for name in ("episode_index", "frame_index")
    )
    order = np.lexsort((frame, episode))
    again = np.flatnonzero((np.diff(episode[order]) == 0) & (np.diff(frame[order]) == 0))
    compared = _compared(table)
    keep = np.ones(len(table), bool)
    kept = -1
    for position in again:
        if keep[order[position]]:
            kept = int(order[position])
        row = int(order[position + 1])
        keep[row] = not compared.slice(kept, 1).equals(compared.slice(row, 1))
    dropped = int((~keep).sum())
    return (table.filter(pa.array(keep)) if dropped else table), dropped
