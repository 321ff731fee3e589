"""ALOHA's simulated tasks: the benchmark's modules, which are in no package, and a simulation without physics."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    """Lets a test import the benchmark's modules by their names."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "aloha"))


class Follower:
    """A robot that is where it is commanded to be; `reward` is that of the number of steps."""

    task = "transfer"

    def __init__(self, rewards=()):
        self.rewards, self.reward, self.rendered = dict(rewards), 0, 0
        self.commands = []

    @property
    def objects(self):
        return np.array([[0.1, 0.5, 0.05, 1.0, 0.0, 0.0, 0.0]])

    def reset(self, seed):
        self.seed, self.commands, self.reward = seed, [], 0
        return np.zeros(14)

    def step(self, action):
        self.commands.append(action)
        self.reward = self.rewards.get(len(self.commands), 0)
        return action.copy()

    def images(self):
        self.rendered += 1
        return {"top": np.full((8, 8, 3), len(self.commands) % 256, np.uint8)}

    def view(self):
        return np.full((24, 32, 3), len(self.commands) % 256, np.uint8)


@pytest.fixture
def follower():
    return Follower
