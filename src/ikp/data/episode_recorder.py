"""Record one episode in memory: each frame is checked and its images are encoded as soon as it is added."""

from __future__ import annotations

import io
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ikp.data.layout import ACTION, DONE, ENVIRONMENT_STATE, IMAGES, REWARD, STATE, SUCCESS
from ikp.data.stats import FeatureStats, image_stats
from ikp.spec import DataSpec

PNG_LEVEL = 1
"""Compression level. A rendered 96x96 image takes 0.4 ms and 7 KB; with Pillow's default, 6, 1.6 ms and 5 KB."""


@dataclass(frozen=True)
class EncodedEpisode:
    """A checked episode, ready to be written. Worker processes can send it: it is picklable.

    Attributes:
        columns: LeRobot key to (frame, dim) float32 for vectors, (frame,) for reward, done and success.
        images: LeRobot key to one PNG file per frame.
        image_stats: LeRobot key to the statistics of its images.
        info: anything JSON can hold, kept with the episode (its seed, for example).
    """

    columns: dict[str, np.ndarray]
    images: dict[str, list[bytes]] = field(default_factory=dict)
    image_stats: dict[str, FeatureStats] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.columns[ACTION])

    @property
    def success(self) -> bool:
        """Whether the task was solved at any frame."""
        return bool(self.columns[SUCCESS].any())


class EpisodeRecorder:
    """The frames of one episode, until it is finished.

    Args:
        spec: names and sizes of a frame's values.
        executor: encodes the images; without one `add` encodes them before it returns.
    """

    def __init__(self, spec: DataSpec, executor: Executor | None = None) -> None:
        self._spec = spec
        self._executor = executor
        self._rows: list[dict[str, Any]] = []
        self._encoded: dict[str, list[Future[tuple[bytes, list[int]]]]] = {}
        self._vectors = {STATE: spec.state_dim, ENVIRONMENT_STATE: spec.environment_state_dim}

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        observation: Mapping[str, Any],
        action: Any,
        *,
        reward: float = 0.0,
        done: bool = False,
        success: bool = False,
    ) -> None:
        """Add an observation and the action chosen for it, with the reward and outcome that followed.

        Args:
            observation: "state" (state_dim,), "environment_state" (environment_state_dim,) and
                "images" {camera: (height, width, 3) uint8}; only those in the specification are needed.
            action: (action_dim,).

        Raises:
            ValueError: a value is missing, has a wrong shape or type, or is not finite; the frame is not added.
        """
        frame = len(self._rows)
        row: dict[str, Any] = {REWARD: float(reward), DONE: bool(done), SUCCESS: bool(success)}
        for key, dim in self._vectors.items():
            if dim:
                name = key.removeprefix("observation.")
                row[key] = _vector(_get(observation, name, frame), dim, name, frame)
        row[ACTION] = _vector(action, self._spec.action_dim, "action", frame)
        shapes = self._spec.image_shapes
        given = _get(observation, "images", frame) if shapes else {}
        images = {
            name: _image(_get(given, name, frame), shape, name, frame) for name, shape in shapes.items()
        }
        self._rows.append(row)
        for camera, image in images.items():
            self._encoded.setdefault(IMAGES + camera, []).append(self._encode(image))

    def finish(self, *, success: bool | None = None, info: Mapping[str, Any] | None = None) -> EncodedEpisode:
        """The finished episode; its last frame is marked as done.

        Args:
            success: whether the task was solved, marked at the last frame; the frames' own marks if not given.
            info: anything JSON can hold, kept with the episode.

        Raises:
            ValueError: there is no frame.
        """
        if not self._rows:
            raise ValueError("the episode has no frame: add at least one before finishing it")
        self._rows[-1][DONE] = True
        if success is not None:
            self._rows[-1][SUCCESS] = bool(success)
        columns = {key: np.stack([row[key] for row in self._rows]) for key in self._rows[0]}
        columns[REWARD] = columns[REWARD].astype(np.float32)
        encoded = {key: [future.result() for future in futures] for key, futures in self._encoded.items()}
        return EncodedEpisode(
            columns=columns,
            images={key: [png for png, _ in frames] for key, frames in encoded.items()},
            image_stats={key: image_stats([count for _, count in frames]) for key, frames in encoded.items()},
            info=dict(info or {}),
        )

    def _encode(self, image: np.ndarray) -> Future[tuple[bytes, list[int]]]:
        if self._executor is not None:
            return self._executor.submit(encode_image, image.copy())  # the caller may reuse its buffer
        future: Future[tuple[bytes, list[int]]] = Future()
        future.set_result(encode_image(image))
        return future


def encode_image(image: np.ndarray) -> tuple[bytes, list[int]]:
    """PNG file and 3 x 256 histogram counts of one (height, width, 3) uint8 image."""
    picture = Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue(), picture.histogram()


def _get(values: Mapping[str, Any], name: str, frame: int) -> Any:
    if name not in values:
        raise ValueError(f"frame {frame} has no {name!r}: it holds {sorted(values)}")
    return values[name]


def _vector(value: Any, dim: int, name: str, frame: int) -> np.ndarray:
    array = np.array(value, dtype=np.float32)  # a copy: the caller may reuse its buffer
    if array.shape != (dim,):
        raise ValueError(f"{name} of frame {frame} has the shape {array.shape}: it must be ({dim},)")
    if not np.isfinite(array).all():
        wrong = np.flatnonzero(~np.isfinite(array)).tolist()
        raise ValueError(f"{name} of frame {frame} is not finite in dimensions {wrong}: {array.tolist()}")
    return array


def _image(value: Any, shape: tuple[int, int, int], name: str, frame: int) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(
            f"image {name!r} of frame {frame} is {array.dtype} {array.shape}: it must be uint8 {shape}"
        )
    return np.ascontiguousarray(array)
