"""`ikp/TwoElbows-v0`: reach a goal pose in one motion, with the elbow up or with the elbow down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float

from ikp.kinematics import load_robot
from ikp.tasks.base import CONTROL_DT, ArmTask
from ikp.tasks.scene import matrix_to_quat
from ikp.tasks.tip_ik import TipSolver
from ikp.tasks.two_elbows.scene import build_two_elbows_spec, postures_of

SUCCESS_POSITION, SUCCESS_ROTATION = 0.010, np.radians(5.0)
ELBOW_RANGE = 0.05  # largest distance of the elbow from one of the two demonstrated ones [m]
MOTION_STEPS = 20  # control steps of one motion
SPREAD = 0.2  # largest difference of each joint from the posture with the elbow up, for a goal pose [rad]
START_SPREAD = 0.1  # of each joint from the middle between the postures, at the start [rad]
MIN_GAP = 0.15  # between the elbows of the two solutions [m]
LIMIT_MARGIN = 0.02  # of the solutions from the joints' limits [rad]
SOLVED = 1e-4  # largest error of a solution, metres and radians together
SOLVER_ITERATIONS, MAX_DRAWS = 30, 1000


class TwoElbowsEnv(ArmTask):
    """One arm that starts half-way between two postures and has to bring its tip to a goal pose.

    The goal is reached with the elbow up and with the elbow down, and demonstrations show both. An episode is a single
    decision: the action is the joint target of one motion of two seconds, along a straight line in joint space as fast
    as the joints' speeds allow. (A policy that is asked again during the motion sees from the measured joints which
    way it has begun; then a regression can also escape from the middle.)

    Action (dof,): joint targets [rad]. Observation: `state` (dof,), measured joints [rad]; `environment_state` (9,),
    the goal's position [m] and the first two columns of its rotation in the robot's base frame. In images three axes
    show the goal.

    Reward 1.0 for success: after the motion the tip is within 10 mm and 5 degrees of the goal and the elbow within
    50 mm of one of the two solutions, not between them. `info`: success, position_error [m], rotation_error [deg],
    elbow_error [m], elbow_up (whether the solution with the elbow up is the nearer one).

    Args:
        arm: Name of a built-in robot or path of a URDF or MJCF file of an arm with at least six hinges.
        postures: (up, down), each (dof,) joints [rad] at about the same pose of the tip; None for those of a known arm.
        options: The arguments of `ArmTask`.

    Raises:
        ValueError: The arm, its postures or an argument of `ArmTask` is not usable.
        FileNotFoundError: There is no such arm.
    """

    control_dt = MOTION_STEPS * CONTROL_DT
    environment_state_names = (
        "goal.x", "goal.y", "goal.z", "goal.xx", "goal.xy", "goal.xz", "goal.yx", "goal.yy", "goal.yz",
    )  # fmt: skip

    def __init__(
        self, arm: str = "iiwa14", postures: Sequence[Sequence[float]] | None = None, **options: Any
    ):
        self.robot = load_robot(arm)
        if len(self.robot.tip_names) != 1 or self.robot.dof < 6:
            raise ValueError(
                f"arm {arm!r} has {self.robot.dof} joints and the tips {', '.join(self.robot.tip_names)}: two elbows "
                "needs at least six joints and one tip"
            )
        self.postures = postures_of(self.robot, postures)
        self.scene = f"two-elbows {arm}"
        self.action_names = self.state_names = tuple(f"{name}.pos" for name in self.robot.joint_names)
        self.joint_dims = tuple(range(self.robot.dof))
        super().__init__(**options)

    def _build_spec(self) -> mujoco.MjSpec:
        return build_two_elbows_spec(self.robot)

    def _find_elements(self) -> None:
        names = self.robot.joint_names
        self._solvers = [TipSolver(self.model, "tip", names, q_rest=posture) for posture in self.postures]
        self._trial = mujoco.MjData(self.model)
        self._tip = self.data.site("tip")
        apart = np.linalg.norm(np.subtract(*(self._links_at(posture) for posture in self.postures)), axis=1)
        self._elbow = int(apart.argmax())
        if apart[self._elbow] < MIN_GAP:
            raise ValueError(
                f"postures of {self.robot.name!r} differ by {1e3 * apart[self._elbow]:.0f} mm at most: their elbows "
                f"must be at least {1e3 * MIN_GAP:.0f} mm apart"
            )

    def _links_at(self, q: Float[np.ndarray, "dof"]) -> Float[np.ndarray, "bodies 3"]:
        """Positions (bodies, 3) of all links in the world [m] at true joints; `_trial` has its contacts then."""
        self._trial.qpos[: self.robot.dof] = q
        mujoco.mj_forward(self.model, self._trial)
        return self._trial.xpos.copy()

    def _start(self) -> None:
        """Draw a goal with its two solutions, and the arm half-way between the postures."""
        self.solutions = self._draw_goal()
        self._elbows = [self._links_at(q)[self._elbow] for q in self.solutions]
        middle = np.mean(self.postures, axis=0)
        self._q[:] = middle + self.np_random.uniform(-START_SPREAD, START_SPREAD, self.robot.dof)

    def _draw_goal(self) -> tuple[Float[np.ndarray, "dof"], Float[np.ndarray, "dof"]]:
        """Place a goal; return its solutions (dof,) [rad] with the elbow up and down, functions of the goal alone.

        Raises:
            RuntimeError: No goal around the postures has two solutions.
        """
        for _ in range(MAX_DRAWS):
            change = self.np_random.uniform(-SPREAD, SPREAD, self.robot.dof)
            position, rotation = self._solvers[0].pose(self.postures[0] + change)
            found = [
                solver.solve(position, rotation, posture, SOLVER_ITERATIONS)
                for solver, posture in zip(self._solvers, self.postures, strict=True)
            ]
            up, down = (q for q, _ in found)
            if max(error for _, error in found) <= SOLVED and self._are_two_elbows(up, down):
                self.data.mocap_pos[0], self.data.mocap_quat[0] = position, matrix_to_quat(rotation)
                self._goal_position, self._goal_rotation = position, rotation
                return up, down
        raise RuntimeError(
            f"no goal of {MAX_DRAWS} has two solutions of {self.robot.name!r} with {1e3 * MIN_GAP:.0f} mm between "
            "their elbows, within the limits and over the table: give other postures"
        )

    def _are_two_elbows(self, up: Float[np.ndarray, "dof"], down: Float[np.ndarray, "dof"]) -> bool:
        """Whether both are within the limits and over the table, and their elbows are apart."""
        elbows = []
        for q in (up, down):
            inside = (q >= self.robot.lower.numpy() + LIMIT_MARGIN) & (
                q <= self.robot.upper.numpy() - LIMIT_MARGIN
            )
            elbows.append(self._links_at(q)[self._elbow])
            if not inside.all() or self._trial.ncon:
                return False
        return bool(np.linalg.norm(elbows[0] - elbows[1]) >= MIN_GAP)

    def _move(self, command: Float[np.ndarray, "dof"]) -> None:
        change = command - self._q_target
        steps = max(1, int(np.ceil(np.max(np.abs(change) / self._max_change))))
        for step in range(MOTION_STEPS):
            self._drive(change / steps if step < steps else np.zeros_like(change))

    def _progress(self) -> tuple[float, bool]:
        return float(self._info()["success"]), True

    def _info(self) -> dict[str, Any]:
        position_error = float(np.linalg.norm(self._tip.xpos - self._goal_position))
        R_error = self._goal_rotation.T @ self._tip.xmat.reshape(3, 3)
        rotation_error = float(np.arccos(np.clip((np.trace(R_error) - 1) / 2, -1, 1)))
        apart = [float(np.linalg.norm(self.data.xpos[self._elbow] - elbow)) for elbow in self._elbows]
        reached = position_error <= SUCCESS_POSITION and rotation_error <= SUCCESS_ROTATION
        return {
            "success": reached and min(apart) <= ELBOW_RANGE,
            "position_error": position_error,
            "rotation_error": float(np.degrees(rotation_error)),
            "elbow_error": min(apart),
            "elbow_up": apart[0] < apart[1],
        }

    def _environment_state(self) -> Float[np.ndarray, "values"]:
        return np.concatenate((self._goal_position, self._goal_rotation[:, 0], self._goal_rotation[:, 1]))
