"""The episodes of a data set on disk: the file and the rows of each, checked against what the data set lists."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ikp.data.layout import EPISODES, IKP_PATH, DatasetError, data_path, parquet_files
from ikp.data.parquet import damaged_data, episode_info, numbers, open_data_file, read_table
from ikp.data.video import frame_count

MOST_EPISODES = 1_000_000
"""Bound on the length of a list of episodes."""
SHOWN = 5
"""Missing episodes that a message lists."""
PLACE_COLUMNS = ("episode_index", "frame_index", "index")
"""Columns that tell the episodes of the rows and their order."""


@dataclass(frozen=True, eq=False)
class EpisodePlace:
    """The file and rows of an episode.

    Attributes:
        index: index of the episode in the data set.
        path: its data file.
        rows: (frame,) its rows in that file, in the order of its frames.
        info: the information stored with the episode.
    """

    index: int
    path: Path
    rows: np.ndarray
    info: Mapping[str, Any]

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.rows)


@dataclass
class Scan:
    """Episodes and damage found in data files.

    Attributes:
        places: the episodes whose rows are whole, by index.
        faults: the error of each episode whose rows are not.
        damage: the error of each file that cannot be read.
    """

    places: dict[int, EpisodePlace] = field(default_factory=dict)
    faults: dict[int, DatasetError] = field(default_factory=dict)
    damage: dict[Path, DatasetError] = field(default_factory=dict)

    @property
    def known(self) -> set[int]:
        """The episodes of which there are rows."""
        return {*self.places, *self.faults}


def find_episodes(
    root: Path, info: Mapping[str, Any], wanted: int | Sequence[int] | None, scan: Scan | None = None
) -> list[EpisodePlace]:
    """Files and rows of some episodes, in ascending order.

    They are read from the data files: the metadata may lag behind in a folder whose writer was killed.

    Args:
        root: folder of the data set.
        info: content of info.json.
        wanted: indices of episodes, a number of first episodes, or None for all.
        scan: the episodes of all data files, where they are known already.

    Raises:
        DatasetError: an episode is missing or has lost rows, or a file is damaged.
    """
    paths = parquet_files(root / "data")
    listed = int(info["total_episodes"])
    if not paths and not listed:
        raise DatasetError(f"{root} holds no finished episode: record or collect demonstrations first")
    _check_request(root, wanted, listed)
    if scan is None:
        own = (root / IKP_PATH).exists()
        scan = scan_files(_files_of(root, wanted, paths) if own else paths)
    expected, missing = _expected(wanted, listed, scan.known)
    if missing:
        if scan.damage:
            raise next(iter(scan.damage.values()))
        raise _missing_error(root, wanted, missing, max(listed, len(scan.known)), scan.known)
    if scan.damage and wanted is None:
        raise next(iter(scan.damage.values()))
    check_lengths(root, info, scan, expected, every=wanted is None)
    for index in expected:
        if index in scan.faults:
            raise scan.faults[index]
    return [scan.places[index] for index in expected]


def _check_request(root: Path, wanted: int | Sequence[int] | None, listed: int) -> None:
    """Refuse what is no number or list of episodes."""
    if wanted is None:
        return
    if not isinstance(wanted, int) and len(wanted) > MOST_EPISODES:
        raise DatasetError(f"{len(wanted)} episodes are requested: {root} has {listed} episodes")
    for number in [wanted] if isinstance(wanted, int) else wanted:
        if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 0:
            raise DatasetError(f"episode {number!r} is requested: give whole numbers from 0 up")
    if wanted == 0 or (not isinstance(wanted, int) and not len(wanted)):
        raise DatasetError(
            "no episode is requested: give a positive number, a list of indices, or None for all"
        )


def _files_of(root: Path, wanted: int | Sequence[int] | None, paths: Sequence[Path]) -> Sequence[Path]:
    """The files of the requested episodes in a data set with one file per episode, so that the others stay closed."""
    indices = range(wanted) if isinstance(wanted, int) else wanted
    if indices is None or len(indices) > len(paths):
        return paths
    chosen = [root / data_path(int(index)) for index in sorted(set(indices))]
    return chosen if all(path.exists() for path in chosen) else paths


def _expected(
    wanted: int | Sequence[int] | None, listed: int, known: set[int]
) -> tuple[list[int], Sequence[int]]:
    """The episodes to load, and the missing ones; of a number of first episodes only the first few missing ones.

    Where all listed episodes are there, their indices may have gaps: the first episodes are those in order.
    """
    if wanted is not None and not isinstance(wanted, int):
        indices = {int(index) for index in wanted}
        return sorted(indices), sorted(indices - known)
    if listed <= len(known) and (wanted is None or wanted <= len(known)):
        return sorted(known)[:wanted], []
    number = listed if wanted is None else wanted
    missing = [index for index in range(min(number, len(known) + SHOWN)) if index not in known]
    return ([], missing) if missing else (list(range(number)), [])


def _missing_error(
    root: Path, wanted: int | Sequence[int] | None, missing: Sequence[int], total: int, known: set[int]
) -> DatasetError:
    """The error for episodes that are missing: they were never there, or the data set is incomplete."""
    first, whole = missing[0], len(known) == total
    last = max(total - 1, *known) if whole else total - 1
    if whole or first > last:
        asked = f"{wanted} episodes are" if isinstance(wanted, int) else f"episode {first} is"
        return DatasetError(f"{asked} requested: {root} has {total} episodes, from 0 to {last}")
    number = total if wanted is None else wanted
    lost = number - sum(i < number for i in known) if isinstance(number, int) else len(missing)
    where = f" ({root / data_path(first)})" if (root / IKP_PATH).exists() else ""
    shown = ", ".join(map(str, missing[:SHOWN])) + (", ..." if lost > SHOWN else "")
    return DatasetError(
        f"{lost} of {total} episodes are missing, first episode {first}{where}: {root} is "
        f"incomplete; copy it again, or load the other episodes by number (missing: {shown})"
    )


def scan_files(paths: Sequence[Path]) -> Scan:
    """The episodes of data files."""
    scan = Scan()
    for path in paths:
        try:
            places, faults = _episodes_in(path)
        except DatasetError as error:
            scan.damage[path] = error
            continue
        for place in places:
            if place.index in scan.places:
                other = scan.places.pop(place.index).path
                scan.faults[place.index] = DatasetError(
                    f"episode {place.index} is in {other} and in {path}: files of two data sets are mixed, or a file "
                    "was copied; take one of them away"
                )
            elif place.index not in scan.faults:
                scan.places[place.index] = place
        for index, fault in faults.items():
            scan.places.pop(index, None)
            scan.faults[index] = fault
    return scan


def _episodes_in(path: Path) -> tuple[list[EpisodePlace], dict[int, DatasetError]]:
    """The whole episodes of a file, and the error of each one that is not."""
    with open_data_file(path) as file:
        info = episode_info(file, path)
        names = [name for name in PLACE_COLUMNS if name in file.schema_arrow.names]
        if "episode_index" not in names:
            raise DatasetError(
                f"{path} has no column 'episode_index': it is not a data file of a LeRobot data set"
            )
        try:
            table = file.read(columns=names)
        except (OSError, pa.ArrowException) as error:
            raise damaged_data(path, error) from error
    columns = {name: numbers(table.column(name), 1, name, path)[:, 0] for name in names}
    places, faults = [], {}
    for index, rows, fault in split_rows(columns):
        if fault is None:
            places.append(EpisodePlace(index, path, rows, info))
        else:
            faults[index] = DatasetError(
                f"{path}: {fault} in episode {index}: restore the file from a copy, or leave the episode out "
                "(episodes=[...], --episodes LIST)"
            )
    return places, faults


def split_rows(columns: Mapping[str, np.ndarray]) -> Iterator[tuple[int, np.ndarray, str | None]]:
    """The episodes of some rows: the index, the rows in the order of the frames, and their fault (None: whole).

    Args:
        columns: (row,) "episode_index", and "frame_index" and "index" where there are such columns.
    """
    episode = columns["episode_index"]
    if not len(episode):
        return
    order = np.lexsort((columns.get("frame_index", np.arange(len(episode))), episode))
    for rows in np.split(order, np.flatnonzero(np.diff(episode[order])) + 1):
        yield int(episode[rows[0]]), rows, _row_fault(columns, rows)


def _row_fault(columns: Mapping[str, np.ndarray], rows: np.ndarray) -> str | None:
    """The fault in the rows of an episode, which are in the order of their frames; None if they are whole."""
    if "frame_index" in columns:
        frame = columns["frame_index"][rows]
        wrong = np.flatnonzero(frame != np.arange(len(rows)))
        if len(wrong):
            at = int(wrong[0])
            return (
                f"row {at} of {len(rows)} has the frame_index {int(frame[at])} (a row is missing or repeated)"
            )
    if "index" in columns:
        step = np.diff(columns["index"][rows].astype(np.int64))
        if (step != 1).any():
            at = int(np.flatnonzero(step != 1)[0])
            return f"the column index goes {int(step[at]):+d} after frame {at} (rows were exchanged)"
    return None


def check_lengths(
    root: Path, info: Mapping[str, Any], scan: Scan, expected: Sequence[int], *, every: bool
) -> None:
    """Compare the number of rows of each episode with meta/episodes, or all rows with info.json.

    Raises:
        DatasetError: rows were lost or added, or meta/episodes is damaged.
    """
    lengths = listed_lengths(root)
    for index in expected:
        place, length = scan.places.get(index), lengths.get(index)
        if place is not None and length not in (None, place.length):
            raise DatasetError(
                f"{place.path}: episode {index} has {place.length} rows, {root / EPISODES} lists {length}: rows were "
                "lost or added; restore the file from a copy, or leave the episode out (episodes=[...])"
            )
    rows = sum(place.length for place in scan.places.values())
    whole = every and not lengths and not scan.faults and len(scan.places) == info["total_episodes"]
    if whole and rows != info["total_frames"]:
        raise DatasetError(
            f"{root} has {rows} rows, total_frames of its meta/info.json is {info['total_frames']}: rows were lost or "
            "added; restore the data set from a copy"
        )


def listed_lengths(root: Path, paths: Sequence[Path] | None = None) -> dict[int, int]:
    """The lengths of episodes in meta/episodes, or in some of its files; empty where it lists none.

    Raises:
        DatasetError: a file is damaged.
    """
    lengths: dict[int, int] = {}
    for path in parquet_files(root / EPISODES) if paths is None else paths:
        table = read_table(path, ["episode_index", "length"])
        if table.num_columns == 2:
            index, length = (numbers(column, 1, "length", path)[:, 0].tolist() for column in table.columns)
            lengths |= dict(zip(index, length, strict=True))
    return lengths


class VideoPlace(NamedTuple):
    """The video of an episode.

    Attributes:
        path: the file.
        start: where the episode starts in it [s].
        frames: number of frames that are listed; None where the list does not say.
    """

    path: Path
    start: float
    frames: int | None


def video_places(
    root: Path, info: Mapping[str, Any], key: str, paths: Sequence[Path] | None = None
) -> dict[int, VideoPlace]:
    """Map each episode's index to its video, as meta/episodes lists them, or some of its files.

    Raises:
        DatasetError: meta/episodes is damaged or lacks the columns for videos.
    """
    columns = [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    end = f"videos/{key}/to_timestamp"
    places: dict[int, VideoPlace] = {}
    for path in parquet_files(root / EPISODES) if paths is None else paths:
        table = read_table(path, ["episode_index", *columns, end])
        if not {"episode_index", *columns} <= set(table.column_names):
            raise DatasetError(f"{path} lacks {columns}: these columns say where the videos are")
        values = {name: numbers(table.column(name), 1, name, path)[:, 0] for name in table.column_names}
        for row in range(len(table)):
            chunk, file = (int(values[name][row]) for name in columns[:2])
            start = float(values[columns[2]][row])
            frames = round((float(values[end][row]) - start) * info["fps"]) if end in values else None
            video = info["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
            places[int(values["episode_index"][row])] = VideoPlace(root / video, start, frames)
    return places


def counted_places(
    root: Path, info: Mapping[str, Any], key: str, firsts: Mapping[int, int]
) -> dict[int, VideoPlace]:
    """Map each episode's index to its video without meta/episodes, by counting the frames of all videos of a camera.

    The videos of a recording hold all frames one after another, so that the number of a frame in the column "index" is
    its number in the videos. Episodes after a video that is damaged have no place.

    Args:
        root: folder of the data set.
        info: content of info.json.
        key: key of the camera.
        firsts: index of each episode to the first value of its column "index".
    """
    fields = {"video_key": glob.escape(key), "chunk_index": "*", "file_index": "*"}
    pattern = re.sub(r"\{(\w+)[^}]*\}", lambda found: fields[found[1]], info["video_path"])
    paths = sorted(path for path in root.glob(pattern) if not path.name.startswith("."))
    ends, places = [0], {}
    for path in paths:
        try:
            ends.append(ends[-1] + frame_count(path))
        except DatasetError:
            break
    for index, first in firsts.items():
        number = int(np.searchsorted(ends, first, side="right")) - 1
        if 0 <= number < len(ends) - 1:
            start = (first - ends[number]) / info["fps"]
            places[index] = VideoPlace(paths[number], start, ends[number + 1] - first)
    return places
