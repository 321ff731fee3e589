"""A point of the tool that touches a plane, such as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from ikp.calibration import _so3
from ikp.calibration.arm import ArmModel
from ikp.calibration.measurement import LinkMeasurement, Values, check_poses
from ikp.calibration.sockets import BALL


@dataclass(frozen=True, eq=False)
class Plane(LinkMeasurement):
    """A point of a link on a plane: ``normal . (p_base_link + R_base_link @ point) = height``.

    Attributes:
        point: (3,) the touching point in the link [m]; None if it is unknown.
        normal: (3,) unit normal of the plane in the base frame; None if the plane may be tilted.
        height: distance of the plane from the base's origin along the normal [m]; None if it is unknown.
        noise_m: standard deviation of the distance from the plane [m].
        label: name of the plane; measurements on planes of one name share its unknowns.

    Raises:
        ValueError: shapes do not fit each other or a standard deviation is not positive.
    """

    point: Float[np.ndarray, "3"] | None = field(default_factory=lambda: np.zeros(3))
    normal: Float[np.ndarray, "3"] | None = None
    height: float | None = None
    noise_m: float = 1e-4
    label: str = "plane"

    angles = (False,)

    def __post_init__(self) -> None:
        check_poses(self.q, self.q.shape[-1], {"distance from the plane": self.noise_m}, self.joint_noise)
        if self.normal is not None and abs(np.linalg.norm(self.normal) - 1) > 1e-6:
            raise ValueError(f"the normal of the plane is {self.normal.tolist()}: give a vector of length 1")

    @property
    def name(self) -> str:
        """See `Measurement`."""
        return f"touching the {self.label}"

    @property
    def _tilt(self) -> str:
        return f"tilt of the {self.label}"

    @property
    def _height(self) -> str:
        return f"height of the {self.label}"

    @property
    def unknowns(self) -> Mapping[str, int]:
        """See `Measurement`; the tilt is a rotation vector that turns the base's z axis into the normal."""
        point = {BALL: 3} if self.point is None else {}
        tilt = {self._tilt: 3} if self.normal is None else {}
        return {**point, **tilt, **({self._height: 1} if self.height is None else {})}

    @property
    def noise(self) -> Float[np.ndarray, "n m"]:
        """See `Measurement`."""
        return np.full((len(self.q), 1), self.noise_m)

    def start(self, arm: ArmModel, values: Values) -> Values:
        """The plane through the touching points of the nominal arm, with an unknown point at the link's origin."""
        T = arm.poses(self.q, np.zeros(arm.size), self.link)[0]
        made = dict(values)
        if self.point is None:
            made.setdefault(BALL, np.zeros(3))
        points = T[:, :3, 3] + T[:, :3, :3] @ (made[BALL] if self.point is None else self.point)
        normal = self.normal
        if normal is None and self._tilt not in made:
            normal = np.linalg.svd(points - points.mean(0))[2][-1]
            normal = normal if normal[2] >= 0 else -normal
            made[self._tilt] = _turn(normal)
        elif normal is None:
            normal = _so3.exp(made[self._tilt])[:, 2]
        if self.height is None:
            made.setdefault(self._height, np.array([float((points @ normal).mean())]))
        return made

    def compare(
        self, T: Float[np.ndarray, "n 4 4"], values: Values
    ) -> tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
        """See `LinkMeasurement`."""
        R = T[:, :3, :3]
        arm = R @ (values[BALL] if self.point is None else self.point)
        points = T[:, :3, 3] + arm
        normal = _so3.exp(values[self._tilt])[:, 2] if self.normal is None else self.normal
        height = values[self._height][0] if self.height is None else self.height
        motion = np.concatenate([np.broadcast_to(normal, arm.shape), np.cross(arm, normal)], -1)[:, None]
        by: dict[str, np.ndarray] = {BALL: (normal @ R)[:, None]} if self.point is None else {}
        if self.normal is None:
            by[self._tilt] = (points @ (-_so3.skew(normal) @ _so3.left_jacobian(values[self._tilt])))[:, None]
        if self.height is None:
            by[self._height] = np.full((len(T), 1, 1), -1.0)
        return (points @ normal - height)[:, None], motion, by


def _turn(normal: np.ndarray) -> np.ndarray:
    """The shortest rotation vector that turns the z axis into a unit vector."""
    axis = np.cross([0.0, 0.0, 1.0], normal)
    sine = float(np.linalg.norm(axis))
    return axis / sine * np.arctan2(sine, normal[2]) if sine > 1e-12 else np.zeros(3)
