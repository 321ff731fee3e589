"""A tool that is kept upright: an axis of a link that points along a known direction, as in many demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from ikp.calibration import _so3
from ikp.calibration.arm import ArmModel
from ikp.calibration.measurement import LinkMeasurement, Values, check_poses


@dataclass(frozen=True, eq=False)
class Upright(LinkMeasurement):
    """An axis of a link along a direction of the base: ``R_base_link @ axis = direction``, two rows each.

    Attributes:
        axis: (3,) unit vector in the link.
        direction: (3,) unit vector in the base frame, by default straight down.
        noise_rad: standard deviation of the tilt about each of the two other axes [rad].

    Raises:
        ValueError: shapes do not fit each other, a vector has not the length 1, or the noise is not positive.
    """

    axis: Float[np.ndarray, "3"] = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))
    direction: Float[np.ndarray, "3"] = field(default_factory=lambda: np.array([0.0, 0.0, -1.0]))
    noise_rad: float = 5e-3

    name = "upright tool"
    angles = (True, True)
    unknowns = {}

    def __post_init__(self) -> None:
        check_poses(self.q, self.q.shape[-1], {"tilt": self.noise_rad}, self.joint_noise)
        for what, vector in (("axis", self.axis), ("direction", self.direction)):
            if abs(np.linalg.norm(vector) - 1) > 1e-6:
                raise ValueError(f"the {what} is {vector.tolist()}: give a vector of length 1")

    @property
    def noise(self) -> Float[np.ndarray, "n m"]:
        """See `Measurement`."""
        return np.full((len(self.q), 2), self.noise_rad)

    def start(self, arm: ArmModel, values: Values) -> Values:
        """See `Measurement`; nothing is unknown.

        Raises:
            ValueError: the axis points the other way.
        """
        along = float(
            (
                arm.poses(self.q, np.zeros(arm.size), self.link)[0][:, :3, :3] @ self.axis @ self.direction
            ).mean()
        )
        if along < 0:
            raise ValueError(
                f"the axis {self.axis.tolist()} of {self.link!r} points against {self.direction.tolist()} in these "
                "poses: reverse one of them"
            )
        return dict(values)

    def compare(
        self, T: Float[np.ndarray, "n 4 4"], values: Values
    ) -> tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
        """See `LinkMeasurement`; the two components of the axis across the direction."""
        across = np.linalg.svd(self.direction[None])[2][1:]
        axis = T[:, :3, :3] @ self.axis
        turning = -across @ _so3.skew(axis)
        return axis @ across.T, np.concatenate([np.zeros_like(turning), turning], -1), {}
