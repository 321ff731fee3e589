"""The meaning of a data set's columns: cameras, and the specification of state and action."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ikp.data.layout import (
    ACTION,
    CAMERA_KEY,
    ENVIRONMENT_STATE,
    IKP_PATH,
    IMAGES,
    INFO_PATH,
    ROLE_KEYS,
    STATE,
    DatasetError,
)
from ikp.data.metadata import read_description
from ikp.joint_map.names import unnamed
from ikp.kinematics import Camera
from ikp.spec import DataSpec


def all_cameras(info: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Map each camera's name to its feature, with its column as "key" and its "shape" as (height, width, channels)."""
    found: dict[str, dict[str, Any]] = {}
    for key, feature in info["features"].items():
        if feature["dtype"] in ("image", "video"):
            shape = image_shape(feature)
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


def image_shape(feature: Mapping[str, Any]) -> tuple[int, int, int]:
    """The shape of an image with the channels last; where names and sizes contradict, sizes of 3 and 4 decide."""
    shape = tuple(int(size) for size in feature["shape"])
    names = list(feature.get("names") or [])  # of an object its keys
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
        DatasetError: there is no action, a state or action has more than one axis, or the files contradict each other.
    """
    features = info["features"]
    if ACTION not in features:
        raise DatasetError(f"{root} has no feature {ACTION!r}: it holds {list(features)}")
    actions = dim_names(features, ACTION)
    stored = _stored_roles(root, features, shapes, float(info["fps"]))
    # none declared may also mean that nobody said which they are
    joint_dims = (stored.get("joint_dims") or None) if joint_dims is None else joint_dims
    discrete = tuple(stored.get("discrete_dims", ()) if discrete_dims is None else discrete_dims)
    declared = joint_dims is not None
    if joint_dims is None:
        joint_dims = tuple(dim for dim in range(len(actions)) if dim not in discrete)
    try:
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
    except ValueError as error:
        raise DatasetError(f"{root}: {error}") from error
    return spec, declared


def _stored_roles(
    root: Path, features: Mapping[str, Any], shapes: Mapping[str, Any], fps: float
) -> dict[str, Any]:
    """Roles of dimensions and camera models from info.json, which LeRobot's tools keep, and from meta/ikp.json."""
    stored: dict[str, Any] = {"cameras": {}}
    if (root / IKP_PATH).exists():
        spec = DataSpec.from_json(read_description(root)["spec"])
        if abs(spec.fps - fps) > 1e-6:
            raise DatasetError(
                f"{root / INFO_PATH} has {fps:g} frames per second, {root / IKP_PATH} {spec.fps:g}: correct the "
                "one that was changed"
            )
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
        raise DatasetError(
            f"meta/info.json: feature {key!r} has the shape {shape}, one size is needed, such as [6]"
        )
    found = _listed(features[key].get("names") or [])
    if len(found) != shape[0]:
        return tuple(unnamed(key, dim) for dim in range(shape[0]))
    names = [name for _, name in found]
    grouped = ["_".join(filter(None, each)) for each in found]
    if len(set(names)) < len(set(grouped)) == len(names):  # as in {"left": ["joint_1", ...], "right": [...]}
        names = grouped
    return tuple(name if names.count(name) == 1 else unnamed(key, dim) for dim, name in enumerate(names))


def _listed(names: Any, group: str = "") -> list[tuple[str, str]]:
    """Groups and names in their order: of lists, of groups such as {"motors": [...]}, of {"joint": place, ...}."""
    if isinstance(names, list):
        return [each for part in names for each in _listed(part, group)]
    if not isinstance(names, Mapping):
        return [(group, str(names))]
    if all(type(place) is int for place in names.values()):
        return [(group, str(name)) for name in sorted(names, key=lambda name: names[name])]
    return [
        each
        for key, part in names.items()
        for each in ([(group, str(key))] if type(part) is int else _listed(part, str(key)))
    ]
