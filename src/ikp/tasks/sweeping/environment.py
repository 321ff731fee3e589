"""`ikp/BimanualSweeping-v0`: two arms scoop up a pile of particles and divide it between two bowls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

from ikp.kinematics import Robot
from ikp.tasks.base import ArmTask
from ikp.tasks.particles import Particles
from ikp.tasks.sweeping.scene import (
    BLADE_LENGTH,
    BLADE_WIDTH,
    BOWL_HEIGHT,
    BOWL_RIM,
    BOWL_X,
    MAX_PARTICLES,
    PARTICLE_RADIUS,
    Q_HOME,
    SIDES,
    WORKSPACE,
    build_arms_spec,
    build_sweeping_spec,
    sweeping_robot,
)
from ikp.tasks.tip_ik import TipSolver

SUCCESS_SCORE = 0.9
MIN_PARTICLES = 50
PILE_RANGE, PILE_SPREAD = 0.10, 0.05  # largest offset of the pile from the centre; its radius [m]
SETTLING = 1.0  # time that is simulated before an episode starts [s]
LOST_HEIGHT = 0.02  # a particle below this height and outside the workspace and bowls is lost [m]
REST_STEPS = 3
START_RANGE = np.array((0.04, 0.03, 0.03))  # largest offset of each tip from its home position [m]

# R_world_tip of the tools in use, left and right: upright, with x towards the other arm.
UPRIGHT = np.array((((0, 1, 0), (-1, 0, 0), (0, 0, 1)), ((0, -1, 0), (1, 0, 0), (0, 0, 1))), dtype=float)


@dataclass(frozen=True)
class SweepingState:
    """The simulator's true state, which observations do not show; positions in the world [m].

    `in_bowl` is -1 for a particle outside the bowls, 0 or 1 for one in the bowl at negative or positive x.
    """

    q_true: Float[np.ndarray, "dof"]
    tips: Float[np.ndarray, "2 3"]
    particles: Float[np.ndarray, "number 3"]
    in_bowl: Int[np.ndarray, "number"]


class SweepingEnv(ArmTask):
    """Two iiwa 14 with spatulas, a pile of 50 to 60 particles at a random place, a bowl on either side.

    Action (14,): joint targets [rad], left arm first; see `ArmTask`.

    Observation: `state` (14,), measured joints [rad]; `environment_state` (13,): the fractions of the particles in
    bowl 0, in bowl 1, on the table and between the blades; mean, standard deviation, minimum and maximum of x and y
    of the particles on the table [m] (0 when none is left); the number of particles divided by 60.

    The score is the fraction of the particles in the bowls, the reward its increase in this step. The episode ends
    when every particle has been in a bowl or lost from the workspace for three steps. `info`: score, balance (the
    particles in the emptier bowl divided by those in the fuller one), success (a score of at least 0.9).
    Arguments and errors are those of `ArmTask`.
    """

    scene = "sweeping"
    robot: Robot = sweeping_robot()
    action_names = tuple(f"{name}.pos" for name in sweeping_robot().joint_names)
    state_names = action_names
    environment_state_names = (
        "bowl_0.share", "bowl_1.share", "table.share", "trough.share",
        "pile.mean_x", "pile.mean_y", "pile.std_x", "pile.std_y",
        "pile.min_x", "pile.max_x", "pile.min_y", "pile.max_y", "particles.number",
    )  # fmt: skip
    joint_dims = tuple(range(14))

    def _build_spec(self) -> mujoco.MjSpec:
        return build_sweeping_spec()

    def _find_elements(self) -> None:
        arms = build_arms_spec().compile()
        names, half = self.robot.joint_names, self.robot.dof // 2
        self._solvers = [
            TipSolver(arms, f"{side}_tip", names[part], q_rest=Q_HOME[part])
            for side, part in zip(SIDES, (slice(0, half), slice(half, None)), strict=True)
        ]
        self._tip_xpos = [self.data.site(f"{side}_tip").xpos for side in SIDES]
        self._particles = Particles(self.model, self.data, PARTICLE_RADIUS, storage=(-0.5, 0.0))

    def _start(self) -> None:
        """Draw a pile, let it settle, and draw tip positions near home."""
        rng = self.np_random
        number = int(rng.integers(MIN_PARTICLES, MAX_PARTICLES, endpoint=True))
        center = rng.uniform(-PILE_RANGE, PILE_RANGE, 2)
        home = np.array(
            [solver.pose(q)[0] for solver, q in zip(self._solvers, Q_HOME.reshape(2, -1), strict=True)]
        )
        q = self.solve_tips(home + rng.uniform(-START_RANGE, START_RANGE, (2, 3)), Q_HOME)
        self._q[:] = self.data.ctrl[:] = q
        self._particles.pour(rng, number, center, PILE_SPREAD, bottom=0.0)
        mujoco.mj_step(self.model, self.data, round(SETTLING / self.model.opt.timestep))
        self._score, self._steps_at_rest = 0.0, 0

    def solve_tips(
        self, positions: Float[np.ndarray, "2 3"], q_start: Float[np.ndarray, "dof"]
    ) -> Float[np.ndarray, "dof"]:
        """True joints (14,) [rad] near `q_start` (14,) for upright tools with their tips at `positions` (2, 3) [m]."""
        halves = zip(self._solvers, positions, UPRIGHT, q_start.reshape(2, -1), strict=True)
        return np.concatenate([solver.solve(p, R, q, iterations=5)[0] for solver, p, R, q in halves])

    def tip_positions(self, q_true: Float[np.ndarray, "dof"]) -> Float[np.ndarray, "2 3"]:
        """Positions (2, 3) [m] of both tips in the world at true joints (14,) [rad]."""
        halves = zip(self._solvers, q_true.reshape(2, -1), strict=True)
        return np.stack([solver.pose(q)[0] for solver, q in halves])

    def true_state(self) -> SweepingState:
        """The simulator's true state, for experts and tests."""
        in_bowl = np.full(self._particles.number, -1)
        for index, x in enumerate((-BOWL_X, BOWL_X)):
            in_bowl[self._particles.inside((x, 0.0), BOWL_RIM, top=BOWL_HEIGHT)] = index
        return SweepingState(
            q_true=self._q.copy(),
            tips=np.array(self._tip_xpos),
            particles=self._particles.positions.copy(),
            in_bowl=in_bowl,
        )

    def _shares(self) -> tuple[float, float]:
        """Fractions of the particles in the two bowls."""
        in_bowl = self.true_state().in_bowl
        return float(np.mean(in_bowl == 0)), float(np.mean(in_bowl == 1))

    def _progress(self) -> tuple[float, bool]:
        state = self.true_state()
        score = float(np.mean(state.in_bowl >= 0))
        reward, self._score = score - self._score, score
        settled = np.all((state.in_bowl >= 0) | lost(state))
        self._steps_at_rest = self._steps_at_rest + 1 if settled else 0
        return reward, self._steps_at_rest >= REST_STEPS

    def _info(self) -> dict[str, Any]:
        shares = self._shares()
        score = sum(shares)
        return {
            "success": score >= SUCCESS_SCORE,
            "score": score,
            "balance": min(shares) / max(shares) if score else 0.0,
        }

    def _environment_state(self) -> Float[np.ndarray, "values"]:
        state = self.true_state()
        number = len(state.particles)
        carried = in_trough(state)
        lying = state.particles[(state.in_bowl < 0) & ~carried & ~lost(state), :2]
        shares = (*self._shares(), len(lying) / number, carried.sum() / number)
        if len(lying):
            low, high = lying.min(axis=0), lying.max(axis=0)
            pile = (*lying.mean(axis=0), *lying.std(axis=0), low[0], high[0], low[1], high[1])
        else:
            pile = (0.0,) * 8
        return np.array((*shares, *pile, number / MAX_PARTICLES))


def in_trough(state: SweepingState) -> Bool[np.ndarray, "number"]:
    """Mask (number,) of the particles between the blades."""
    middle, gap = state.tips.mean(axis=0), state.tips[0, 1] - state.tips[1, 1]
    offset = state.particles - middle
    # The blades rise at 45 degrees: on each side the trough widens by its height.
    width = gap / 2 + np.maximum(offset[:, 2], 0.0) + PARTICLE_RADIUS
    high_enough = (offset[:, 2] > 0.0) & (offset[:, 2] < BLADE_LENGTH)
    return (np.abs(offset[:, 0]) < BLADE_WIDTH / 2) & (np.abs(offset[:, 1]) < width) & high_enough


def lost(state: SweepingState) -> Bool[np.ndarray, "number"]:
    """Mask (number,) of the particles that lie outside the workspace and the bowls."""
    outside = np.abs(state.particles[:, :2]).max(axis=1) > WORKSPACE
    return outside & (state.particles[:, 2] < LOST_HEIGHT) & (state.in_bowl < 0)
