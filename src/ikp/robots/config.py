"""Settings of the controller: rate, servo, speeds and limits."""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ikp.checks import in_range, one_of, plain_types
from ikp.files import read_json, write_json
from ikp.robots.interfaces import STOP_DECELERATION

ON_LIMIT = ("refuse", "clip")


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of the controller; a JSON file can hold them (`load`, `save`).

    Attributes:
        rate: joint targets sent to the arm per second [Hz].
        lookahead: time over which the arm smooths targets, servoJ's lookahead_time [s].
        gain: servoJ's gain.
        speed: largest speed of each joint, as a fraction of the robot's own limit.
        acceleration: largest acceleration of each joint [rad/s^2 or m/s^2].
        joint_margin: distance from the robot's joint limits that targets keep [rad or m].
        workspace: least and largest x, y, z of the tool's tip in the base frame [m]; None for what the arm can reach
            above the plane of its base. Its floor, and the other sides that have the base within, hold for the arm too.
        workspace_links: links whose frames stay in the workspace as well; None for the elbow and all beyond it, that
            is, those that two joints or more move; empty for the tip alone.
        link_clearance: distance that these frames keep from the sides of the workspace [m].
        on_limit: what happens to a way-point beyond a joint limit or outside the workspace: the robot stops (refuse),
            or it goes as far as is allowed and this is counted (clip). Teleoperation is always clipped.
        stale: age at which a teleoperation command no longer counts, and the arm comes to rest [s].
        state_age: time without a new state of the arm at which the robot is stopped [s].
        image_age: time without a new image of a camera at which the robot is stopped [s].
        following_error: difference between commanded and measured joints at which the robot is stopped [rad].
        tip_tolerance: largest distance between the tip by the model and by the arm's controller at the start [m].
        tip_angle: largest angle between these two at the start [rad]; 3.2 compares the positions alone.
        linear_speed, angular_speed, joint_speed: speeds of teleoperation at full deflection, of each axis or joint
            [m/s, rad/s, rad/s]; no faster commands are followed.
        tip_speed, tip_turn_speed: largest speed of the tip in teleoperation, also that of joints [m/s, rad/s].
        lag: time between a command and its motion [s]; None to measure it at the start.
        realtime: ask the system for real-time priority, which it may refuse; for a machine that does nothing else.
        dry_run: do everything but send targets to the arm.

    Raises:
        ValueError: a value is not allowed.
    """

    rate: float = 250.0
    lookahead: float = 0.06
    gain: float = 600.0
    speed: float = 0.5
    acceleration: float = 8.0
    joint_margin: float = 0.02
    workspace: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    workspace_links: tuple[str, ...] | None = None
    link_clearance: float = 0.02
    on_limit: str = "refuse"
    stale: float = 0.15
    state_age: float = 0.05
    image_age: float = 0.08
    following_error: float = 0.3
    tip_tolerance: float = 0.001
    tip_angle: float = 0.02
    linear_speed: float = 0.25
    angular_speed: float = 1.0
    joint_speed: float = 0.6
    tip_speed: float = 0.5
    tip_turn_speed: float = 2.0
    lag: float | None = None
    realtime: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        plain_types(self)
        one_of("on_limit", self.on_limit, ON_LIMIT)
        in_range(
            self,
            rate=(10.0, 500.0),
            lookahead=(0.03, 0.2),
            gain=(100.0, 2000.0),
            speed=(0.01, 1.0),
            acceleration=(0.1, STOP_DECELERATION),
            joint_margin=(0.0, 1.0),
            link_clearance=(0.0, 0.5),
            stale=(0.02, 0.5),
            state_age=(0.02, 1.0),
            image_age=(0.02, 1.0),
            following_error=(0.01, 0.5),
            tip_tolerance=(1e-6, 0.01),
            tip_angle=(1e-4, 3.2),
            linear_speed=(0.001, 1.0),
            angular_speed=(0.01, 3.0),
            joint_speed=(0.01, 3.0),
            tip_speed=(0.001, 1.0),
            tip_turn_speed=(0.01, 3.0),
        )
        if self.lag is not None:
            in_range(self, lag=(0.0, 0.3))
        if self.workspace is not None:
            try:
                box = np.asarray(self.workspace, dtype=float)
            except (TypeError, ValueError, OverflowError):
                box = np.empty(0)
            if box.shape == (2, 3) and not all(_is_number(x) for row in self.workspace for x in row):
                box = np.empty(0)
            if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[0] < box[1]).all():
                shown = reprlib.repr(self.workspace)
                raise ValueError(
                    f"workspace is {shown}: give the least and the largest x, y, z of the tip [m]"
                )
            low, high = (tuple(float(x) for x in row) for row in self.workspace)
            object.__setattr__(self, "workspace", (low, high))
        if self.workspace_links is not None:
            names = self.workspace_links
            if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"workspace_links is {names!r}: give a list of names of links")

    @property
    def period(self) -> float:
        """Time between two targets [s]."""
        return 1.0 / self.rate

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self)

    def save(self, path: Path | str) -> None:
        """Write a JSON file."""
        write_json(Path(path), self.to_json())

    @staticmethod
    def load(path: Path | str, **defaults: Any) -> ControllerConfig:
        """Read a JSON file with some or all of the settings.

        Args:
            path: the file.
            defaults: settings that it may leave out, in place of the built-in ones.

        Raises:
            ValueError: a setting is unknown or not allowed.
        """
        fix = 'give a JSON file such as {"rate": 250.0}'
        try:
            values = read_json(Path(path), fix=fix)
        except OSError as error:
            raise ValueError(f"the settings {path} cannot be read ({error.strerror}): {fix}") from error
        known = [field.name for field in fields(ControllerConfig)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"{path} has the settings {', '.join(unknown)}: allowed are {', '.join(known)}")
        if isinstance(values.get("workspace"), list):
            values["workspace"] = tuple(
                tuple(row) if isinstance(row, list) else row for row in values["workspace"]
            )
        if isinstance(values.get("workspace_links"), list):
            values["workspace_links"] = tuple(values["workspace_links"])
        try:
            return ControllerConfig(**{**defaults, **values})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
