"""The index of a data set on disk: the meaning of its columns, and the file and rows of each episode."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ikp.data.layout import (
    ACTION,
    CAMERA_KEY,
    ENVIRONMENT_STATE,
    IKP_PATH,
    IMAGES,
    ROLE_KEYS,
    STATE,
    DatasetError,
    data_path,
    parquet_files,
)
from ikp.data.metadata import read_description, read_info
from ikp.data.parquet import damaged_data, episode_info, numbers, open_data_file, read_table
from ikp.kinematics import Camera
from ikp.spec import DataSpec


@dataclass(frozen=True)
class EpisodePlace:
    """The file and rows of an episode.

    Attributes:
        index: index of the episode in the data set.
        path: its data file.
        first_row: its first row in that file.
        length: its number of rows.
        info: the information stored with the episode.
    """

    index: int
    path: Path
    first_row: int
    length: int
    info: Mapping[str, Any]


def all_cameras(info: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Map each camera's name to its feature, with its column as "key" and its "shape" as (height, width, channels)."""
    found: dict[str, dict[str, Any]] = {}
    for key, feature in info["features"].items():
        if feature["dtype"] in ("image", "video"):
            shape = _height_width_channels(feature)
            found[_camera_name(key, found)] = {**feature, "key": key, "shape": shape}
    return found


