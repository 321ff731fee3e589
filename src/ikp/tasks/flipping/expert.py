"""Scripted expert for bimanual flipping that moves linearly in joint space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gymnasium
import numpy as np
from jaxtyping import Float32

from ikp.tasks.expert import Disturbance, task_of
from ikp.tasks.flipping.environment import FlippingEnv, FlippingState
from ikp.tasks.flipping.scene import BOX_SIDE, SHOULDER_HEIGHT, UPPER_ARM

LEVEL, POURED = np.radians(95.0), np.radians(-50.0)  # pitch of the forearms, and with them of the box
LIFTED = np.radians(60.0)  # pitch of the upper arms when the box is over the bowl
# Inward turn of the elbows, 0 at the box's sides; beyond 0 the drives press with a force in proportion.
ASIDE, PRESS = np.radians(-9.0), np.radians(0.7)
NEAR, ASTRAY = (
    np.radians(0.7),
    np.radians(3.0),
)  # errors below which a movement has ended, above which it has to start again
# Noise of `perturb`; it is small at the first joints, which hold the box.
JOINT_NOISE, NOISE_MEMORY = np.radians(np.tile((0.1, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4), 2)), 0.8
OFF_STAND = 0.01  # height over the stand above which the box counts as lifted [m]


@dataclass(frozen=True)
class Pose:
    """Common pose of both arms [rad]: turn to one side, turn inwards, pitch of upper arms and of forearms."""

    turn: float
    squeeze: float
    lift: float
    pitch: float

    @staticmethod
    def of(q: np.ndarray) -> Pose:
        """The pose at joint positions (14,) [rad], as the mean of both arms."""
        left, right = q.reshape(2, 7)
        mean = (left + right) / 2
        return Pose(mean[0], (right[0] - left[0]) / 2, mean[1], mean[1] - mean[3])

    def joints(self, q: np.ndarray) -> np.ndarray:
        """Joint positions (14,) [rad] of this pose, with the wrists of `q` (14,)."""
        arms = q.reshape(2, 7).copy()
        arms[:, 0] = self.turn - self.squeeze, self.turn + self.squeeze
        arms[:, 1], arms[:, 2], arms[:, 3] = self.lift, 0.0, self.lift - self.pitch
        return arms.ravel()

    def towards(self, goal: Pose) -> Pose:
        """The next pose on the way to a goal; each value changes at its own constant speed."""
        values = {name: (value, getattr(SPEED, name)) for name, value in vars(self).items()}
        return Pose(
            **{
                name: value + np.clip(getattr(goal, name) - value, -most, most)
                for name, (value, most) in values.items()
            }
        )


SPEED = Pose(turn=np.radians(0.5), squeeze=np.radians(0.9), lift=np.radians(1.2), pitch=np.radians(4.5))
"""Change of a pose per step of 0.1 s [rad]."""
JOINT_SPEED = np.radians(6.0)  # largest change of a joint per step, while the arms still differ [rad]


class FlippingExpert:
    """Moves both arms alike at constant joint speeds: beside the box, together, up and back to the bowl, tip.

    The wrists stay where they started, so the hands move differently in every episode. The action depends on the
    present state alone, which includes the drives' targets.

    Args:
        env: A FlippingEnv, wrapped or not; the expert reads its state and never steps it.
        rng: Random generator of the disturbance.
        perturbation: Scale of the disturbance that `perturb` adds; 0 for none, 1 for the standard one.

    Raises:
        ValueError: The environment is of another class, or the perturbation negative.
    """

    def __init__(self, env: gymnasium.Env, rng: np.random.Generator | None = None, perturbation: float = 0.0):
        self._env = task_of(env, FlippingEnv, self)
        self._disturbance = Disturbance(rng, perturbation, self._env.robot.dof, JOINT_NOISE, NOISE_MEMORY)

    def action(self) -> Float32[np.ndarray, "14"]:
        """The expert's action (14,) float32 for the environment's present state."""
        state = self._env.true_state()
        q = state.q_target
        way = Pose.of(q).towards(_decide(state)).joints(q) - q
        q = q + np.clip(way, -JOINT_SPEED, JOINT_SPEED)
        return self._env.miscalibration.measured(q).astype(np.float32)

    def perturb(self, action: Float32[np.ndarray, "14"]) -> Float32[np.ndarray, "14"]:
        """The disturbed action (14,) float32 to execute, while `action` is recorded as the label.

        This gives recovery data after DART (arXiv 1703.09327): time-correlated noise on the joints moves the elbows
        off their straight lines.
        """
        if self._disturbance.is_off:
            return action
        joint_noise, _ = self._disturbance.advance()
        return action + joint_noise.astype(np.float32)


def _decide(state: FlippingState) -> Pose:
    """Choose the goal for the present state."""
    now = Pose.of(state.q_target)
    lifted = state.box[2] > state.stand[2] + BOX_SIDE / 2 + OFF_STAND
    if not lifted and now.squeeze < 0.8 * PRESS:
        return _grasp(state, now)
    # The arms do not turn back to the middle: the bumpers would roll over the box's sides, and the bowl is wide enough.
    turn = _beside(state.stand + np.array((0.0, 0.0, BOX_SIDE / 2))).turn
    over = Pose(turn, squeeze=PRESS, lift=LIFTED, pitch=LEVEL)
    if now.lift > LIFTED + (NEAR if now.pitch > LEVEL - ASTRAY else ASTRAY):
        return over
    return replace(over, pitch=POURED)


def _grasp(state: FlippingState, now: Pose) -> Pose:
    """Move the elbows beside the box at the height of its middle, then together."""
    beside = _beside(state.box)
    misplaced = np.abs(replace(beside, squeeze=now.squeeze).joints(state.q_target) - state.q_target).max()
    if misplaced < (NEAR if now.squeeze < ASIDE + NEAR else ASTRAY):
        return replace(beside, squeeze=PRESS)
    return beside


def _beside(box: np.ndarray) -> Pose:
    """The pose with the elbows apart on both sides of a box's centre (3,) [m]."""
    lift = float(np.arccos((box[2] - SHOULDER_HEIGHT) / UPPER_ARM))
    turn = float(np.arcsin(box[1] / (UPPER_ARM * np.sin(lift))))
    return Pose(turn, ASIDE, lift, LEVEL)
