"""Scripted expert for `ikp/SortAndSweep-v0`: it sorts in Cartesian space and sweeps in joint space."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float32

from ikp.tasks.placing import PlacingExpert
from ikp.tasks.scene import wrap_angle
from ikp.tasks.sorting.environment import SortAndSweepEnv, SortingState, in_bowls
from ikp.tasks.sorting.scene import BOWL_HEIGHT, SIDE
from ikp.tasks.suction import PlacingState

DROP_HEIGHT = BOWL_HEIGHT + 0.006  # of a block's underside when it is let go over its bowl [m]
# The sweeping posture: the arm extended, the tool pointing outwards and a little down, so that wrist and tool lie along
# a radius close over the table.
SWEEP_RADIUS, SWEEP_HEIGHT, SWEEP_TILT = 0.80, 0.022, np.radians(14.0)
Q_SWEEP = np.array((-0.25, -0.75, 1.60, -0.70, 1.32, -1.62))  # near it
RAISE = -0.25  # of the shoulder's lift between sweeping and raised posture [rad]
FIRST, LAST = np.radians(-17.0), np.radians(30.0)  # directions of the arm before and after the sweep
NEAR, LOW, HIGH = 0.08, 0.20, 0.80  # tolerance of the posture [rad]; fractions of the raise
TURN_STEP = 0.09  # largest change of a joint per step [rad]
GAIN = 0.6


class SortAndSweepExpert(PlacingExpert):
    """Puts the red block, then the blue one into their bowls, extends the arm and sweeps both bowls aside.

    See `PlacingExpert`. While `in_joint_space` is true, its actions are meant as motions of the joints.
    """

    environment = SortAndSweepEnv
    block_height = SIDE
    lift = 0.016

    def __init__(self, env: gymnasium.Env, rng: np.random.Generator | None = None, perturbation: float = 0.0):
        super().__init__(env, rng, perturbation)
        z = np.array((np.cos(SWEEP_TILT), 0.0, -np.sin(SWEEP_TILT)))
        y = np.array((0.0, 1.0, 0.0))
        rotation = np.stack((np.cross(y, z), y, z), axis=1)
        place = np.array((SWEEP_RADIUS, 0.0, SWEEP_HEIGHT))
        self._q_low, _ = self._env.solver.solve(place, rotation, Q_SWEEP, iterations=60)
        self.in_joint_space = False

    def action(self) -> Float32[np.ndarray, "7"]:
        """The expert's action (7,) float32 for the environment's present state."""
        state = self._env.true_state()
        self.in_joint_space = bool(in_bowls(state).all())
        if not self.in_joint_space:
            q, vacuum = self._act(self._placing(state))
        else:
            q, vacuum = self._sweep(state.q_true), False
        return np.append(self._env.miscalibration.measured(q), float(vacuum)).astype(np.float32)

    def perturb(self, action: Float32[np.ndarray, "7"]) -> Float32[np.ndarray, "7"]:
        """The action with noise on the joints."""
        if self._disturbance.is_off:
            return action
        noise, _ = self._disturbance.advance()
        return (action + np.append(noise, 0.0)).astype(np.float32)

    def _decide(self, state: PlacingState) -> Any:
        return self._place(state) if state.holding else self._pick(state)

    def _placing(self, state: SortingState) -> PlacingState:
        """The next block as a block to place over its bowl."""
        index = state.held if state.held is not None else int(np.argmin(in_bowls(state)))
        # A cube looks the same after a quarter turn.
        turn = wrap_angle(4 * (state.block_yaws[index] - state.tip_yaw)) / 4
        block_yaw = float(state.block_yaws[index] if state.held is not None else state.tip_yaw + turn)
        return PlacingState(
            q_true=state.q_true,
            tip=state.tip,
            tip_yaw=state.tip_yaw,
            tip_tilt=state.tip_tilt,
            block=state.blocks[index],
            block_yaw=block_yaw,
            seat=np.array((*state.bowls[index, :2], DROP_HEIGHT)),
            seat_yaw=block_yaw,
            holding=state.held is not None,
        )

    def _sweep(self, q: np.ndarray) -> np.ndarray:
        """The next joint targets: raise the arm, turn it before the bowls, lower it, turn it past them."""
        direction = q[0] - self._q_low[0]
        raised = (q[1] - self._q_low[1]) / RAISE
        posed = np.abs(q[2:] - self._q_low[2:]).max() < NEAR
        goal = self._posture(direction, RAISE)
        if posed and raised < LOW and direction < LAST - 0.03:
            goal = self._posture(LAST + 0.02, 0.0)
        elif posed and abs(direction - FIRST) < 0.06:
            goal = self._posture(FIRST, 0.0)
        elif posed and raised > HIGH:
            goal = self._posture(FIRST, RAISE)
        return q + TURN_STEP * np.tanh(GAIN * (goal - q) / TURN_STEP)

    def _posture(self, direction: float, raised: float) -> np.ndarray:
        """The sweeping posture in a direction [rad], with the shoulder raised [rad]."""
        return self._q_low + np.array((direction, raised, 0.0, 0.0, 0.0, 0.0))
