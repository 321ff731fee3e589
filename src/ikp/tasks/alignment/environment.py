"""`ikp/BlockAlignment-v0`: put a red block beside a blue one, along its striped side."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float

from ikp.tasks.alignment.scene import GAP, HEIGHT, LENGTH, WIDTH, build_alignment_spec
from ikp.tasks.scene import wrap_angle, yaw_to_quat
from ikp.tasks.suction import Q_HOME, Graspable, PlacingState, SuctionTask

SUCCESS_POSITION, SUCCESS_YAW = 0.010, np.radians(10.0)
REST_STEPS = 3
REST_SPEED, REST_TURN = 0.005, 0.05  # [m/s], [rad/s]
LYING = 0.003  # largest height of a block that lies on the table [m]
CENTER = (0.50, 0.0)
RANGE, YAW = 0.10, np.radians(60.0)  # of the blocks around the centre [m] and in yaw
MIN_DISTANCE = 0.140  # of the red block from the blue one and from its place beside it [m]
START_RANGE, START_HEIGHT = 0.10, (0.12, 0.20)
START_YAW = np.radians(20.0)


class BlockAlignmentEnv(SuctionTask):
    """UR5e with a suction tool, a red and a blue block at random poses on a table.

    Action (7,): six joint targets [rad] and the vacuum (on above 0.5); see `ArmTask`. The cup grasps the red block.

    Observation: `state` (7,), six measured joints [rad] and 1.0 while the vacuum holds; `environment_state` (8,), for
    the red and the blue block x, y, cos yaw, sin yaw in the robot's base frame [m].

    Reward 1.0 when the episode ends in success: the red block was grasped and released and has rested for three steps
    beside the striped side of the blue one, ends flush, within 10 mm and 10 degrees. `info`: success, holding,
    position_error [m], yaw_error [deg]. Arguments and errors are those of `ArmTask`.
    """

    scene = "alignment"
    environment_state_names = tuple(
        f"{block}.{name}" for block in ("red", "blue") for name in ("x", "y", "cos_yaw", "sin_yaw")
    )
    graspable = (Graspable("red", ((np.zeros(2), np.array((LENGTH, WIDTH)) / 2 - 0.004),), HEIGHT),)

    def _build_spec(self) -> mujoco.MjSpec:
        return build_alignment_spec()

    def _find_elements(self) -> None:
        super()._find_elements()
        data = self.data
        self._qpos = {name: data.joint(f"{name}_joint").qpos for name in ("red", "blue")}
        self._qvel = {name: data.joint(f"{name}_joint").qvel for name in ("red", "blue")}
        self._xmat = {name: data.body(name).xmat for name in ("red", "blue")}

    def _start(self) -> None:
        """Draw random poses of the blocks and the arm."""
        for name, pose in zip(("red", "blue"), self._draw_placement(), strict=True):
            self._qpos[name][:3], self._qpos[name][3:] = (*pose[:2], 0.0), yaw_to_quat(pose[2])
        xy = CENTER + self.np_random.uniform(-START_RANGE, START_RANGE, 2)
        tip = np.array((*xy, self.np_random.uniform(*START_HEIGHT)))
        self._q[:] = self.solve_tip(tip, self.np_random.uniform(-START_YAW, START_YAW), Q_HOME)
        self._release_all()
        self._steps_at_rest = 0

    def _draw_placement(self) -> tuple[np.ndarray, np.ndarray]:
        """Draw x, y [m], yaw [rad] of the red and the blue block, among poses that leave the red one's place free."""
        scale = np.array((RANGE, RANGE, YAW))
        while True:
            red, blue = self.np_random.uniform(-1, 1, (2, 3)) * scale + (*CENTER, 0.0)
            apart = min(np.hypot(*(red - blue)[:2]), np.hypot(*(red[:2] - _beside(blue)[:2])))
            if apart >= MIN_DISTANCE:
                return red, blue

    def true_state(self) -> PlacingState:
        """The simulator's true state, for experts and tests; `seat` is the place beside the blue block."""
        tip, tip_yaw, tip_tilt = self._tool_pose()
        blue = np.array((*self._qpos["blue"][:2], self._yaw("blue")))
        x, y, yaw = _beside(blue)
        red_yaw = self._yaw("red")
        # The block looks the same after half a turn: the nearer one of the two is meant.
        yaw = red_yaw + (wrap_angle(2 * (yaw - red_yaw)) / 2)
        return PlacingState(
            q_true=self._q.copy(),
            tip=tip,
            tip_yaw=tip_yaw,
            tip_tilt=tip_tilt,
            block=self._qpos["red"][:3].copy(),
            block_yaw=red_yaw,
            seat=np.array((x, y, 0.0)),
            seat_yaw=float(yaw),
            holding=self.held is not None,
        )

    def _yaw(self, block: str) -> float:
        return float(np.arctan2(self._xmat[block][3], self._xmat[block][0]))

    def _errors(self) -> tuple[float, float]:
        """Distance [m] and yaw [rad] between the red block and its place."""
        state = self.true_state()
        return float(np.linalg.norm(state.block - state.seat)), abs(state.block_yaw - state.seat_yaw)

    def _progress(self) -> tuple[float, bool]:
        velocity = self._qvel["red"]
        at_rest = np.linalg.norm(velocity[:3]) < REST_SPEED and np.linalg.norm(velocity[3:]) < REST_TURN
        distance, yaw = self._errors()
        in_place = distance <= SUCCESS_POSITION and yaw <= SUCCESS_YAW and self._qpos["red"][2] < LYING
        released = self._grasped[0] and self.held is None
        self._steps_at_rest = self._steps_at_rest + 1 if released and at_rest and in_place else 0
        ended = self._steps_at_rest >= REST_STEPS
        return float(ended), ended

    def _info(self) -> dict[str, Any]:
        distance, yaw = self._errors()
        return {
            "success": self._steps_at_rest >= REST_STEPS,
            "holding": self.held is not None,
            "position_error": distance,
            "yaw_error": float(np.degrees(yaw)),
        }

    def _environment_state(self) -> Float[np.ndarray, "values"]:
        R = np.linalg.inv(self.T_world_base)[:2, :2]
        parts = []
        for name in ("red", "blue"):
            yaw = self._yaw(name)
            parts += [R @ self._qpos[name][:2], R @ (np.cos(yaw), np.sin(yaw))]
        return np.concatenate(parts)


def _beside(blue: np.ndarray) -> np.ndarray:
    """x, y [m], yaw [rad] of the place along the striped side of the blue block."""
    distance = WIDTH + GAP
    return blue + np.array((-distance * np.sin(blue[2]), distance * np.cos(blue[2]), 0.0))
