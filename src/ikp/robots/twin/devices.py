"""Arm, gripper and camera of a simulated world, in the process of the world or in another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from ikp.kinematics import Robot, forward_kinematics
from ikp.robots.interfaces import ArmState, Picture
from ikp.robots.twin.world import SCENE, WorldLink, make_task
from ikp.tasks.base import ArmTask
from ikp.tasks.rendering import FAST, NICE, RenderQuality, shared_renderer

FRAME_RATE = 30.0
"""Images per second of the camera [Hz]."""
WORLD_LIMIT = 2.0
"""Time without a step of the world at which it counts as dead; a busy machine can hold it up for a while [s]."""


class TwinArm:
    """The arm of a world.

    Args:
        robot: kinematic model.
        link: the world.
        clock: gives the time of a measurement [s].
    """

    def __init__(self, robot: Robot, link: WorldLink, clock: Callable[[], float] = time.monotonic) -> None:
        self.robot, self._link, self._clock = robot, link, clock
        self._world_time, self._moved_on = np.nan, clock()

    def open(self) -> None:
        """Nothing to connect."""

    def state(self) -> ArmState:
        """The newest measurement. Raises OSError where the world has not gone on for `WORLD_LIMIT`."""
        values, now = self._link.state.read(), self._clock()
        if values["time"][0] != self._world_time:
            self._world_time, self._moved_on = values["time"][0], now
        if now - self._moved_on > WORLD_LIMIT:
            raise ConnectionResetError(
                f"the simulated world has not gone on for {now - self._moved_on:.1f} s: its process has ended, or the "
                "machine is too busy; start again"
            )
        return ArmState(now, values["q"], values["qd"])

    def tip_pose(self) -> Float[np.ndarray, "4 4"]:
        """T_base_tip (4, 4) at the measured joints."""
        import torch

        q = torch.from_numpy(self._link.state.read()["q"])
        return forward_kinematics(self.robot, q)[self.robot.tip_indices[0]].numpy()

    def servo(self, q: Float[np.ndarray, "dof"], period: float, lookahead: float, gain: float) -> None:
        """Follow a target (dof,) [rad] with a first-order lag of `lookahead` [s]."""
        self._link.motion.write(servo=1.0, q=q, lookahead=lookahead)

    def stop(self) -> None:
        """Decelerate."""
        self._link.motion.write(servo=0.0)

    def close(self) -> None:
        """Stop."""
        self.stop()


class TwinGripper:
    """The suction cup of a world."""

    def __init__(self, link: WorldLink) -> None:
        self._link = link

    def set(self, closed: float) -> None:
        """Switch the suction on above 0.5."""
        self._link.bench.write(closed=float(closed))

    def read(self) -> float:
        """1.0 while something is held."""
        return float(self._link.state.read()["holding"][0])

    def close(self) -> None:
        """Nothing to disconnect."""


class TwinView:
    """A copy of a world's scene in this process, for rendering and for what watches the scene.

    Args:
        task: name or id of the task.
        options: arguments of its environment.
        link: the world.
        env: the world's own environment, where it is in this process.
    """

    def __init__(
        self, task: str, options: Mapping[str, Any], link: WorldLink, env: ArmTask | None = None
    ) -> None:
        self._link, self._own = link, env is None
        self.env = make_task(task, options) if env is None else env
        self._scene: int | None = None

    def update(self) -> ArmTask:
        """The task's environment as the world is now; not to be stepped."""
        if not self._own:
            self.env.update_poses()
            return self.env
        values = self._link.state.read()
        scene = int(values["scene"][0])
        if scene != self._scene:  # what an episode draws beside poses
            self.env.reset(seed=scene)
            self._scene = scene
        for name in SCENE:
            where = getattr(self.env.data, name)
            where[:] = values[name].reshape(where.shape)
        self.env.update_poses()
        return self.env


class TwinCamera:
    """A camera of a world, rendered when it is read, at most `FRAME_RATE` times a second.

    Args:
        view: the scene.
        name: the camera.
        size: height and width of images [pixel].
        clock: gives the time [s].
        quality: of rendering.

    Raises:
        RuntimeError: there is no OpenGL context.
    """

    def __init__(
        self,
        view: TwinView,
        name: str = "front",
        size: tuple[int, int] = (96, 96),
        clock: Callable[[], float] = time.monotonic,
        quality: RenderQuality = FAST,
    ) -> None:
        self._view, self._name, self._clock = view, name, clock
        env = view.env
        self._renderer = shared_renderer(env.scene, env.model, *size, quality)
        self._picture: Picture | None = None

    def taken_at(self) -> float:
        """Now: an image is rendered when it is read."""
        return self._clock()

    def read(self) -> Picture:
        """The image of now."""
        now = self._clock()
        if self._picture is None or now - self._picture.time >= 1 / FRAME_RATE:
            env = self._view.update()
            self._picture = Picture(now, self._renderer.render(env.data, self._name))
        return self._picture

    def close(self) -> None:
        """The renderer is shared, so it stays."""


def film_camera(view: TwinView, size: tuple[int, int], clock: Callable[[], float]) -> TwinCamera:
    """The camera that shows the whole arm, for films."""
    return TwinCamera(view, "overview", size, clock, NICE)