def camera_features(info: Mapping[str, Any], cameras: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Map each camera's name to its feature, with its column as "key" and its "shape" as (height, width, 3).

    A transparent image (4 channels) counts as a colour image. Without `cameras`, a warning names what is left out, such
    as depth and images stored as plain numbers.

    Args:
        info: content of info.json.
        cameras: the cameras to use, by name or key; all colour cameras if None.

    Raises:
        DatasetError: a camera is unknown or has no colour images.
    """
    found = all_cameras(info)
    if cameras is None:
        used = {name: feature for name, feature in found.items() if feature["shape"][2] == 3}
        shapes = {name: feature["shape"] for name, feature in found.items() if name not in used}
        shapes |= {
            key: tuple(feature["shape"])
            for key, feature in info["features"].items()
            if feature["dtype"] not in ("image", "video") and len(feature.get("shape") or ()) == 3
        }
        if shapes:
            shown = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
            warnings.warn(
                f"cameras that do not have colour images as files or videos are not used: {shown}; name the cameras to "
                "use to silence this",
                stacklevel=3,
            )
        return used
    keys = {feature["key"]: name for name, feature in found.items()}
    names = [keys.get(camera, camera) for camera in cameras]
    for name in names:
        if name not in found:
            raise DatasetError(f"camera {name!r} is not in the data set: it has {list(found)}")
        if found[name]["shape"][2] != 3:
            raise DatasetError(
                f"camera {name!r} has the shape {found[name]['shape']}: 3 colour channels are needed"
            )
    return {name: found[name] for name in names}


def _camera_name(key: str, taken: Mapping[str, Any]) -> str:
    """The key without `observation.` and `images.`; with more of it where another camera has that name."""
    short = key.removeprefix(IMAGES).removeprefix("observation.")
    names = [name for name in (short, key.removeprefix("observation."), key) if name not in taken]
    if not names:
        raise DatasetError(f"two cameras have the name {key!r} in meta/info.json: rename one of its features")
    return names[0]


def _height_width_channels(feature: Mapping[str, Any]) -> tuple[int, int, int]:
    """The shape of an image with the channels last; where names and sizes contradict, sizes of 3 and 4 decide."""
    shape = tuple(int(size) for size in feature["shape"])
    if len(shape) != 3:
        raise DatasetError(f"an image feature has the shape {shape}: expected height, width and channels")
    names = feature.get("names") or []
    first, last = shape[0] in (3, 4), shape[-1] in (3, 4)
    channels_first = first if first != last else len(names) == 3 and str(names[0]).startswith("c")
    height, width, channels = (shape[1], shape[2], shape[0]) if channels_first else shape
    return height, width, 3 if channels == 4 else channels


def read_spec(
    root: Path,
    info: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, int, int]],
    joint_dims: Sequence[int] | None,
    discrete_dims: Sequence[int] | None,
    history: int,
) -> tuple[DataSpec, bool]:
    """The specification of a data set as it is recorded, and whether its joint dimensions are declared.

    The roles of action dimensions come from the arguments, else from info.json, else from meta/ikp.json; without any,
    every dimension that is not discrete counts as a joint.

    Raises:
        DatasetError: there is no action, or a state or action has more than one axis.
    """
    features = info["features"]
    if ACTION not in features:
        raise DatasetError(f"{root} has no feature {ACTION!r}: it holds {list(features)}")
    actions = dim_names(features, ACTION)
    stored = _stored_roles(root, features, shapes)
    joint_dims = stored.get("joint_dims") if joint_dims is None else joint_dims
    discrete = tuple(stored.get("discrete_dims", ()) if discrete_dims is None else discrete_dims)
    declared = joint_dims is not None
    if joint_dims is None:
        joint_dims = tuple(dim for dim in range(len(actions)) if dim not in discrete)
    spec = DataSpec(
        action_names=actions,
        state_names=dim_names(features, STATE),
        environment_state_names=dim_names(features, ENVIRONMENT_STATE),
        image_shapes=shapes,
        fps=float(info["fps"]),
        joint_dims=tuple(joint_dims),
        discrete_dims=discrete,
        history=history,
        cameras=stored["cameras"],
    )
    return spec, declared


def _stored_roles(root: Path, features: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Roles of dimensions and camera models from info.json, which LeRobot's tools keep, and from meta/ikp.json."""
    stored: dict[str, Any] = {"cameras": {}}
    if (root / IKP_PATH).exists():
        spec = DataSpec.from_json(read_description(root)["spec"])
        stored = {key: getattr(spec, key) for key in (*ROLE_KEYS, "cameras")}
    stored |= {key: tuple(features[ACTION][key]) for key in ROLE_KEYS if key in features[ACTION]}
    models = {
        name: Camera.from_json(features[IMAGES + name][CAMERA_KEY])
        for name in shapes
        if CAMERA_KEY in features.get(IMAGES + name, {})
    }
    cameras = {**stored["cameras"], **models}
    return stored | {"cameras": {name: camera for name, camera in cameras.items() if name in shapes}}


def dim_names(features: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Names of a vector's dimensions; numbered where it has none, empty where there is no such feature."""
    if key not in features:
        return ()
    shape = features[key]["shape"]
    if len(shape) != 1:
        raise DatasetError(f"feature {key!r} has the shape {shape}: one dimension is needed")
    names = features[key].get("names")
    if isinstance(names, Mapping):  # LeRobot groups names, as in {"motors": [...]}
        groups = [group if isinstance(group, list) else [group] for group in names.values()]
        names = [name for group in groups for name in group]
    names = [str(name) for name in names or []]
    if len(names) != shape[0] or len(set(names)) != shape[0]:
        names = [f"{key}_{dim}" for dim in range(shape[0])]
    return tuple(names)


def find_episodes(
    root: Path, info: Mapping[str, Any], wanted: int | Sequence[int] | None
) -> list[EpisodePlace]:
    """Files and rows of some episodes, in ascending order.

    They are read from the data files: the metadata may lag behind in a folder whose writer was killed.

    Args:
        root: folder of the data set.
        info: content of info.json.
        wanted: indices of episodes, a number of first episodes, or None for all.

    Raises:
        DatasetError: an episode is missing, or a file is damaged.
    """
    paths = parquet_files(root / "data")
    listed = int(info["total_episodes"])
    if not paths and not listed:
        raise DatasetError(f"{root} holds no finished episode: record or collect demonstrations first")
    indices = set(range(wanted)) if isinstance(wanted, int) else None if wanted is None else set(wanted)
    if indices is not None and not indices:
        raise DatasetError(
            "no episode is requested: give a positive number, a list of indices, or None for all"
        )
    own = (root / IKP_PATH).exists()
    if own and indices is not None:  # one file per episode: the others need not be opened
        chosen = [root / data_path(index) for index in sorted(indices)]
        paths = chosen if all(path.exists() for path in chosen) else paths
    places, damage = _all_places(paths)
    found = {place.index: place for place in places}
    if damage is not None and (indices is None or not indices <= set(found)):
        raise damage
    expected = indices if indices is not None else set(range(listed)) | set(found)
    missing = sorted(expected - set(found))
    if missing:
        if isinstance(wanted, int) and missing[0] == len(found):
            raise DatasetError(
                f"{wanted} episodes are requested: {root} has {len(found)}; ask for at most these"
            )
        raise _missing_error(root, missing, max(listed, len(found)), own)
    if len(found) != len(places):
        raise DatasetError(f"{root} holds an episode in two places: files of two data sets are mixed")
    return [found[index] for index in sorted(expected)]


def _all_places(paths: Sequence[Path]) -> tuple[list[EpisodePlace], DatasetError | None]:
    """The episodes of all files that can be read, and the error of the first one that cannot."""
    places: list[EpisodePlace] = []
    damage: DatasetError | None = None
    for path in paths:
        try:
            places += _episodes_in(path)
        except DatasetError as error:
            damage = damage or error
    return places, damage


def _missing_error(root: Path, missing: list[int], total: int, own: bool) -> DatasetError:
    if missing[0] >= total:
        return DatasetError(
            f"episode {missing[0]} is requested: {root} has {total} episodes, from 0 to {total - 1}"
        )
    where = f" ({root / data_path(missing[0])})" if own else ""
    shown = ", ".join(str(index) for index in missing[:5]) + (", ..." if len(missing) > 5 else "")
    return DatasetError(
        f"{len(missing)} of {total} episodes are missing, first episode {missing[0]}{where}: {root} is "
        f"incomplete; copy it again, or load the other episodes by number (missing: {shown})"
    )


def _episodes_in(path: Path) -> list[EpisodePlace]:
    with open_data_file(path) as file:
        info = episode_info(file)
        try:
            column = file.read(columns=["episode_index"])
        except (OSError, pa.ArrowException) as error:
            raise damaged_data(path, error) from error
        if "episode_index" not in column.column_names:
            raise DatasetError(
                f"{path} has no column 'episode_index': it is not a data file of a LeRobot data set"
            )
    index = numbers(column.column(0), 1, "episode_index", path)[:, 0]
    starts = (
        np.concatenate([[0], np.flatnonzero(np.diff(index)) + 1]) if len(index) else np.array([], dtype=int)
    )
    ends = np.append(starts[1:], len(index))
    return [
        EpisodePlace(int(index[a]), path, int(a), int(b - a), info) for a, b in zip(starts, ends, strict=True)
    ]


def video_places(root: Path, key: str) -> dict[int, tuple[Path, float]]:
    """Map each episode's index to its video file and the time [s] at which the episode starts in it.

    Raises:
        DatasetError: meta/episodes is damaged or lacks the columns for videos.
    """
    columns = [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
    places: dict[int, tuple[Path, float]] = {}
    info = read_info(root)
    for path in parquet_files(root / "meta/episodes"):
        table = read_table(path, ["episode_index", *columns])
        if table.num_columns != 4:
            raise DatasetError(f"{path} lacks {columns}: these columns say where the videos are")
        for index, chunk, file, start in zip(*(column.to_pylist() for column in table.columns), strict=True):
            video = info["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
            places[index] = (root / video, float(start))
    return places
