"""`ikp/SortAndSweep-v0`: put two blocks into the bowls of their colours, then sweep the bowls aside with the arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float

from ikp.tasks.scene import yaw_to_quat
from ikp.tasks.sorting.scene import BOWL_BOTTOM, BOWL_HEIGHT, COLORS, LINE, SIDE, build_sorting_spec
from ikp.tasks.suction import Q_HOME, Graspable, SuctionTask

REST_STEPS = 3
BLOCKS = ((0.38, 0.52), (-0.22, -0.05))  # least and largest x and y of the blocks [m]
BLOCK_YAW = np.radians(45.0)
MIN_DISTANCE = 0.080  # between the blocks [m]
BOWLS = np.array(((0.600, 0.06), (0.730, 0.06)))  # red, blue [m]
BOWL_RANGE = 0.012
START = np.array((0.45, 0.0, 0.16))
START_RANGE = np.array((0.08, 0.08, 0.03))
START_YAW = np.radians(20.0)


@dataclass(frozen=True)
class SortingState:
    """The simulator's true state, which observations do not show; poses in the world, lengths in m, angles in rad.

    Blocks and bowls are in the order red, blue; `held` is the index of the block that the cup holds.
    """

    q_true: Float[np.ndarray, "dof"]
    tip: Float[np.ndarray, "3"]
    tip_yaw: float
    tip_tilt: Float[np.ndarray, "2"]
    blocks: Float[np.ndarray, "2 3"]
    block_yaws: Float[np.ndarray, "2"]
    bowls: Float[np.ndarray, "2 3"]
    held: int | None


class SortAndSweepEnv(SuctionTask):
    """UR5e with a suction tool, a red and a blue block at random poses, a red and a blue bowl.

    Action (7,): six joint targets [rad] and the vacuum (on above 0.5); see `ArmTask`. The cup grasps the blocks.

    Observation: `state` (7,), six measured joints [rad] and 1.0 while the vacuum holds; `environment_state` (10,), x,
    y, z of the red and the blue block and x, y of their bowls in the robot's base frame [m].

    The score has four parts of a quarter: each block in its bowl, and each bowl behind the line with its block inside.
    The reward is the score's increase; the episode ends with success when all four have held for three steps. `info`:
    success, score, sorted (blocks in their bowls), swept (bowls behind the line). Arguments and errors are those of
    `ArmTask`.
    """

    scene = "sorting"
    environment_state_names = (
        "red.x", "red.y", "red.z", "blue.x", "blue.y", "blue.z",
        "red_bowl.x", "red_bowl.y", "blue_bowl.x", "blue_bowl.y",
    )  # fmt: skip
    graspable = tuple(
        Graspable(name, ((np.zeros(2), np.full(2, SIDE / 2 - 0.003)),), SIDE) for name in COLORS
    )

    def _build_spec(self) -> mujoco.MjSpec:
        return build_sorting_spec()

    def _find_elements(self) -> None:
        super()._find_elements()
        self._blocks = [self.data.joint(f"{name}_joint").qpos for name in COLORS]
        self._bowls = [self.data.joint(f"{name}_bowl_joint").qpos for name in COLORS]
        self._xmats = [self.data.body(name).xmat for name in COLORS]

    def _start(self) -> None:
        """Draw random poses of blocks, bowls and arm."""
        rng = self.np_random
        low, high = np.array(BLOCKS).T
        while True:
            places = rng.uniform(low, high, (2, 2))
            if np.hypot(*(places[0] - places[1])) >= MIN_DISTANCE:
                break
        for where, place in zip(self._blocks, places, strict=True):
            where[:3], where[3:] = (*place, 0.0), yaw_to_quat(rng.uniform(-BLOCK_YAW, BLOCK_YAW))
        for where, place in zip(
            self._bowls, BOWLS + rng.uniform(-BOWL_RANGE, BOWL_RANGE, (2, 2)), strict=True
        ):
            where[:3], where[3:] = (*place, 0.0), yaw_to_quat(0.0)
        tip = START + rng.uniform(-START_RANGE, START_RANGE)
        self._q[:] = self.solve_tip(tip, rng.uniform(-START_YAW, START_YAW), Q_HOME)
        self._release_all()
        self._steps_at_rest, self._score = 0, 0.0

    def true_state(self) -> SortingState:
        """The simulator's true state, for experts and tests."""
        tip, tip_yaw, tip_tilt = self._tool_pose()
        return SortingState(
            q_true=self._q.copy(),
            tip=tip,
            tip_yaw=tip_yaw,
            tip_tilt=tip_tilt,
            blocks=np.stack([where[:3] for where in self._blocks]),
            block_yaws=np.array([np.arctan2(xmat[3], xmat[0]) for xmat in self._xmats]),
            bowls=np.stack([where[:3] for where in self._bowls]),
            held=self.held,
        )

    def _progress(self) -> tuple[float, bool]:
        before, self._score = self._score, self._present_score()
        self._steps_at_rest = self._steps_at_rest + 1 if self._score == 1.0 else 0
        return self._score - before, self._steps_at_rest >= REST_STEPS

    def _present_score(self) -> float:
        state = self.true_state()
        sorted_ = in_bowls(state)
        return float((sorted_.mean() + (sorted_ & behind_line(state)).mean()) / 2)

    def _info(self) -> dict[str, Any]:
        state = self.true_state()
        return {
            "success": self._steps_at_rest >= REST_STEPS,
            "score": self._score,
            "sorted": int(in_bowls(state).sum()),
            "swept": int(behind_line(state).sum()),
        }

    def _environment_state(self) -> Float[np.ndarray, "values"]:
        state, R = self.true_state(), np.linalg.inv(self.T_world_base)[:3, :3]
        return np.concatenate([*(state.blocks @ R.T), *(state.bowls @ R.T)[:, :2]])


def in_bowls(state: SortingState) -> np.ndarray:
    """Whether each block (2,) lies in the bowl of its colour."""
    apart = np.linalg.norm((state.blocks - state.bowls)[:, :2], axis=1)
    low = state.blocks[:, 2] < state.bowls[:, 2] + BOWL_HEIGHT / 2
    free = np.array([state.held != index for index in range(2)])
    return (apart < BOWL_BOTTOM) & low & free


def behind_line(state: SortingState) -> np.ndarray:
    """Whether each bowl (2,) is behind the line."""
    return state.bowls[:, 1] > LINE
