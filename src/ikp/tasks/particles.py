"""Particles that pour and form heaps, and bowls that hold them."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from jaxtyping import Bool, Float

from ikp.tasks.scene import FLOOR_HEIGHT, OBJECT_CONAFFINITY, OBJECT_CONTYPE, Point

BOWL_PANELS = 12
Rgba = tuple[float, float, float, float]


def add_bowl(
    body: mujoco.MjsBody,
    position: Point,
    bottom_radius: float,
    rim_radius: float,
    height: float,
    thickness: float,
    rgba: Rgba,
    **contact: Any,
) -> None:
    """Add a round bowl to a body: a ring of slanted boxes around the surface below, which serves as its bottom.

    A separate bottom would be so thin that falling particles get stuck in it; a disc without contacts shows its colour.

    Args:
        body: The body that carries the bowl, often the world body.
        position: Middle of the bowl's bottom in the body's frame [m].
        bottom_radius: Inner radius at the bottom [m].
        rim_radius: Inner radius at the rim [m].
        height: Height of the rim over the bottom [m].
        thickness: Thickness of the walls [m].
        rgba: Colour.
        contact: Further attributes of the bowl's geoms.
    """
    shared = {"rgba": rgba, "contype": OBJECT_CONTYPE, "conaffinity": OBJECT_CONAFFINITY, **contact}
    x, y, z = position
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=(x, y, z), size=(1.06 * (bottom_radius + thickness), 0.001, 0),
        rgba=rgba, contype=0, conaffinity=0, mass=0,
    )  # fmt: skip
    slant = np.arctan2(rim_radius - bottom_radius, height)  # of the wall against the vertical
    length = np.hypot(rim_radius - bottom_radius, height)
    middle = (bottom_radius + rim_radius) / 2 + thickness / 2
    half_width = (rim_radius + thickness) * np.tan(np.pi / BOWL_PANELS)
    for angle in np.arange(BOWL_PANELS) * 2 * np.pi / BOWL_PANELS:
        # z of the panel up the wall, x outwards: a turn about z, then the slant about the tangent.
        yaw, tilt, quat = np.empty(4), np.empty(4), np.empty(4)
        mujoco.mju_axisAngle2Quat(yaw, np.array((0.0, 0.0, 1.0)), angle)
        mujoco.mju_axisAngle2Quat(tilt, np.array((0.0, 1.0, 0.0)), slant)
        mujoco.mju_mulQuat(quat, yaw, tilt)
        pos = (x + middle * np.cos(angle), y + middle * np.sin(angle), z + height / 2)
        size = (thickness / 2, half_width, length / 2)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, quat=quat, size=size, **shared)


def add_particles(
    spec: mujoco.MjSpec, count: int, radius: float, density: float, rgba: Rgba, **contact: Any
) -> None:
    """Add `count` spheres that translate but do not rotate: half the degrees of freedom, and they do not roll away.

    Args:
        spec: Scene to extend; joints that it already has come before the particles' joints.
        count: Number of spheres, named particle_0, particle_1 ...
        radius: Radius of a sphere [m].
        density: Density [kg/m^3].
        rgba: Colour.
        contact: Further attributes of the geoms.
    """
    for index in range(count):
        body = spec.worldbody.add_body(name=f"particle_{index}")
        for axis in np.eye(3):
            body.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(radius, 0, 0), density=density, rgba=rgba, condim=3,
            contype=OBJECT_CONTYPE, conaffinity=OBJECT_CONAFFINITY, **contact,
        )  # fmt: skip


class Particles:
    """The particles of a scene. An episode uses the first `number` of them; the others lie on the floor.

    Args:
        model: Compiled scene with particles of `add_particles`.
        data: State of the scene; `pour` writes to it.
        radius: Radius of a particle [m].
        storage: (x, y) under the table, out of sight, where unused particles lie [m].
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, radius: float, storage: tuple[float, float]
    ):
        first = model.body("particle_0").id
        start = model.jnt_qposadr[model.body_jntadr[first]]
        # The bodies start at the world's origin, so their slide joints' positions are the particles' positions.
        self._all = data.qpos[start:].reshape(-1, 3)
        self._radius = radius
        self._storage = np.array(storage)
        self.number = len(self._all)

    @property
    def positions(self) -> Float[np.ndarray, "number 3"]:
        """Centres (number, 3) of the episode's particles in the world [m]; a view that callers must not modify."""
        return self._all[: self.number]

    def pour(
        self,
        rng: np.random.Generator,
        number: int,
        center: Float[np.ndarray, "2"],
        spread: float,
        bottom: float,
    ) -> None:
        """Pile up `number` particles: each is dropped at a random place and rests on the particles below.

        Args:
            rng: Random generator for the places.
            number: Number of particles in this episode.
            center: (x, y) of the heap [m].
            spread: Radius of the disc within which particles are dropped [m].
            bottom: Height of the surface under the heap [m].
        """
        self.number = number
        gap = 2.02 * self._radius
        for index in range(number):
            distance, angle = spread * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
            xy = center + distance * np.array((np.cos(angle), np.sin(angle)))
            below = self._all[:index]
            sideways = ((below[:, :2] - xy) ** 2).sum(axis=1)
            touching = sideways < gap**2
            tops = below[touching, 2] + np.sqrt(gap**2 - sideways[touching])
            self._all[index] = (*xy, max(bottom + 1.01 * self._radius, tops.max(initial=-np.inf)))
        rest = self._all[number:]
        rest[:, :2], rest[:, 2] = self._storage, FLOOR_HEIGHT + self._radius
        rest[:, 0] += np.arange(len(rest)) * 3 * self._radius

    def inside(
        self, center: tuple[float, float], radius: float, top: float, bottom: float = 0.0
    ) -> Bool[np.ndarray, "number"]:
        """Mask (number,) of the particles within `radius` [m] of a vertical axis and between two heights [m]."""
        p = self.positions
        near = np.hypot(p[:, 0] - center[0], p[:, 1] - center[1]) < radius
        return near & (p[:, 2] > bottom) & (p[:, 2] < top)
