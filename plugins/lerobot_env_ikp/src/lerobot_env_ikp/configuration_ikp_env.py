"""Options of `--env.type=ikp` for lerobot-eval and lerobot-train."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.envs.utils import FreezeAfterEpisodeEnd
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_IMAGES, OBS_STATE

from ikp.tasks.registry import TaskEntry, refuse_module, register_task, task_entry
from lerobot_env_ikp.environment import LeRobotTask, make_task


@EnvConfig.register_subclass("ikp")
@dataclass
class IKPEnvConfig(EnvConfig):
    """A simulated task of ikp.

    Attributes:
        task: name or id of a registered task. One of your own is registered by a package that
            --env.discover_packages_path imports.
        observation: `pixels` (camera and joints) or `state` (object poses and joints).
        options: further options of the task, such as {"offset_seed": 7}.
        fps, features, features_map: come from the task.

    Raises:
        ValueError: the task or an option is unknown.
    """

    task: str = "insertion"
    observation: str = "pixels"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_module(self.task, "import its package with --env.discover_packages_path=PACKAGE")
        env = self._make()
        self.fps = round(env.metadata["render_fps"])
        self.features = {ACTION: PolicyFeature(FeatureType.ACTION, env.action_space.shape)}
        self.features_map = {ACTION: ACTION}
        spaces = env.observation_space.spaces  # type: ignore[attr-defined]
        for key, name, kind in (
            ("agent_pos", OBS_STATE, FeatureType.STATE),
            ("environment_state", OBS_ENV_STATE, FeatureType.ENV),
        ):
            if key in spaces:
                self._add(key, name, kind, spaces[key])
        for camera, space in spaces["pixels"].items() if "pixels" in spaces else ():
            self._add(f"pixels/{camera}", f"{OBS_IMAGES}.{camera}", FeatureType.VISUAL, space)
        env.close()

    def _add(self, key: str, name: str, kind: FeatureType, space: gymnasium.Space) -> None:
        self.features[key] = PolicyFeature(kind, tuple(space.shape or ()))
        self.features_map[key] = name

    def _make(self) -> LeRobotTask:
        return make_task(self.task, **self.gym_kwargs)

    @property
    def gym_id(self) -> str:
        """The Gymnasium id of the task."""
        return task_entry(self.task).env_id

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment beside the task's own; a command line or a JSON file has no tuples but lists."""
        options = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self.options.items()
        }
        return {"observation": self.observation, **options}

    def create_envs(
        self, n_envs: int, use_async_envs: bool = False
    ) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
        """`n_envs` environments in lock step, in processes of their own with `use_async_envs`."""
        make = partial(_make_frozen, task_entry(self.task), self.gym_kwargs)
        mode = gymnasium.vector.AutoresetMode.SAME_STEP
        if use_async_envs and n_envs > 1:
            vector = gymnasium.vector.AsyncVectorEnv(
                [make] * n_envs, autoreset_mode=mode, context="forkserver"
            )
        else:
            vector = gymnasium.vector.SyncVectorEnv([make] * n_envs, autoreset_mode=mode)
        return {self.type: {0: vector}}


def _make_frozen(entry: TaskEntry, options: dict[str, Any]) -> gymnasium.Env:
    """An environment that costs nothing after its episode, while LeRobot waits for the others of its batch."""
    register_task(entry)  # a process of its own knows only the tasks of ikp
    return FreezeAfterEpisodeEnd(make_task(entry.name, **options))
