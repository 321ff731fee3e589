"""Survey of a damaged data set: the episodes that can be recovered, and what was lost or mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image
from tqdm import tqdm

from ikp.data.damage import damaged, is_pointer
from ikp.data.episodes import VideoPlace, counted_places, find_episodes, listed_lengths, video_places
from ikp.data.index import all_cameras, camera_features, image_shape
from ikp.data.layout import (
    EPISODES,
    IKP_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VERSION,
    DatasetError,
    features_from_spec,
    parquet_files,
)
from ikp.data.metadata import read_description, read_info
from ikp.data.parquet import read_table
from ikp.data.salvage import DataFiles, SavedEpisode
from ikp.data.stats import image_stats
from ikp.data.video import decode_video
from ikp.files import read_json
from ikp.spec import DataSpec


@dataclass
class _Lists:
    """The readable part of meta/episodes and meta/tasks.parquet.

    Attributes:
        lengths: index of each episode to its number of frames.
        tasks: index of each episode to descriptions of its tasks.
        videos: key of each video camera to the place of each episode.
        texts: index of each task to its description.
    """

    lengths: dict[int, int] = field(default_factory=dict)
    tasks: dict[int, list[str]] = field(default_factory=dict)
    videos: dict[str, dict[int, VideoPlace]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)


class Survey:
    """The recoverable part of a data set.

    Args:
        root: folder of the data set.
        cameras: cameras to keep, by name or key; all if None.
        bar: shows the progress.

    Attributes:
        info: content of info.json; `features` are those that are kept.
        files: reads the episodes.
        episodes: the episodes that can be recovered, in ascending order.
        videos: key of each video camera to the place of each of these episodes.
        lost: index of each episode that is lost, and why.
        mended: faults that cost no further episode.

    Raises:
        DatasetError: info.json cannot be read, or Git LFS has not fetched a file.
    """

    def __init__(self, root: Path, cameras: Sequence[str] | None, bar: tqdm) -> None:
        self.root, self._bar = root, bar
        self.lost: dict[int, str] = {}
        self.mended: list[str] = []
        self.info = self._read_info(cameras)
        self.features: dict[str, Any] = self.info["features"]
        self._lists = self._read_lists()
        paths = parquet_files(root / "data")
        for path in (*paths, *(path for path in (root / "videos").rglob("*") if path.is_file())):
            if is_pointer(path):
                raise damaged(path, "")
        self.files = DataFiles(root, paths, self.features)
        self.episodes = self._without_cut_ones(self._found(paths))
        self.videos = {key: self._places(key) for key in self._lists.videos}
        for key in self.videos:
            bar.n, bar.total = 0, len(self.episodes)
            self.episodes = [seen for episode in self.episodes if (seen := self._seen(episode, key))]
        kept = {episode.index for episode in self.episodes}
        listed = sorted(set(self._lists.lengths) - kept - set(self.lost))
        self.lost |= dict.fromkeys(listed, "none of its rows can be read")
        self._check_metadata()

    @property
    def frames(self) -> int:
        """Number of frames of the recovered episodes."""
        return sum(episode.length for episode in self.episodes)

    def tasks_of(self, episode: SavedEpisode) -> dict[int, str]:
        """Index and description of each task of an episode."""
        listed = self._lists.tasks.get(episode.index, [])
        only = listed[0] if len(listed) == len(episode.tasks) == 1 else episode.info.get("task")
        return {
            index: self._lists.texts.get(index, str(only) if only is not None else f"task {index}")
            for index in episode.tasks
        }

    def _read_info(self, cameras: Sequence[str] | None) -> dict[str, Any]:
        """The content of info.json; for a data set of ikp that lost it, made from meta/ikp.json."""
        try:
            info = read_info(self.root, counts=False)
        except DatasetError as error:
            if not (self.root / IKP_PATH).exists():
                raise
            self.mended.append(f"made again: {self._reason(error)}")
            own = read_description(self.root)
            spec = DataSpec.from_json(own["spec"])
            info = {"codebase_version": VERSION, "robot_type": own["robot_type"], "fps": spec.fps}
            info |= {
                "features": features_from_spec(spec, own["units"]),
                "total_episodes": 0,
                "total_frames": 0,
            }
        if cameras is not None:
            kept = {feature["key"] for feature in camera_features(info, cameras).values()}
            left_out = {feature["key"] for feature in all_cameras(info).values()} - kept
            info["features"] = {key: value for key, value in info["features"].items() if key not in left_out}
            self.mended += [f"camera {key} is left out" for key in sorted(left_out)]
        return info

    def _read_lists(self) -> _Lists:
        lists = _Lists()
        for key, feature in self.features.items():
            if feature["dtype"] == "video":
                lists.videos[key] = {}
        for path in parquet_files(self.root / EPISODES):
            try:
                videos = {key: video_places(self.root, self.info, key, [path]) for key in lists.videos}
                lists.lengths |= listed_lengths(self.root, [path])
                lists.tasks |= dict(_rows_of(path, "episode_index", "tasks"))
            except DatasetError as error:
                self.mended.append(f"made again: {self._reason(error)}")
                continue
            for key, places in videos.items():
                lists.videos[key] |= places
        try:
            names = read_table(self.root / TASKS_PATH).schema
            text = next((each.name for each in names if pa.types.is_string(each.type)), "task")
            lists.texts = dict(_rows_of(self.root / TASKS_PATH, "task_index", text))
        except DatasetError as error:
            self.mended.append(f"made again: {self._reason(error)}")
        return lists

    def _found(self, paths: Sequence[Path]) -> list[SavedEpisode]:
        """All whole episodes, each once, in ascending order."""
        found: list[SavedEpisode] = []
        self._bar.n, self._bar.total = 0, len(paths)
        for path in paths:
            self._bar.update()
            try:
                saved, faults, notes = self.files.episodes(path)
            except DatasetError as error:
                self.mended.append(f"left out: {self._reason(error)}")
                continue
            self.mended += notes
            self.lost |= faults
            for episode in saved:
                if any(self.files.is_copy(episode, other) for other in found if other.index == episode.index):
                    name = path.relative_to(self.root).as_posix()
                    self.mended.append(f"left out: a copy of episode {episode.index} in {name}")
                else:
                    found.append(episode)
        for episode in found:
            self.lost.pop(episode.index, None)
        return sorted(found, key=lambda episode: (episode.index, episode.path))

    def _without_cut_ones(self, found: list[SavedEpisode]) -> list[SavedEpisode]:
        """The episodes that have all their rows, judged by where the next one begins, else by their listed length."""
        firsts = {episode.index: episode.first for episode in found}
        whole = []
        for episode in found:
            listed = firsts.get(episode.index + 1, -1) - episode.first
            if listed <= 0 or episode.first < 0:
                listed = self._lists.lengths.get(episode.index)
            if listed is None and episode.is_open:
                self.lost[episode.index] = f"its last rows may be missing: {episode.length} can be read"
            elif listed is not None and episode.length < listed:
                self.lost[episode.index] = (
                    f"its last rows are missing: {episode.length} of {listed} can be read"
                )
            else:
                whole.append(episode)
        return whole

    def _places(self, key: str) -> dict[int, VideoPlace]:
        """The videos of a camera, as they are listed; those that are not, by counting frames."""
        listed = self._lists.videos[key]
        if all(episode.index in listed for episode in self.episodes):
            return listed
        firsts = {episode.index: episode.first for episode in self.episodes}
        counted = counted_places(self.root, self.info, key, firsts)
        rows = max(self.info["total_frames"], *(episode.first + episode.length for episode in self.episodes))
        ends = {place.path: firsts[index] + (place.frames or 0) for index, place in counted.items()}
        inside = [
            end for end in ends.values() for each in self.episodes if 0 < end - each.first < each.length
        ]
        # A video that ends within an episode is the last one; otherwise there are gaps, which counting would miss.
        has_gaps = any(end > rows or (end in inside and end < max(ends.values())) for end in ends.values())
        return listed if has_gaps else counted | listed

    def _seen(self, episode: SavedEpisode, key: str) -> SavedEpisode | None:
        """The episode with the statistics of a video; None where the video is not whole."""
        self._bar.update()
        place = self.videos[key].get(episode.index)
        height, width, channels = image_shape(self.features[key])
        try:
            if place is None:
                raise DatasetError("nothing tells where its frames are")
            if sum(other.index == episode.index for other in self.episodes) > 1:
                raise DatasetError("two files hold other rows of it, the video fits one of them")
            span = [(place.start, episode.length)]
            images = decode_video(place.path, span, float(self.info["fps"]), (height, width))
            histograms = [Image.fromarray(image).histogram() for _, _, image in images]
        except DatasetError as error:
            reason = self._reason(error)
            self.lost[episode.index] = f"its video of {key} ({reason}); --cameras leaves a camera out"
            return None
        stats = {key: image_stats(histograms)} if channels == 3 else {}
        return replace(episode, stats={**episode.stats, **stats})

    def _reason(self, error: Exception) -> str:
        """An error's message without its fix, which this repair is."""
        return str(error).removeprefix(f"{self.root}/").partition(": restore")[0]

    def _check_metadata(self) -> None:
        """Faults of counts, lists and statistics, which are made again in any case."""
        total, known = self.info["total_episodes"], len(self.episodes) + len(self.lost)
        if total != known:
            self.mended.append(f"made again: {INFO_PATH} counts {total} episodes, rows are there of {known}")
        if self.lost or self.mended:
            return
        try:
            find_episodes(self.root, read_info(self.root), None)
            read_json(self.root / STATS_PATH, DatasetError)
        except (FileNotFoundError, DatasetError) as error:
            self.mended.append(f"made again: {self._reason(error)}")
        missing = [episode.index for episode in self.episodes if episode.index not in self._lists.lengths]
        if missing:
            self.mended.append(f"made again: {EPISODES} does not list episodes {missing[:5]}")
        elif self.info["total_frames"] != self.frames:
            self.mended.append(
                f"made again: {INFO_PATH} counts {self.info['total_frames']} frames, there are {self.frames}"
            )


def _rows_of(path: Path, key: str, value: str) -> Iterator[tuple[Any, Any]]:
    """Pairs of two columns of a Parquet file; nothing where it lacks one of them.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    table = read_table(path)
    if {key, value} <= set(table.column_names):
        yield from zip(table.column(key).to_pylist(), table.column(value).to_pylist(), strict=True)
