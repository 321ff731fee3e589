"""`ikp/Insertion-v0`: pick an L-shaped block with suction and insert it into an L-shaped fixture."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float

from ikp.tasks.insertion.scene import (
    BLOCK_HEIGHT,
    FLOOR_THICKNESS,
    WORKSPACE_CENTER,
    block_boxes,
    build_insertion_spec,
)
from ikp.tasks.scene import wrap_angle, yaw_to_quat
from ikp.tasks.suction import Q_HOME, Graspable, PlacingState, SuctionTask

SUCCESS_POSITION, SUCCESS_YAW = 0.010, np.radians(15.0)
SEATED_HEIGHT, SEATED_TILT = 0.0015, np.radians(3.0)
REST_STEPS = 3
REST_SPEED, REST_TURN = 0.005, 0.05  # [m/s], [rad/s]

PLACEMENT_RANGE = 0.11  # largest offset of block and fixture from the workspace's centre in x and y [m]
PLACEMENT_YAW = np.radians(60.0)
MIN_DISTANCE = 0.125  # between the frames of block and fixture [m]
START_RANGE, START_HEIGHT = 0.11, (0.12, 0.20)
START_YAW, START_TILT = np.radians(20.0), np.radians(3.0)


class InsertionEnv(SuctionTask):
    """UR5e with a suction tool over a table, an L-shaped block and an L-shaped fixture at random poses.

    Action (7,): six joint targets [rad] and the vacuum (on above 0.5); see `ArmTask`. While the vacuum is on, the
    cup grasps the block when it is within 2.5 mm of the block's top.

    Observation: `state` (7,), six measured joints [rad] and 1.0 while the vacuum holds; `environment_state`
    (9,), block (x, y, z, cos yaw, sin yaw) and fixture (x, y, cos yaw, sin yaw) in the robot's base frame [m].

    Reward 1.0 when the episode ends in success: the block was grasped and released and has rested for three
    steps within 10 mm and 15 degrees of its place in the fixture.
    `info`: success, seated (flat on the tray's floor), holding, position_error [m], yaw_error [deg].
    Arguments and errors are those of `ArmTask`.
    """

    scene = "insertion"
    environment_state_names = (
        "block.x", "block.y", "block.z", "block.cos_yaw", "block.sin_yaw",
        "fixture.x", "fixture.y", "fixture.cos_yaw", "fixture.sin_yaw",
    )  # fmt: skip
    graspable = (Graspable("block", block_boxes(), BLOCK_HEIGHT),)

    def _build_spec(self) -> mujoco.MjSpec:
        return build_insertion_spec()

    def _find_elements(self) -> None:
        super()._find_elements()
        data, dof = self.data, self.robot.dof
        self._block_qpos, self._block_qvel = data.qpos[dof:], data.qvel[dof:]
        self._block = self.model.body("block").id

    def _start(self) -> None:
        """Draw random poses of block, fixture and arm."""
        block, fixture = self._draw_placement()
        self._block_qpos[:2], self._block_qpos[3:7] = block[:2], yaw_to_quat(block[2])
        self.data.mocap_pos[0] = (*fixture[:2], FLOOR_THICKNESS)
        self.data.mocap_quat[0] = yaw_to_quat(fixture[2])
        self._seat, self._seat_yaw = self.data.mocap_pos[0].copy(), float(fixture[2])
        self._q[:] = self._draw_start()
        self._release_all()
        self._steps_at_rest = 0

    def _draw_placement(self) -> tuple[np.ndarray, np.ndarray]:
        """Draw x, y [m], yaw [rad] of block and fixture, uniformly among the pairs at least MIN_DISTANCE apart."""
        scale = np.array((PLACEMENT_RANGE, PLACEMENT_RANGE, PLACEMENT_YAW))
        while True:
            block, fixture = self.np_random.uniform(-1, 1, (2, 3)) * scale + (*WORKSPACE_CENTER, 0.0)
            if np.hypot(*(block - fixture)[:2]) >= MIN_DISTANCE:
                return block, fixture

    def _draw_start(self) -> np.ndarray:
        xy = WORKSPACE_CENTER + self.np_random.uniform(-START_RANGE, START_RANGE, 2)
        tip = np.array((*xy, self.np_random.uniform(*START_HEIGHT)))
        yaw = self.np_random.uniform(-START_YAW, START_YAW)
        return self.solve_tip(tip, yaw, Q_HOME, tilt=self.np_random.uniform(-START_TILT, START_TILT, 2))

    def _progress(self) -> tuple[float, bool]:
        linear, angular = np.linalg.norm(self._block_qvel[:3]), np.linalg.norm(self._block_qvel[3:])
        at_rest = linear < REST_SPEED and angular < REST_TURN
        released = self._grasped[0] and not self.data.eq_active[0]
        self._steps_at_rest = self._steps_at_rest + 1 if released and at_rest and self._in_place() else 0
        terminated = self._steps_at_rest >= REST_STEPS
        return float(terminated), terminated

    def true_state(self) -> PlacingState:
        """The simulator's true state, for experts and tests."""
        block_xmat = self.data.xmat[self._block]
        tip, tip_yaw, tip_tilt = self._tool_pose()
        return PlacingState(
            q_true=self._q.copy(),
            tip=tip,
            tip_yaw=tip_yaw,
            tip_tilt=tip_tilt,
            block=self._block_qpos[:3].copy(),
            block_yaw=float(np.arctan2(block_xmat[3], block_xmat[0])),
            seat=self._seat.copy(),
            seat_yaw=self._seat_yaw,
            holding=bool(self.data.eq_active[0]),
        )

    def _errors(self) -> tuple[float, float]:
        """Distance [m] and yaw [rad] between the block and its place in the fixture."""
        state = self.true_state()
        distance = float(np.linalg.norm(state.block - state.seat))
        return distance, abs(float(wrap_angle(state.block_yaw - state.seat_yaw)))

    def _in_place(self) -> bool:
        distance, yaw = self._errors()
        return bool(distance <= SUCCESS_POSITION and yaw <= SUCCESS_YAW)

    def _info(self) -> dict[str, Any]:
        distance, yaw = self._errors()
        block_up = self.data.xmat[self._block][8]
        low = abs(self._block_qpos[2] - self._seat[2]) <= SEATED_HEIGHT and block_up >= np.cos(SEATED_TILT)
        return {
            "success": self._steps_at_rest >= REST_STEPS,
            "seated": bool(low and self._in_place()),
            "holding": bool(self.data.eq_active[0]),
            "position_error": distance,
            "yaw_error": float(np.degrees(yaw)),
        }

    def _environment_state(self) -> Float[np.ndarray, "values"]:
        true = self.true_state()
        T_base_world = np.linalg.inv(self.T_world_base)
        block, seat = (T_base_world[:3, :3] @ at + T_base_world[:3, 3] for at in (true.block, true.seat))
        headings = [
            T_base_world[:2, :2] @ (np.cos(yaw), np.sin(yaw)) for yaw in (true.block_yaw, true.seat_yaw)
        ]
        return np.concatenate((block, headings[0], seat[:2], headings[1]))
