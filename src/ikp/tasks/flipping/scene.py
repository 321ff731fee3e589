"""The scene of bimanual flipping: two iiwa 14, a box that carries a bowl, a large bowl, two cameras."""

from __future__ import annotations

import functools

import mujoco
import torch

from ikp.kinematics import Robot, iiwa14_dual
from ikp.tasks.arms import add_arm
from ikp.tasks.iiwa14 import iiwa14_bodies
from ikp.tasks.particles import add_bowl, add_particles
from ikp.tasks.scene import (
    ARM_CONAFFINITY,
    ARM_CONTYPE,
    OBJECT_CONAFFINITY,
    OBJECT_CONTYPE,
    add_camera,
    add_surroundings,
    make_spec,
)

SIM_DT = 0.004
# With MuJoCo's default of 1 a held box slips down by a centimetre while it is carried; 10 makes friction stiffer.
IMPRATIO = 10.0
SIDES = ("left", "right")
SHOULDER_HEIGHT, UPPER_ARM = 0.36, 0.42  # dimensions of the iiwa 14 [m]
BASE_Y = 0.20  # the bases stand side by side at y = +-BASE_Y, both facing +x [m]

# A bumper with a round end on link 4, along the joint's axis, presses on the box. Friction can carry twice the box's
# weight, but torsional friction (PAD_TURNING [m]: torque divided by normal force) holds the box only if its centre of
# mass is within about 2 cm of the line between both ends; otherwise the box turns.
PAD_RADIUS, PAD_REACH, PAD_FRICTION, PAD_TURNING = 0.030, 0.100, 0.35, 0.002
STAND_FRICTION = 1.2

BOX_SIDE, BOX_MASS = 0.20, 4.0
STAND_SIDE, STAND_HEIGHT = 0.14, 0.30  # an episode sinks a part of the height into the table [m]
CUP_BOTTOM, CUP_RIM, CUP_HEIGHT, CUP_THICKNESS = 0.050, 0.080, 0.060, 0.006  # the bowl on the box
BOWL_X, BOWL_BOTTOM, BOWL_RIM, BOWL_HEIGHT, BOWL_THICKNESS = 0.12, 0.090, 0.140, 0.120, 0.012
MAX_PARTICLES, PARTICLE_RADIUS, PARTICLE_DENSITY = 30, 0.010, 1000.0

YELLOW, BLUE, WHITE = (1.0, 0.72, 0.0, 1.0), (0.10, 0.32, 0.85, 1.0), (0.93, 0.93, 0.90, 1.0)
RED, SLATE = (0.80, 0.13, 0.12, 1.0), (0.36, 0.39, 0.43, 1.0)
PADS = {"left": (0.10, 0.62, 0.38, 1.0), "right": (0.55, 0.25, 0.72, 1.0)}


@functools.cache
def flipping_robot() -> Robot:
    """Two iiwa 14 side by side, both facing +x; the tips are the flanges."""
    poses = []
    for y in (BASE_Y, -BASE_Y):
        T = torch.eye(4, dtype=torch.float64)
        T[1, 3] = y
        poses.append(T)
    return iiwa14_dual(*poses)


def build_flipping_spec() -> mujoco.MjSpec:
    """Build the scene's specification; after the arms' joints come the joint of `box`, then those of the particles."""
    spec = make_spec(SIM_DT)
    spec.option.impratio = IMPRATIO
    spec.stat.center, spec.stat.extent = (0.25, 0.0, 0.25), 1.2
    add_surroundings(spec, table_size=(1.3, 1.4), table_center=(0.30, 0.0))
    add_arm(spec, flipping_robot(), {**iiwa14_bodies("left_"), **iiwa14_bodies("right_")})
    for side in SIDES:
        _add_pad(spec, side)
    _add_stand(spec)
    _add_box(spec)
    add_bowl(
        spec.worldbody, (BOWL_X, 0.0, 0.0), BOWL_BOTTOM, BOWL_RIM, BOWL_HEIGHT, BOWL_THICKNESS, BLUE,
        friction=(0.4, 0.005, 0.0001),
    )  # fmt: skip
    # These contacts are stiffer than others, since falling particles would sink through thin walls.
    add_particles(
        spec, MAX_PARTICLES, PARTICLE_RADIUS, PARTICLE_DENSITY, YELLOW,
        friction=(0.4, 0.005, 0.0001), solref=(0.01, 1.0), priority=2,
    )  # fmt: skip
    # The view is shallow: a higher box stands nearer to the arms, so a view from above would hardly show its height.
    add_camera(spec, "front", position=(1.65, 0.0, 1.05), target=(0.20, 0.0, 0.32), fovy=33.0)
    add_camera(spec, "overview", position=(1.45, -0.95, 1.15), target=(0.20, 0.0, 0.30), fovy=42.0)
    return spec


def _add_pad(spec: mujoco.MjSpec, side: str) -> None:
    """Add a bumper with round ends, which press evenly on a side that is not exactly perpendicular to them."""
    spec.body(f"{side}_link_4").add_geom(
        name=f"{side}_pad", type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=(PAD_RADIUS, PAD_REACH - PAD_RADIUS, 0),
        rgba=PADS[side], mass=0.0, contype=ARM_CONTYPE, conaffinity=ARM_CONAFFINITY, priority=1, condim=4,
        friction=(PAD_FRICTION, PAD_TURNING, 0.0001),
    )  # fmt: skip


def _add_stand(spec: mujoco.MjSpec) -> None:
    """Add a post with a rubber top; its frame is the middle of the top, and each episode places it (mocap)."""
    body = spec.worldbody.add_body(name="stand", mocap=True)
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, pos=(0, 0, -STAND_HEIGHT / 2), rgba=SLATE,
        size=(STAND_SIDE / 2, STAND_SIDE / 2, STAND_HEIGHT / 2), friction=(STAND_FRICTION, 0.005, 0.0001),
        contype=OBJECT_CONTYPE, conaffinity=OBJECT_CONAFFINITY,
    )  # fmt: skip


def _add_box(spec: mujoco.MjSpec) -> None:
    """Add a free cube with a bowl fixed to its top; its frame is the cube's centre."""
    half = BOX_SIDE / 2
    body = spec.worldbody.add_body(name="box")
    body.add_freejoint(name="box_joint")
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=(half, half, half), rgba=RED, mass=BOX_MASS,
        friction=(0.4, 0.005, 0.0001), contype=OBJECT_CONTYPE, conaffinity=OBJECT_CONAFFINITY,
    )  # fmt: skip
    add_bowl(
        body, (0.0, 0.0, half), CUP_BOTTOM, CUP_RIM, CUP_HEIGHT, CUP_THICKNESS, WHITE,
        friction=(0.4, 0.005, 0.0001), mass=0.01,
    )  # fmt: skip
