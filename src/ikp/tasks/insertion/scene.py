"""The scene of block insertion: an L-shaped block, an L-shaped fixture, a UR5e with suction, two cameras."""

from __future__ import annotations

import functools

import mujoco
import numpy as np
import torch

from ikp.kinematics import Robot, ur5e, with_tool
from ikp.tasks.arms import LinkBody, Shape, add_arm
from ikp.tasks.scene import (
    OBJECT_CONAFFINITY,
    OBJECT_CONTYPE,
    add_camera,
    add_surroundings,
    make_spec,
    yaw_to_quat,
)
from ikp.tasks.ur5e import UR5E_BODIES

SIM_DT = 0.005
TOOL_LENGTH = 0.10
CUP_STROKE = 0.003  # compression of the cup's lip before the rigid tool touches [m]

# The frames of block and fixture are defined alike: the origin is the grasp point's projection on the block's underside
# (or on the tray's floor), x points along the long leg, y along the short one, z up. The outline's corner is at -GRASP.
LONG_LEG, SHORT_LEG, LEG_WIDTH, BLOCK_HEIGHT = 0.080, 0.060, 0.030, 0.030
GRASP = (0.030, 0.020)
BLOCK_MASS = 0.10
CLEARANCE, WALL_THICKNESS, WALL_HEIGHT, WALL_TILT = 0.003, 0.006, 0.008, np.radians(12.0)
FLOOR_THICKNESS = 0.002

RED, BLUE, DARK_BLUE = (0.90, 0.07, 0.06, 1.0), (0.10, 0.32, 0.85, 1.0), (0.05, 0.16, 0.50, 1.0)
STEEL, YELLOW, RUBBER = (0.70, 0.72, 0.75, 1.0), (0.98, 0.80, 0.05, 1.0), (0.05, 0.05, 0.05, 1.0)

# The UR base frame is rotated by pi about z (ROS' base_link), so that the arm works towards +x.
T_WORLD_BASE = np.diag((-1.0, -1.0, 1.0, 1.0))
WORKSPACE_CENTER = (0.50, 0.0)


@functools.cache
def insertion_robot() -> Robot:
    """UR5e in the UR base frame; its tip `tool` is the suction cup's lip, 100 mm beyond the flange."""
    T_flange_tool = torch.eye(4, dtype=torch.float64)
    T_flange_tool[2, 3] = TOOL_LENGTH
    return with_tool(ur5e(), "flange", T_flange_tool, name="tool")


def build_insertion_spec() -> mujoco.MjSpec:
    """Build the scene's specification: bodies `tool` (with site `tip`), `block` (free) and `fixture` (mocap)."""
    spec = make_spec(SIM_DT)
    add_surroundings(spec, table_size=(1.3, 1.4), table_center=(0.30, 0.0))
    add_arm(spec, insertion_robot(), {**UR5E_BODIES, "tool": _suction_tool()}, T_WORLD_BASE)
    spec.body("tool").add_site(name="tip", size=[0.001, 0, 0], rgba=(0, 0, 0, 0))
    _add_block(spec)
    _add_fixture(spec)
    spec.add_equality(
        name="suction", type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY, name1="tool", name2="block", active=False,
        # The weld is slightly soft, so that the fixture's walls can guide a held block.
        solref=(0.012, 1.0), solimp=(0.95, 0.98, 0.001, 0.5, 2.0),
    )  # fmt: skip
    add_camera(spec, "front", position=(1.52, 0.0, 1.50), target=(0.485, 0.0, 0.03), fovy=12.0)
    add_camera(spec, "overview", position=(1.20, -0.80, 0.72), target=(0.29, 0.0, 0.22), fovy=40.0)
    return spec


def _suction_tool() -> LinkBody:
    """Adapter, tube and soft cup, in the frame of the tip (z points out of the flange)."""
    lip = TOOL_LENGTH
    return LinkBody(
        (
            Shape((0, 0, -lip), (0, 0, -lip + 0.016), 0.032, STEEL),
            Shape((0, 0, -lip + 0.016), (0, 0, -0.022), 0.008, STEEL),
            Shape((0, 0, -0.040), (0, 0, -0.012), 0.012, YELLOW),
            Shape((0, 0, -0.012), (0, 0, -CUP_STROKE), 0.007, RUBBER),
            Shape((0, 0, -0.007), (0, 0, 0), 0.0095, RUBBER, collides=False),
        ),
        mass=0.25,
    )


