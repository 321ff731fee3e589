"""A simulated task whose arm follows a stream of joint targets, one simulation step after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
from jaxtyping import Float

from ikp.robots.interfaces import STOP_DECELERATION
from ikp.robots.shared import SharedNumbers
from ikp.tasks.base import ArmTask
from ikp.tasks.registry import make_environment, task_entry

SCENE = ("qpos", "qvel", "mocap_pos", "mocap_quat", "eq_active")
"""Parts of MuJoCo's data that describe the scene."""


def make_task(task: str, options: Mapping[str, Any]) -> ArmTask:
    """The environment of a task by name or id, with object poses for observation unless the options say otherwise.

    Raises:
        ValueError: there is no such task, it takes other options, or its arm has no switch.
    """
    entry = task_entry(task)
    kwargs = {**entry.kwargs, "observation": "state", **options}
    env = make_environment(entry.env_id, kwargs, disable_env_checker=True).unwrapped
    if not isinstance(env, ArmTask) or len(env.robot.tip_names) != 1 or not env.discrete_dims:
        raise ValueError(
            f"task {task!r} has no twin: one with a single arm and a switched tool is needed, such as insertion, "
            "alignment or sorting"
        )
    return env


class World:
    """The simulation itself; others see it and command it through `link`.

    The arm smooths its targets over the look-ahead time, as a UR does with servoJ: a first-order lag.

    Args:
        task: name or id of a task with one arm.
        options: arguments of its environment.
        seed: of the first scene.
        link: numbers that are shared with other processes; None for new ones in this process.

    Raises:
        ValueError: the task has no twin.
    """

    def __init__(
        self, task: str, options: Mapping[str, Any], seed: int = 0, link: WorldLink | None = None
    ) -> None:
        self.env = make_task(task, options)
        self.env.reset(seed=seed)
        self.link = WorldLink.of(self.env, None) if link is None else link
        self.sim_dt = float(self.env.model.opt.timestep)
        self.steps = 0
        self._scene, self._ended, self._success, self._score = seed, False, False, 0.0
        self._start = self.measured()
        self._ask_every = round(self.env.control_dt / self.sim_dt)
        self._reference = self.measured()
        self._velocity = np.zeros(self.env.robot.dof)
        self.link.motion.write(q=self._reference)
        self.link.bench.write(scene=seed)
        self.publish()

    @property
    def time(self) -> float:
        """Simulated time [s]."""
        return self.steps * self.sim_dt

    def measured(self) -> Float[np.ndarray, "dof"]:
        """Joints by the encoders [rad]."""
        return self.env.miscalibration.measured(self.env.data.qpos[: self.env.robot.dof].copy())

    def step(self) -> None:
        """Simulate one step and publish the state."""
        bench = self.link.bench.read()
        if bench["scene"][0] != self._scene:
            self._reset(int(bench["scene"][0]))
        self._follow(self.link.motion.read())
        if len(self.env.discrete_dims):
            self.env.switch(np.repeat(bench["closed"], len(self.env.discrete_dims)))
        self.env.follow(self._reference, self._velocity)
        self.steps += 1
        if self.steps % self._ask_every == 0:
            self._ended, info = self.env.outcome()
            self._success = bool(info["success"])
            self._score = float(info.get("score", self._success))
        self.publish()

    def _follow(self, wanted: Mapping[str, np.ndarray]) -> None:
        """Move the drives' reference towards the target, or to rest."""
        dt = self.sim_dt
        if wanted["servo"][0]:
            share = 1.0 - np.exp(-dt / max(float(wanted["lookahead"][0]), dt))
            change = (wanted["q"] - self._reference) * share
            limit = self.env.robot.velocity.numpy() * dt
            change = np.clip(change, -limit, limit)
        else:
            speed = self._velocity
            change = np.sign(speed) * np.maximum(np.abs(speed) - STOP_DECELERATION * dt, 0.0) * dt
        self._reference = self._reference + change
        self._velocity = change / dt

    def _reset(self, seed: int) -> None:
        """Lay out the scene of another seed; the arm stays where it is, as on a bench."""
        q, qd = self.env.data.qpos[: self.env.robot.dof].copy(), np.zeros(self.env.robot.dof)
        self.env.reset(seed=seed)
        self._start = self.measured()
        self.env.data.qpos[: self.env.robot.dof], self.env.data.qvel[: self.env.robot.dof] = q, qd
        self._scene, self._ended, self._success, self._score = seed, False, False, 0.0
        self._velocity = np.zeros_like(qd)

    def publish(self) -> None:
        """Write the present state to shared memory."""
        data, dof = self.env.data, self.env.robot.dof
        poses = {name: getattr(data, name).ravel() for name in SCENE}
        self.link.state.write(
            q=self.measured(),
            qd=data.qvel[:dof],
            start=self._start,
            scene=self._scene,
            ended=self._ended,
            success=self._success,
            score=self._score,
            holding=float(data.eq_active.any()) if len(data.eq_active) else 0.0,
            time=self.time,
            **poses,
        )


@dataclass(frozen=True)
class WorldLink:
    """Shared numbers of a world, each with one writer.

    Attributes:
        state: by the world: joints `q` [rad] and speeds `qd` [rad/s], the joints `start` at which the scene's episode
            starts, the `scene` (seed), whether it has `ended` with `success`, its `score` (0 to 1), whether the tool is
            `holding`, the `time` [s], and the scene's poses.
        motion: by the arm's driver: whether to `servo`, the target `q` [rad] and the `lookahead` [s].
        bench: by the session: whether the gripper is `closed`, and the `scene` (seed) to lay out.
    """

    state: SharedNumbers
    motion: SharedNumbers
    bench: SharedNumbers

    @staticmethod
    def of(env: ArmTask, context: BaseContext | None) -> WorldLink:
        """New numbers of the sizes of a task."""
        dof = env.robot.dof
        poses = {name: getattr(env.data, name).size for name in SCENE}
        single = dict.fromkeys(("scene", "ended", "success", "score", "holding", "time"), 1)
        return WorldLink(
            SharedNumbers(context, {"q": dof, "qd": dof, "start": dof, **single, **poses}),
            SharedNumbers(context, {"servo": 1, "q": dof, "lookahead": 1}),
            SharedNumbers(context, {"closed": 1, "scene": 1}),
        )
