"""Environments of any kind: made from an id, a function or an instance, and checked against what is asked of them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from ikp.spec import DataSpec
from ikp.tasks.registry import (
    TaskEntry,
    gymnasium_id,
    make_environment,
    register_task,
    registered_tasks,
)

Environment = str | gym.Env | Callable[..., gym.Env]
"""A Gymnasium id or the name of a task, an environment, or a function that makes one."""
Success = str | Callable[[Mapping[str, Any]], Any]
"""The key of `info` that says whether an episode succeeded, or a function of `info`."""

MakerDescription = tuple[TaskEntry, dict[str, Any]]
"""A registered task and the arguments of its environment."""

SUCCESS_KEYS = ("success", "is_success")
OTHER_RATE = 0.05
"""Accepted relative difference between the rate of an environment and that of the data."""


class EnvironmentMaker:
    """Makes the environments of an evaluation or of a collection.

    Args:
        environment: a Gymnasium id or a task's name; a function that makes an environment from `kwargs`; or an
            environment, which is then the only one and stays open.
        kwargs: arguments of the environment.

    Raises:
        ValueError: it is none of these, or an environment is given arguments.
    """

    def __init__(self, environment: object, kwargs: Mapping[str, Any]) -> None:
        self._kwargs = dict(kwargs)
        self._given: gym.Env | None = None
        self._entry: TaskEntry | None = None
        self._make: Callable[..., gym.Env]
        if isinstance(environment, str):
            self.name = gymnasium_id(environment)
            known = {entry.env_id: entry for entry in registered_tasks()}
            self._entry = known.get(self.name.rpartition(":")[2])
            self._make = self._from_registry
            self._takes_render_mode = True
        elif isinstance(environment, gym.Env):
            self.name = environment.spec.id if environment.spec else type(environment.unwrapped).__name__
            self._given = environment
            if kwargs:
                raise ValueError(
                    f"env_kwargs {self._kwargs} cannot be given to the environment {self.name}, which is made already"
                )
        elif callable(environment):
            self.name = getattr(environment, "__name__", type(environment).__name__)
            self._make = cast(Callable[..., gym.Env], environment)
            self._takes_render_mode = _takes(environment, "render_mode")
        else:
            raise ValueError(
                f"the environment is a {type(environment).__name__}: give a Gymnasium id, a gymnasium.Env (a single "
                "one, not a vector), or a function that makes one"
            )

    @property
    def is_shared(self) -> bool:
        """Whether there is only the one environment that was given."""
        return self._given is not None

    @property
    def description(self) -> MakerDescription | None:
        """The means to make the same environments in another process; None unless they are of a registered task."""
        return None if self._entry is None else (self._entry, self._kwargs)

    @classmethod
    def described(cls, description: MakerDescription) -> EnvironmentMaker:
        """The maker of a `description`; it registers the task, which this process may not know."""
        entry, kwargs = description
        register_task(entry)
        return cls(entry.env_id, kwargs)

    def make(self, *, filmed: bool = False) -> gym.Env:
        """An environment, with `render_mode="rgb_array"` where it is filmed and takes this argument.

        Raises:
            ValueError: the environment cannot be made with these arguments.
        """
        if self._given is not None:
            return self._given
        mode = filmed and self._takes_render_mode and "render_mode" not in self._kwargs
        made = self._make(**self._kwargs, **({"render_mode": "rgb_array"} if mode else {}))
        if not isinstance(made, gym.Env):
            raise ValueError(f"{self.name} made a {type(made).__name__}: it must make a gymnasium.Env")
        return made

    def _from_registry(self, **kwargs: Any) -> gym.Env:
        try:
            # Gymnasium's checker fails with an AssertionError that names no fix
            return make_environment(self.name, kwargs, disable_env_checker=True)
        except ValueError as error:
            if "'render_mode'" not in str(error) or "render_mode" in self._kwargs:
                raise
            raise ValueError(f"{error}; leave the video out") from error

    def close(self, env: gym.Env) -> None:
        """Close an environment that was made here."""
        if env is not self._given:
            env.close()


def _takes(function: Callable[..., Any], argument: str) -> bool:
    """Whether a function takes a keyword argument."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def has_time_limit(env: gym.Env) -> bool:
    """Whether a wrapper of the environment ends episodes after some number of steps."""
    while isinstance(env, gym.Wrapper):
        if isinstance(env, TimeLimit):
            return True
        env = env.env
    return False


def succeeded(info: Mapping[str, Any], success: Success | None = None) -> bool:
    """Whether `info` says that the task is solved.

    Args:
        info: the last one of an episode.
        success: key or function; by default the first of `SUCCESS_KEYS` that is there.

    Raises:
        ValueError: there is no such key, or its value is not true or false.
    """
    if callable(success):
        value = success(info)
    else:
        key = next((key for key in (SUCCESS_KEYS if success is None else (success,)) if key in info), None)
        if key is None:
            wanted = " and no ".join(repr(key) for key in SUCCESS_KEYS) if success is None else repr(success)
            raise ValueError(
                f"the environment's info has no {wanted}: it has {[*info]}; name the key that says so "
                "(success='solved'), or give a function (success=lambda info: info['distance'] < 0.01)"
            )
        value = info[key]
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"success is {value!r}: it must be true or false")
    return bool(array.item())


def check_actions(env: gym.Env, spec: DataSpec, name: str) -> None:
    """Refuse an environment that takes other actions than those of the data.

    Raises:
        ValueError: its action space is not a box with one number for each dimension of the recorded action.
    """
    names, space = spec.recorded_action_names, env.action_space
    if not isinstance(space, gym.spaces.Box) or space.shape != (len(names),):
        taken = f"shape {space.shape}" if isinstance(space, gym.spaces.Box) else f"space {space}"
        raise ValueError(
            f"{name} takes actions of the {taken}, the policy makes {len(names)} numbers ({', '.join(names)}): "
            "evaluate it on the environment of its demonstrations, or wrap this one"
        )


def warn_of_differences(env: gym.Env, spec: DataSpec, joints: tuple[str, ...], name: str) -> None:
    """Warn where an environment says that it has another rate or another robot than the policy's data.

    Args:
        env: tells its rate by `control_dt` [s] or `metadata["render_fps"]`, and its robot by `robot`, if at all.
        spec: specification of the data.
        joints: names of the joints of the policy's robot; empty without one.
        name: of the environment.
    """
    inner = env.unwrapped
    dt, fps = getattr(inner, "control_dt", None), (env.metadata or {}).get("render_fps")
    rate = 1 / dt if isinstance(dt, int | float) and dt > 0 else fps
    if isinstance(rate, int | float) and abs(rate / spec.fps - 1) > OTHER_RATE:
        warnings.warn(
            f"{name} makes {rate:g} steps per second, the demonstrations have {spec.fps:g}: the policy acts at another "
            "speed than it was shown",
            stacklevel=3,
        )
    robot = getattr(inner, "robot", None)
    theirs = tuple(getattr(robot, "joint_names", ()))
    if joints and theirs and theirs != joints:
        warnings.warn(
            f"{name} has a robot with the joints {', '.join(theirs)}, the policy's has {', '.join(joints)}",
            stacklevel=3,
        )
