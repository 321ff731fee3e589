"""The scene of bimanual sweeping: two iiwa 14 with spatulas, a pile of particles, two bowls, two cameras."""

from __future__ import annotations

import functools

import mujoco
import numpy as np
import torch

from ikp.kinematics import Robot, iiwa14_dual, with_tool
from ikp.tasks.arms import add_arm
from ikp.tasks.iiwa14 import iiwa14_bodies
from ikp.tasks.particles import Rgba, add_bowl, add_particles
from ikp.tasks.scene import (
    ARM_CONAFFINITY,
    ARM_CONTYPE,
    TOOL_BIT,
    add_camera,
    add_surroundings,
    make_spec,
)

SIM_DT = 0.0025
SIDES = ("left", "right")

# The frame of a spatula's tip is at the middle of the blade's lower edge: x points forwards (towards the other arm when
# the tool is upright), z up. The blade rises backwards from the tip at 45 degrees, the handle leans back.
BLADE_LENGTH, BLADE_WIDTH, BLADE_THICKNESS = 0.090, 0.090, 0.003
BLADE_PITCH, HANDLE_LEAN, HANDLE_LENGTH = np.radians(45.0), np.radians(18.0), 0.130
# The lips are walls along the blade's sides; they start at a distance from the tip.
LIP_HEIGHT, LIP_START, LIP_THICKNESS = 0.025, 0.015, 0.003
INTERLEAVE = 0.002  # sideways offset of each blade from the middle, so that facing lips pass each other

WORKSPACE = 0.20  # half the side of the square workspace [m]
BOWL_X, BOWL_BOTTOM, BOWL_RIM, BOWL_HEIGHT, BOWL_THICKNESS = 0.32, 0.070, 0.115, 0.055, 0.004
MAX_PARTICLES, PARTICLE_RADIUS, PARTICLE_DENSITY = 60, 0.009, 2000.0

YELLOW, BLUE, MAT = (1.0, 0.72, 0.0, 1.0), (0.10, 0.32, 0.85, 1.0), (0.22, 0.25, 0.29, 1.0)
BLADES: dict[str, Rgba] = {"left": (0.10, 0.62, 0.38, 1.0), "right": (0.82, 0.16, 0.22, 1.0)}
STEEL = (0.62, 0.64, 0.67, 1.0)

# Both tools upright, with their tips 0.24 m apart and 0.12 m over the workspace's middle.
Q_HOME = np.tile((0.0, 0.57249, 0.0, -1.79466, 0.0, 0.46029, 0.0), 2)


@functools.cache
def sweeping_robot() -> Robot:
    """Two iiwa 14 facing each other; the tips `left_tip` and `right_tip` are the lower edges of their blades."""
    robot = iiwa14_dual()
    for side in SIDES:
        robot = with_tool(robot, f"{side}_flange", _flange_tip(), name=f"{side}_tip")
    return robot


def _flange_tip() -> torch.Tensor:
    """T_flange_tip (4, 4); the tip frame is upright when the flange is tilted by the handle's lean."""
    turn = np.pi - HANDLE_LEAN  # rotation of the flange about the tip's y axis
    R_flange_tip = np.array(((np.cos(turn), 0, -np.sin(turn)), (0, 1, 0), (np.sin(turn), 0, np.cos(turn))))
    p_flange_tip = R_flange_tip @ (-_heel() - _lean() * HANDLE_LENGTH)
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3], T[:3, 3] = torch.from_numpy(R_flange_tip), torch.from_numpy(p_flange_tip)
    return T


def _heel() -> np.ndarray:
    """Position of the blade's upper end in the frame of the tip [m]."""
    return BLADE_LENGTH * np.array((-np.cos(BLADE_PITCH), 0.0, np.sin(BLADE_PITCH)))


def _lean() -> np.ndarray:
    """Unit vector up along the handle in the frame of the tip."""
    return np.array((-np.sin(HANDLE_LEAN), 0.0, np.cos(HANDLE_LEAN)))


