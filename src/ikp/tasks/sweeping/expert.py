"""Scripted expert for bimanual sweeping; it knows the position of every particle and the encoder offsets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gymnasium
import numpy as np
from jaxtyping import Float32

from ikp.tasks.expert import Disturbance, task_of
from ikp.tasks.sweeping.environment import SweepingEnv, SweepingState, in_trough, lost
from ikp.tasks.sweeping.scene import (
    BLADE_WIDTH,
    BOWL_HEIGHT,
    BOWL_X,
    LIP_THICKNESS,
    PARTICLE_RADIUS,
)

GAIN = 0.6  # fraction of the remaining distance per step of 0.1 s
MAX_LATERAL, MAX_LIFT, MAX_CLOSE = 0.030, 0.025, 0.020  # limits per step: middle sideways, height, gap [m]
SWEEP_HEIGHT, HOVER_HEIGHT, CARRY_HEIGHT = 0.002, 0.080, 0.120  # heights of the tips [m]
GRIP, CLOSED = 0.002, 0.008  # target gap for holding, gap that counts as closed [m]
OPEN, OPEN_WIDE = 0.100, 0.120  # gap that counts as open, target gap for releasing [m]
LOW = 0.020  # the arms sweep when the tips are below this height [m]
ALIGNED = (0.006, 0.030)  # distances from the descent position at which the tips are low and high [m]
FREE_HEIGHT = (0.020, 0.070)  # heights between which the sideways speed rises from zero to full [m]
OVER_BOWL = 0.020  # distance from a bowl's middle at which the blades open [m]
START_MARGIN = 0.030  # distance from the strip at which the tips descend [m]
SCOOP = 0.27  # fraction of all particles that is taken at once
FILLED = 0.035  # a bowl that lacks less than this fraction of the particles counts as half filled
LAST_FEW = 3  # this many particles may be taken at once even if the bowl needs fewer
MAX_X = 0.160  # largest x of the blades' middle at the table, clear of the bowls [m]
CLEAR_WIDTH = BLADE_WIDTH / 2 - LIP_THICKNESS - 0.001  # half the width between the lips [m]

# The disturbance of `perturb`: standard deviations of the mistaken middle (x, y) and gap [m] and of the noise on the
# joints [rad].
MISTAKE = np.array((0.005, 0.005, 0.005))
JOINT_NOISE, NOISE_MEMORY = np.radians(0.1), 0.6


@dataclass(frozen=True)
class Aim:
    """Target of the two tips: their middle (3,) [m] and the gap between them along y [m].

    `free` in [0, 1] scales the sideways speed of the middle.
    """

    middle: np.ndarray
    gap: float
    free: float = 1.0


class SweepingExpert:
    """Moves both tips in Cartesian space: to a strip of the pile, down, together, up, over a bowl, apart.

    The bowl at positive x gets its half of the particles first, then the other one. The action depends on the present
    state alone (no clock, no memory). Within each movement it is smooth: middle and gap of the tips change by a
    fraction of the remaining distance per step, with a smooth limit.

    Args:
        env: A SweepingEnv, wrapped or not; the expert reads its state and never steps it.
        rng: Random generator of the disturbance.
        perturbation: Scale of the disturbance that `perturb` adds; 0 for none, 1 for the standard one.

    Raises:
        ValueError: The environment is of another class, or the perturbation negative.
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
        """The disturbed action (14,) float32 to execute, while `action` is recorded as the label.

        This gives recovery data after DART (arXiv 1703.09327). For several steps at a time the tips move as if their
        target were elsewhere and their gap another one, but held particles are not released. Time-correlated noise on
        the joints is added.
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
    """Next positions (2, 3) [m] of the tips on the way to a target."""
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
    """Choose the target for the present state."""
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
    """(x, y) of the bowl under the tips, or None."""
    for x in (-BOWL_X, BOWL_X):
        if np.hypot(middle[0] - x, middle[1]) < OVER_BOWL:
            return np.array((x, 0.0))
    return None


def _to_fill(state: SweepingState) -> tuple[int, int]:
    """The bowl to fill and the particles it needs: bowl 1 up to half, then bowl 0 up to half, then the emptier one."""
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
    """Close the blades at table height, towards the mean position of the particles between them."""
    between = (np.abs(lying[:, 0] - middle[0]) < CLEAR_WIDTH) & (np.abs(lying[:, 1] - middle[1]) < gap / 2)
    y = lying[between, 1].mean() if between.any() else middle[1]
    return Aim(np.array((middle[0], y, SWEEP_HEIGHT)), GRIP)


def _approach(state: SweepingState, middle: np.ndarray, gap: float, lying: np.ndarray) -> Aim:
    """Move the tips to both sides of the next strip; they descend as they arrive."""
    if not len(lying):
        return Aim(np.array((0.0, 0.0, CARRY_HEIGHT)), 0.24)
    x, low, high = _strip(state, lying)
    goal, width = np.array((x, (low + high) / 2)), max(high - low + 2 * START_MARGIN, OPEN_WIDE)
    misplaced = max(float(np.linalg.norm(goal - middle[:2])), width - gap)
    height = SWEEP_HEIGHT + HOVER_HEIGHT * _smoothstep(misplaced, *ALIGNED)
    return Aim(np.array((*goal, height)), width)


def _strip(state: SweepingState, lying: np.ndarray) -> tuple[float, float, float]:
    """The strip to sweep next: x of the blades' middle, smallest and largest y of the particles there [m].

    It is the fullest strip that holds no more particles than are wanted, and the nearest to the bowl among equals.
    """
    bowl, needed = _to_fill(state)
    wanted = max(min(round(SCOOP * len(state.particles)), needed), LAST_FEW)
    side = 1.0 if bowl else -1.0
    x = np.sort(side * lying[:, 0])[::-1]  # sorted from the edge next to the bowl inwards
    between = (x + np.append(x[1:], x[-1] - 2 * PARTICLE_RADIUS)) / 2
    centers = np.clip(between + CLEAR_WIDTH, -MAX_X, MAX_X)
    counts = (np.abs(x - centers[:, None]) < CLEAR_WIDTH).sum(axis=1)
    value = np.where(counts <= wanted, counts, np.where(counts > 0, -counts, -len(x)))
    center = side * centers[np.argmax(value)]
    within = np.abs(lying[:, 0] - center) < BLADE_WIDTH / 2 + PARTICLE_RADIUS
    return float(center), float(lying[within, 1].min()), float(lying[within, 1].max())


def _saturate(error: float, limit: float) -> float:
    """GAIN * error with a smooth limit of +-limit."""
    return float(limit * np.tanh(GAIN * error / limit))


def _smoothstep(x: float, low: float, high: float) -> float:
    """0 below `low`, 1 above `high`, smooth in between."""
    x = min(max((x - low) / (high - low), 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)
