"""Infer the unit of every recorded joint: what the user says, what is stored, else what fits the robot's limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ikp.joint_map.dimension import unit_scale
from ikp.joint_map.hints import MapHints, Recording, Vector
from ikp.joint_map.names import plain_name
from ikp.kinematics import Robot
from ikp.words import shortened

FAR = {"revolute": 4 * math.pi, "continuous": 4 * math.pi, "prismatic": 10.0}
"""Joint positions beyond this [rad or m] are taken for another unit."""
SLACK = {"revolute": 0.2, "continuous": 0.2, "prismatic": 0.02}
"""Accepted excess over a joint's limits [rad or m]: zeros are not exact, and targets may lie beyond a stop."""
FASTEST = 2.0
"""Accepted speed between two frames, as a multiple of a joint's speed limit."""
VISIBLE = 0.1
"""Range of a joint from which its numbers may tell their unit [rad or m]."""
RARE = 0.001
"""Share of the frames that may lie beyond the limits."""
LINEAR_UNITS, ANGLE_UNITS = ("m", "mm"), ("rad", "deg")
STORED_UNITS = {
    **dict.fromkeys(("rad", "radian", "radians"), "rad"),
    **dict.fromkeys(("deg", "degree", "degrees", "°"), "deg"),
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), "m"),
    **dict.fromkeys(("%", "percent"), "percent"),
    "mm": "mm",
    "signed-percent": "signed-percent",
    "fraction": "fraction",
}
"""Words for units that other data sets store."""


@dataclass(frozen=True)
class Channel:
    """The recorded numbers of one joint in one vector, and what the joint can do.

    Attributes:
        what: action or state.
        name, stored: name of the dimension, and its unit as the data set stores it.
        joint, kind: name and type of the joint.
        is_hand: whether it belongs to a gripper.
        low, high: smallest and largest recorded number, and without the rarest ones.
        steps: recorded changes from frame to frame; none for an action.
        fps: frames per second.
        limits: of the joint [rad or m], with some slack.
        speed: limit of the joint [rad/s or m/s].
    """

    what: str
    name: str
    stored: str
    joint: str
    kind: str
    is_hand: bool
    low: float
    high: float
    usual: tuple[float, float]
    steps: np.ndarray
    fps: float
    limits: tuple[float, float]
    speed: float

    @property
    def is_linear(self) -> bool:
        """Whether the joint slides."""
        return self.kind == "prismatic"

    @property
    def largest(self) -> float:
        """Largest distance from 0."""
        return max(abs(self.low), abs(self.high))

    @property
    def is_percent(self) -> bool:
        """Whether all numbers lie between 0 and 100, and not between 0 and 1, unless they stand still."""
        return self.low >= -0.5 and self.high <= 100.5 and (self.high > 2 or self.high - self.low < 0.01)

    @property
    def is_fraction(self) -> bool:
        """Whether the numbers go from 0 to 1."""
        return abs(self.low) < 0.02 and abs(self.high - 1) < 0.02

    def reaches(self, scale: float) -> bool:
        """Whether the joint can reach the numbers, times the scale."""
        return self.limits[0] <= self.usual[0] * scale and self.usual[1] * scale <= self.limits[1]

    def fastest(self, scale: float) -> float:
        """Speed that few frames exceed, of the numbers times the scale [rad/s or m/s]; 0 for an action."""
        if not len(self.steps):
            return 0.0
        steps = self.steps * scale
        if self.kind == "continuous":  # an encoder that wraps goes on by less than a turn
            steps -= 2 * math.pi * np.round(steps / (2 * math.pi))
        return float(np.quantile(np.abs(steps), 0.99)) * self.fps

    def keeps_up(self, scale: float) -> bool:
        """Whether the joint can move as fast as the numbers, times the scale."""
        return self.fastest(scale) <= FASTEST * self.speed

    def excess(self, scale: float) -> float:
        """Distance of the numbers, times the scale, beyond the limits [rad or m]."""
        return max(self.limits[0] - self.low * scale, self.high * scale - self.limits[1])


