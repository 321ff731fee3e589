"""The scene of two elbows: one arm of any kind over a table, a marker at the goal pose, two cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
from jaxtyping import Float

from ikp.kinematics import Robot
from ikp.tasks.arms import LinkBody, add_arm, plain_bodies
from ikp.tasks.iiwa14 import iiwa14_bodies
from ikp.tasks.scene import add_camera, add_surroundings, make_spec
from ikp.tasks.ur5e import UR5E_BODIES

SIM_DT = 0.005
AXIS_LENGTH, AXIS_RADIUS = 0.12, 0.009  # the marker: its three axes in red, green and blue [m]
MARKER = "goal_marker"
BODIES: dict[str, Mapping[str, LinkBody]] = {"iiwa14": iiwa14_bodies(""), "ur5e": UR5E_BODIES}
"""Shapes, masses and drives of known arms; others get capsules along their links."""

POSTURES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "iiwa14": (
        (0.0, 0.20, 0.0, -1.25, 0.0, 0.15, 0.0),
        (0.0, 1.41, 0.0, 1.25, 0.0, 1.44, 0.0),
    ),
    "ur5e": (
        (3.14, -1.60, 1.60, -1.57, -1.57, 0.0),
        (3.14, -0.08, -1.60, 0.11, -1.57, 0.0),
    ),
}
"""Joints [rad] with the elbow up and with the elbow down, about the same pose of the tip in front of the arm."""


def build_two_elbows_spec(robot: Robot) -> mujoco.MjSpec:
    """Build the scene's specification: the arm with the site `tip`, and the marker (mocap), which touches nothing."""
    spec = make_spec(SIM_DT)
    spec.stat.center, spec.stat.extent = (0.3, 0.0, 0.4), 1.2
    add_surroundings(spec, table_size=(1.6, 1.4), table_center=(0.3, 0.0))
    T_world_root = None if robot.links[0].name == "world" else np.eye(4)
    add_arm(spec, robot, BODIES.get(robot.name) or plain_bodies(robot), T_world_root)
    spec.body(robot.tip_names[0]).add_site(name="tip", size=[0.001, 0, 0], rgba=(0, 0, 0, 0))
    marker = spec.worldbody.add_body(name=MARKER, mocap=True)
    for axis, color in zip(np.eye(3), np.eye(3) * 0.75 + 0.1, strict=True):
        marker.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, 0, *(AXIS_LENGTH * axis)], size=[AXIS_RADIUS, 0, 0],
            rgba=(*color, 1.0), contype=0, conaffinity=0,
        )  # fmt: skip
    add_camera(spec, "front", position=(1.95, -1.35, 1.15), target=(0.42, 0.0, 0.55), fovy=26.0)
    add_camera(spec, "overview", position=(0.36, -2.6, 0.75), target=(0.36, 0.0, 0.53), fovy=28.0)
    return spec


def postures_of(
    robot: Robot, given: Sequence[Sequence[float]] | None
) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "dof"]]:
    """The postures (dof,) [rad] with the elbow up and down, those of a known arm unless they are given.

    Raises:
        ValueError: the arm is not known, or the postures do not fit its joints.
    """
    if given is None and robot.name not in POSTURES:
        raise ValueError(
            f"two elbows of {robot.name!r} are not known: give postures=(up, down), each {robot.dof} joints [rad], "
            f"about the same pose of the tip; known arms are {', '.join(POSTURES)}"
        )
    postures = np.asarray(POSTURES[robot.name] if given is None else given, dtype=float)
    if postures.shape != (2, robot.dof) or not np.isfinite(postures).all():
        raise ValueError(
            f"postures have the shape {postures.shape}: give (up, down), each {robot.dof} finite joints [rad] of "
            f"{robot.name!r}"
        )
    return postures[0], postures[1]
