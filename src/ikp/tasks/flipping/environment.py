"""`ikp/BimanualFlipping-v0`: two arms lift a box between their elbows and pour out the bowl on its top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Bool, Float

from ikp.kinematics import Robot
from ikp.tasks.base import ArmTask
from ikp.tasks.flipping.scene import (
    BOWL_HEIGHT,
    BOWL_RIM,
    BOWL_X,
    BOX_SIDE,
    CUP_HEIGHT,
    CUP_RIM,
    MAX_PARTICLES,
    PARTICLE_RADIUS,
    SHOULDER_HEIGHT,
    UPPER_ARM,
    build_flipping_spec,
    flipping_robot,
)
from ikp.tasks.particles import Particles
from ikp.tasks.scene import yaw_to_quat

SUCCESS_SCORE = 0.9
MIN_PARTICLES = 20
STAND_HEIGHTS = (0.075, 0.280)  # height of the stand's top [m]
STAND_RANGE = (
    0.005,
    0.04,
)  # largest x and y offset from the elbows' place at the height of the box's middle [m]
STAND_YAW = np.radians(5.0)
CUP_SPREAD = 0.042  # radius of the heap in the bowl on the box [m]
SETTLING = 0.8  # time that is simulated before an episode starts [s]
FALLEN_HEIGHT = 0.03  # a particle below this height and outside the bowl lies on the table [m]
REST_STEPS = 3

# Elbows beside the box and slightly over it, forearms forwards, and the largest offset of each joint from that [rad].
Q_START = np.radians(((14, 91, 0, -4, 0, 0, 0), (-14, 91, 0, -4, 0, 0, 0))).ravel()
START_RANGE = np.radians(np.tile((4, 4, 1, 4, 10, 10, 10), 2))


@dataclass(frozen=True)
class FlippingState:
    """The simulator's true state, which observations do not show; positions in the world [m], angles in rad.

    `q_target` holds the drives' targets; a joint that presses on something does not reach its target.
    """

    q_true: Float[np.ndarray, "dof"]
    q_target: Float[np.ndarray, "dof"]
    box: Float[np.ndarray, "3"]
    box_rotation: Float[np.ndarray, "3 3"]
    stand: Float[np.ndarray, "3"]
    particles: Float[np.ndarray, "number 3"]
    in_cup: Bool[np.ndarray, "number"]
    in_bowl: Bool[np.ndarray, "number"]


class FlippingEnv(ArmTask):
    """Two iiwa 14 side by side, a box on a stand, a bowl of 20 to 30 particles fixed to its top, a large bowl.

    The elbows have bumpers that press on the box's sides; friction alone holds it, and only near its middle. Position,
    height and yaw of the stand are random, and so are all joints at the start, independently of the stand.

    Action (14,): joint targets [rad], left arm first; see `ArmTask`.

    Observation: `state` (14,), measured joints [rad]; `environment_state` (12,): the box's centre [m], the first two
    columns of its rotation in the world, the fractions of the particles in its bowl and in the large one, and the
    number of particles divided by 30.

    The score is the fraction of the particles in the large bowl, the reward its increase in this step. The episode
    ends when every particle has been in the large bowl or on the table for three steps. `info`: score, success (a
    score of at least 0.9), box_height [m]. Arguments and errors are those of `ArmTask`.
    """

    scene = "flipping"
    robot: Robot = flipping_robot()
    action_names = tuple(f"{name}.pos" for name in flipping_robot().joint_names)
    state_names = action_names
    environment_state_names = (
        "box.x", "box.y", "box.z", "box.xx", "box.xy", "box.xz", "box.yx", "box.yy", "box.yz",
        "cup.share", "bowl.share", "particles.number",
    )  # fmt: skip
    joint_dims = tuple(range(14))

    def _build_spec(self) -> mujoco.MjSpec:
        return build_flipping_spec()

    def _find_elements(self) -> None:
        box = self.data.body("box")
        self._box_xpos, self._box_xmat = box.xpos, box.xmat.reshape(3, 3)
        start = self.robot.dof
        self._box_qpos = self.data.qpos[start : start + 7]
        self._particles = Particles(self.model, self.data, PARTICLE_RADIUS, storage=(0.0, 0.0))

    def _start(self) -> None:
        """Draw poses of stand and arms, put the box on the stand, fill its bowl and let the particles settle."""
        rng = self.np_random
        height = rng.uniform(*STAND_HEIGHTS)
        reach = np.sqrt(UPPER_ARM**2 - (height + BOX_SIDE / 2 - SHOULDER_HEIGHT) ** 2)
        stand = np.array((reach, 0.0, height))
        stand[:2] += rng.uniform(-1, 1, 2) * STAND_RANGE
        quat = yaw_to_quat(rng.uniform(-STAND_YAW, STAND_YAW))
        self.data.mocap_pos[0], self.data.mocap_quat[0] = stand, quat
        self._box_qpos[:3], self._box_qpos[3:] = (*stand[:2], stand[2] + BOX_SIDE / 2), quat
        self._q[:] = self.data.ctrl[:] = Q_START + rng.uniform(-START_RANGE, START_RANGE)
        number = int(rng.integers(MIN_PARTICLES, MAX_PARTICLES, endpoint=True))
        self._particles.pour(rng, number, stand[:2], CUP_SPREAD, bottom=stand[2] + BOX_SIDE)
        mujoco.mj_step(self.model, self.data, round(SETTLING / self.model.opt.timestep))
        self._score, self._steps_at_rest = 0.0, 0

    def true_state(self) -> FlippingState:
        """The simulator's true state, for experts and tests."""
        particles = self._particles.positions.copy()
        local = (particles - self._box_xpos) @ self._box_xmat
        above = local[:, 2] - BOX_SIDE / 2
        in_cup = (np.hypot(local[:, 0], local[:, 1]) < CUP_RIM) & (above > 0.0) & (above < CUP_HEIGHT)
        return FlippingState(
            q_true=self._q.copy(),
            q_target=self._q_target.copy(),
            box=self._box_xpos.copy(),
            box_rotation=self._box_xmat.copy(),
            stand=self.data.mocap_pos[0].copy(),
            particles=particles,
            in_cup=in_cup,
            in_bowl=self._particles.inside((BOWL_X, 0.0), BOWL_RIM, top=BOWL_HEIGHT),
        )

    def _progress(self) -> tuple[float, bool]:
        state = self.true_state()
        score = float(state.in_bowl.mean())
        reward, self._score = score - self._score, score
        fallen = (state.particles[:, 2] < FALLEN_HEIGHT) & ~state.in_cup
        self._steps_at_rest = self._steps_at_rest + 1 if np.all(state.in_bowl | fallen) else 0
        return reward, self._steps_at_rest >= REST_STEPS

    def _info(self) -> dict[str, Any]:
        score = float(self.true_state().in_bowl.mean())
        return {"success": score >= SUCCESS_SCORE, "score": score, "box_height": float(self._box_xpos[2])}

    def _environment_state(self) -> Float[np.ndarray, "values"]:
        state = self.true_state()
        shares = (state.in_cup.mean(), state.in_bowl.mean(), len(state.particles) / MAX_PARTICLES)
        return np.concatenate((state.box, state.box_rotation[:, 0], state.box_rotation[:, 1], shares))
