"""Time-stamped way-points in joint space and the straight lines between them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


class Trajectory:
    """Way-points that begin at the last commanded position; after the last one the arm rests there.

    Args:
        time: now [s].
        q: joints that were commanded last (dof,) [rad].
    """

    def __init__(self, time: float, q: Float[np.ndarray, "dof"]) -> None:
        self._times, self._q = np.array([time]), np.array([q])

    def waiting(self, now: float) -> int:
        """Number of way-points whose time is still to come."""
        return int((self._times > now).sum())

    @property
    def end(self) -> float:
        """Time of the last way-point [s]."""
        return float(self._times[-1])

    @property
    def last(self) -> Float[np.ndarray, "dof"]:
        """Joints of the last way-point."""
        return self._q[-1]

    def schedule(
        self,
        times: Float[np.ndarray, " n"],
        q: Float[np.ndarray, "n dof"],
        now: float,
        commanded: Float[np.ndarray, "dof"],
    ) -> int:
        """Replace all way-points from the first new one on; the path starts anew at the commanded position.

        Args:
            times: increasing times of the new way-points [s].
            q: their joints.
            now: time of the commanded position.
            commanded: joints that were commanded last.

        Returns:
            The number of new way-points whose time has passed; they are left out.
        """
        late = int((times <= now).sum())
        if late < len(times):
            kept = (self._times > now) & (self._times < times[late])
            self._times = np.concatenate([[now], self._times[kept], times[late:]])
            self._q = np.concatenate([[commanded], self._q[kept], q[late:]])
        return late

    def at(self, time: float) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "dof"]]:
        """Joints and their speeds at a time."""
        after = int(np.searchsorted(self._times, time, side="right"))
        if after == 0 or after == len(self._times):
            end = self._q[0] if after == 0 else self._q[-1]
            return end.copy(), np.zeros_like(end)
        before = after - 1
        length = self._times[after] - self._times[before]
        speed = (self._q[after] - self._q[before]) / length
        return self._q[before] + speed * (time - self._times[before]), speed
