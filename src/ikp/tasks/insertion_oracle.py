"""A scripted expert for `ikp/Insertion-v0` that knows the true poses and the encoders' offsets."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
from jaxtyping import Float32

from ikp.tasks.expert import Disturbance, task_of
from ikp.tasks.insertion import InsertionEnv, InsertionState
from ikp.tasks.insertion_scene import BLOCK_HEIGHT, WALL_HEIGHT
from ikp.tasks.scene import wrap_angle

GAIN = 0.6  # share of the remaining way per step of 0.1 s
MAX_STEP, MAX_LIFT, MAX_TURN = 0.045, 0.04, np.radians(15.0)  # per step
HOVER = 0.045  # tip's height over its goal while it is far from it [m]
NEAR, FAR = 0.003, 0.030  # misplacements between which the height funnel opens [m]
YAW_ARM = 0.05  # a yaw error counts like a displacement at this radius [m/rad]
PRESS = 0.002  # aim this far below contact when aligned: the last millimetre then takes few steps [m]
TOUCH = 0.005  # misplacement at which the aim is contact itself; at twice it, PRESS above [m]
# The vacuum switches well before precision would decide it, so that who learns from the switch is never left waiting
# for an alignment it cannot see: (misplacement, height) below which it comes on over the block and goes off again.
GRASP_WITHIN, RELEASE_WITHIN = (0.008, 0.012), (0.006, 0.002)
# Over the fixture the block stays above the walls until their slant would catch it: misplacements between which it is
# lifted over them, and how high. Pressed on a wall, friction would hold it there for good.
WALL_NEAR, WALL_FAR, OVER_WALL = 0.0025, 0.005, WALL_HEIGHT + 0.004
PICK_CLEARANCE, PLACE_CLEARANCE = 0.005, WALL_HEIGHT + 0.004  # height for moving sideways at full speed [m]
RETREAT_HEIGHT = 0.06

# The disturbance of `perturb`: a mistaken goal (x, y [m], yaw [rad]) that is believed for a while, and noise on the
# joints [rad].
MISTAKE = np.array((0.008, 0.008, np.radians(8.0)))
JOINT_NOISE, NOISE_MEMORY = np.radians(0.2), 0.6


class InsertionOracle:
    """Moves the tool in Cartesian space: to the block, down, grasp, lift, to the fixture, down, release, up.

    The action follows from the present state alone (no clock, no memory) and is smooth but for the vacuum's
    switch and the change of goal that comes with it: the tip goes a share of its remaining way, saturating
    smoothly, and its height follows from how far it is from its goal sideways.

    Args:
        env: An InsertionEnv, wrapped or not; read, never stepped.
        rng: Source of the perturbations.
        perturbation: 0 for none; 1 for the standard disturbance of `perturb`, other values scale it.
        profile: `smooth`, or `bang-bang`: at the speed limit until it is there, then still, which puts much of the
            actions' density on two values.

    Raises:
        ValueError: Another environment, a negative perturbation or an unknown profile.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        rng: np.random.Generator | None = None,
        perturbation: float = 0.0,
        profile: str = "smooth",
    ):
        self._env = task_of(env, InsertionEnv, self)
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
        """What to execute (7,) float32 instead of the expert's `action`, the one to record.

        For recovery data, after DART (arXiv 1703.09327). The tool goes where an expert would send it who
        mistakes the pose of the goal, for some steps at a time: the states in which a policy that sees badly
        gets stuck, with what to do there. The vacuum is the expert's. Correlated noise on the joints comes on top.
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

    def _act(self, state: InsertionState) -> tuple[np.ndarray, bool]:
        """True joint targets (6,) [rad] and the vacuum."""
        step, turn, vacuum = self._decide(state)
        tilt = (1.0 - GAIN) * state.tip_tilt
        return self._env.solve_tip(state.tip + step, state.tip_yaw + turn, state.q_true, tilt), vacuum

    def _decide(self, state: InsertionState) -> tuple[np.ndarray, float, bool]:
        """Displacement of the tip (3,) [m], turn [rad] and vacuum for the next step."""
        if state.holding:
            return self._place(state)
        offset = state.block - state.seat
        if np.hypot(offset[0], offset[1]) < 0.008 and abs(offset[2]) < 0.006:
            return self._retreat(state)
        return self._pick(state)

    def _pick(self, state: InsertionState) -> tuple[np.ndarray, float, bool]:
        error = state.block + np.array((0.0, 0.0, BLOCK_HEIGHT)) - state.tip
        turn = wrap_angle(state.block_yaw - state.tip_yaw)
        step, turn, misplaced = self._approach(error, turn, PICK_CLEARANCE)
        return step, turn, bool(misplaced < GRASP_WITHIN[0] and -error[2] < GRASP_WITHIN[1])

    def _place(self, state: InsertionState) -> tuple[np.ndarray, float, bool]:
        turn = wrap_angle(state.seat_yaw - state.block_yaw)
        # The held block turns with the tool about the tip: aim for where the tip is when the block is in place.
        c, s = np.cos(turn), np.sin(turn)
        grasp = state.tip - state.block
        goal = state.seat + np.array((c * grasp[0] - s * grasp[1], s * grasp[0] + c * grasp[1], grasp[2]))
        error = goal - state.tip
        step, turn, misplaced = self._approach(error, turn, PLACE_CLEARANCE, OVER_WALL)
        return step, turn, not bool(misplaced < RELEASE_WITHIN[0] and -error[2] < RELEASE_WITHIN[1])

    def _retreat(self, state: InsertionState) -> tuple[np.ndarray, float, bool]:
        goal = state.seat[2] + BLOCK_HEIGHT + RETREAT_HEIGHT
        return np.array((0.0, 0.0, self._bounded(goal - state.tip[2], MAX_LIFT))), 0.0, False

    def _approach(
        self, error: np.ndarray, turn: float, clearance: float, lift: float = 0.0
    ) -> tuple[np.ndarray, float, float]:
        """Step (3,) [m] and turn [rad] through a funnel above the goal, and the misplacement [m], yaw included.

        Args:
            error: (3,) from the tip to its goal [m].
            turn: Yaw still to go [rad].
            clearance: Height over the goal at which moving sideways is free [m].
            lift: Least height over the goal until nearly aligned [m].
        """
        sideways = float(np.hypot(error[0], error[1]))
        misplaced = float(np.hypot(sideways, YAW_ARM * turn))
        opening = _smoothstep((misplaced - NEAR) / (FAR - NEAR))
        # Low and far: rise before moving, so that nothing is dragged along or pushed into a wall.
        free = max(_smoothstep(-error[2] / clearance), 1.0 - opening)
        lateral = error[:2] * (free * self._bounded(sideways, MAX_STEP) / max(sideways, 1e-9))
        # Touch down only when well aligned: pressed down, friction would hold the block where it is.
        touch = PRESS * (min(misplaced / TOUCH, 2.0) - 1.0)
        height = max(HOVER * opening, lift * _smoothstep((misplaced - WALL_NEAR) / (WALL_FAR - WALL_NEAR)))
        rise = self._bounded(error[2] + height + touch, MAX_LIFT)
        return np.array((lateral[0], lateral[1], rise)), free * self._bounded(turn, MAX_TURN), misplaced


def _saturate(error: float, limit: float) -> float:
    """GAIN * error, bounded smoothly by +-limit."""
    return float(limit * np.tanh(GAIN * error / limit))


def _clip(error: float, limit: float) -> float:
    """All of the error, but not more than the limit."""
    return float(np.clip(error, -limit, limit))


def _smoothstep(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


PROFILES = {"smooth": _saturate, "bang-bang": _clip}
"""How much of a remaining way a step makes."""
