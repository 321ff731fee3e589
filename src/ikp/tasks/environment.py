"""What all simulated tasks share: joint-level drives, encoders, spaces, observations and pictures."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from ikp.kinematics import Camera, Robot
from ikp.tasks.miscalibration import Miscalibration
from ikp.tasks.rendering import FAST, NICE, shared_renderer
from ikp.tasks.scene import camera_matrices

CONTROL_DT = 0.1
READING_MARGIN = 0.1  # encoders with an offset can read this far beyond the joints' limits [rad]


class ArmTask(gymnasium.Env, abc.ABC):
    """A robot over a scene, driven by joint targets at 10 Hz; base of the tasks, which add scene and score.

    The first actions are joint targets as the encoders would read them [rad], offsets included; what follows
    is on above 0.5. The drives follow a straight line in joint space to the target over `control_dt`, no
    faster than the joints' speed limits.

    Observation: `state` float32, the measured joints [rad] and what the task adds; beside it `image`
    (image_size, image_size, 3) uint8 from the camera `front`, or `environment_state` float32, poses in it in the
    robot's base frame.

    The scene holds the robot's joints first, in the order of `robot`, each with an actuator of its own.

    Args:
        observation: "pixels" or "state".
        offset_seed: None for a calibrated robot; an integer draws this robot's constant joint offsets.
        render_mode: "rgb_array" or None.
        render_size: (height, width) of `render()` [pixel].
        render_camera: One of `render_cameras`; "front" is the policy's.
        image_size: Side of the observation image [pixel].

    Raises:
        ValueError: An argument, an action or its shape is not allowed.
        RuntimeError: No OpenGL context for images.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    camera_names = ("front",)
    render_cameras: ClassVar[tuple[str, ...]] = ("front", "overview")
    control_dt = CONTROL_DT
    discrete_dims: tuple[int, ...] = ()
    scene: ClassVar[str]
    """Name of the compiled scene: environments of one name share their renderers."""
    robot: Robot
    action_names: tuple[str, ...]
    state_names: tuple[str, ...]
    environment_state_names: tuple[str, ...]
    joint_dims: tuple[int, ...]
    T_world_base: ClassVar[np.ndarray] = np.eye(4)

    def __init__(
        self,
        observation: str = "pixels",
        offset_seed: int | None = None,
        render_mode: str | None = None,
        render_size: tuple[int, int] = (480, 480),
        render_camera: str = "front",
        image_size: int = 96,
    ):
        _check_choice("observation", observation, ("pixels", "state"))
        _check_choice("render_mode", render_mode, (None, "rgb_array"))
        _check_choice("render_camera", render_camera, self.render_cameras)
        self.observation, self.render_mode = observation, render_mode
        if min(image_size, *render_size) < 1:
            raise ValueError(
                f"image_size {image_size} and render_size {render_size} must be at least one pixel"
            )
        self.render_size, self.render_camera = (int(render_size[0]), int(render_size[1])), render_camera
        self.image_size = int(image_size)
        self.miscalibration = Miscalibration.from_seed(offset_seed, self.robot.dof)
        self.model = self._build_spec().compile()
        self.data = mujoco.MjData(self.model)
        self._q = self.data.qpos[: self.robot.dof]
        self._q_target = self._q.copy()
        self._lead = -self.model.actuator_biasprm[:, 2] / self.model.actuator_gainprm[:, 0]  # kv / kp [s]
        self._substeps = round(CONTROL_DT / self.model.opt.timestep)
        self._max_change = self.robot.velocity.numpy() * CONTROL_DT
        self._find_elements()
        self._make_spaces()

    @abc.abstractmethod
    def _build_spec(self) -> mujoco.MjSpec:
        """The scene, not compiled."""

    @abc.abstractmethod
    def _find_elements(self) -> None:
        """Takes views into MuJoCo's arrays, which stay valid for the environment's life."""

    @abc.abstractmethod
    def _start(self) -> None:
        """Draws the start of an episode from `np_random`: positions of joints and objects, counters."""

    @abc.abstractmethod
    def _progress(self) -> tuple[float, bool]:
        """Reward of the last step and whether the episode is over."""

    @abc.abstractmethod
    def _info(self) -> dict[str, Any]:
        """`success` and the task's numbers."""

    @abc.abstractmethod
    def _environment_state(self) -> Float[np.ndarray, "values"]:
        """The privileged state, in the order of `environment_state_names`."""

    def _joint_state(self) -> Float[np.ndarray, "values"]:
        """What the robot measures, in the order of `state_names`."""
        return self.miscalibration.measured(self._q)

    def _switch(self, on: Float[np.ndarray, "discrete"]) -> None:
        """Obeys the action's values beyond the joints before the arm moves."""

    def _after_substep(self) -> None:
        """Is called after each simulation step."""

    def _make_spaces(self) -> None:
        zeros = np.zeros(len(self.discrete_dims))
        lower = np.append(self.robot.lower.numpy(), zeros).astype(np.float32)
        upper = np.append(self.robot.upper.numpy(), zeros + 1.0).astype(np.float32)
        self.action_space = gymnasium.spaces.Box(lower, upper, dtype=np.float32)
        margin = np.append(np.full(self.robot.dof, READING_MARGIN), zeros).astype(np.float32)
        state = gymnasium.spaces.Box(lower - margin, upper + margin, dtype=np.float32)
        spaces: dict[str, gymnasium.Space] = {"state": state}
        if self.observation == "pixels":
            shape = (self.image_size, self.image_size, 3)
            spaces["image"] = gymnasium.spaces.Box(0, 255, shape, dtype=np.uint8)
        else:
            size = len(self.environment_state_names)
            spaces["environment_state"] = gymnasium.spaces.Box(-10.0, 10.0, (size,), dtype=np.float32)
        self.observation_space = gymnasium.spaces.Dict(spaces)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict[str, Any]]:
        """A new random start. No options are known."""
        super().reset(seed=seed)
        if options:
            raise ValueError(
                f"{type(self).__name__}.reset takes no options, got {sorted(options)}; use seed="
            )
        mujoco.mj_resetData(self.model, self.data)
        self._start()
        self._q_target = self._q.copy()
        self.data.ctrl[:] = self._q_target
        mujoco.mj_forward(self.model, self.data)
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict[str, Any]]:
        """One control step of 0.1 s; see the class for the action."""
        action = self._checked(action)
        dof = self.robot.dof
        self._switch(action[dof:])
        command = self.miscalibration.true(action[:dof])
        self._drive(np.clip(command - self._q_target, -self._max_change, self._max_change))
        reward, terminated = self._progress()
        return self._observe(), reward, terminated, False, self._info()

    def _checked(self, action: np.ndarray) -> np.ndarray:
        action = np.asarray(action, dtype=np.float64)
        shape = (len(self.action_names),)
        if action.shape != shape:
            raise ValueError(
                f"action must hold {', '.join(self.action_names)}, shape {shape}; got {action.shape}"
            )
        if not np.isfinite(action).all():
            raise ValueError(f"action must be finite, got {action}; check the policy's output")
        return action

    def _drive(self, change: np.ndarray) -> None:
        """Moves the targets along a straight joint-space line by `change` (dof,) [rad] in one control step."""
        data = self.data
        # Leading by kv/kp cancels the drive's lag behind a ramp: velocity feed-forward.
        start, lead = self._q_target, self._lead * change / CONTROL_DT
        for substep in range(self._substeps):
            data.ctrl[:] = start + change * (substep / self._substeps) + lead
            mujoco.mj_step(self.model, data)
            self._after_substep()
        self._q_target = start + change
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)

    def _observe(self) -> dict[str, np.ndarray]:
        state = self._joint_state().astype(np.float32)
        if self.observation == "pixels":
            renderer = shared_renderer(self.scene, self.model, self.image_size, self.image_size, FAST)
            return {"state": state, "image": renderer.render(self.data, "front")}
        return {"state": state, "environment_state": self._environment_state().astype(np.float32)}

    def camera(self, name: str = "front") -> Camera:
        """The model of a camera, for images of the observation's size, in the robot's base frame.

        Raises:
            ValueError: there is no such camera.
        """
        _check_choice("name", name, self.render_cameras)
        size = self.image_size
        K, T_world_camera = camera_matrices(self.model, name, size, size)
        T = np.linalg.inv(self.T_world_base) @ T_world_camera
        rows = tuple(tuple(row) for row in T.tolist())
        return Camera(size, size, K[0, 0], K[1, 1], K[0, 2], K[1, 2], rows)

    def render(self) -> UInt8[np.ndarray, "height width 3"] | None:
        """An image (height, width, 3) uint8 of `render_camera` with shadows; None without render mode."""
        if self.render_mode is None:
            return None
        renderer = shared_renderer(self.scene, self.model, *self.render_size, NICE)
        return renderer.render(self.data, self.render_camera)


def _check_choice(name: str, value: Any, allowed: tuple) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
