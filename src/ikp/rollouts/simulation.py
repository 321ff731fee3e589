"""Environments that step together, by number."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from ikp.rollouts.environments import EnvironmentMaker


@dataclass(frozen=True)
class Turn:
    """The result of an environment after a reset or a step; a reset has neither reward nor end.

    Attributes:
        picture: what `render` returned, of an environment that is filmed.
    """

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]
    picture: Any


class Simulation(abc.ABC):
    """Environments by number, wherever they are. `filmed` are the numbers of those whose pictures are wanted.

    Attributes:
        width: number of environments that are simulated at the same time.
    """

    width: int

    @abc.abstractmethod
    def make(self, numbers: Sequence[int], filmed: Collection[int]) -> list[gym.Env]:
        """Make environments; returns one like each, whose spaces can be looked at."""

    @abc.abstractmethod
    def reset(self, seeds: Mapping[int, int], filmed: Collection[int]) -> dict[int, Turn]:
        """Start an episode in some of them."""

    @abc.abstractmethod
    def step(self, actions: Mapping[int, np.ndarray], filmed: Collection[int]) -> dict[int, Turn]:
        """Let some of them take a step."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close them all."""


class LocalSimulation(Simulation):
    """Environments in this process, one after another.

    Args:
        maker: makes them.
    """

    width = 1

    def __init__(self, maker: EnvironmentMaker) -> None:
        self._maker = maker
        self._envs: dict[int, gym.Env] = {}

    def make(self, numbers: Sequence[int], filmed: Collection[int]) -> list[gym.Env]:
        made = {number: self._maker.make(filmed=number in filmed) for number in numbers}
        self._envs |= made
        return list(made.values())

    def reset(self, seeds: Mapping[int, int], filmed: Collection[int]) -> dict[int, Turn]:
        turns = {}
        for number, seed in seeds.items():
            observation, info = self._envs[number].reset(seed=seed)
            turns[number] = Turn(observation, 0.0, False, False, info, self._picture(number, filmed))
        return turns

    def step(self, actions: Mapping[int, np.ndarray], filmed: Collection[int]) -> dict[int, Turn]:
        turns = {}
        for number, action in actions.items():
            observation, reward, terminated, truncated, info = self._envs[number].step(action)
            picture = self._picture(number, filmed)
            turns[number] = Turn(observation, float(reward), bool(terminated), bool(truncated), info, picture)
        return turns

    def _picture(self, number: int, filmed: Collection[int]) -> Any:
        return self._envs[number].render() if number in filmed else None

    def close(self) -> None:
        for env in self._envs.values():
            self._maker.close(env)
