"""Load a LeRobotDataset v3.0 folder into memory, images that do not fit there into a cache on disk."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm

from ikp.checks import A_ROBOT, instance
from ikp.cores import usable_cores
from ikp.data.cache import CameraImages, ImageFile, cache_folder, cached_images, origin_of
from ikp.data.demonstrations import Demonstrations
from ikp.data.doubts import doubts_of
from ikp.data.episodes import EpisodePlace, Scan, VideoPlace, find_episodes, video_places
from ikp.data.index import camera_features, read_spec
from ikp.data.joint_maps import find_joint_map, stored_units
from ikp.data.layout import ACTION, ENVIRONMENT_STATE, STATE, SUCCESS, DatasetError
from ikp.data.metadata import read_info
from ikp.data.parquet import damaged_data, decode_image, image_files, numbers, open_data_file
from ikp.data.video import decode_video
from ikp.joint_map import JointMap, MapHints, Recording, Vector
from ikp.kinematics import Robot
from ikp.memory import free_memory
from ikp.spec import DataSpec
from ikp.words import counted

ROWS_PER_TASK = 64
"""Rows that one thread decodes at a time."""
ENCODED_BYTES = 2**28
"""Encoded images that wait for a thread."""
MEMORY_SHARE = 0.6
"""Images that take a larger share of the free memory go to the cache on disk."""


def load_dataset(
    root: str | Path,
    *,
    episodes: int | Sequence[int] | None = None,
    cameras: Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
    images: bool = True,
    joint_dims: Sequence[int] | None = None,
    discrete_dims: Sequence[int] | None = None,
    robot: Robot | None = None,
    joint_map: JointMap | str | Path | None = None,
    hints: MapHints | None = None,
    history: int = 1,
    progress: bool = True,
    scan: Scan | None = None,
) -> Demonstrations:
    """Load demonstrations into memory from any LeRobotDataset v3.0 folder.

    The columns "observation.state", "observation.environment_state" and "action" become state, environment state and
    action; each colour camera, stored as images or as videos, becomes one image of the observation.

    Images that do not fit into memory are decoded once into a cache on disk beside the data set, the folder ROOT.cache,
    which is made again when files of the data set change and can be deleted at any time.

    Args:
        root: the folder that holds meta/info.json.
        episodes: a number of first episodes, or a list of indices; all if not given.
        cameras: cameras by name or key; all colour cameras if not given, none if empty.
        image_size: (height, width) to resize to, pixels.
        images: False leaves the images on disk: numbers alone, with a specification that still names the cameras.
        joint_dims: action dimensions that are joints, in the order of the robot's q. If not given, the data set's own
            roles; without these, all dimensions that are not discrete.
        discrete_dims: action dimensions that take two values only.
        robot: match the dimensions with the joints of this robot and convert them to its units and order, by the joint
            map that the data set stores, else by an inferred one (`ikp.joint_map.infer_joint_map`).
        joint_map: convert by this map, or the map in this JSON file, instead.
        hints: units, joints and grippers where they cannot be inferred.
        history: frames per observation in the specification.
        progress: show a bar when loading takes longer than 2 s.
        scan: the result of `ikp.data.episodes.scan_files`, where the data files were scanned already.

    Raises:
        DatasetError: there is no data set; it is empty, incomplete, damaged or of another version; values are
            not finite; the images fit neither into memory nor on the disk; or the data do not fit the robot. The
            message says which, and how to fix it.
        OSError: the disk became full.
    """
    root = Path(root)
    if robot is not None:
        instance("robot", robot, Robot, A_ROBOT)
    info = read_info(root)
    features = camera_features(info, cameras)
    height, width = image_size or (None, None)
    shapes: dict[str, tuple[int, int, int]] = {
        name: (height or feature["shape"][0], width or feature["shape"][1], 3)
        for name, feature in features.items()
    }
    spec, declared = read_spec(root, info, shapes, joint_dims, discrete_dims, history)
    places = find_episodes(root, info, episodes, scan)
    loader = _Loader(root, spec, info, features, places)
    loader.load_numbers()
    recording = loader.recording(joint_dims=spec.joint_dims if declared else None)
    found = find_joint_map(root, info, recording, robot=robot, joint_map=joint_map, hints=hints)
    if images:
        with tqdm(
            total=loader.work, desc="loading", unit="image", delay=2, disable=not progress, leave=False
        ) as bar:
            loader.load_images(bar)
    loaded = loader.result()
    if found is not None:
        loaded = loaded.mapped(found)
    for line in [] if robot is None else doubts_of(info, robot, loaded):
        warnings.warn(f"{root}: {line}", stacklevel=2)
    return loaded


class _Loader:
    """Fills one array per feature. A pool of threads decodes the images (decoding releases Python's lock)."""

    def __init__(
        self,
        root: Path,
        spec: DataSpec,
        info: Mapping[str, Any],
        cameras: Mapping[str, Mapping[str, Any]],
        places: Sequence[EpisodePlace],
    ) -> None:
        self._root = root
        self._spec = spec
        self._places = places
        self._info, self._features = info, info["features"]
        self._stills = {name: camera for name, camera in cameras.items() if camera["dtype"] == "image"}
        self._videos = {name: camera for name, camera in cameras.items() if camera["dtype"] == "video"}
        self._starts = np.cumsum([0] + [place.length for place in places])
        frames = int(self._starts[-1])
        self.work = frames * len(cameras)
        dims = {STATE: spec.state_dim, ENVIRONMENT_STATE: spec.environment_state_dim, ACTION: spec.action_dim}
        self._vectors = {key: np.zeros((frames, dim), np.float32) for key, dim in dims.items()}
        self._success = np.zeros(frames, bool)
        self._images: dict[str, Tensor] = {}
        self._on_disk = False

    def load_numbers(self) -> None:
        """Read states, actions and successes."""
        keys = [key for key in (STATE, ENVIRONMENT_STATE, ACTION, SUCCESS) if key in self._features]
        for rows, batch, path in self._batches(keys):
            self._read_vectors(rows, batch, path)
        self._check_finite()

    def recording(self, joint_dims: tuple[int, ...] | None) -> Recording:
        """The recorded numbers, from which a joint map is inferred."""
        spec, starts = self._spec, np.zeros(int(self._starts[-1]), bool)
        starts[self._starts[:-1]] = True
        vectors = (("action", spec.action_names, ACTION), ("state", spec.state_names, STATE))
        action, state = (
            Vector(what, names, stored_units(self._features, key, len(names)), self._vectors[key])
            for what, names, key in vectors
        )
        return Recording(action, state, starts, spec.fps, joint_dims, spec.discrete_dims)

    def load_images(self, bar: tqdm) -> None:
        """Decode the images into memory; where they do not fit, map them from the cache, or decode them into it."""
        shapes = {name: (int(self._starts[-1]), *shape) for name, shape in self._spec.image_shapes.items()}
        available = free_memory()
        if available is None or sum(map(math.prod, shapes.values())) <= MEMORY_SHARE * available:
            arrays = {name: np.empty(shape, np.uint8) for name, shape in shapes.items()}
            self._decode_all(arrays, bar)
            self._images = {name: torch.from_numpy(images) for name, images in arrays.items()}
        else:
            bar.set_description(f"decoding images into {cache_folder(self._root)}", refresh=False)
            wanted = {name: self._camera_images(name) for name in shapes}
            self._images = cached_images(self._root, wanted, lambda files: self._decode_all(files, bar))
            self._on_disk = True

    def _camera_images(self, name: str) -> CameraImages:
        """Describe the decoded images of a camera for the cache."""
        camera = self._stills.get(name) or self._videos[name]
        sources = [(place.path, float(place.rows[0])) for place in self._places]
        if name in self._videos:
            videos = self._video_places(camera["key"])
            sources = [videos[place.index][:2] for place in self._places]
        origins = tuple(
            origin_of(self._root, path, start, place.length)
            for (path, start), place in zip(sources, self._places, strict=True)
        )
        stored = f"{camera['dtype']} {camera['shape']} {self._spec.fps:g} per second"
        height, width, _ = self._spec.image_shapes[name]
        return CameraImages(camera["key"], stored, (height, width), origins)

    def _decode_all(self, targets: Mapping[str, np.ndarray | ImageFile], bar: tqdm) -> None:
        """Decode all images of some cameras into their targets; stop at the first error."""
        bar.total = int(self._starts[-1]) * len(targets)
        pending: deque[tuple[Future[int], int]] = deque()
        with ThreadPoolExecutor(usable_cores()) as pool:
            try:
                keys = [camera["key"] for name, camera in self._stills.items() if name in targets]
                held = 0
                for rows, batch, path in self._batches(keys) if keys else ():
                    pending.append((pool.submit(self._decode, rows, batch, path, targets), batch.nbytes))
                    held += batch.nbytes
                    while held > ENCODED_BYTES:
                        future, size = pending.popleft()
                        bar.update(future.result())
                        held -= size
                for future, _ in pending:
                    bar.update(future.result())
                self._decode_videos(bar, targets)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _batches(self, columns: list[str]) -> Iterator[tuple[np.ndarray, pa.RecordBatch, Path]]:
        """Target frames, rows and file, a few rows at a time, without the rows of other episodes."""
        numbered = list(enumerate(self._places))
        for path, group in groupby(
            sorted(numbered, key=lambda item: str(item[1].path)), lambda item: item[1].path
        ):
            members = list(group)
            with open_data_file(path) as file:
                _check_columns(file, columns, path)
                target = np.full(file.metadata.num_rows, -1)
                for number, place in members:
                    frames = np.arange(self._starts[number], self._starts[number + 1])
                    target[place.rows] = frames
                row = 0
                try:
                    for batch in file.iter_batches(ROWS_PER_TASK, columns=columns):
                        rows = target[row : row + len(batch)]
                        row += len(batch)
                        if (rows >= 0).any():
                            yield rows[rows >= 0], batch.filter(pa.array(rows >= 0)), path
                except (OSError, pa.ArrowException) as error:
                    raise damaged_data(path, error) from error

    def _read_vectors(self, rows: np.ndarray, batch: pa.RecordBatch, path: Path) -> None:
        for key, values in self._vectors.items():
            if key in self._features:
                values[rows] = numbers(batch.column(key), values.shape[1], key, path)
        if SUCCESS in self._features:
            self._success[rows] = numbers(batch.column(SUCCESS), 1, SUCCESS, path)[:, 0]

    def _decode(
        self,
        rows: np.ndarray,
        batch: pa.RecordBatch,
        path: Path,
        targets: Mapping[str, np.ndarray | ImageFile],
    ) -> int:
        cameras = {name: camera for name, camera in self._stills.items() if name in targets}
        for name, camera in cameras.items():
            height, width, _ = camera["shape"]
            size = self._spec.image_shapes[name][:2]
            for row, file in zip(
                rows, image_files(batch.column(camera["key"]), camera["key"], path), strict=True
            ):
                try:
                    targets[name][row] = decode_image(file, height, width, size)
                except ValueError as error:
                    place, frame = self._locate(int(row))
                    raise DatasetError(
                        f"{path}: image of camera {name!r} in frame {frame} of episode {place.index} "
                        f"{error}: restore the file from a copy or leave the episode out"
                    ) from error
        return len(rows) * len(cameras)

    def _check_finite(self) -> None:
        for key, values in self._vectors.items():
            rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(rows):
                place, frame = self._locate(int(rows[0]))
                dims = np.flatnonzero(~np.isfinite(values[rows[0]])).tolist()
                more = f", and in {counted(len(rows) - 1, 'more frame')}" if len(rows) > 1 else ""
                raise DatasetError(
                    f"{place.path}: {key!r} in frame {frame} of episode {place.index} is not finite in "
                    f"dimensions {dims}{more}: leave the episode out (episodes=[...]) or record it again"
                )

    def _video_places(self, key: str) -> dict[int, VideoPlace]:
        """The video of each episode."""
        where = video_places(self._root, self._info, key)
        lost = [place.index for place in self._places if place.index not in where]
        if lost:
            raise DatasetError(
                f"{self._root / 'meta/episodes'} does not list the videos of episodes "
                f"{lost[:5]}: restore it from a copy, or leave these episodes out"
            )
        for place in self._places:
            frames = where[place.index].frames
            if frames is not None and frames < place.length:
                raise DatasetError(
                    f"episode {place.index}: {place.length} rows, {frames} frames of video in {key!r}: frames were "
                    "lost; leave the episode out (episodes=[...], --episodes LIST), or the camera (cameras=[...], "
                    "--cameras)"
                )
        return where

    def _decode_videos(self, bar: tqdm, targets: Mapping[str, np.ndarray | ImageFile]) -> None:
        for name, camera in self._videos.items():
            if name not in targets:
                continue
            where = self._video_places(camera["key"])
            members: dict[Path, list[tuple[float, int]]] = {}
            for number, place in enumerate(self._places):
                path, start, _ = where[place.index]
                members.setdefault(path, []).append((start, number))
            for path, starts in members.items():
                numbers_in_file = [number for _, number in sorted(starts)]
                spans = [(start, self._places[number].length) for start, number in sorted(starts)]
                size = self._spec.image_shapes[name][:2]
                for span, frame, image in decode_video(path, spans, self._spec.fps, size):
                    targets[name][self._starts[numbers_in_file[span]] + frame] = image
                    bar.update()

    def _locate(self, row: int) -> tuple[EpisodePlace, int]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._places[number], row - int(self._starts[number])

    def result(self) -> Demonstrations:
        """The loaded demonstrations."""
        lengths = np.diff(self._starts)
        solved = np.logical_or.reduceat(self._success, self._starts[:-1])
        if SUCCESS not in self._features:
            solved[:] = True
        return Demonstrations(
            spec=self._spec,
            state=torch.from_numpy(self._vectors[STATE]),
            action=torch.from_numpy(self._vectors[ACTION]),
            environment_state=torch.from_numpy(self._vectors[ENVIRONMENT_STATE]),
            images=self._images,
            episode_index=torch.from_numpy(np.repeat([place.index for place in self._places], lengths)),
            frame_index=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])),
            success=torch.from_numpy(solved),
            info=tuple(place.info for place in self._places),
            on_disk=self._on_disk,
        )


def _check_columns(file: pq.ParquetFile, columns: Sequence[str], path: Path) -> None:
    missing = [key for key in columns if key not in file.schema_arrow.names]
    if missing:
        raise DatasetError(
            f"{path} lacks the columns {missing} of meta/info.json: it holds {file.schema_arrow.names}"
        )
