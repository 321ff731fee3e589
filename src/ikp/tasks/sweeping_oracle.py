"""A scripted expert for bimanual sweeping that knows where every particle is and the encoders' offsets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gymnasium
import numpy as np
from jaxtyping import Float32

from ikp.tasks.expert import Disturbance, task_of
from ikp.tasks.sweeping import SweepingEnv, SweepingState, in_trough, lost
from ikp.tasks.sweeping_scene import (
    BLADE_WIDTH,
    BOWL_HEIGHT,
    BOWL_X,
    LIP_THICKNESS,
    PARTICLE_RADIUS,
)

GAIN = 0.6  # share of the remaining way per step of 0.1 s
MAX_LATERAL, MAX_LIFT, MAX_CLOSE = 0.030, 0.025, 0.020  # per step: middle sideways, height, gap [m]
SWEEP_HEIGHT, HOVER_HEIGHT, CARRY_HEIGHT = 0.002, 0.080, 0.120  # of the tips [m]
GRIP, CLOSED = 0.002, 0.008  # gap to aim for in order to hold, gap that counts as closed [m]
OPEN, OPEN_WIDE = 0.100, 0.120  # gap that counts as open, gap to aim for in order to release [m]
LOW = 0.020  # tips below this height sweep [m]
ALIGNED = (0.006, 0.030)  # distance from the place to come down at which the tips are low and high [m]
FREE_HEIGHT = (0.020, 0.070)  # heights between which carrying sideways sets in [m]
OVER_BOWL = 0.020  # distance from a bowl's middle at which the blades open [m]
START_MARGIN = 0.030  # the tips come down this far outside of the strip [m]
SCOOP = 0.27  # share of all particles that is taken at once
FILLED = 0.035  # a bowl that lacks less than this share of the particles has its half
LAST_FEW = 3  # so few are taken at once even if the bowl needs less
MAX_X = 0.160  # of the blades' middle at the table: they stay clear of the bowls [m]
CLEAR_WIDTH = BLADE_WIDTH / 2 - LIP_THICKNESS - 0.001  # half of the width between the lips [m]

# The disturbance of `perturb`: a mistaken middle (x, y) and gap [m] that are believed for a while, and noise on
# the joints [rad].
MISTAKE = np.array((0.005, 0.005, 0.005))
JOINT_NOISE, NOISE_MEMORY = np.radians(0.1), 0.6


@dataclass(frozen=True)
class Aim:
    """Where the two tips should be: their middle (3,) [m] and the gap between them along y [m].

    `free` in [0, 1] is how fast the middle may move sideways.
    """

    middle: np.ndarray
    gap: float
    free: float = 1.0


class SweepingOracle:
    """Moves both tips in Cartesian space: to a strip of the pile, down, together, up, over a bowl, apart.

    The bowl at positive x gets its half of the particles first, then the other one. The action follows from
    the present state alone (no clock, no memory); within each of these movements it is smooth: middle and gap
    of the tips go a share of their remaining way, saturating smoothly.

    Args:
        env: A SweepingEnv, wrapped or not; read, never stepped.
        rng: Source of the perturbations.
        perturbation: 0 for none; 1 for the standard disturbance of `perturb`, other values scale it.

    Raises:
        ValueError: Another environment, or a negative perturbation.
    """

    def __init__(self, env: gymnasium.Env, rng: np.random.Generator | None = None, perturbation: float = 0.0):
        self._env = task_of(env, SweepingEnv, self)
        dof = self._env.robot.dof
        self._disturbance = Disturbance(rng, perturbation, dof, JOINT_NOISE, NOISE_MEMORY, MISTAKE)

    def action(self) -> Float32[np.ndarray, "14"]:
        """The expert's action (14,) float32 for the environment's present state."""
        state = self._env.true_state()
        return self._command(_step(state, _decide(state)), state)

    def perturb(self, action: Float32[np.ndarray, "14"]) -> Float32[np.ndarray, "14"]:
        """What to execute (14,) float32 instead of the expert's `action`, the one to record.

        For recovery data, after DART (arXiv 1703.09327): the tips go where an expert would send them who
        mistakes the place to go to and how far apart they are, for some steps at a time. What is held is not
        let go. Correlated noise on the joints comes on top.
        """
        if self._disturbance.is_off:
            return action
        joint_noise, (dx, dy, widen) = self._disturbance.advance()
        state = self._env.true_state()
        aim, gap = _decide(state), state.tips[0, 1] - state.tips[1, 1]
        shift = np.array((dx, dy, 0.0))
        aim = replace(aim, middle=aim.middle + shift, gap=aim.gap + (widen if gap > CLOSED else 0.0))
        return self._command(_step(state, aim), state) + joint_noise.astype(np.float32)

    def _command(self, tips: np.ndarray, state: SweepingState) -> Float32[np.ndarray, "14"]:
        q = self._env.solve_tips(tips, state.q_true)
        return self._env.miscalibration.measured(q).astype(np.float32)


def _step(state: SweepingState, aim: Aim) -> np.ndarray:
    """Next positions (2, 3) [m] of the tips on their way to an aim."""
    middle, gap = state.tips.mean(axis=0), state.tips[0, 1] - state.tips[1, 1]
    way = aim.middle - middle
    sideways = float(np.hypot(way[0], way[1]))
    move = np.empty(3)
    move[:2] = way[:2] * (aim.free * _saturate(sideways, MAX_LATERAL) / max(sideways, 1e-9))
    move[2] = _saturate(way[2], MAX_LIFT)
    gap += _saturate(aim.gap - gap, MAX_CLOSE)
    half = np.array((0.0, gap / 2, 0.0))
    return middle + move + np.stack((half, -half))


def _decide(state: SweepingState) -> Aim:
    """What to do now, from the state alone."""
    middle, gap = state.tips.mean(axis=0), state.tips[0, 1] - state.tips[1, 1]
    bowl = _bowl_below(middle)
    carried = in_trough(state)
    if bowl is not None and (gap < OPEN or np.any(carried & (state.particles[:, 2] > BOWL_HEIGHT))):
        return Aim(np.array((*bowl, CARRY_HEIGHT)), OPEN_WIDE)
    lying = state.particles[(state.in_bowl < 0) & ~lost(state)]
    if gap < CLOSED and (carried.any() or middle[2] < HOVER_HEIGHT / 2):
        return _carry(state, middle)
    if middle[2] < LOW and len(lying):
        return _sweep(state, middle, gap, lying)
    return _approach(state, middle, gap, lying)


def _bowl_below(middle: np.ndarray) -> np.ndarray | None:
    """(x, y) of the bowl that the tips are over, if any."""
    for x in (-BOWL_X, BOWL_X):
        if np.hypot(middle[0] - x, middle[1]) < OVER_BOWL:
            return np.array((x, 0.0))
    return None


def _to_fill(state: SweepingState) -> tuple[int, int]:
    """The bowl to fill now and how many particles it wants: 1 to its half, 0 to its half, then the emptier."""
    number = len(state.particles)
    lacking = [number / 2 - np.sum(state.in_bowl == bowl) for bowl in (0, 1)]
    for bowl in (1, 0):
        if lacking[bowl] > FILLED * number:
            return bowl, round(lacking[bowl])
    return int(lacking[1] > lacking[0]), number


def _carry(state: SweepingState, middle: np.ndarray) -> Aim:
    bowl, _ = _to_fill(state)
    goal = np.array((BOWL_X if bowl else -BOWL_X, 0.0, CARRY_HEIGHT))
    return Aim(goal, GRIP, _smoothstep(middle[2], *FREE_HEIGHT))


def _sweep(state: SweepingState, middle: np.ndarray, gap: float, lying: np.ndarray) -> Aim:
    """Together at table height, towards the middle of what lies between the blades."""
    between = (np.abs(lying[:, 0] - middle[0]) < CLEAR_WIDTH) & (np.abs(lying[:, 1] - middle[1]) < gap / 2)
    y = lying[between, 1].mean() if between.any() else middle[1]
    return Aim(np.array((middle[0], y, SWEEP_HEIGHT)), GRIP)


def _approach(state: SweepingState, middle: np.ndarray, gap: float, lying: np.ndarray) -> Aim:
    """To both sides of the next strip; the tips come down as they get there."""
    if not len(lying):
        return Aim(np.array((0.0, 0.0, CARRY_HEIGHT)), 0.24)
    x, low, high = _strip(state, lying)
    goal, width = np.array((x, (low + high) / 2)), max(high - low + 2 * START_MARGIN, OPEN_WIDE)
    misplaced = max(float(np.linalg.norm(goal - middle[:2])), width - gap)
    height = SWEEP_HEIGHT + HOVER_HEIGHT * _smoothstep(misplaced, *ALIGNED)
    return Aim(np.array((*goal, height)), width)


def _strip(state: SweepingState, lying: np.ndarray) -> tuple[float, float, float]:
    """Where to sweep next: x of the blades' middle, least and largest y of the particles there [m].

    Of the strips that hold no more than is wanted the fullest one, of equals the one nearest to the bowl.
    """
    bowl, needed = _to_fill(state)
    wanted = max(min(round(SCOOP * len(state.particles)), needed), LAST_FEW)
    side = 1.0 if bowl else -1.0
    x = np.sort(side * lying[:, 0])[::-1]  # from the edge next to the bowl inwards
    between = (x + np.append(x[1:], x[-1] - 2 * PARTICLE_RADIUS)) / 2
    centers = np.clip(between + CLEAR_WIDTH, -MAX_X, MAX_X)
    counts = (np.abs(x - centers[:, None]) < CLEAR_WIDTH).sum(axis=1)
    value = np.where(counts <= wanted, counts, np.where(counts > 0, -counts, -len(x)))
    center = side * centers[np.argmax(value)]
    within = np.abs(lying[:, 0] - center) < BLADE_WIDTH / 2 + PARTICLE_RADIUS
    return float(center), float(lying[within, 1].min()), float(lying[within, 1].max())


def _saturate(error: float, limit: float) -> float:
    """GAIN * error, bounded smoothly by +-limit."""
    return float(limit * np.tanh(GAIN * error / limit))


def _smoothstep(x: float, low: float, high: float) -> float:
    """0 below `low`, 1 above `high`, smooth between."""
    x = min(max((x - low) / (high - low), 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)