def infer_units(
    robot: Robot, recording: Recording, hints: MapHints, found: Mapping[str, Mapping[str, int]]
) -> dict[tuple[str, str], tuple[str, str]]:
    """Unit and reason of every joint in action and state.

    Args:
        robot: limits and speeds of the joints.
        recording: names, stored units and values.
        hints: units that the user says.
        found: by vector (action, state) the dimension of every joint.

    Raises:
        ValueError: a unit is ambiguous or does not fit the joint; the message names the option that settles it.
    """
    channels = [
        joint_channel(robot, recording, vector, joint, dim)
        for vector in (recording.action, recording.state)
        for joint, dim in found[vector.what].items()
    ]
    units = hints.units_by_name
    common = units.get("", "")
    if common and not any(_fits_kind(common, channel) for channel in channels):
        raise ValueError(
            f"--units {common}: robot {robot.name!r} has no joint of this kind; {_choices(channels[0])}"
        )
    made: dict[tuple[str, str], tuple[str, str]] = {}
    unsaid = []
    for channel in channels:
        said = _said(channel, units, common)
        if said is None:
            unsaid.append(channel)
        else:
            made[channel.what, channel.joint] = said
    for is_linear in (False, True):
        group = [channel for channel in unsaid if not channel.is_hand and channel.is_linear == is_linear]
        if group:
            made |= dict.fromkeys(((channel.what, channel.joint) for channel in group), _arm_unit(group))
    is_native = all(unit in ("rad", "m") for unit, _ in made.values())
    for channel in unsaid:
        if channel.is_hand:
            made[channel.what, channel.joint] = _hand_unit(channel, robot, is_native)
    return made


def joint_channel(robot: Robot, recording: Recording, vector: Vector, joint: str, dim: int) -> Channel:
    """The numbers of one joint in the action or the state of a recording.

    Args:
        robot: limits and speed of the joint.
        recording: starts of the episodes and frames per second.
        vector: its action or its state.
        joint: name of the joint.
        dim: its dimension in the vector.
    """
    index = robot.joint_index(joint)
    kind = robot.joint_types[index]
    values = vector.values[:, dim]
    low = high = 0.0
    usual = (0.0, 0.0)
    if len(values):
        low, high = float(values.min()), float(values.max())
        usual = (float(np.quantile(values, RARE)), float(np.quantile(values, 1 - RARE)))
    steps = np.diff(values)[~recording.starts[1:]] if vector is recording.state else np.zeros(0)
    lower, upper, speed = (float(values[index]) for values in (robot.lower, robot.upper, robot.velocity))
    return Channel(
        what=vector.what,
        name=vector.names[dim],
        stored=vector.units[dim].strip().lower(),
        joint=joint,
        kind=kind,
        is_hand=plain_name(joint).is_gripper or plain_name(vector.names[dim]).is_gripper,
        low=low,
        high=high,
        usual=usual,
        steps=steps,
        fps=recording.fps,
        limits=(
            lower - SLACK[kind] if math.isfinite(lower) else -FAR[kind],
            upper + SLACK[kind] if math.isfinite(upper) else FAR[kind],
        ),
        speed=speed if speed > 0 else math.inf,
    )


def _fits_kind(unit: str, channel: Channel) -> bool:
    """Whether a joint of this kind can have the unit."""
    return unit not in (ANGLE_UNITS if channel.is_linear else LINEAR_UNITS)


def _choices(channel: Channel) -> str:
    units = LINEAR_UNITS if channel.is_linear else ANGLE_UNITS
    return f"choose {units[0]}, {units[1]}, percent, signed-percent or fraction"


def _said(channel: Channel, units: Mapping[str, str], common: str) -> tuple[str, str] | None:
    """The unit that the user, the data set or the name gives; None without any."""
    own = units.get(channel.joint) or units.get(channel.name)
    if own:
        if not _fits_kind(own, channel):
            raise ValueError(
                f"--units {channel.joint}={own}: the joint is {channel.kind}; {_choices(channel)}"
            )
        return own, "as given"
    if common and channel.is_hand and common not in ("rad", "m") and channel.is_percent:
        return "percent", f"a gripper from 0 to 100 (else --units {channel.joint}=UNIT)"
    if common and channel.is_hand and common not in ("rad", "m") and channel.is_fraction:
        raise ValueError(
            f"--units {common} and the gripper {channel.name!r}, which goes from 0 to 1: give its unit too (--units "
            f"{common} {channel.joint}=fraction for a share of its range, or {channel.joint}={common})"
        )
    if common and _fits_kind(common, channel):
        return common, "as given"
    if channel.stored and channel.stored not in STORED_UNITS:
        raise ValueError(
            f"{channel.name!r} is stored in {shortened(channel.stored, 40)!r}, which is unknown: give its unit "
            f"(--units {channel.joint}=UNIT; {_choices(channel)}), or its scale (--joint-map FILE)"
        )
    told = STORED_UNITS[channel.stored] if channel.stored else plain_name(channel.name).unit
    if told and not _fits_kind(told, channel):
        raise ValueError(
            f"{channel.name!r} is in {told}, but joint {channel.joint!r} of the robot is {channel.kind}: give the "
            f"robot of these data (--robot), or the unit (--units {channel.joint}=UNIT)"
        )
    if told == "rad" and channel.largest > FAR[channel.kind]:
        raise ValueError(
            f"{channel.name!r} is said to be in rad, but reaches {channel.largest:.1f}: give the true unit (--units "
            "deg, or --units rad if it is true)"
        )
    return (told, "unit stored in the data set" if channel.stored else "unit in the name") if told else None


