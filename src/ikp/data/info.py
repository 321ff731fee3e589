"""Check meta/info.json and meta/ikp.json: each value that readers use has the right JSON type and a possible size."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikp.data.layout import ACTION, CAMERA_KEY, MAP_KEY, ROLE_KEYS, DatasetError
from ikp.kinematics import Camera
from ikp.words import shortened

LARGEST_SIZE = 1_000_000
"""Bound on each size of a feature: numbers of a vector, or pixels of an image's side."""
LARGEST_COUNT = 2**53
"""Bound on all other whole numbers."""
LARGEST_RATE = 1e6
"""Bound on frames per second."""
_VIDEO_FIELDS = {"video_key", "chunk_index", "file_index"}


def check_info(path: Path, info: Mapping[str, Any]) -> None:
    """Refuse an info.json that readers cannot use.

    Args:
        path: the file, for messages.
        info: its content, with all keys that readers need.

    Raises:
        DatasetError: a value has a wrong type or size; the message names the file, the key and the fix.
    """
    for key in ("total_episodes", "total_frames"):
        if not is_count(info[key]):
            raise wrong(path, key, info[key], "a whole number from 0 up")
    fps = info["fps"]
    if not _is_number(fps) or not 0 < fps <= LARGEST_RATE:
        raise wrong(path, "fps", fps, "frames per second, a number above 0 such as 30")
    features = info["features"]
    if not isinstance(features, dict) or not features:
        raise wrong(
            path, "features", features, 'an object such as {"action": {"dtype": "float32", "shape": [6]}}'
        )
    for name, feature in features.items():
        _check_feature(path, f"features, {name!r}", feature)
    _check_roles(path, features.get(ACTION, {}))
    if any(feature["dtype"] == "video" for feature in features.values()):
        _check_video_path(path, info.get("video_path"))


def check_spec(path: Path, spec: Mapping[str, Any]) -> None:
    """Refuse a data specification of meta/ikp.json whose values have a wrong JSON type.

    Raises:
        DatasetError: the message names the file, the key and the fix.
    """
    for key in ("action_names", "state_names", "environment_state_names"):
        names = spec.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise wrong(path, f"spec, {key}", names, "a list of texts")
    for key in ROLE_KEYS:
        dims = spec.get(key, [])
        if not isinstance(dims, list) or not all(is_count(dim) for dim in dims):
            raise wrong(path, f"spec, {key}", dims, "a list of dimensions, such as [0, 1]")
    shapes = spec.get("image_shapes", {})
    if not isinstance(shapes, dict) or not all(_is_image_shape(shape) for shape in shapes.values()):
        raise wrong(path, "spec, image_shapes", shapes, "cameras with height, width and channels")
    fps, history = spec.get("fps", 10.0), spec.get("history", 1)
    if not _is_number(fps) or not 0 < fps <= LARGEST_RATE:
        raise wrong(path, "spec, fps", fps, "frames per second, a number above 0 such as 30")
    if not is_count(history):
        raise wrong(path, "spec, history", history, "a number of frames")


def wrong(path: Path, key: str, value: Any, expected: str) -> DatasetError:
    """The error for a value of a JSON file."""
    return DatasetError(
        f"{path}: {key} is {shortened(repr(value), 80)}, expected {expected}: correct it, or restore the file from a "
        "copy"
    )


def _check_feature(path: Path, key: str, feature: Any) -> None:
    if not isinstance(feature, dict):
        raise wrong(path, key, feature, "an object with dtype, shape and names")
    missing = [name for name in ("dtype", "shape") if name not in feature]
    if missing:
        raise wrong(path, key, feature, f"the keys {missing} in it")
    dtype, shape = feature["dtype"], feature["shape"]
    if not isinstance(dtype, str):
        raise wrong(path, f"{key}, dtype", dtype, 'a text such as "float32", "image" or "video"')
    if not isinstance(shape, list) or not all(is_count(size) and size <= LARGEST_SIZE for size in shape):
        raise wrong(path, f"{key}, shape", shape, f"a list of whole numbers up to {LARGEST_SIZE}")
    _check_words(path, key, feature)
    if dtype in ("image", "video") and (len(shape) != 3 or 0 in shape):
        raise wrong(path, f"{key}, shape", shape, "height, width and channels, such as [480, 640, 3]")


def _check_words(path: Path, key: str, feature: Mapping[str, Any]) -> None:
    """Names, units, and what ikp keeps beside them."""
    names = feature.get("names")
    if not (names is None or isinstance(names, list | dict)):
        raise wrong(path, f"{key}, names", names, "a list of texts, or null")
    units = feature.get("units")
    if not (units is None or isinstance(units, list)):
        raise wrong(path, f"{key}, units", units, "a list of texts, one per dimension")
    if not isinstance(feature.get(MAP_KEY, {}), dict):
        raise wrong(path, f"{key}, {MAP_KEY}", feature[MAP_KEY], "an object")
    if CAMERA_KEY in feature:
        try:
            Camera.from_json(feature[CAMERA_KEY])
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise wrong(
                path, f"{key}, {CAMERA_KEY}", feature[CAMERA_KEY], f"a camera model ({error})"
            ) from error


def _check_roles(path: Path, action: Mapping[str, Any]) -> None:
    for role in ROLE_KEYS:
        dims = action.get(role, [])
        if not isinstance(dims, list) or not all(is_count(dim) for dim in dims):
            raise wrong(path, f"features, {ACTION!r}, {role}", dims, "a list of dimensions, such as [0, 1]")
        size = action["shape"][0] if action.get("shape") else 0
        if len(set(dims)) != len(dims) or any(dim >= size for dim in dims):
            raise wrong(
                path,
                f"features, {ACTION!r}, {role}",
                dims,
                f"different dimensions below {size}, the action's size",
            )


def _check_video_path(path: Path, pattern: Any) -> None:
    """A pattern such as videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4, inside the folder."""
    example = 'a pattern such as "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"'
    if not isinstance(pattern, str):
        raise wrong(path, "video_path", pattern, example)
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        raise wrong(path, "video_path", pattern, example) from None
    for _, name, form, conversion in parts:
        plain = name is None or (
            name in _VIDEO_FIELDS and not conversion and form in ("", "d", "02d", "03d", "06d")
        )
        if not plain:
            raise wrong(path, "video_path", pattern, example)
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise wrong(path, "video_path", pattern, f"a path inside the data set's folder, {example}")


def _is_image_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(is_count(size) for size in value)


def is_count(value: Any) -> bool:
    """Whether a value of a JSON file is a whole number from 0 up that readers can use."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
