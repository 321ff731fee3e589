"""A task of ikp with the observations and the information that LeRobot's evaluation reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from ikp.rollouts.evaluate import FIRST_SEED
from ikp.tasks.registry import task_entry


class LeRobotTask(gymnasium.Wrapper):
    """A task whose observation has LeRobot's keys and whose information has `is_success`.

    The observation holds `agent_pos`, the measured state, and either `pixels`, one image per camera, or
    `environment_state`, the privileged state. Seeds are those of `ikp evaluate`: seed 0 here is its first episode,
    which no demonstration has shown.

    Args:
        env: the environment of a task of ikp.
        task: words for the task, LeRobot's `task_description`.
    """

    def __init__(self, env: gymnasium.Env, task: str) -> None:
        super().__init__(env)
        self.task = self.task_description = task
        spaces = dict(env.observation_space.spaces)  # type: ignore[attr-defined]
        self.observation_space = gymnasium.spaces.Dict(self._renamed(spaces, gymnasium.spaces.Dict))

    def _renamed(self, values: Mapping[str, Any], group: Any = dict) -> dict[str, Any]:
        renamed = {"agent_pos": values["state"]}
        if "image" in values:
            (camera,) = self.env.unwrapped.camera_names  # type: ignore[attr-defined]
            renamed["pixels"] = group({camera: values["image"]})
        if "environment_state" in values:
            renamed["environment_state"] = values["environment_state"]
        return renamed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode; LeRobot's options, which the task does not know, are left out."""
        seed = None if seed is None else FIRST_SEED + seed
        observation, info = self.env.reset(seed=seed)
        return self._renamed(observation), {**info, "is_success": bool(info["success"])}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """One control step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {**info, "is_success": bool(info["success"])}
        return self._renamed(observation), float(reward), terminated, truncated, info


def make_task(task: str, **options: Any) -> LeRobotTask:
    """The environment of a task for LeRobot.

    Args:
        task: name or id of a task of ikp.
        options: arguments of the environment beside the task's own.

    Raises:
        ValueError: the task is unknown.
    """
    entry = task_entry(task)
    env = gymnasium.make(
        entry.env_id, disable_env_checker=True, render_mode="rgb_array", **{**entry.options, **options}
    )
    return LeRobotTask(env, entry.title)
