"""The recorded numbers whose joint map is inferred, and what a user says about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ikp.joint_map.dimension import UNITS


@dataclass(frozen=True)
class MapHints:
    """A user's statements about a recording; the rest of its joint map is inferred.

    Each attribute is the option of `ikp train` of that name.

    Attributes:
        units: one unit for all joints, or units by the name of a joint or dimension; the key "" is all other joints.
            With deg, mm or a percentage for all, a gripper from 0 to 100 is in percent unless it is named.
        joints: names of the action's dimensions that are the robot's joints, in the order of the robot.
        gripper: names of two-valued grippers, each with its open and its closed value, or None to find them.
        ignore: names of dimensions that are left out.

    Raises:
        ValueError: a unit is unknown.
    """

    units: str | Mapping[str, str] = ""
    joints: Sequence[str] = ()
    gripper: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    ignore: Sequence[str] = ()

    def __post_init__(self) -> None:
        for unit in self.units_by_name.values():
            if unit not in UNITS:
                raise ValueError(f"--units {unit}: the unit is unknown; choose one of {', '.join(UNITS)}")

    @property
    def units_by_name(self) -> Mapping[str, str]:
        """The units as a mapping."""
        if isinstance(self.units, str):
            return {"": self.units} if self.units else {}
        return self.units

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return not (self.units or self.joints or self.gripper or self.ignore)

    def check_names(self, known: Sequence[str]) -> None:
        """Refuse names that are neither dimensions nor joints.

        Raises:
            ValueError: the message lists the known names.
        """
        said = {
            "--joints": self.joints,
            "--gripper": self.gripper,
            "--ignore": self.ignore,
            "--units": [name for name in self.units_by_name if name],
        }
        for option, names in said.items():
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(f"{option} names {unknown}; there are {list(dict.fromkeys(known))}")


@dataclass(frozen=True)
class Vector:
    """A recorded vector.

    Attributes:
        what: action or state.
        names: of its dimensions.
        units: of its dimensions as the data set stores them; empty texts where it says nothing.
        recorded: (frame, dimension) in any precision.
    """

    what: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    recorded: np.ndarray

    @cached_property
    def values(self) -> np.ndarray:
        """(frame, dimension) float64; made when a map is inferred, which a given or a stored map does not need."""
        return self.recorded.astype(np.float64)


@dataclass(frozen=True)
class Recording:
    """The part of a data set from which a joint map is inferred.

    Attributes:
        action, state: the recorded vectors.
        starts: whether each frame is the first one of an episode.
        fps: frames per second.
        joint_dims: action and state dimensions of the robot's joints where the data set declares them.
        discrete_dims: dimensions declared as grippers.
    """

    action: Vector
    state: Vector
    starts: np.ndarray
    fps: float
    joint_dims: tuple[int, ...] | None = None
    discrete_dims: tuple[int, ...] = ()
