"""The scene of block insertion: an L-shaped block, an L-shaped fixture, a UR5e with suction, two cameras."""

from __future__ import annotations

import mujoco
import numpy as np

from ikp.tasks.scene import OBJECT_CONAFFINITY, OBJECT_CONTYPE, add_camera, yaw_to_quat
from ikp.tasks.suction import add_weld, build_suction_spec

# The frames of block and fixture are defined alike: the origin is the grasp point's projection on the block's underside
# (or on the tray's floor), x points along the long leg, y along the short one, z up. The outline's corner is at -GRASP.
LONG_LEG, SHORT_LEG, LEG_WIDTH, BLOCK_HEIGHT = 0.080, 0.060, 0.030, 0.030
GRASP = (0.030, 0.020)
BLOCK_MASS = 0.10
CLEARANCE, WALL_THICKNESS, WALL_HEIGHT, WALL_TILT = 0.003, 0.006, 0.008, np.radians(12.0)
FLOOR_THICKNESS = 0.002

RED, BLUE, DARK_BLUE = (0.90, 0.07, 0.06, 1.0), (0.10, 0.32, 0.85, 1.0), (0.05, 0.16, 0.50, 1.0)
WORKSPACE_CENTER = (0.50, 0.0)


def build_insertion_spec() -> mujoco.MjSpec:
    """Build the scene's specification: bodies `tool` (with site `tip`), `block` (free) and `fixture` (mocap)."""
    spec = build_suction_spec()
    _add_block(spec)
    _add_fixture(spec)
    add_weld(spec, "block")
    add_camera(spec, "front", position=(1.52, 0.0, 1.50), target=(0.485, 0.0, 0.03), fovy=12.0)
    add_camera(spec, "overview", position=(1.20, -0.80, 0.72), target=(0.29, 0.0, 0.22), fovy=40.0)
    return spec


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
