"""The scene of sort and sweep: two blocks, two bowls that can be pushed, a UR5e with suction, two cameras."""

from __future__ import annotations

import mujoco

from ikp.tasks.particles import add_bowl
from ikp.tasks.scene import OBJECT_CONAFFINITY, OBJECT_CONTYPE, add_camera
from ikp.tasks.suction import add_weld, build_suction_spec

SIDE, MASS = 0.030, 0.05  # of a block [m, kg]
BOWL_BOTTOM, BOWL_RIM, BOWL_HEIGHT, BOWL_THICKNESS = 0.035, 0.050, 0.052, 0.004
LINE = 0.20  # y beyond which a bowl counts as swept aside [m]
COLORS = {"red": (0.90, 0.07, 0.06, 1.0), "blue": (0.10, 0.32, 0.85, 1.0)}
GREEN = (0.35, 0.62, 0.38, 1.0)


def build_sorting_spec() -> mujoco.MjSpec:
    """Build the scene's specification: bodies `tool` (with site `tip`), `red`, `blue`, `red_bowl`, `blue_bowl` (all
    free); frames are on the undersides. A green strip shows where the bowls should go.
    """
    spec = build_suction_spec()
    for name, rgba in COLORS.items():
        body = spec.worldbody.add_body(name=name)
        body.add_freejoint(name=f"{name}_joint")
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX, pos=(0, 0, SIDE / 2), size=[SIDE / 2] * 3, rgba=rgba, mass=MASS,
            friction=(0.6, 0.005, 0.0001), contype=OBJECT_CONTYPE, conaffinity=OBJECT_CONAFFINITY, priority=1,
            solref=(0.01, 1.0),
        )  # fmt: skip
    for name, rgba in COLORS.items():
        body = spec.worldbody.add_body(name=f"{name}_bowl")
        body.add_freejoint(name=f"{name}_bowl_joint")
        add_bowl(
            body, (0.0, 0.0, 0.0), BOWL_BOTTOM, BOWL_RIM, BOWL_HEIGHT, BOWL_THICKNESS, rgba,
            friction=(0.4, 0.005, 0.0001),
        )  # fmt: skip
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, pos=(0.60, LINE + 0.10, -0.0012), size=(0.25, 0.10, 0.0015), rgba=GREEN,
        contype=0, conaffinity=0,
    )  # fmt: skip
    for name in COLORS:
        add_weld(spec, name)
    add_camera(spec, "front", position=(1.60, 0.05, 1.50), target=(0.56, 0.04, 0.0), fovy=23.0)
    add_camera(spec, "overview", position=(1.30, -0.85, 0.80), target=(0.40, 0.02, 0.15), fovy=42.0)
    return spec