def block_boxes() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Centres (2,) and half extents (2,) [m] in the block's frame of the two rectangles that make the L."""
    corner = -np.array(GRASP)
    long = np.array((LONG_LEG, LEG_WIDTH)) / 2
    short = np.array((LEG_WIDTH, SHORT_LEG - LEG_WIDTH)) / 2
    return (corner + long, long), (corner + short + np.array((0.0, LEG_WIDTH)), short)


def _add_block(spec: mujoco.MjSpec) -> None:
    body = spec.worldbody.add_body(name="block")
    body.add_freejoint(name="block_joint")
    boxes = block_boxes()
    total = sum(half[0] * half[1] for _, half in boxes)
    for center, half in boxes:
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, pos=(*center, BLOCK_HEIGHT / 2), size=(*half, BLOCK_HEIGHT / 2),
            rgba=RED, mass=BLOCK_MASS * half[0] * half[1] / total, friction=(0.5, 0.005, 0.0001),
            contype=OBJECT_CONTYPE, conaffinity=OBJECT_CONAFFINITY, priority=1, solref=(0.01, 1.0),
        )  # fmt: skip


def _add_fixture(spec: mujoco.MjSpec) -> None:
    """Add a tray on the table: an L-shaped floor and six walls that lean outwards and guide the block in."""
    body = spec.worldbody.add_body(name="fixture", mocap=True)
    solid = {"contype": OBJECT_CONTYPE, "conaffinity": OBJECT_CONAFFINITY, "friction": (0.3, 0.005, 0.0001)}
    (long_center, long_half), (short_center, short_half) = block_boxes()
    # Both rectangles grow by the clearance; the short one starts where the long one ends.
    floors = (
        (long_center, long_half + CLEARANCE),
        (short_center + np.array((0.0, CLEARANCE)), short_half + np.array((CLEARANCE, 0.0))),
    )
    for center, half in floors:
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, pos=(*center, -FLOOR_THICKNESS / 2), rgba=DARK_BLUE,
            size=(*half, FLOOR_THICKNESS / 2), **solid,
        )  # fmt: skip
    for pos, quat, size in fixture_walls():
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, quat=quat, size=size, rgba=BLUE, **solid)


def fixture_walls() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Position [m], quaternion (w, x, y, z) and half extents [m] of the walls in the fixture's frame.

    Every wall stands along one edge of the outline, at a distance of `CLEARANCE` at the floor, tilted outwards.
    """
    L, S, W = LONG_LEG, SHORT_LEG, LEG_WIDTH
    outline = np.array([(0, 0), (L, 0), (L, W), (W, W), (W, S), (0, S)]) - GRASP
    walls = []
    for index, start in enumerate(outline):
        end = outline[(index + 1) % 6]
        along = (end - start) / np.linalg.norm(end - start)
        # The outline is counter-clockwise: walls meet beyond the convex corners and end at the inner one (index 3).
        reach = [-CLEARANCE if k == 3 else CLEARANCE + WALL_THICKNESS for k in (index, (index + 1) % 6)]
        length = float(np.linalg.norm(end - start)) + sum(reach)
        middle = (start + end) / 2 + along * (reach[1] - reach[0]) / 2
        outward = np.array((along[1], -along[0]))
        foot = np.array((*(middle + outward * CLEARANCE), 0.0))
        walls.append(_tilted_wall(foot, along, length))
    return walls


def _tilted_wall(
    foot: np.ndarray, along: np.ndarray, length: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pose and half extents of a box that leans outwards by WALL_TILT, with its inner lower edge through `foot`."""
    yaw = np.arctan2(along[1], along[0])
    # Local frame: x along the wall, y inwards, z up; a positive turn about x leans the top outwards.
    tilt_quat = np.array((np.cos(WALL_TILT / 2), np.sin(WALL_TILT / 2), 0.0, 0.0))
    quat = np.empty(4)
    mujoco.mju_mulQuat(quat, yaw_to_quat(yaw), tilt_quat)
    size = np.array((length, WALL_THICKNESS, WALL_HEIGHT + FLOOR_THICKNESS)) / 2
    local = np.array((0.0, -size[1], size[2] - FLOOR_THICKNESS))
    offset = np.empty(3)
    mujoco.mju_rotVecQuat(offset, local, quat)
    return foot + offset, quat, size
