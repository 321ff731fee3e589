"""Base class of the simulated tasks: joint drives, encoders, spaces, observations and rendering."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from ikp.kinematics import Camera, Robot
from ikp.tasks.miscalibration import MAX_OFFSET, Miscalibration
from ikp.tasks.rendering import FAST, NICE, shared_renderer
from ikp.tasks.scene import camera_matrices

CONTROL_DT = 0.1
READING_MARGIN = 0.2  # encoders with an offset can read this far beyond the joints' limits [rad]


class ArmTask(gymnasium.Env, abc.ABC):
    """A robot in a scene, driven by joint targets at 10 Hz; subclasses add the scene and the score.

    An action begins with joint targets in encoder coordinates [rad], offsets included; each further value is a switch
    that is on above 0.5. The drives follow a straight line in joint space to the target over `control_dt`, limited to
    the joints' maximum speeds.

    The observation holds `state` float32: the measured joints [rad] and the task's own values. With "pixels" it also
    holds `image` (image_size, image_size, 3) uint8 from the camera `front`, with "state" `environment_state` float32,
    whose poses are in the robot's base frame.

    In the scene's model the robot's joints come first, in the order of `robot`, each with its own actuator.

    Args:
        observation: "pixels" (camera image) or "state" (numbers that describe the objects).
        offset_seed: None for a calibrated robot; an integer draws constant joint offsets.
        offset_limit: largest offset of a joint that is drawn [deg], at most 10.
        render_mode: "rgb_array" or None.
        render_size: (height, width) of the image that `render()` returns [pixel].
        render_camera: One of `render_cameras`; policies see "front".
        image_size: Height and width of the observation image [pixel].

    Raises:
        ValueError: An argument, an action or its shape is not allowed.
        RuntimeError: No OpenGL context for images.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    camera_names = ("front",)
    render_cameras: ClassVar[tuple[str, ...]] = ("front", "overview")
    control_dt = CONTROL_DT
    discrete_dims: tuple[int, ...] = ()
    scene: str
    """Name of the compiled scene; environments with the same name share their renderers."""
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
        offset_limit: float = MAX_OFFSET,
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
        self.miscalibration = Miscalibration.from_seed(offset_seed, self.robot.dof, offset_limit)
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
        """Build the scene's specification; the caller compiles it."""

    @abc.abstractmethod
    def _find_elements(self) -> None:
        """Store views into MuJoCo's arrays; they stay valid as long as the environment."""

    @abc.abstractmethod
    def _start(self) -> None:
        """Draw the start of an episode from `np_random`: joint positions and object poses; reset the counters."""

    @abc.abstractmethod
    def _progress(self) -> tuple[float, bool]:
        """Reward of the last step and whether the episode has ended."""

    @abc.abstractmethod
    def _info(self) -> dict[str, Any]:
        """The `info` dictionary: `success` and the task's measures."""

    @abc.abstractmethod
    def _environment_state(self) -> Float[np.ndarray, "values"]:
        """The true state of the objects, in the order of `environment_state_names`."""

    def _joint_state(self) -> Float[np.ndarray, "values"]:
        """The robot's own measurements, in the order of `state_names`."""
        return self.miscalibration.measured(self._q)

    def _switch(self, on: Float[np.ndarray, "discrete"]) -> None:
        """Apply the action's switches (the values after the joints) before the arm moves."""

    def _after_substep(self) -> None:
        """Hook that runs after each simulation step."""

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
        """Start a new random episode; `options` must be empty."""
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
        """Simulate one step of `control_dt`, 0.1 s in most tasks; the class describes the action."""
        action = self._checked(action)
        dof = self.robot.dof
        self._switch(action[dof:])
        self._move(self.miscalibration.true(action[:dof]))
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

    def _move(self, command: Float[np.ndarray, "dof"]) -> None:
        """Move towards true joint targets (dof,) [rad] for one step of the environment."""
        self._drive(np.clip(command - self._q_target, -self._max_change, self._max_change))

    def _drive(self, change: np.ndarray) -> None:
        """Move the targets by `change` (dof,) [rad] along a straight line in joint space, in one control step."""
        data = self.data
        # Velocity feed-forward: a lead of kv/kp cancels the drive's lag behind a ramp.
        start, lead = self._q_target, self._lead * change / CONTROL_DT
        for substep in range(self._substeps):
            data.ctrl[:] = start + change * (substep / self._substeps) + lead
            mujoco.mj_step(self.model, data)
            self._after_substep()
        self._q_target = start + change
        self.update_poses()

    def follow(self, q: Float[np.ndarray, "dof"], qd: Float[np.ndarray, "dof"]) -> None:
        """Simulate one step of the model's time step with the drives at a moving target, as a loop faster than 10 Hz
        does in place of `step`.

        Args:
            q: target of the joints in encoder coordinates (dof,) [rad].
            qd: speed of the target (dof,) [rad/s], fed forward.
        """
        self._q_target = self.miscalibration.true(q)
        self.data.ctrl[:] = self._q_target + self._lead * qd
        mujoco.mj_step(self.model, self.data)
        self._after_substep()

    def switch(self, on: Float[np.ndarray, "discrete"]) -> None:
        """Set the action's switches, on above 0.5, beside `follow`."""
        self._switch(on)

    def outcome(self) -> tuple[bool, dict[str, Any]]:
        """Whether the episode has ended and its `info`, for a loop of `follow`; call it every `control_dt`."""
        self.update_poses()
        _, ended = self._progress()
        return ended, self._info()

    def update_poses(self) -> None:
        """Bring the poses of all bodies up to date with the joints."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def _observe(self) -> dict[str, np.ndarray]:
        state = self._joint_state().astype(np.float32)
        if self.observation == "pixels":
            renderer = shared_renderer(self.scene, self.model, self.image_size, self.image_size, FAST)
            return {"state": state, "image": renderer.render(self.data, "front")}
        return {"state": state, "environment_state": self._environment_state().astype(np.float32)}

    def camera(self, name: str = "front") -> Camera:
        """The model of a camera for images of the observation's size, with its pose in the robot's base frame.

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
        """Image (height, width, 3) uint8 from `render_camera`, with shadows; None if `render_mode` is None."""
        if self.render_mode is None:
            return None
        renderer = shared_renderer(self.scene, self.model, *self.render_size, NICE)
        return renderer.render(self.data, self.render_camera)


def _check_choice(name: str, value: Any, allowed: tuple) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
