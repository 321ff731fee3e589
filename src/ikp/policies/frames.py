"""Observations for a policy from the frames of a control loop, as in Gymnasium or LeRobot."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from ikp.spec import DataSpec, Observation
from ikp.words import shortened

VECTOR_KEYS = {
    "state": ("state", "observation.state", "agent_pos"),
    "environment_state": ("environment_state", "observation.environment_state"),
}
"""Keys under which a frame may have a vector."""
IMAGE_GROUPS = ("images", "pixels")
"""Keys of mappings from cameras to images."""
SINGLE_IMAGE_KEYS = ("image", "observation.image", "pixels")
"""Keys of the image of a single camera."""


class ReadFrame(TypedDict):
    """A frame as `read_frame` checked it and made it; it is a valid frame itself."""

    state: np.ndarray
    environment_state: np.ndarray
    images: dict[str, np.ndarray]


def observation_from_frames(windows: Sequence[Sequence[Mapping[str, Any]]], spec: DataSpec) -> Observation:
    """Make one batched observation from the last frames of one or several environments.

    A frame is the observation that `env.step` returns, or that LeRobot's robots and data sets give. Its keys are:

    - `state`, `observation.state` or `agent_pos`, and `environment_state` or `observation.environment_state`: vectors
      with the dimensions that `spec` names, in the order and the units in which the data set is recorded. LeRobot's
      robots give one number per name instead (`shoulder_pan.pos`).
    - An image for each camera NAME of `spec`, as NAME, `observation.images.NAME`, `observation.NAME`, or NAME in a
      mapping `images` or `pixels`; a single camera may also be `image`, `observation.image` or `pixels`. Images are
      (height, width, 3) or (3, height, width), as uint8 or as floating-point numbers from 0 to 1.

    Values are NumPy arrays, torch tensors on any device, or lists, of any real type, with or without a leading
    dimension of size 1. Other keys are ignored.

    Args:
        windows: for each row of the batch the last `policy.config.history` frames, oldest first; see `FrameHistory`.
        spec: names and sizes, `policy.spec`.

    Returns:
        The observation, on the CPU. It shares no memory with the frames.

    Raises:
        ValueError: there is no frame, the numbers of frames differ, or a value is missing or has a wrong shape, type
            or range; the message names its key.

    Example:
        frame, _ = env.reset()
        action = policy.act(observation_from_frames([[frame]], policy.spec))[0]
    """
    return stacked([[read_frame(frame, spec) for frame in window] for window in windows], spec)


def stacked(windows: Sequence[Sequence[ReadFrame]], spec: DataSpec) -> Observation:
    """`observation_from_frames` of frames that `read_frame` has read.

    Raises:
        ValueError: there is no frame, or the numbers of frames differ.
    """
    counts = {len(window) for window in windows}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"the windows hold {sorted(counts)} frames: give at least one window, all with the same number of frames"
        )
    frames = [frame for window in windows for frame in window]

    def batched(values: Sequence[np.ndarray]) -> Tensor:
        rows = np.stack(values)
        return torch.from_numpy(rows.reshape(len(windows), *counts, *rows.shape[1:]))

    observation: Observation = {
        "state": batched([frame["state"] for frame in frames]),
        "images": {name: batched([frame["images"][name] for frame in frames]) for name in spec.camera_names},
    }
    if spec.environment_state_dim:
        observation["environment_state"] = batched([frame["environment_state"] for frame in frames])
    return observation


class FrameHistory:
    """The last frames of an episode; at its start the first frame is repeated.

    Args:
        spec: names and sizes of the frames, `policy.spec`.
        history: number of frames, `policy.config.history`.
        stride: frames of the loop from one frame of the history to the next, `policy.config.timing.history_stride`.

    Example:
        history = policy.new_history()
        frame, _ = env.reset()
        while True:
            history.add(frame)
            action = policy.act(history.observation)[0]
            frame, *_ = env.step(action.numpy())
    """

    def __init__(self, spec: DataSpec, history: int, stride: int = 1) -> None:
        if history < 1:
            raise ValueError(f"history is {history}: an observation holds at least 1 frame")
        self.spec, self.history, self.stride = spec, history, stride
        self._frames: deque[ReadFrame] = deque(maxlen=(history - 1) * stride + 1)

    @property
    def frames(self) -> tuple[ReadFrame, ...]:
        """The window, oldest first, as a row for `stacked` or `observation_from_frames`; empty before a frame."""
        return tuple(self._frames)[:: self.stride]

    @property
    def observation(self) -> Observation:
        """The window as a batch of one.

        Raises:
            ValueError: there is no frame yet.
        """
        return stacked([self.frames], self.spec)

    def add(self, frame: Mapping[str, Any]) -> None:
        """Add the newest frame and drop the oldest one.

        Args:
            frame: a frame as for `observation_from_frames`. It is copied, so the loop may reuse its buffers.

        Raises:
            ValueError: as for `observation_from_frames`; the history is then unchanged.
        """
        read = read_frame(frame, self.spec)
        read["images"] = {name: image.copy() for name, image in read["images"].items()}
        self._frames.extend([read] if self._frames else [read] * (self._frames.maxlen or 1))

    def reset(self) -> None:
        """Forget all frames, at the start of an episode."""
        self._frames.clear()


def read_frame(frame: Mapping[str, Any], spec: DataSpec) -> ReadFrame:
    """Normalise a frame to the keys `state` and `environment_state` (float32) and `images` (height, width, 3) (uint8).

    The images of the result may share memory with those of the given frame.

    Raises:
        ValueError: as for `observation_from_frames`.
    """
    if not isinstance(frame, Mapping):
        raise ValueError(
            f"a frame is a {type(frame).__name__}, not a mapping with 'state': give the observation of the loop "
            "(select_action), or a list of windows, each a list of frames (observation_from_frames([[frame]], spec))"
        )
    return {
        "state": _vector(frame, "state", spec.recorded_state_names),
        "environment_state": _vector(frame, "environment_state", spec.environment_state_names),
        "images": {camera: _image(frame, camera, spec) for camera in spec.camera_names},
    }


def _vector(frame: Mapping[str, Any], name: str, names: Sequence[str]) -> np.ndarray:
    dim = len(names)
    if not dim:
        return np.zeros(0, np.float32)
    keys = VECTOR_KEYS[name]
    if not any(key in frame for key in keys) and all(part in frame for part in names):
        frame = {
            name: [_number(frame, part) for part in names]
        }  # one number per key, as LeRobot's robots give
    elif not any(key in frame for key in keys) and any(part in frame for part in names):
        missing = [part for part in names if part not in frame]
        raise ValueError(f"the frame lacks {missing} of the {name} {list(names)}, and has {[*frame]}")
    key, array = _find(frame, keys, f"{name!r}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{key!r} is {array.dtype}: give {dim} numbers")
    if array.shape not in ((dim,), (1, dim)):
        raise ValueError(
            f"{key!r} has the shape {array.shape}: expected ({dim},), the dimensions of the data set"
        )
    values = array.reshape(dim).astype(np.float32)
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"{key!r} holds {values[place]} at dimension {place}: give finite numbers; check the sensor"
        )
    return values


def _number(frame: Mapping[str, Any], part: str) -> float:
    """The number that a frame gives by its name."""
    _, array = _find(frame, [part], repr(part))
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise ValueError(f"{part!r} is {shortened(repr(frame[part]), 100)}: give one number")
    return float(array.item())


def _image(frame: Mapping[str, Any], camera: str, spec: DataSpec) -> np.ndarray:
    names = [camera, f"observation.images.{camera}", f"observation.{camera}"]
    if len(spec.camera_names) == 1:
        names += SINGLE_IMAGE_KEYS
    for group in IMAGE_GROUPS:
        images = frame.get(group)
        if isinstance(images, Mapping) and camera in images:
            frame, names = images, [camera]
    key, array = _find(frame, names, f"image of camera {camera!r}")
    height, width, channels = spec.image_shapes[camera]
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.shape == (channels, height, width) != (height, width, channels):
        array = array.transpose(1, 2, 0)
    if array.shape != (height, width, channels):
        raise ValueError(
            f"image {key!r} has the shape {array.shape}: expected ({height}, {width}, {channels}), or channels "
            f"first; {_image_fix(array.shape, (height, width))}"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "fiu":
        raise ValueError(f"image {key!r} is {array.dtype}: give uint8, or floating-point numbers from 0 to 1")
    levels = np.rint(array * 255.0) if array.dtype.kind == "f" else array
    if not (levels.min() >= 0 and levels.max() <= 255):  # NaN fails both
        raise ValueError(
            f"image {key!r} is {array.dtype} from {array.min():g} to {array.max():g}: give whole numbers from 0 to "
            "255 as uint8, or floating-point numbers from 0 to 1"
        )
    return levels.astype(np.uint8)


def check_readable(value: Any, what: str) -> None:
    """Refuse a tensor or an array whose numbers cannot all be read.

    Raises:
        ValueError: it is sparse, without numbers (on the device meta), or masked.
    """
    if isinstance(value, Tensor) and value.is_meta:
        raise ValueError(
            f"{what} is a tensor on the device meta, which has no numbers: give one on the CPU or a GPU"
        )
    if isinstance(value, Tensor) and value.layout != torch.strided:
        raise ValueError(f"{what} is a sparse tensor ({value.layout}): give a dense one (.to_dense())")
    if np.ma.is_masked(value):
        raise ValueError(
            f"{what} is an array with {np.ma.count_masked(value)} masked values: give all its numbers; check the sensor"
        )


def _image_fix(shape: tuple[int, ...], size: tuple[int, int]) -> str:
    """The words that say how to mend an image of another shape."""
    if shape == size:
        return "it is grey: repeat it in three channels (red, green, blue)"
    if shape[:2] == size or shape[1:] == size:
        return "give its red, green and blue channels alone"
    return "resize it as the images of the data set"


def _find(frame: Mapping[str, Any], names: Sequence[str], what: str) -> tuple[str, np.ndarray]:
    """The first of the names that is a key of the frame, and its value as an array."""
    key = next((name for name in names if name in frame), None)
    if key is None:
        listed = ", ".join(repr(name) for name in names)
        raise ValueError(f"the frame has no {what}: it needs one of the keys {listed}, and has {[*frame]}")
    value = frame[key]
    check_readable(value, repr(key))
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return key, (value.float() if value.is_floating_point() else value).numpy()
    try:
        return key, np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key!r} cannot be read as an array: {error}") from error
