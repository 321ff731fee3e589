"""The specification of a data set from its first frame and action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from ikp.kinematics import Camera
from ikp.policies.frames import IMAGE_GROUPS, VECTOR_KEYS
from ikp.spec import DataSpec

_IMAGE_PREFIXES = ("observation.images.", "observation.")


@dataclass(frozen=True)
class Naming:
    """Names of the dimensions of a recording where its frames have none.

    Attributes:
        joints: names of a robot's joints, for an action or a state of this size without names.
        action, state, environment_state: names of the dimensions.
        cameras: models of the cameras by name.
    """

    joints: Sequence[str] = ()
    action: Sequence[str] = ()
    state: Sequence[str] = ()
    environment_state: Sequence[str] = ()
    cameras: Mapping[str, Camera] = field(default_factory=dict)


def spec_of_frame(
    frame: Mapping[str, Any], action: Any, fps: float, naming: Naming
) -> tuple[DataSpec, tuple[str, ...]]:
    """The specification of frames like this one, and the keys of the frame that it leaves out.

    The state and the environment's state are under the keys of `observation_from_frames`; without a state, all single
    numbers are the state (`shoulder_pan.pos`). Every RGB image, alone or in a dictionary `images` or `pixels`, is a
    camera. Nothing is said about which dimensions are joints: the data set's joint map finds them by name when the data
    are loaded.

    Args:
        frame: the first frame.
        action: the first action: a vector, or a dictionary of numbers by name.
        fps: frames per second.
        naming: names where the frame has none.

    Raises:
        ValueError: there is neither a state nor an image, or the number of names is not that of the dimensions.
    """
    images, used = _images(frame)
    vectors = {}
    for name, keys in VECTOR_KEYS.items():
        key = next((key for key in keys if key in frame), None)
        if key is not None:
            used.add(key)
            vectors[name] = np.size(_plain(frame[key]))
    state_names: Sequence[str] = ()
    if "state" in vectors:
        state_names = _names("state", vectors["state"], naming.state, naming.joints)
    else:
        state_names = [key for key, value in frame.items() if key not in used and _is_number(value)]
        used.update(state_names)
        if naming.state:
            unknown = [name for name in naming.state if name not in state_names]
            if unknown:
                raise ValueError(f"state_names holds {unknown}, and the frame has the numbers {state_names}")
            state_names = naming.state
    if not state_names and not images:
        raise ValueError(
            f"the frame has neither a state nor an image: it has the keys {[*frame]}; say where they are with "
            "frame={'state': 'KEY'}, or a function of the observation in place of the key"
        )
    environment = _names(
        "environment_state", vectors.get("environment_state", 0), naming.environment_state, ()
    )
    if isinstance(action, Mapping):
        action_names: Sequence[str] = naming.action or list(action)
    else:
        like_state = state_names if "state" not in vectors else ()
        action_names = _names("action", np.size(_plain(action)), naming.action, naming.joints or like_state)
    spec = DataSpec(
        action_names=tuple(action_names),
        state_names=tuple(state_names),
        environment_state_names=tuple(environment),
        image_shapes=images,
        fps=fps,
        cameras=naming.cameras,
    )
    return spec, tuple(key for key in frame if key not in used)


def _names(what: str, size: int, given: Sequence[str], fitting: Sequence[str]) -> Sequence[str]:
    """The given names, else those of `fitting` if there are as many, else numbered ones."""
    if given and len(given) != size:
        raise ValueError(
            f"{what}_names has {len(given)} names, and the {what} {size} dimensions: give one each"
        )
    if given:
        return given
    return fitting if fitting and len(fitting) == size else [f"{what}_{i}" for i in range(size)]


def _images(frame: Mapping[str, Any]) -> tuple[dict[str, tuple[int, int, int]], set[str]]:
    """Cameras with the shapes of their images, and the keys that they are under."""
    shapes: dict[str, tuple[int, int, int]] = {}
    used: set[str] = set()
    for key, value in frame.items():
        if key in IMAGE_GROUPS and isinstance(value, Mapping):
            found = {name: shape for name, image in value.items() if (shape := _image_shape(image))}
        else:
            shape = _image_shape(value)
            name = key
            for prefix in _IMAGE_PREFIXES:
                name = name.removeprefix(prefix)
            found = {name: shape} if shape else {}
        if found:
            shapes |= found
            used.add(key)
    return shapes, used


def _image_shape(value: Any) -> tuple[int, int, int] | None:
    """Shape (height, width, 3) of an RGB image; None for anything else."""
    shape = tuple(getattr(value, "shape", ()))
    if len(shape) == 4 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 3 or 3 not in (shape[0], shape[2]):
        return None
    return (shape[0], shape[1], 3) if shape[2] == 3 else (shape[1], shape[2], 3)


def _plain(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _is_number(value: Any) -> bool:
    array = np.asarray(_plain(value)) if not isinstance(value, Mapping | str | bytes) else np.asarray("")
    return array.ndim == 0 and array.dtype.kind in "fiu"
