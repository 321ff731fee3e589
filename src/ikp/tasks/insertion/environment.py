"""`ikp/Insertion-v0`: pick an L-shaped block with suction and insert it into an L-shaped fixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float

from ikp.kinematics import Robot
from ikp.tasks.base import ArmTask
from ikp.tasks.insertion.scene import (
    BLOCK_HEIGHT,
    FLOOR_THICKNESS,
    T_WORLD_BASE,
    WORKSPACE_CENTER,
    block_boxes,
    build_insertion_spec,
    insertion_robot,
)
from ikp.tasks.scene import wrap_angle, yaw_to_quat
from ikp.tasks.tip_ik import TipSolver

SUCCESS_POSITION, SUCCESS_YAW = 0.010, np.radians(15.0)
SEATED_HEIGHT, SEATED_TILT = 0.0015, np.radians(3.0)
REST_STEPS = 3
REST_SPEED, REST_TURN = 0.005, 0.05  # [m/s], [rad/s]
SUCTION_GAP, SUCTION_TILT = 0.0025, np.radians(15.0)

PLACEMENT_RANGE = 0.11  # largest offset of block and fixture from the workspace's centre in x and y [m]
PLACEMENT_YAW = np.radians(60.0)
MIN_DISTANCE = 0.125  # between the frames of block and fixture [m]
START_RANGE, START_HEIGHT = 0.11, (0.12, 0.20)
START_YAW, START_TILT = np.radians(20.0), np.radians(3.0)

# Elbow up, tool down over the workspace: the start of the inverse kinematics for every episode's first pose.
Q_HOME = np.array((-0.27, -1.41, 2.05, -2.21, -np.pi / 2, -1.84))


@dataclass(frozen=True)
class InsertionState:
    """The simulator's true state, which observations do not show; poses in the world, lengths in m, angles in rad.

    `seat` is the block's position when it lies in the fixture. The tool's yaw is the yaw of its x axis, its tilt is
    the horizontal part of its z axis (zero when the tool points straight down).
    """

    q_true: Float[np.ndarray, "dof"]
    tip: Float[np.ndarray, "3"]
    tip_yaw: float
    tip_tilt: Float[np.ndarray, "2"]
    block: Float[np.ndarray, "3"]
    block_yaw: float
    seat: Float[np.ndarray, "3"]
    seat_yaw: float
    holding: bool


class InsertionEnv(ArmTask):
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
    robot: Robot = insertion_robot()
    action_names = (*(f"{name}.pos" for name in insertion_robot().joint_names), "vacuum.command")
    state_names = (*(f"{name}.pos" for name in insertion_robot().joint_names), "vacuum.holding")
    environment_state_names = (
        "block.x", "block.y", "block.z", "block.cos_yaw", "block.sin_yaw",
        "fixture.x", "fixture.y", "fixture.cos_yaw", "fixture.sin_yaw",
    )  # fmt: skip
    joint_dims = (0, 1, 2, 3, 4, 5)
    discrete_dims = (6,)
    T_world_base = T_WORLD_BASE

    def _build_spec(self) -> mujoco.MjSpec:
        return build_insertion_spec()

    def _find_elements(self) -> None:
        model, data, dof = self.model, self.data, self.robot.dof
        self.solver = TipSolver(model, "tip", self.robot.joint_names)
        self._block_qpos, self._block_qvel = data.qpos[dof:], data.qvel[dof:]
        self._tip_xpos, self._tip_xmat = data.site("tip").xpos, data.site("tip").xmat.reshape(3, 3)
        self._tool, self._block = model.body("tool").id, model.body("block").id

    def _start(self) -> None:
        """Draw random poses of block, fixture and arm."""
        block, fixture = self._draw_placement()
        self._block_qpos[:2], self._block_qpos[3:7] = block[:2], yaw_to_quat(block[2])
        self.data.mocap_pos[0] = (*fixture[:2], FLOOR_THICKNESS)
        self.data.mocap_quat[0] = yaw_to_quat(fixture[2])
        self._seat, self._seat_yaw = self.data.mocap_pos[0].copy(), float(fixture[2])
        self._q[:] = self._draw_start()
        self._grasped, self._steps_at_rest, self._vacuum = False, 0, False

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

    def solve_tip(
        self,
        position: Float[np.ndarray, "3"],
        yaw: float,
        q_start: Float[np.ndarray, "dof"],
        tilt: Float[np.ndarray, "2"] | None = None,
    ) -> Float[np.ndarray, "dof"]:
        """True joints (6,) [rad] for a tool pose in the world, near `q_start`.

        Args:
            position: (3,) position of the tip [m].
            yaw: Yaw of the tool's x axis [rad].
            q_start: (6,) true joints [rad] at which the solver starts.
            tilt: (2,) horizontal part of the tool's unit z axis; None for straight down.
        """
        tx, ty = (0.0, 0.0) if tilt is None else tilt
        z = np.array((tx, ty, -np.sqrt(1.0 - tx**2 - ty**2)))
        # The x axis is perpendicular to z, and its horizontal projection has the given yaw.
        x = np.array((np.cos(yaw), np.sin(yaw), -(tx * np.cos(yaw) + ty * np.sin(yaw)) / z[2]))
        x /= np.linalg.norm(x)
        y = np.array((z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]))
        return self.solver.solve(position, np.stack((x, y, z), axis=1), q_start)[0]

    def tip_pose(
        self, q_true: Float[np.ndarray, "dof"]
    ) -> tuple[Float[np.ndarray, "3"], float, Float[np.ndarray, "2"]]:
        """Position (3,) [m], yaw [rad] and tilt (2,) of the tool in the world at true joints (6,) [rad]."""
        position, rotation = self.solver.pose(q_true)
        return position, float(np.arctan2(rotation[1, 0], rotation[0, 0])), rotation[:2, 2]

    def _switch(self, on: Float[np.ndarray, "discrete"]) -> None:
        self._vacuum = bool(on[0] > 0.5)
        if not self._vacuum:
            self.data.eq_active[0] = 0

    def _after_substep(self) -> None:
        if self._vacuum and not self.data.eq_active[0]:
            self._try_grasp()

    def _try_grasp(self) -> None:
        """Activate the weld at the present relative pose if the cup's lip is sealed on the block."""
        block_xmat = self.data.xmat[self._block].reshape(3, 3)
        local = block_xmat.T @ (self._tip_xpos - self.data.xpos[self._block])
        on_top = any(np.all(np.abs(local[:2] - center) <= half) for center, half in block_boxes())
        upright = -self._tip_xmat[:, 2] @ block_xmat[:, 2] >= np.cos(SUCTION_TILT)
        if not (on_top and upright and abs(local[2] - BLOCK_HEIGHT) <= SUCTION_GAP):
            return
        tool_xmat = self.data.xmat[self._tool].reshape(3, 3)
        weld = self.model.eq_data[0]
        weld[:3] = 0.0
        weld[3:6] = tool_xmat.T @ (self.data.xpos[self._block] - self.data.xpos[self._tool])
        relative = np.ascontiguousarray(tool_xmat.T @ block_xmat).ravel()
        mujoco.mju_mat2Quat(weld[6:10], relative)
        weld[10] = 1.0
        self.data.eq_active[0] = 1
        self._grasped = True

    def _progress(self) -> tuple[float, bool]:
        linear, angular = np.linalg.norm(self._block_qvel[:3]), np.linalg.norm(self._block_qvel[3:])
        at_rest = linear < REST_SPEED and angular < REST_TURN
        released = self._grasped and not self.data.eq_active[0]
        self._steps_at_rest = self._steps_at_rest + 1 if released and at_rest and self._in_place() else 0
        terminated = self._steps_at_rest >= REST_STEPS
        return float(terminated), terminated

    def true_state(self) -> InsertionState:
        """The simulator's true state, for experts and tests."""
        block_xmat = self.data.xmat[self._block]
        return InsertionState(
            q_true=self._q.copy(),
            tip=self._tip_xpos.copy(),
            tip_yaw=float(np.arctan2(self._tip_xmat[1, 0], self._tip_xmat[0, 0])),
            tip_tilt=self._tip_xmat[:2, 2].copy(),
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

    def _joint_state(self) -> Float[np.ndarray, "values"]:
        return np.append(super()._joint_state(), float(self.data.eq_active[0]))

    def _environment_state(self) -> Float[np.ndarray, "values"]:
        true = self.true_state()
        T_base_world = np.linalg.inv(self.T_world_base)
        block, seat = (T_base_world[:3, :3] @ at + T_base_world[:3, 3] for at in (true.block, true.seat))
        headings = [
            T_base_world[:2, :2] @ (np.cos(yaw), np.sin(yaw)) for yaw in (true.block_yaw, true.seat_yaw)
        ]
        return np.concatenate((block, headings[0], seat[:2], headings[1]))
