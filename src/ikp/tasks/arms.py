"""Robot arms for MuJoCo scenes: bodies from a kinematic `Robot`, primitive shapes, masses, drives."""

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
    """What kinematics does not know of a link: shapes, mass [kg] and the drive of the joint that moves it."""

    shapes: tuple[Shape, ...]
    mass: float
    drive: Drive | None = None


def add_arm(
    spec: mujoco.MjSpec, robot: Robot, bodies: Mapping[str, LinkBody], T_world_root: Float[np.ndarray, "4 4"]
) -> None:
    """Adds a robot to a scene: a body per link, a joint and a drive of the same name per moving link.

    Args:
        spec: Scene to extend.
        robot: Kinematic tree; its link and joint names become the names in the scene.
        bodies: Looks, mass and drive by link name; links without an entry become massless frames.
        T_world_root: (4, 4) pose of the robot's root link in the world.

    Raises:
        ValueError: A moving link has no entry with a drive.
    """
    created: list[mujoco.MjsBody] = []
    for link in robot.links:
        parent = spec.worldbody if link.parent < 0 else created[link.parent]
        T = T_world_root if link.parent < 0 else link.T_parent_joint.numpy()
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
    """Adds shapes to a body, the mass [kg] spread over them by volume."""
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


def _ur_drive(kp: float, kv: float, torque: float, armature: float) -> Drive:
    return Drive(kp=kp, kv=kv, torque=torque, armature=armature, damping=0.5)


# Gains near critical damping of each joint's inertia over the workspace (pan 1.8, lift 2.6, elbow 1.5, wrists
# 0.16 kg m^2), so that a target reached at 10 Hz is reached within a millimetre at the tip.
_PAN = _ur_drive(kp=8000, kv=240, torque=150, armature=0.6)
_LIFT = _ur_drive(kp=8000, kv=290, torque=150, armature=0.6)
_ELBOW = _ur_drive(kp=8000, kv=220, torque=150, armature=0.6)
_WRIST = _ur_drive(kp=2000, kv=36, torque=28, armature=0.15)

# UR5e: masses and torque limits as published by Universal Robots; shapes follow the real arm's outline. Every
# joint turns about its link's z; the upper arm's tube runs 138 mm beside its joint, the forearm's 7 mm.
UR5E_BODIES: dict[str, LinkBody] = {
    "base": LinkBody(
        (
            Shape((0, 0, 0), (0, 0, 0.025), 0.085, HOUSING),
            Shape((0, 0, 0.025), (0, 0, 0.092), 0.068),
            Shape((0, 0, 0.092), (0, 0, 0.100), 0.058, HOUSING),
        ),
        mass=4.0,
    ),
    "shoulder": LinkBody(
        (
            Shape((0, 0, -0.064), (0, 0, 0.052), 0.062),
            Shape((0, 0.076, 0), (0, -0.066, 0), 0.060),
            Shape((0, -0.066, 0), (0, -0.074, 0), 0.058, HOUSING),
            Shape((0, 0.090, 0), (0, 0.076, 0), 0.054, CAP),
        ),
        3.761, _PAN,
    ),
    "upper_arm": LinkBody(
        (
            Shape((0, 0, 0.072), (0, 0, 0.190), 0.060),
            Shape((0, 0, 0.190), (0, 0, 0.205), 0.054, CAP),
            Shape((0, 0, 0.138), (-0.425, 0, 0.138), 0.043, TUBE, "capsule"),
            Shape((-0.425, 0, 0.070), (-0.425, 0, 0.190), 0.054),
            Shape((-0.425, 0, 0.060), (-0.425, 0, 0.070), 0.049, HOUSING),
            Shape((-0.425, 0, 0.190), (-0.425, 0, 0.203), 0.048, CAP),
        ),
        8.058, _LIFT,
    ),
    "forearm": LinkBody(
        (
            Shape((0, 0, 0.062), (0, 0, -0.050), 0.050),
            Shape((0, 0, -0.050), (0, 0, -0.062), 0.044, CAP),
            Shape((0, 0, 0.007), (-0.3922, 0, 0.007), 0.036, TUBE, "capsule"),
            Shape((-0.3922, 0, -0.035), (-0.3922, 0, 0.076), 0.042),
            Shape((-0.3922, 0, 0.076), (-0.3922, 0, 0.084), 0.040, HOUSING),
            Shape((-0.3922, 0, -0.047), (-0.3922, 0, -0.035), 0.036, CAP),
        ),
        2.846, _ELBOW,
    ),
    "wrist_1": LinkBody(
        (
            Shape((0, 0, -0.051), (0, 0, 0.042), 0.042),
            Shape((0, 0, 0.042), (0, 0, 0.054), 0.036, CAP),
            Shape((0, -0.046, 0), (0, 0, 0), 0.037),
            Shape((0, -0.053, 0), (0, -0.046, 0), 0.035, HOUSING),
        ),
        1.37, _WRIST,
    ),
    "wrist_2": LinkBody(
        (
            Shape((0, 0, -0.048), (0, 0, 0.042), 0.041),
            Shape((0, 0, 0.042), (0, 0, 0.054), 0.035, CAP),
            Shape((0, 0.050, 0), (0, 0, 0), 0.036),
        ),
        1.3, _WRIST,
    ),
    "wrist_3": LinkBody((Shape((0, 0, -0.050), (0, 0, 0), 0.034, HOUSING),), 0.365, _WRIST),
}  # fmt: skip
