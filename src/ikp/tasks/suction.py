"""A UR5e with a suction cup over a table: the arm, the cup's grasp, and inverse kinematics of the tool."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from jaxtyping import Float

from ikp.kinematics import Robot, ur5e, with_tool
from ikp.tasks.arms import LinkBody, Shape, add_arm
from ikp.tasks.base import ArmTask
from ikp.tasks.scene import add_surroundings, make_spec
from ikp.tasks.tip_ik import TipSolver
from ikp.tasks.ur5e import UR5E_BODIES

SIM_DT = 0.005
TOOL_LENGTH = 0.10
CUP_STROKE = 0.003  # compression of the cup's lip before the rigid tool touches [m]
SUCTION_GAP, SUCTION_TILT = 0.0025, np.radians(15.0)
STEEL, YELLOW, RUBBER = (0.70, 0.72, 0.75, 1.0), (0.98, 0.80, 0.05, 1.0), (0.05, 0.05, 0.05, 1.0)

# The UR base frame is rotated by pi about z (ROS' base_link), so that the arm works towards +x.
T_WORLD_BASE = np.diag((-1.0, -1.0, 1.0, 1.0))
# Elbow up, tool down over the workspace: the start of the inverse kinematics for every episode's first pose.
Q_HOME = np.array((-0.27, -1.41, 2.05, -2.21, -np.pi / 2, -1.84))


@functools.cache
def suction_robot() -> Robot:
    """UR5e in the UR base frame; its tip `tool` is the suction cup's lip, 100 mm beyond the flange."""
    T_flange_tool = torch.eye(4, dtype=torch.float64)
    T_flange_tool[2, 3] = TOOL_LENGTH
    return with_tool(ur5e(), "flange", T_flange_tool, name="tool")


def build_suction_spec() -> mujoco.MjSpec:
    """Build table and arm, with the site `tip` on the body `tool`."""
    spec = make_spec(SIM_DT)
    add_surroundings(spec, table_size=(1.3, 1.4), table_center=(0.30, 0.0))
    add_arm(spec, suction_robot(), {**UR5E_BODIES, "tool": _suction_tool()}, T_WORLD_BASE)
    spec.body("tool").add_site(name="tip", size=[0.001, 0, 0], rgba=(0, 0, 0, 0))
    return spec


def _suction_tool() -> LinkBody:
    """Adapter, tube and soft cup, in the frame of the tip (z points out of the flange)."""
    lip = TOOL_LENGTH
    return LinkBody(
        (
            Shape((0, 0, -lip), (0, 0, -lip + 0.016), 0.032, STEEL),
            Shape((0, 0, -lip + 0.016), (0, 0, -0.022), 0.008, STEEL),
            Shape((0, 0, -0.040), (0, 0, -0.012), 0.012, YELLOW),
            Shape((0, 0, -0.012), (0, 0, -CUP_STROKE), 0.007, RUBBER),
            Shape((0, 0, -0.007), (0, 0, 0), 0.0095, RUBBER, collides=False),
        ),
        mass=0.25,
    )


@dataclass(frozen=True)
class Graspable:
    """A body that the cup can hold.

    Attributes:
        body: its name; a weld between `tool` and it, inactive at first, is in the scene.
        boxes: centres (2,) and half extents (2,) [m] of the rectangles that make its top, in its frame.
        height: of its top over its frame [m].
    """

    body: str
    boxes: tuple[tuple[np.ndarray, np.ndarray], ...]
    height: float


def add_weld(spec: mujoco.MjSpec, body: str) -> None:
    """Add the inactive weld by which the tool holds a body."""
    spec.add_equality(
        name=f"suction_{body}", type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY, name1="tool", name2=body, active=False,
        # The weld is slightly soft, so that the fixture's walls can guide a held block.
        solref=(0.012, 1.0), solimp=(0.95, 0.98, 0.001, 0.5, 2.0),
    )  # fmt: skip


@dataclass(frozen=True)
class PlacingState:
    """The simulator's true state as an expert for placing needs it, which observations do not show; poses in the world,
    lengths in m, angles in rad.

    `seat` is the block's position when it lies in its place. The tool's yaw is the yaw of its x axis, its tilt is the
    horizontal part of its z axis (zero when the tool points straight down).
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


class SuctionTask(ArmTask):
    """A task of a UR5e with a suction cup; subclasses name what the cup can hold.

    Action: six joint targets [rad] and the vacuum (on above 0.5). While the vacuum is on, the cup grasps what it
    touches from above within 2.5 mm.
    """

    robot: Robot = suction_robot()
    action_names = (*(f"{name}.pos" for name in suction_robot().joint_names), "vacuum.command")
    state_names = (*(f"{name}.pos" for name in suction_robot().joint_names), "vacuum.holding")
    joint_dims = (0, 1, 2, 3, 4, 5)
    discrete_dims = (6,)
    T_world_base = T_WORLD_BASE
    graspable: Sequence[Graspable] = ()

    def _find_elements(self) -> None:
        model, data = self.model, self.data
        self.solver = TipSolver(model, "tip", self.robot.joint_names)
        self._tip_xpos, self._tip_xmat = data.site("tip").xpos, data.site("tip").xmat.reshape(3, 3)
        self._tool = model.body("tool").id
        self._bodies = [model.body(each.body).id for each in self.graspable]
        self._grasped = [False] * len(self.graspable)
        self._vacuum = False

    @property
    def held(self) -> int | None:
        """Index of what the cup holds in `graspable`."""
        active = np.flatnonzero(self.data.eq_active)
        return int(active[0]) if len(active) else None

    def _release_all(self) -> None:
        """Forget the grasps of the last episode."""
        self._grasped, self._vacuum = [False] * len(self.graspable), False

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
            self.data.eq_active[:] = 0

    def _after_substep(self) -> None:
        if self._vacuum and not self.data.eq_active.any():
            for index in range(len(self.graspable)):
                if self._try_grasp(index):
                    return

    def _try_grasp(self, index: int) -> bool:
        """Activate a weld at the present relative pose if the cup's lip is sealed on the body."""
        body, each = self._bodies[index], self.graspable[index]
        xmat, xpos = self.data.xmat[body].reshape(3, 3), self.data.xpos[body]
        local = xmat.T @ (self._tip_xpos - xpos)
        on_top = any(np.all(np.abs(local[:2] - center) <= half) for center, half in each.boxes)
        upright = -self._tip_xmat[:, 2] @ xmat[:, 2] >= np.cos(SUCTION_TILT)
        if not (on_top and upright and abs(local[2] - each.height) <= SUCTION_GAP):
            return False
        tool_xmat = self.data.xmat[self._tool].reshape(3, 3)
        weld = self.model.eq_data[index]
        weld[:3] = 0.0
        weld[3:6] = tool_xmat.T @ (xpos - self.data.xpos[self._tool])
        relative = np.ascontiguousarray(tool_xmat.T @ xmat).ravel()
        mujoco.mju_mat2Quat(weld[6:10], relative)
        weld[10] = 1.0
        self.data.eq_active[index] = 1
        self._grasped[index] = True
        return True

    def _joint_state(self) -> Float[np.ndarray, "values"]:
        return np.append(super()._joint_state(), float(self.data.eq_active.any()))

    def _tool_pose(self) -> tuple[np.ndarray, float, np.ndarray]:
        """Position (3,) [m], yaw [rad] and tilt (2,) of the tool in the world now."""
        yaw = float(np.arctan2(self._tip_xmat[1, 0], self._tip_xmat[0, 0]))
        return self._tip_xpos.copy(), yaw, self._tip_xmat[:2, 2].copy()
