"""Rates of a policy: when its way-points are due, counted in frames of the data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from ikp.checks import in_range, plain_types

REPLANNED = 0.4
"""Share of several way-points after which the policy decides again: far better than the whole (docs/aloha.md)."""

FAST_FPS = 20.0
"""Frames per second from which one decision per frame mostly continues the motion that it measures."""


@dataclass(frozen=True)
class TimingConfig:
    """Rates of observations and actions, whatever the frame rate of the data.

    A decision at a frame is one or several way-points: where the robot is commanded to be 1 / rate, 2 / rate, ...
    seconds later. In between the command is interpolated (`ikp.policies.execution`).

    Attributes:
        rate: way-points per second [Hz]; None means one per frame of the data.
        way_points: way-points of a decision.
        executed: share of a decision that is executed before the next one, above 0, up to 1; None means all of one
            way-point, and `REPLANNED` of several.
        history_seconds: time between two frames of an observation [s]; None means one frame of the data.

    Raises:
        ValueError: a number is out of range.
    """

    rate: float | None = None
    way_points: int = 1
    executed: float | None = None
    history_seconds: float | None = None

    def __post_init__(self) -> None:
        plain_types(self)
        in_range(self, way_points=(1, 1000))
        for name in ("rate", "executed", "history_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}: it must be a positive number")
        if self.share > 1:
            raise ValueError(f"executed is {self.executed}: it is a share, above 0 and up to 1")

    @property
    def share(self) -> float:
        """`executed` with its default filled in."""
        if self.executed is not None:
            return self.executed
        return REPLANNED if self.way_points > 1 else 1.0

    def warn_of_rate(self, fps: float) -> None:
        """Warn if a policy of fast data decides every frame.

        Args:
            fps: frames per second of the data.
        """
        if self.rate is None and fps >= FAST_FPS:
            warnings.warn(
                f"the policy decides at each of {fps:g} frames per second, and will mostly continue the motion that it "
                "measures: held-out errors look small, and the robot drifts or stays where it is. Decide on way-points "
                "(--action-rate 2.5 --way-points 5; ikp.policies.TimingConfig)",
                stacklevel=3,
            )

    def due(self, fps: float) -> tuple[int, ...]:
        """Frames from a decision to each of its way-points, from 1 on.

        Args:
            fps: frames per second of the data.

        Raises:
            ValueError: the data have fewer frames per second than the policy has way-points.
        """
        rate = self.rate or fps
        if rate > fps:
            raise ValueError(
                f"rate is {rate:g} way-points per second and the data have {fps:g} frames per second: use a rate up "
                f"to {fps:g}"
            )
        return tuple(round(k * fps / rate) for k in range(1, self.way_points + 1))

    def frames_executed(self, fps: float) -> int:
        """Frames from a decision to the next one."""
        return max(1, round(self.share * self.due(fps)[-1]))

    def history_stride(self, fps: float) -> int:
        """Frames of the data from one frame of an observation to the next."""
        return 1 if self.history_seconds is None else max(1, round(self.history_seconds * fps))
