"""The LeRobotDataset v3.0 layout: keys, paths and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ikp.spec import DataSpec

VERSION = "v3.0"
STATE = "observation.state"
ENVIRONMENT_STATE = "observation.environment_state"
IMAGES = "observation.images."
ACTION = "action"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"

INFO_PATH = Path("meta/info.json")
STATS_PATH = Path("meta/stats.json")
EPISODES = Path("meta/episodes")
TASKS_PATH = Path("meta/tasks.parquet")
IKP_PATH = Path("meta/ikp.json")
DATA_PATTERN = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATTERN = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATTERN = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
ROLE_KEYS = ("joint_dims", "discrete_dims")
"""Keys of the action's feature, beside its names: the fields of `DataSpec` that say what its dimensions are."""
CAMERA_KEY = "camera"
"""Key of an image's feature: the model of its camera (`Camera.to_json`)."""
MAP_KEY = "joint_map"
"""Key of the features of action and state: their part of the joint map. LeRobot's tools keep what features hold."""
RECORDING, DEPLOYMENT = "recording", "deployment"
"""Keys of the extra facts in meta/ikp.json of data sets that a person made on a bench, or a policy by acting there."""
CHUNK_SIZE = 1000
"""Files per folder, LeRobot's default. Each data file that is written here holds one episode."""

INDEX_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


class DatasetError(ValueError):
    """A data set cannot be read or continued; the message names the file or value and the fix."""


def data_path(episode: int) -> Path:
    """Path of the data file of one episode, relative to the data set's folder."""
    return Path(DATA_PATTERN.format(chunk_index=episode // CHUNK_SIZE, file_index=episode % CHUNK_SIZE))


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of `data` or `meta/episodes` in order, without hidden ones (macOS adds `._*` to copies)."""
    paths = folder.glob("*/*.parquet")
    return sorted(path for path in paths if not path.name.startswith("."))


def features_from_spec(spec: DataSpec, units: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """The `features` of info.json: data type, shape and names of every column.

    Args:
        spec: names and sizes of a frame's values.
        units: the unit of each dimension, for some of the vector features; stored under the key "units".

    Raises:
        ValueError: `units` names an unknown feature or has the wrong length.
    """
    features: dict[str, Any] = {}
    vectors = {STATE: spec.state_names, ENVIRONMENT_STATE: spec.environment_state_names}
    for key, names in vectors.items():
        if names:
            features[key] = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
    for camera, shape in spec.image_shapes.items():
        names = ["height", "width", "channels"]
        features[IMAGES + camera] = {"dtype": "image", "shape": list(shape), "names": names}
        if camera in spec.cameras:
            features[IMAGES + camera][CAMERA_KEY] = spec.cameras[camera].to_json()
    features[ACTION] = {"dtype": "float32", "shape": [spec.action_dim], "names": list(spec.action_names)}
    features[ACTION] |= {key: list(getattr(spec, key)) for key in ROLE_KEYS}
    for key, unit in (units or {}).items():
        if key not in features or features[key]["dtype"] == "image":
            raise ValueError(f"units given for {key!r}: the vector features are {list(features)}")
        if len(unit) != features[key]["shape"][0]:
            raise ValueError(f"{key!r} has {features[key]['shape'][0]} dimensions but {len(unit)} units")
        features[key]["units"] = list(unit)
    for key, dtype in {REWARD: "float32", DONE: "bool", SUCCESS: "bool", **INDEX_COLUMNS}.items():
        features[key] = {"dtype": dtype, "shape": [1], "names": None}
    return features
