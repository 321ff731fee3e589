"""A pinhole camera in the robot's base frame: points to pixels, and pixels back to a horizontal plane.

Pixels are (u, v) with u to the right and v down; the centre of a pixel is at half-integers. The camera frame has x to
the right, y down and z forwards (OpenCV's convention).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.files import read_json
from ikp.kinematics.rotations import exp_rotation, inverse_pose

NEAREST = 1e-3
"""Smallest depth used in a projection [m]; points closer to the camera or behind it are projected at this depth."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics and pose of a fixed camera.

    Attributes:
        width, height: size of the image [pixel].
        fx, fy: focal lengths [pixel].
        cx, cy: principal point [pixel].
        T_base_camera: pose of the camera in the robot's base frame, as four rows of four [m].

    Raises:
        ValueError: a size is not positive, a number not finite or the pose is not rigid.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    T_base_camera: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        rows = tuple(tuple(float(value) for value in row) for row in self.T_base_camera)
        object.__setattr__(self, "T_base_camera", rows)
        for name in ("width", "height", "fx", "fy"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(
                    f"camera {name} is {getattr(self, name)}: it must be a positive number [pixel]"
                )
        if not (math.isfinite(self.cx) and math.isfinite(self.cy)):
            raise ValueError(f"camera cx, cy are {self.cx}, {self.cy}: they must be finite [pixel]")
        if [len(row) for row in rows] != [4] * 4:
            raise ValueError(f"T_base_camera has rows of {[len(row) for row in rows]}: it must be 4 x 4")
        T = torch.tensor(rows, dtype=torch.float64)
        turned = T[:3, :3] @ T[:3, :3].T - torch.eye(3, dtype=torch.float64)
        last = T[3] - torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
        rigid = T.isfinite().all() and turned.abs().max() < 1e-4 and last.abs().max() < 1e-9
        if not (rigid and torch.linalg.det(T[:3, :3]) > 0):
            raise ValueError(
                f"T_base_camera is {rows}: it must be a pose, a rotation matrix and a position [m] over 0 0 0 1"
            )

    @staticmethod
    def look_at(
        position: Sequence[float], target: Sequence[float], *, fovy: float, width: int, height: int
    ) -> Camera:
        """A camera at `position` that looks at `target`, with the base's z axis upwards in the image.

        Args:
            position, target: points in the base frame [m].
            fovy: vertical field of view [deg].
            width, height: size of the image [pixel].

        Raises:
            ValueError: one point lies above the other, or fovy is not between 0 and 180.
        """
        if not 0 < fovy < 180:
            raise ValueError(f"fovy is {fovy}: it must lie between 0 and 180 degrees")
        origin = torch.as_tensor(position, dtype=torch.float64)
        z = torch.as_tensor(target, dtype=torch.float64) - origin
        x = torch.stack([z[1], -z[0], torch.zeros_like(z[0])])  # z cross up
        if x.norm() < 1e-9:
            raise ValueError(
                f"position {tuple(position)} and target {tuple(target)} lie above each other, so 'up' in the image "
                "is undefined: give T_base_camera itself"
            )
        x, z = x / x.norm(), z / z.norm()
        T = torch.eye(4, dtype=torch.float64)
        T[:3, :3] = torch.stack([x, torch.linalg.cross(z, x), z], 1)
        T[:3, 3] = origin
        focal = 0.5 * height / math.tan(0.5 * math.radians(fovy))
        return Camera(width, height, focal, focal, width / 2, height / 2, _rows(T))

    def resized(self, height: int, width: int) -> Camera:
        """The camera of the same images after resizing them to `height` x `width` [pixel]."""
        x, y = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * x, cx=self.cx * x, fy=self.fy * y, cy=self.cy * y
        )

    def displaced(self, translation: Sequence[float], rotation: Sequence[float]) -> Camera:
        """The camera moved along its own axes [m], then turned about them by a rotation vector [rad]."""
        T = torch.eye(4, dtype=torch.float64)
        T[:3, :3] = exp_rotation(torch.as_tensor(rotation, dtype=torch.float64))
        T[:3, 3] = torch.as_tensor(translation, dtype=torch.float64)
        return replace(self, T_base_camera=_rows(self.pose() @ T))

    def intrinsics(self) -> Float[Tensor, "3 3"]:
        """K, float64: [u, v, 1] ~ K p_camera."""
        rows = [[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]]
        return torch.tensor(rows, dtype=torch.float64)

    def pose(self) -> Float[Tensor, "4 4"]:
        """T_base_camera, float64."""
        return torch.tensor(self.T_base_camera, dtype=torch.float64)

    def to_json(self) -> dict[str, Any]:
        """The camera as plain JSON values."""
        return {**asdict(self), "T_base_camera": [list(row) for row in self.T_base_camera]}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Camera:
        """The camera written by `to_json`; ValueError for missing or unknown keys."""
        names = {f.name for f in fields(Camera)}
        if set(values) != names:
            raise ValueError(f"a camera has the keys {sorted(names)}, but {sorted(values)} are given")
        lens = {name: float(values[name]) for name in ("fx", "fy", "cx", "cy")}
        rows = tuple(tuple(float(value) for value in row) for row in values["T_base_camera"])
        return Camera(int(values["width"]), int(values["height"]), **lens, T_base_camera=rows)

    @staticmethod
    def load(path: Path | str) -> Camera:
        """A camera from a JSON file with the attributes as keys.

        Raises:
            ValueError: the file is no JSON object or does not describe a camera.
            OSError: it cannot be read.
        """
        values = read_json(path, fix="give the JSON object that `Camera.to_json` makes")
        try:
            return Camera.from_json(values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is no camera: {error}") from error


def project(
    K: Float[Tensor, "3 3"], T_base_camera: Float[Tensor, "4 4"], points: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 2"]:
    """Pixels (u, v) of points in the base frame [m]; differentiable in all arguments.

    Points nearer than `NEAREST`, and points behind the camera, are projected at that depth.
    """
    M = K @ inverse_pose(T_base_camera)[:3]
    homogeneous = points @ M[:, :3].T + M[:, 3]
    return homogeneous[..., :2] / homogeneous[..., 2:].clamp_min(NEAREST)


def plane_homography(
    K: Float[Tensor, "3 3"], T_base_camera: Float[Tensor, "4 4"], height: Float[Tensor, ""] | float
) -> Float[Tensor, "3 3"]:
    """Homography H from the plane z = `height` of the base frame [m] to pixels: [u, v, 1] ~ H [x, y, 1]."""
    P = K @ inverse_pose(T_base_camera)[:3]
    return torch.stack([P[:, 0], P[:, 1], P[:, 2] * height + P[:, 3]], 1)


def back_project(
    K: Float[Tensor, "3 3"],
    T_base_camera: Float[Tensor, "4 4"],
    pixels: Float[Tensor, "*batch 2"],
    height: Float[Tensor, ""] | float,
) -> Float[Tensor, "*batch 2"]:
    """Points (x, y) [m] at which the rays through pixels (u, v) meet the plane z = `height` of the base frame.

    This is the exact inverse of `project` on the plane. Pixels above the horizon give points behind the camera. The
    plane must not contain the camera.
    """
    H = plane_homography(K, T_base_camera, height)
    ray = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1) @ torch.linalg.inv(H).T
    return ray[..., :2] / ray[..., 2:]


def _rows(T: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in T.tolist())