def build_arms_spec() -> mujoco.MjSpec:
    """Build the two arms alone, with the sites `left_tip` and `right_tip`, for inverse kinematics."""
    spec = make_spec(SIM_DT)
    add_arm(spec, sweeping_robot(), {**iiwa14_bodies("left_"), **iiwa14_bodies("right_")})
    for side in SIDES:
        spec.body(f"{side}_tip").add_site(name=f"{side}_tip", size=[0.001, 0, 0], rgba=(0, 0, 0, 0))
    return spec


def build_sweeping_spec() -> mujoco.MjSpec:
    """Build the scene's specification; the particles' joints come after the arms' joints."""
    spec = build_arms_spec()
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP  # bodies at rest are not simulated
    spec.stat.center, spec.stat.extent = (0.0, 0.0, 0.15), 1.4
    add_surroundings(spec, table_size=(1.3, 2.0), table_center=(0.0, 0.0))
    for side in SIDES:
        _add_spatula(spec, side)
    spec.worldbody.add_geom(
        name="mat", type=mujoco.mjtGeom.mjGEOM_BOX, pos=(0, 0, -0.0012), size=(WORKSPACE, WORKSPACE, 0.0015),
        rgba=MAT, contype=0, conaffinity=0,
    )  # fmt: skip
    for x in (-BOWL_X, BOWL_X):
        add_bowl(
            spec.worldbody, (x, 0.0, 0.0), BOWL_BOTTOM, BOWL_RIM, BOWL_HEIGHT, BOWL_THICKNESS, BLUE,
            friction=(0.4, 0.005, 0.0001),
        )  # fmt: skip
    add_particles(
        spec, MAX_PARTICLES, PARTICLE_RADIUS, PARTICLE_DENSITY, YELLOW, friction=(0.4, 0.005, 0.0001)
    )
    add_camera(spec, "front", position=(-0.62, 0.0, 1.15), target=(0.01, 0.0, 0.02), fovy=41.5)
    add_camera(spec, "overview", position=(-1.75, -0.72, 1.05), target=(0.0, 0.0, 0.20), fovy=40.0)
    return spec


def _add_spatula(spec: mujoco.MjSpec, side: str) -> None:
    """Add blade, lips and handle to the arm's tip; the two tools collide with each other."""
    tip = spec.body(f"{side}_tip")
    left = side == "left"
    shared = {
        "contype": ARM_CONTYPE | (TOOL_BIT if left else 0),
        "conaffinity": ARM_CONAFFINITY | (0 if left else TOOL_BIT),
        "friction": (0.2, 0.005, 0.0001),
        "priority": 1,
    }
    quat = (np.cos(BLADE_PITCH / 2), 0.0, np.sin(BLADE_PITCH / 2), 0.0)
    along = np.array(
        (np.cos(BLADE_PITCH), 0.0, -np.sin(BLADE_PITCH))
    )  # unit vector down the blade to the tip
    normal = np.array((np.sin(BLADE_PITCH), 0.0, np.cos(BLADE_PITCH)))
    sideways = np.array(
        (0.0, INTERLEAVE, 0.0)
    )  # the arms face each other, so the offsets are opposite in the world
    box = mujoco.mjtGeom.mjGEOM_BOX
    tip.add_geom(
        name=f"{side}_blade", type=box, quat=quat, rgba=BLADES[side], mass=0.10,
        pos=sideways - along * BLADE_LENGTH / 2,
        size=(BLADE_LENGTH / 2, BLADE_WIDTH / 2, BLADE_THICKNESS / 2), **shared,
    )  # fmt: skip
    lip = (BLADE_LENGTH - LIP_START, LIP_THICKNESS, LIP_HEIGHT)
    middle = sideways - along * (LIP_START + lip[0] / 2) + normal * LIP_HEIGHT / 2
    for sign in (-1, 1):
        edge = np.array((0.0, sign * (BLADE_WIDTH - LIP_THICKNESS) / 2, 0.0))
        tip.add_geom(
            type=box, quat=quat, rgba=BLADES[side], mass=0.02, pos=middle + edge,
            size=np.array(lip) / 2, **shared,
        )  # fmt: skip
    heel = _heel() + sideways
    tip.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(*heel, *(_heel() + HANDLE_LENGTH * _lean())),
        size=(0.010, 0, 0), rgba=STEEL, mass=0.15, **shared,
    )  # fmt: skip
