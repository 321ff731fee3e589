"""Robot arms in MuJoCo scenes, built from a kinematic `Robot`, primitive shapes, masses and drives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float

from ikp.kinematics import Joint, Robot
from ikp.tasks.scene import ARM_CONAFFINITY, ARM_CONTYPE, matrix_to_quat

TUBE = (0.46, 0.48, 0.51, 1.0)
HOUSING = (0.20, 0.21, 0.23, 1.0)
CAP = (0.13, 0.14, 0.16, 1.0)
Point = tuple[float, float, float]

PLAIN_RADIUS, PLAIN_MASS = 0.045, 2.0  # of the links of `plain_bodies`: share of the reach; kg

_GEOM_TYPES = {"cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER, "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE}


@dataclass(frozen=True)
class Shape:
    """A cylinder or capsule between two points of a link's frame [m]."""

    start: Point
    end: Point
    radius: float
    rgba: tuple[float, float, float, float] = TUBE
    kind: str = "cylinder"
    collides: bool = True

    @property
    def volume(self) -> float:
        """Volume [m^3]."""
        length = float(np.linalg.norm(np.subtract(self.end, self.start)))
        caps = 4 / 3 * self.radius if self.kind == "capsule" else 0.0
        return math.pi * self.radius**2 * (length + caps)


@dataclass(frozen=True)
class Drive:
    """A joint's position drive: torque = kp (target - q) - kv qd, limited to +-`torque` [Nm].

    `armature` is the rotor's reflected inertia [kg m^2], `damping` the passive joint damping [Nm s/rad].
    """

    kp: float
    kv: float
    torque: float
    armature: float
    damping: float


@dataclass(frozen=True)
class LinkBody:
    """The dynamic model of a link: shapes, mass [kg] and the drive of the joint that moves it."""

    shapes: tuple[Shape, ...]
    mass: float
    drive: Drive | None = None


PLAIN_DRIVE = Drive(kp=4000, kv=200, torque=150, armature=2.0, damping=0.5)


def add_arm(
    spec: mujoco.MjSpec,
    robot: Robot,
    bodies: Mapping[str, LinkBody],
    T_world_root: Float[np.ndarray, "4 4"] | None = None,
) -> None:
    """Add a robot to a scene: a body per link, and per moving link a joint and a drive of the same name.

    Args:
        spec: Scene to extend.
        robot: Kinematic tree; its link and joint names become the names in the scene.
        bodies: Shapes, mass and drive by link name; links without an entry become massless frames.
        T_world_root: (4, 4) pose of the robot's root link in the world; None if the root is the world.

    Raises:
        ValueError: A moving link has no entry with a drive.
    """
    created: list[mujoco.MjsBody] = []
    links = robot.links
    if T_world_root is None:
        created.append(spec.worldbody)
        links = links[1:]
    for link in links:
        parent = spec.worldbody if link.parent < 0 else created[link.parent]
        T = link.T_parent_joint.numpy() if link.parent >= 0 or T_world_root is None else T_world_root
        body = parent.add_body(name=link.name, pos=T[:3, 3], quat=matrix_to_quat(T[:3, :3]), gravcomp=1.0)
        created.append(body)
        look = bodies.get(link.name)
        if look is not None:
            add_shapes(body, look.shapes, look.mass)
        if link.joint is not None:
            if look is None or look.drive is None:
                raise ValueError(f"link {link.name!r} has a joint: give it a mass and a drive in `bodies`")
            _add_joint(spec, body, link.joint, look.drive)


def add_shapes(body: mujoco.MjsBody, shapes: tuple[Shape, ...], mass: float) -> None:
    """Add shapes to a body and distribute the mass [kg] over them by volume."""
    total = sum(shape.volume for shape in shapes)
    for shape in shapes:
        body.add_geom(
            type=_GEOM_TYPES[shape.kind],
            fromto=[*shape.start, *shape.end],
            size=[shape.radius, 0, 0],
            rgba=shape.rgba,
            mass=mass * shape.volume / total,
            contype=ARM_CONTYPE if shape.collides else 0,
            conaffinity=ARM_CONAFFINITY if shape.collides else 0,
        )


def _add_joint(spec: mujoco.MjSpec, body: mujoco.MjsBody, joint: Joint, drive: Drive) -> None:
    limited = math.isfinite(joint.lower) and math.isfinite(joint.upper)
    body.add_joint(
        name=joint.name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=joint.axis, pos=joint.anchor,
        limited=limited, range=(joint.lower, joint.upper) if limited else (0, 0),
        armature=drive.armature, damping=[drive.damping, 0, 0],
    )  # fmt: skip
    spec.add_actuator(
        name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED, gainprm=[drive.kp] + [0.0] * 9,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE, biasprm=[0.0, -drive.kp, -drive.kv] + [0.0] * 7,
        forcelimited=True, forcerange=(-drive.torque, drive.torque),
    )  # fmt: skip


def plain_bodies(robot: Robot) -> dict[str, LinkBody]:
    """Bodies for an arm of which only the kinematics are known: capsules between the joints, equal masses and drives.

    Raises:
        ValueError: a joint is not a hinge.
    """
    if "prismatic" in robot.joint_types:
        raise ValueError(
            f"joint {robot.joint_names[robot.joint_types.index('prismatic')]!r} of {robot.name!r} is prismatic: "
            "a simulated arm has hinges only; lock it (load_robot(..., locked=...))"
        )
    radius = PLAIN_RADIUS * robot.reach
    bodies = {}
    for index, link in enumerate(robot.links):
        ends = [child.T_parent_joint[:3, 3].tolist() for child in robot.links if child.parent == index]
        shapes = [
            Shape((0, 0, 0), (x, y, z), radius, TUBE, "capsule")
            for x, y, z in ends
            if math.hypot(x, y, z) > radius
        ]
        if link.joint is not None:
            axis = np.asarray(link.joint.axis)
            at = np.asarray(link.joint.anchor)
            start, end = (tuple((at + side * radius * axis).tolist()) for side in (-1.4, 1.4))
            shapes.append(Shape(start, end, radius * 1.1, HOUSING))
        if shapes:
            bodies[link.name] = LinkBody(tuple(shapes), PLAIN_MASS, PLAIN_DRIVE if link.joint else None)
    return bodies
