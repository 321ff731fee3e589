"""Building blocks of the simulated scenes: solver options, table, lights, cameras and pose helpers."""

from __future__ import annotations

import mujoco
import numpy as np
from jaxtyping import Float

Point = tuple[float, float, float]

# Bits of the collision groups: arms collide with objects and the table but not with arms; objects with everything.
ARM_CONTYPE, ARM_CONAFFINITY = 2, 1
OBJECT_CONTYPE, OBJECT_CONAFFINITY = 1, 3
TOOL_BIT = (
    4  # added to the contype of one arm's tool and the conaffinity of the other's, so that the tools collide
)

FLOOR_HEIGHT = -0.75  # z of the floor under the table, whose top is at z = 0 [m]


def make_spec(sim_dt: float) -> mujoco.MjSpec:
    """Create an empty MjSpec with the solver and lighting settings of all tasks.

    Args:
        sim_dt: Simulation time step [s].
    """
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    option = spec.option
    option.timestep = sim_dt
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    option.iterations = 50
    spec.memory = 4 * 2**20  # per environment, in bytes; MuJoCo's own estimate is far larger
    spec.visual.headlight.ambient[:] = (0.44, 0.44, 0.44)
    spec.visual.headlight.diffuse[:] = (0.0, 0.0, 0.0)
    spec.visual.headlight.specular[:] = (0.0, 0.0, 0.0)
    # Size and centre of the visible scene; near clipping and shadow maps scale with them.
    spec.stat.extent, spec.stat.center = 1.0, (0.3, 0.0, 0.2)
    spec.visual.map.znear, spec.visual.map.zfar = 0.02, 20.0
    spec.visual.map.shadowclip = 0.85
    return spec


def add_surroundings(
    spec: mujoco.MjSpec, table_size: tuple[float, float], table_center: tuple[float, float]
) -> None:
    """Add sky, lights, a floor and a bright table whose top is at z = 0.

    Args:
        spec: Scene to extend.
        table_size: Extent of the table along x and y [m].
        table_center: Centre of the table in the world [m].
    """
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.80, 0.84, 0.88), rgb2=(0.55, 0.60, 0.66), width=64, height=384,
    )  # fmt: skip
    world = spec.worldbody
    world.add_light(
        name="key", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(0.59, -0.20, 2.0), dir=(-0.12, 0.10, -1.0),
        diffuse=(0.34, 0.34, 0.32), specular=(0.15, 0.15, 0.15), castshadow=True,
    )  # fmt: skip
    world.add_light(
        name="fill", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(1.5, 0.8, 1.5), dir=(-0.7, -0.4, -0.8),
        diffuse=(0.24, 0.24, 0.26), specular=(0.0, 0.0, 0.0), castshadow=False,
    )  # fmt: skip
    world.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, pos=(*table_center, FLOOR_HEIGHT), size=(4.0, 4.0, 1.0),
        rgba=(0.50, 0.52, 0.54, 1.0), contype=OBJECT_CONTYPE, conaffinity=OBJECT_CONAFFINITY,
    )  # fmt: skip
    spec.add_material(name="table", specular=0.0, shininess=0.0, rgba=(0.86, 0.84, 0.80, 1.0))
    thickness = 0.05
    world.add_geom(
        name="table", material="table", type=mujoco.mjtGeom.mjGEOM_BOX, pos=(*table_center, -thickness / 2),
        size=(table_size[0] / 2, table_size[1] / 2, thickness / 2),
        contype=OBJECT_CONTYPE, conaffinity=OBJECT_CONAFFINITY, friction=(0.6, 0.005, 0.0001),
    )  # fmt: skip


def add_camera(spec: mujoco.MjSpec, name: str, position: Point, target: Point, fovy: float) -> None:
    """Add a camera fixed in the world that looks from `position` at `target` [m], with world z upwards in the image.

    Args:
        spec: Scene to extend.
        name: Camera name.
        position: Camera centre in the world [m].
        target: Point in the middle of the image [m].
        fovy: Vertical field of view [deg].
    """
    backward = np.subtract(position, target)
    backward = backward / np.linalg.norm(backward)
    right = np.cross((0.0, 0.0, 1.0), backward)
    if np.linalg.norm(right) < 1e-6:  # straight down: world x points upwards in the image
        right = np.array((0.0, -1.0, 0.0))
    right /= np.linalg.norm(right)
    rotation = np.stack((right, np.cross(backward, right), backward), axis=1)
    spec.worldbody.add_camera(name=name, pos=position, quat=matrix_to_quat(rotation), fovy=fovy)


def camera_matrices(
    model: mujoco.MjModel, camera: str, height: int, width: int
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    """Intrinsics and pose of a camera that is fixed in the world.

    Returns:
        K (3, 3): [u, v, 1] ~ K p_camera in pixels; u points right, v down, pixel centres are at half-integers.
        T_world_camera (4, 4): pose of the camera frame with x right, y down, z forwards (OpenCV's convention).
    """
    fixed = model.camera(camera)
    focal = 0.5 * height / np.tan(0.5 * np.radians(fixed.fovy[0]))
    K = np.array(((focal, 0.0, width / 2), (0.0, focal, height / 2), (0.0, 0.0, 1.0)))
    T_world_camera = np.eye(4)
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, fixed.quat)
    # MuJoCo's cameras look along -z with y up.
    T_world_camera[:3, :3] = rotation.reshape(3, 3) * (1.0, -1.0, -1.0)
    T_world_camera[:3, 3] = fixed.pos
    return K, T_world_camera


def matrix_to_quat(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Unit quaternion (w, x, y, z) of a rotation matrix (3, 3)."""
    quat_wxyz = np.empty(4)
    mujoco.mju_mat2Quat(quat_wxyz, np.ascontiguousarray(rotation, dtype=np.float64).ravel())
    return quat_wxyz


def yaw_to_quat(yaw: float) -> Float[np.ndarray, "4"]:
    """Unit quaternion (w, x, y, z) of a rotation about z by `yaw` [rad]."""
    return np.array((np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)))


def wrap_angle(angle):
    """Wrap an angle, or each element of an array, to [-pi, pi) [rad]."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
