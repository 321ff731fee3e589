"""The scene of block alignment: a red and a blue block on a table, a UR5e with suction, two cameras."""

from __future__ import annotations

import mujoco
import numpy as np

from ikp.tasks.scene import OBJECT_CONAFFINITY, OBJECT_CONTYPE, add_camera
from ikp.tasks.suction import add_weld, build_suction_spec

LENGTH, WIDTH, HEIGHT = 0.080, 0.034, 0.030
MASS = 0.09
GAP = 0.004  # between the blocks when the red one is in its place [m]
STRIPE = 0.008
RED, BLUE, WHITE = (0.90, 0.07, 0.06, 1.0), (0.10, 0.32, 0.85, 1.0), (0.95, 0.95, 0.95, 1.0)


def build_alignment_spec() -> mujoco.MjSpec:
    """Build the scene's specification: bodies `tool` (with site `tip`), `red` and `blue` (both free).

    A block's frame is on its underside, x along it. The blue block has a white stripe along its edge at positive y.
    """
    spec = build_suction_spec()
    for name, rgba in (("red", RED), ("blue", BLUE)):
        _add_block(spec, name, rgba)
    spec.body("blue").add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, pos=(0, (WIDTH - STRIPE) / 2, HEIGHT), rgba=WHITE,
        size=(LENGTH / 2, STRIPE / 2, 0.0006), contype=0, conaffinity=0, mass=0,
    )  # fmt: skip
    add_weld(spec, "red")
    add_camera(spec, "front", position=(1.52, 0.0, 1.50), target=(0.485, 0.0, 0.03), fovy=12.0)
    add_camera(spec, "overview", position=(1.20, -0.80, 0.72), target=(0.29, 0.0, 0.22), fovy=40.0)
    return spec


def _add_block(spec: mujoco.MjSpec, name: str, rgba: tuple[float, float, float, float]) -> None:
    body = spec.worldbody.add_body(name=name)
    body.add_freejoint(name=f"{name}_joint")
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, pos=(0, 0, HEIGHT / 2), size=np.array((LENGTH, WIDTH, HEIGHT)) / 2, rgba=rgba,
        mass=MASS, friction=(0.5, 0.005, 0.0001), contype=OBJECT_CONTYPE, conaffinity=OBJECT_CONAFFINITY, priority=1,
        solref=(0.01, 1.0),
    )  # fmt: skip
