"""Scripted expert that picks a block with a suction cup and places it; it knows true poses and encoder offsets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
from jaxtyping import Float32

from ikp.tasks.expert import Disturbance, task_of
from ikp.tasks.scene import wrap_angle
from ikp.tasks.suction import PlacingState, SuctionTask

GAIN = 0.6  # fraction of the remaining distance per step of 0.1 s
MAX_STEP, MAX_LIFT, MAX_TURN = 0.045, 0.04, np.radians(15.0)  # per step
HOVER = 0.045  # height of the tip over its goal while it is far away sideways [m]
NEAR, FAR = 0.003, 0.030  # misalignments between which the height over the goal rises to HOVER [m]
YAW_ARM = 0.05  # radius that converts a yaw error to a displacement [m/rad]
PRESS = 0.002  # target depth below contact when aligned, so that the last millimetre takes few steps [m]
TOUCH = 0.005  # misalignment at which the target is contact itself; at twice this it is PRESS above [m]
# (misalignment, height) below which the vacuum switches on over the block and off in the fixture. The limits are wide,
# so that a policy that learns the switch never waits for an alignment that it cannot see.
GRASP_WITHIN, RELEASE_WITHIN = (0.008, 0.012), (0.006, 0.002)
# Misalignments between which the block is lifted over what stands around its place. Below the lower one the slanted
# walls of a fixture guide the block in; above it, a block pressed on a wall would be held there by friction.
WALL_NEAR, WALL_FAR = 0.0025, 0.005
PICK_CLEARANCE = 0.005  # height over the block at which the tip moves sideways at full speed [m]
RETREAT_HEIGHT = 0.06

# The disturbance of `perturb`: standard deviations of the mistaken goal (x, y [m], yaw [rad]) and of the noise on the
# joints [rad].
MISTAKE = np.array((0.008, 0.008, np.radians(8.0)))
JOINT_NOISE, NOISE_MEMORY = np.radians(0.2), 0.6


class PlacingExpert:
    """Moves the tool in Cartesian space: to the block, down, grasp, lift, to its place, down, release, up.

    The action depends on the present state alone (no clock, no memory). It is smooth except where the vacuum switches
    and the goal changes with it: the tip moves a fraction of its remaining distance per step, with a smooth limit, and
    its height depends on its sideways distance from the goal.

    Args:
        env: The task's environment, wrapped or not; the expert reads its state and never steps it.
        rng: Random generator of the disturbance.
        perturbation: Scale of the disturbance that `perturb` adds; 0 for none, 1 for the standard one.
        profile: `smooth`, or `bang-bang`: full speed until the goal is reached, then standstill, which concentrates the
            distribution of actions on two values.

    Raises:
        ValueError: The environment is of another class, the perturbation negative or the profile unknown.
    """

    environment: ClassVar[type[SuctionTask]]
    """Class of the task; its `true_state()` is a `PlacingState`."""
    block_height: ClassVar[float]
    lift: ClassVar[float]
    """Least height of the block over its place until it is nearly aligned [m]."""

    def __init__(
        self,
        env: gymnasium.Env,
        rng: np.random.Generator | None = None,
        perturbation: float = 0.0,
        profile: str = "smooth",
    ):
        self._env: Any = task_of(env, self.environment, self)
        if profile not in PROFILES:
            raise ValueError(f"profile is {profile!r}: choose one of {', '.join(PROFILES)}")
        self._bounded = PROFILES[profile]
        dof = self._env.robot.dof
        self._disturbance = Disturbance(rng, perturbation, dof, JOINT_NOISE, NOISE_MEMORY, MISTAKE)

    def action(self) -> Float32[np.ndarray, "7"]:
        """The expert's action (7,) float32 for the environment's present state."""
        q, vacuum = self._act(self._env.true_state())
        return np.append(self._env.miscalibration.measured(q), float(vacuum)).astype(np.float32)

    def perturb(self, action: Float32[np.ndarray, "7"]) -> Float32[np.ndarray, "7"]:
        """The disturbed action (7,) float32 to execute, while `action` is recorded as the label.

        This gives recovery data after DART (arXiv 1703.09327). For several steps at a time the tool moves as if the
        goal had another pose, which leads to the states in which an imprecise policy gets stuck. The vacuum is not
        changed. Time-correlated noise on the joints is added.
        """
        if self._disturbance.is_off:
            return action
        joint_noise, mistake = self._disturbance.advance()
        state = self._env.true_state()
        shift, turn = np.array((mistake[0], mistake[1], 0.0)), mistake[2]
        if state.holding:
            mistaken = replace(state, seat=state.seat + shift, seat_yaw=state.seat_yaw + turn)
        else:
            mistaken = replace(state, block=state.block + shift, block_yaw=state.block_yaw + turn)
        q, _ = self._act(mistaken)
        return np.append(self._env.miscalibration.measured(q + joint_noise), action[6]).astype(np.float32)

    def _act(self, state: PlacingState) -> tuple[np.ndarray, bool]:
        """True joint targets (6,) [rad] and the vacuum's state."""
        step, turn, vacuum = self._decide(state)
        tilt = (1.0 - GAIN) * state.tip_tilt
        return self._env.solve_tip(state.tip + step, state.tip_yaw + turn, state.q_true, tilt), vacuum

    def _decide(self, state: PlacingState) -> tuple[np.ndarray, float, bool]:
        """Displacement of the tip (3,) [m], turn [rad] and the vacuum's state for the next step."""
        if state.holding:
            return self._place(state)
        offset = state.block - state.seat
        if np.hypot(offset[0], offset[1]) < 0.008 and abs(offset[2]) < 0.006:
            return self._retreat(state)
        return self._pick(state)

    def _pick(self, state: PlacingState) -> tuple[np.ndarray, float, bool]:
        error = state.block + np.array((0.0, 0.0, self.block_height)) - state.tip
        turn = wrap_angle(state.block_yaw - state.tip_yaw)
        step, turn, misplaced = self._approach(error, turn, PICK_CLEARANCE)
        return step, turn, bool(misplaced < GRASP_WITHIN[0] and -error[2] < GRASP_WITHIN[1])

    def _place(self, state: PlacingState) -> tuple[np.ndarray, float, bool]:
        turn = wrap_angle(state.seat_yaw - state.block_yaw)
        # The held block turns with the tool about the tip: the goal is the tip's position when the block is in place.
        c, s = np.cos(turn), np.sin(turn)
        grasp = state.tip - state.block
        goal = state.seat + np.array((c * grasp[0] - s * grasp[1], s * grasp[0] + c * grasp[1], grasp[2]))
        error = goal - state.tip
        step, turn, misplaced = self._approach(error, turn, self.lift, self.lift)
        return step, turn, not bool(misplaced < RELEASE_WITHIN[0] and -error[2] < RELEASE_WITHIN[1])

    def _retreat(self, state: PlacingState) -> tuple[np.ndarray, float, bool]:
        goal = state.seat[2] + self.block_height + RETREAT_HEIGHT
        return np.array((0.0, 0.0, self._bounded(goal - state.tip[2], MAX_LIFT))), 0.0, False

    def _approach(
        self, error: np.ndarray, turn: float, clearance: float, lift: float = 0.0
    ) -> tuple[np.ndarray, float, float]:
        """Step (3,) [m] and turn [rad] towards the goal from above, and the misalignment [m], yaw included.

        Args:
            error: (3,) vector from the tip to its goal [m].
            turn: Remaining yaw [rad].
            clearance: Height over the goal at which the tip moves sideways at full speed [m].
            lift: Minimum height over the goal until nearly aligned [m].
        """
        sideways = float(np.hypot(error[0], error[1]))
        misplaced = float(np.hypot(sideways, YAW_ARM * turn))
        opening = _smoothstep((misplaced - NEAR) / (FAR - NEAR))
        # When low and far away, the tip rises first, so that nothing is dragged along or pushed into a wall.
        free = max(_smoothstep(-error[2] / clearance), 1.0 - opening)
        lateral = error[:2] * (free * self._bounded(sideways, MAX_STEP) / max(sideways, 1e-9))
        # The tip touches down only when well aligned: a block that is pressed down is held in place by friction.
        touch = PRESS * (min(misplaced / TOUCH, 2.0) - 1.0)
        height = max(HOVER * opening, lift * _smoothstep((misplaced - WALL_NEAR) / (WALL_FAR - WALL_NEAR)))
        rise = self._bounded(error[2] + height + touch, MAX_LIFT)
        return np.array((lateral[0], lateral[1], rise)), free * self._bounded(turn, MAX_TURN), misplaced


def _saturate(error: float, limit: float) -> float:
    """GAIN * error with a smooth limit of +-limit."""
    return float(limit * np.tanh(GAIN * error / limit))


def _clip(error: float, limit: float) -> float:
    """The error, clipped to +-limit."""
    return float(np.clip(error, -limit, limit))


def _smoothstep(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


PROFILES = {"smooth": _saturate, "bang-bang": _clip}
"""Functions from (remaining distance, limit) to the length of a step."""
