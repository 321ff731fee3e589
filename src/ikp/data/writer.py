"""Write demonstrations as a LeRobotDataset v3.0 folder that survives being killed at any moment."""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ikp.data.episode_recorder import EncodedEpisode, EpisodeRecorder
from ikp.data.layout import (
    ACTION,
    IKP_PATH,
    INFO_PATH,
    MAP_KEY,
    STATE,
    DatasetError,
    data_path,
    features_from_spec,
)
from ikp.data.metadata import Metadata, check_description, read_description
from ikp.data.parquet import episode_table, index_columns, write_table
from ikp.data.recovery import finished_files, rebuild_row
from ikp.data.stats import vector_stats
from ikp.files import read_json, replaced_atomically, writable_folder, write_json
from ikp.locks import lock
from ikp.spec import DataSpec

METADATA_INTERVAL = 1.0
"""Seconds between two updates of meta/; a slow recording updates it after every episode."""


class DatasetWriter:
    """Creates a data set or continues one, episode by episode.

    Each episode is one data file, written under a temporary name, flushed and renamed: a kill or a power loss
    costs at most the open episode. The metadata are computed from the data files and written at most once a second,
    on `close`, and when the folder is opened again. The folder is locked while a writer is open.

    Args:
        root: the folder; made if it does not exist.
        spec: names, sizes and roles of a frame's values; the same when a data set is continued.
        robot_type: name of the robot.
        task: description of the task in words, the default for every episode.
        units: LeRobot key ("observation.state", "action", ...) to the unit of each dimension.
        extra: anything JSON can hold, kept in meta/ikp.json when the data set is created.

    Raises:
        DatasetError: the folder holds other files, another specification or damaged files.
        OSError: the folder cannot be written, or another process is writing to it.

    Example:
        with DatasetWriter("demonstrations", spec, robot_type="ur5e", task="insert the block") as writer:
            writer.add_frame({"state": q, "images": {"top": image}}, action)
            writer.save_episode(success=True)
    """

    def __init__(
        self,
        root: str | Path,
        spec: DataSpec,
        *,
        robot_type: str = "unknown",
        task: str = "",
        units: Mapping[str, Sequence[str]] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if spec.joint_map is not None:
            raise DatasetError(
                "the specification has a joint map, a writer records numbers as they come: give a specification with "
                "the recorded names (joint_map=None)"
            )
        self.root = Path(root)
        self.spec = spec
        self._task = task
        common = _frames(spec, robot_type, units)
        description = {"format": 1, "task": task, **common, "extra": dict(extra or {})}
        features_from_spec(spec, units)  # refuse wrong units before anything is created
        writable_folder(self.root)
        self._lock = _lock_folder(self.root)
        try:
            self._open(description)
        except BaseException:
            self._lock.close()
            raise
        self._encoder = ThreadPoolExecutor(2, thread_name_prefix="png")
        self._recorder = EpisodeRecorder(spec, self._encoder)
        self._closed = False
        self._updated = time.monotonic()

    @classmethod
    def reopen(cls, root: str | Path) -> DatasetWriter:
        """Continue a data set with its own specification. Opening a folder repairs its metadata.

        Raises:
            DatasetError: the folder is not a data set written by this class.
        """
        description = read_description(Path(root))
        return cls(
            root,
            DataSpec.from_json(description["spec"]),
            robot_type=description["robot_type"],
            task=description["task"],
            units=description["units"],
        )

    def _open(self, description: dict[str, Any]) -> None:
        files = finished_files(self.root)
        if (self.root / IKP_PATH).exists():
            stored = read_description(self.root)
            check_description(self.root, stored, description)
            description = stored
        else:
            write_json(self.root / IKP_PATH, description)
        self._description = description
        self.extra: dict[str, Any] = description["extra"]
        self._features = features_from_spec(DataSpec.from_json(description["spec"]), description["units"])
        if (self.root / INFO_PATH).exists():  # a joint map that was stored there stays
            kept = read_json(self.root / INFO_PATH, DatasetError).get("features", {})
            for key in (ACTION, STATE):
                if MAP_KEY in kept.get(key, {}) and key in self._features:
                    self._features[key][MAP_KEY] = kept[key][MAP_KEY]
        self._metadata = Metadata(self.root, self._features, self.spec.fps, description["robot_type"])
        self._metadata.restore(len(files))
        for path in files[self._metadata.episodes :]:
            self._metadata.add(*rebuild_row(path, self._features, self._metadata))
        self._metadata.write()

    def check_frames(
        self, spec: DataSpec, *, robot_type: str, units: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Refuse frames of another kind than those of the data set; arguments as for the writer.

        Raises:
            DatasetError: they differ; the message names where.
        """
        check_description(self.root, self._description, _frames(spec, robot_type, units))

    @property
    def episodes(self) -> int:
        """Number of finished episodes."""
        return self._metadata.episodes

    @property
    def frames(self) -> int:
        """Number of frames in the finished episodes."""
        return self._metadata.frames

    @property
    def open_frames(self) -> int:
        """Number of frames added since the last finished episode."""
        return len(self._recorder)

    def add_frame(self, observation: Mapping[str, Any], action: Any, **outcome: Any) -> None:
        """Add a frame to the open episode, see `EpisodeRecorder.add`; images are encoded in the background."""
        self._check_open()
        self._recorder.add(observation, action, **outcome)

    def save_episode(
        self, *, success: bool | None = None, task: str | None = None, info: Mapping[str, Any] | None = None
    ) -> int:
        """Finish the open episode and write it to disk. After an OSError it is still open: call this again.

        Args:
            success: whether the task was solved, marked at the last frame.
            task: description of the task; the writer's if not given.
            info: anything JSON can hold, kept with the episode.

        Returns:
            The index of the episode.
        """
        self._check_open()
        index = self._commit(self._recorder.finish(success=success, info=info), task)
        self.discard_episode()
        self._update_metadata()
        return index

    def discard_episode(self) -> None:
        """Forget the frames of the open episode."""
        self._recorder = EpisodeRecorder(self.spec, self._encoder)

    def write_episode(self, episode: EncodedEpisode, *, task: str | None = None) -> int:
        """Write an encoded episode to disk and return its index.

        Raises:
            OSError: the disk is full or not writable. All finished episodes are safe; `episodes` counts this one if
                its data file was written.
        """
        self._check_open()
        index = self._commit(episode, task)
        self._update_metadata()
        return index

    def _commit(self, episode: EncodedEpisode, task: str | None) -> int:
        task = self._task if task is None else task
        index = self._metadata.episodes
        task_index = self._metadata.task_index(task)
        columns = (
            index_columns(episode.length, index, self.frames, self.spec.fps, task_index) | episode.columns
        )
        table = episode_table(columns, episode.images, self._features, {"task": task, **episode.info})
        stats = episode.image_stats | {key: vector_stats(values) for key, values in columns.items()}
        kept = f"the {index} finished episodes are kept"
        with replaced_atomically(self.root / data_path(index), kept) as temporary:
            write_table(table, temporary, dictionary=False)
        self._metadata.add(episode.length, [task], {key: stats[key] for key in self._features})
        return index

    def _update_metadata(self) -> None:
        if time.monotonic() - self._updated > METADATA_INTERVAL:
            self._metadata.write()
            self._updated = time.monotonic()

    def close(self) -> None:
        """Write the metadata and unlock the folder; frames of an open episode are dropped."""
        if self._closed:
            return
        self._closed = True
        self._encoder.shutdown(cancel_futures=True)
        try:
            self._metadata.write()
        finally:
            self._lock.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the writer of {self.root} is closed: make a new one to continue the data set")

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _frames(spec: DataSpec, robot_type: str, units: Mapping[str, Sequence[str]] | None) -> dict[str, Any]:
    """The part of the description that all frames of a data set share."""
    return {
        "robot_type": robot_type,
        "spec": spec.to_json(),
        "units": {key: list(unit) for key, unit in (units or {}).items()},
    }


def _lock_folder(root: Path) -> ExitStack:
    """Lock the folder until the result is closed."""
    stack = ExitStack()
    try:
        held = stack.enter_context(lock(root))
    except OSError:  # no locks on this system or network file system: the user has to take care
        return stack
    if not held:
        raise BlockingIOError(
            errno.EWOULDBLOCK, f"another process is writing to {root}: wait for it or choose another folder"
        )
    return stack
