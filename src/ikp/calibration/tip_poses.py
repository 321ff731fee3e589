"""Measured poses of a link, or of a marker on it, by a camera, a tracker or the controller of another arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from ikp.calibration import _so3
from ikp.calibration.arm import ArmModel
from ikp.calibration.measurement import LinkMeasurement, Values, check_poses

BASE, TOOL = "base", "tool"
_ROUNDS = 20  # of alternating between base and tool; the solver does the rest


@dataclass(frozen=True, eq=False)
class TipPoses(LinkMeasurement):
    """Poses of a marker in a reference frame: ``T_ref_base @ T_base_link(q) @ T_link_marker``.

    Attributes:
        position: (n, 3) measured positions [m].
        rotation: (n, 3, 3) measured rotations; None if only positions were measured.
        T_ref_base: pose of the arm's base in the reference frame; None if it is unknown.
        T_link_marker: pose of the marker in the link; None if it is unknown.
        position_noise: standard deviation of a measured coordinate [m].
        rotation_noise: standard deviation of a measured rotation about each axis [rad].

    Raises:
        ValueError: shapes do not fit each other or a standard deviation is not positive.
    """

    position: Float[np.ndarray, "n 3"]
    rotation: Float[np.ndarray, "n 3 3"] | None = None
    T_ref_base: Float[np.ndarray, "4 4"] | None = field(default_factory=lambda: np.eye(4))
    T_link_marker: Float[np.ndarray, "4 4"] | None = field(default_factory=lambda: np.eye(4))
    position_noise: float = 1e-4
    rotation_noise: float = 1e-3

    is_constraint = False

    def __post_init__(self) -> None:
        noises = {"position": self.position_noise, "rotation": self.rotation_noise}
        check_poses(self.q, self.q.shape[-1], noises, self.joint_noise)
        if len(self.position) != len(self.q) or (
            self.rotation is not None and len(self.rotation) != len(self.q)
        ):
            raise ValueError(
                f"there are {len(self.q)} joint positions and {len(self.position)} measured poses"
            )

    @property
    def name(self) -> str:
        """See `Measurement`."""
        return "tip poses" if self.rotation is not None else "tip positions"

    @property
    def unknowns(self) -> Mapping[str, int]:
        """See `Measurement`: translation [m] and rotation vector [rad]; of the tool only what the data can show."""
        base = {BASE: 6} if self.T_ref_base is None else {}
        tool = {TOOL: 3 if self.rotation is None else 6} if self.T_link_marker is None else {}
        return {**base, **tool}

    @property
    def noise(self) -> Float[np.ndarray, "n m"]:
        """See `Measurement`."""
        row = 3 * [self.position_noise] + (3 * [self.rotation_noise] if self.rotation is not None else [])
        return np.tile(row, (len(self.q), 1))

    @property
    def angles(self) -> tuple[bool, ...]:
        """See `Measurement`."""
        return (False,) * 3 + ((True,) * 3 if self.rotation is not None else ())

    def _per_pose(self) -> Mapping[str, np.ndarray]:
        measured = {"position": self.position, "rotation": self.rotation}
        return {key: value for key, value in measured.items() if value is not None}

    def _frames(self, values: Values) -> tuple[np.ndarray, np.ndarray]:
        """T_ref_base and T_link_marker."""
        base = _pose(values[BASE]) if self.T_ref_base is None else self.T_ref_base
        tool = _pose(values[TOOL]) if self.T_link_marker is None else self.T_link_marker
        return base, tool

    def start(self, arm: ArmModel, values: Values) -> Values:
        """Base and tool by alternating closed forms: positions fix the base, then base and poses the tool."""
        T = arm.poses(self.q, np.zeros(arm.size), self.link)[0]
        made = dict(values)
        unknown = [name for name in self.unknowns if name not in values]
        if TOOL in unknown:
            made[TOOL] = np.zeros(self.unknowns[TOOL])
        for _ in range(_ROUNDS if len(unknown) > 1 else 1):
            if BASE in unknown:
                tool = self._frames({**made, BASE: np.zeros(6)})[1]
                made[BASE] = _fitted_base(T[:, :3, 3] + T[:, :3, :3] @ tool[:3, 3], self.position)
            if TOOL in unknown:
                made[TOOL] = self._fitted_tool(T, self._frames(made)[0])
        return made

    def _fitted_tool(self, T: np.ndarray, base: np.ndarray) -> np.ndarray:
        T_ref_link = base @ T
        R = T_ref_link[:, :3, :3]
        place = np.einsum("nji,nj->ni", R, self.position - T_ref_link[:, :3, 3]).mean(0)
        if self.rotation is None:
            return place
        turn = Rotation.from_matrix(np.swapaxes(R, -1, -2) @ self.rotation).mean().as_rotvec()
        return np.concatenate([place, turn])

    def compare(
        self, T: Float[np.ndarray, "n 4 4"], values: Values
    ) -> tuple[np.ndarray, np.ndarray, Mapping[str, np.ndarray]]:
        """See `LinkMeasurement`; a rotation error is the rotation vector from the measured to the modelled frame."""
        base, tool = self._frames(values)
        R_base, R = base[:3, :3], T[:, :3, :3]
        arm = R @ tool[:3, 3]  # from the link's origin to the marker
        in_base = T[:, :3, 3] + arm
        count, eye = len(T), np.eye(3)
        motion = np.zeros((count, 3, 6))
        motion[:, :, :3], motion[:, :, 3:] = R_base, -R_base @ _so3.skew(arm)
        residual = base[:3, 3] + in_base @ R_base.T - self.position
        by: dict[str, np.ndarray] = {}
        if self.T_ref_base is None:
            turn = _so3.left_jacobian(values[BASE][3:])
            by[BASE] = np.concatenate(
                [np.broadcast_to(eye, (count, 3, 3)), -_so3.skew(in_base @ R_base.T) @ turn], -1
            )
        if self.T_link_marker is None:
            by[TOOL] = np.zeros((count, 3, self.unknowns[TOOL]))
            by[TOOL][:, :, :3] = R_base @ R
        if self.rotation is None:
            return residual, motion, by
        R_marker = R_base @ R @ tool[:3, :3]
        error = _so3.log(np.swapaxes(self.rotation, -1, -2) @ R_marker)
        # from a turn of the marker in its own frame to the change of the error
        spread = np.linalg.inv(_so3.left_jacobian(-error))
        from_base = spread @ np.swapaxes(R_marker, -1, -2)
        turning = np.concatenate([np.zeros((count, 3, 3)), from_base @ R_base], -1)
        if self.T_ref_base is None:
            own = np.concatenate(
                [np.zeros((count, 3, 3)), from_base @ _so3.left_jacobian(values[BASE][3:])], -1
            )
            by[BASE] = np.concatenate([by[BASE], own], 1)
        if self.T_link_marker is None:
            own = np.concatenate(
                [np.zeros((count, 3, 3)), spread @ _so3.left_jacobian(-values[TOOL][3:])], -1
            )
            by[TOOL] = np.concatenate([by[TOOL], own], 1)
        return np.concatenate([residual, error], 1), np.concatenate([motion, turning], 1), by


def _pose(values: np.ndarray) -> np.ndarray:
    """Pose (4, 4) of a translation [m] and, if it is there, a rotation vector [rad]."""
    T = np.eye(4)
    T[:3, 3] = values[:3]
    if len(values) == 6:
        T[:3, :3] = _so3.exp(values[3:])
    return T


def _fitted_base(points: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Translation and rotation vector that carry points to measured ones (Kabsch 1976)."""
    centers = points.mean(0), measured.mean(0)
    U, _, Vt = np.linalg.svd((measured - centers[1]).T @ (points - centers[0]))
    R = U @ np.diag([1.0, 1.0, np.linalg.det(U) * np.linalg.det(Vt)]) @ Vt
    return np.concatenate([centers[1] - R @ centers[0], Rotation.from_matrix(R).as_rotvec()])