def _arm_unit(group: Sequence[Channel]) -> tuple[str, str]:
    """The common unit of joints of one kind, in action and state, by their values."""
    base, small = LINEAR_UNITS if group[0].is_linear else ANGLE_UNITS
    small_scale = unit_scale(small, "", None)[0]
    reaches, keeps_up = (
        all(fits) for fits in zip(*((c.reaches(1), c.keeps_up(1)) for c in group), strict=True)
    )
    if reaches and keeps_up:
        return base, "values fit limits and speeds"
    fits_small = all(c.reaches(small_scale) and c.keeps_up(small_scale) for c in group)
    farthest = max(group, key=lambda c: c.largest)
    start = f"the {farthest.what} reaches {farthest.largest:.4g} at {farthest.name!r}"
    if farthest.largest > FAR[farthest.kind]:
        # LeRobot's arms record `NAME.pos` in degrees or as -100 to 100 between the limits, and do not say which.
        if base == "rad" and farthest.largest <= 100 and all(c.name.endswith(".pos") for c in group):
            raise ValueError(
                f"{start}, which is not rad: it may be degrees or, as in older recordings of LeRobot, -100 to 100 "
                "between the joints' limits: give --units deg or --units signed-percent"
            )
        moving = [c for c in group if c.high - c.low > VISIBLE]
        alone = [c for c in moving if c.reaches(1) and c.keeps_up(1)]
        if fits_small and 2 * len(alone) > len(moving):
            raise ValueError(
                f"{start}, which is not {base}, but most of these joints fit {base}, such as {alone[0].name!r} from "
                f"{alone[0].low:.4g} to {alone[0].high:.4g}: give --units {small} for all, or the unit of each "
                f"(--units NAME={small} NAME={base} ...)"
            )
        if fits_small:
            return small, f"up to {farthest.largest:.4g}, far beyond the limits in {base}"
    if reaches:
        raise ValueError(
            f"{start}, within the limits in {base}, but the joints move faster than the robot can: give --units "
            f"{small}, or --units {base} if they are in {base}"
        )
    worst = max(group, key=lambda c: c.excess(1))
    others = f"--units {small}"
    if base == "rad" and farthest.largest <= 100 and all(c.name.endswith(".pos") for c in group):
        others += ", or --units signed-percent for older recordings of LeRobot"
    raise ValueError(
        f"the {worst.what}'s {worst.name!r} goes from {worst.low:.4g} to {worst.high:.4g}, joint {worst.joint!r} has "
        f"the limits {worst.limits[0] + SLACK[worst.kind]:.4g} to {worst.limits[1] - SLACK[worst.kind]:.4g}; as "
        f"{small} the numbers {'fit' if fits_small else 'do not fit either'}. Give --units {base} or "
        f"{others}; where the arm has other zeros or signs than its model, give them by --joint-map FILE"
    )


def _hand_unit(channel: Channel, robot: Robot, is_native: bool) -> tuple[str, str]:
    """The unit of a gripper's joint: as the arm's where that is the model's own and fits, else percent."""
    if is_native and channel.reaches(1) and not channel.is_fraction:
        return "m" if channel.is_linear else "rad", "values fit the limits"
    if channel.is_percent:
        unit_scale("percent", channel.joint, robot)  # refuses a joint without limits
        return "percent", "a gripper from 0 to 100"
    lower, upper = (
        each * SLACK[channel.kind] + limit for each, limit in zip((1, -1), channel.limits, strict=True)
    )
    raise ValueError(
        f"the gripper {channel.name!r} goes from {channel.low:.4g} to {channel.high:.4g}, the limits of joint "
        f"{channel.joint!r} are {lower:.4g} to {upper:.4g}: give its unit (--units {channel.joint}=fraction for 0 to 1 "
        f"of its range, percent for 0 to 100; {_choices(channel)}), or make it two-valued (--gripper {channel.name} "
        f"--lock {channel.joint}=VALUE)"
    )
