"""The observation of any environment as a frame, by a mapping where its keys are its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

FrameMap = Mapping[str, str | Callable[[Any], Any]] | Callable[[Any], Mapping[str, Any]]
"""Where the parts of a frame are in an observation, see `frame_of`."""


def frame_of(observation: Any, frame_map: FrameMap | None = None) -> Mapping[str, Any]:
    """The frame (see `observation_from_frames`) of what an environment returned.

    Args:
        observation: a dictionary, or one array: a vector is then the state, anything with more axes the image.
        frame_map: a dictionary from keys of the frame (`state`, `environment_state`, the name of a camera) to where the
            value is: a key of the observation, in nested dictionaries "pixels/top", or a function of the observation.
            Or one function that makes the whole frame.

    Raises:
        ValueError: a key of the mapping is not in the observation, or the result is no frame.
    """
    if callable(frame_map):
        frame = frame_map(observation)
        if not isinstance(frame, Mapping):
            raise ValueError(
                f"the function that makes a frame returned a {type(frame).__name__}: return a dictionary with 'state' "
                "and images"
            )
        return frame
    is_mapping = isinstance(observation, Mapping)
    frame = dict(observation) if is_mapping else {}
    if not is_mapping and not frame_map:
        frame["state" if np.ndim(observation) == 1 else "image"] = observation
    for key, place in (frame_map or {}).items():
        frame[key] = place(observation) if callable(place) else _at(observation, place, key)
    return frame


def _at(observation: Any, place: str, key: str) -> Any:
    value, rest = observation, place
    while rest:
        if not isinstance(value, Mapping):
            found = f"{type(value).__name__} of the shape {np.shape(value)}"
            raise ValueError(
                f"{key!r} is to be found at {place!r}, but the observation has a {found} there: give a function of the "
                f"observation, such as {{{key!r}: lambda observation: observation[:6]}}"
            )
        head, _, tail = (rest, "", "") if rest in value else rest.partition("/")
        if head not in value:
            raise ValueError(
                f"{key!r} is to be found at {place!r}, but there is no {head!r}: there are {[*value]}"
            )
        value, rest = value[head], tail
    return value
