"""The N-D particle of Implicit Behavioral Cloning: reach two goals one after the other, in any number of dimensions.

.venv/bin/python benchmarks/particle.py --dims 8 --method implicit   writes results/closed_loop/particle-8-*.json

A point with a PD controller is driven to a first goal and, once it was within 0.05 of it, to a second one (Florence et
al., 2021, Sec. 4; constants of github.com/google-research/ibc, re-implemented here). The observation holds position,
velocity and both goals, the action is the controller's set point. Whether the first goal was reached is not observed:
where a particle rests at the first goal, the demonstrations' two answers meet. 2000 demonstrations; an episode of 50
steps succeeds if both goals were reached in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

import closed_loop
import ikp
from ikp.data import Demonstrations
from ikp.policies import Policy
from ikp.spec import DataSpec

STIFFNESS, DAMPING = 10.0, 5.0
SUBSTEP, SUBSTEPS = 0.005, 10  # [s]
STEPS, NEAR = 50, 0.05
DEMONSTRATIONS, EPISODES = 2000, 200
DEMONSTRATION_SEED, EPISODE_SEED = 1, 777
_BASE = replace(ikp.recipe("standard").policy, action_space="raw")
METHODS = {"explicit": replace(_BASE, kind="explicit"), "implicit": _BASE}


class Particles:
    """Many particles at once, each with a start and two goals, uniform in the unit cube.

    Args:
        count: number of particles.
        dims: dimensions of the space.
        seed: of starts and goals.
    """

    def __init__(self, count: int, dims: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.rand(count, dims, generator=generator)
        self.v = torch.zeros(count, dims)
        self.goals = torch.rand(count, 2, dims, generator=generator)
        self.reached = torch.zeros(count, 2, dtype=torch.bool)
        self._notice()

    @property
    def state(self) -> Tensor:
        """Position and velocity (count, 2 dims)."""
        return torch.cat([self.x, self.v], -1)

    def step(self, target: Tensor) -> None:
        """Drive each particle towards its set point (count, dims) for 0.05 s."""
        for _ in range(SUBSTEPS):
            self.v = self.v + (STIFFNESS * (target - self.x) - DAMPING * self.v) * SUBSTEP
            self.x = self.x + self.v * SUBSTEP
        self._notice()

    def expert(self) -> Tensor:
        """The goal that is next (count, dims)."""
        return torch.where(self.reached[:, :1], self.goals[:, 1], self.goals[:, 0])

    def _notice(self) -> None:
        near = (self.x[:, None] - self.goals).norm(dim=-1) < NEAR
        self.reached[:, 0] |= near[:, 0]
        self.reached[:, 1] |= near[:, 1] & self.reached[:, 0]


def spec_of(dims: int) -> DataSpec:
    """Names of a particle's observations and actions."""
    axes = range(dims)
    return DataSpec(
        action_names=tuple(f"x{i}" for i in axes),
        state_names=(*(f"x{i}" for i in axes), *(f"v{i}" for i in axes)),
        environment_state_names=tuple(f"goal{g}.x{i}" for g in (1, 2) for i in axes),
        fps=1 / (SUBSTEP * SUBSTEPS),
    )


def demonstrations(dims: int, count: int) -> Demonstrations:
    """Episodes of the expert."""
    particles = Particles(count, dims, DEMONSTRATION_SEED)
    states, actions = [], []
    for _ in range(STEPS):
        states.append(particles.state)
        actions.append(particles.expert())
        particles.step(actions[-1])
    return Demonstrations(
        spec=spec_of(dims),
        state=torch.stack(states, 1).flatten(0, 1),
        action=torch.stack(actions, 1).flatten(0, 1),
        environment_state=particles.goals.flatten(1).repeat_interleave(STEPS, 0),
        images={},
        episode_index=torch.arange(count).repeat_interleave(STEPS),
        frame_index=torch.arange(STEPS).repeat(count),
        success=particles.reached[:, 1],
    )


def rollouts(policy: Policy, dims: int, episodes: int) -> closed_loop.Outcome:
    """Whether each episode reached both goals in order, and the first one."""
    particles = Particles(episodes, dims, EPISODE_SEED)
    goals = particles.goals.flatten(1)[:, None]
    for _ in range(STEPS):
        observation = {"state": particles.state[:, None], "environment_state": goals, "images": {}}
        particles.step(policy.act(observation))
    first, both = particles.reached.float().unbind(1)
    return {"success": both.tolist(), "first_goal": first.tolist()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = closed_loop.parser(__doc__, METHODS, steps=10000)
    parser.add_argument("--dims", type=int, default=2)
    parser.add_argument("--demonstrations", type=int, default=DEMONSTRATIONS)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    chosen = parser.parse_args(arguments)
    closed_loop.run(
        f"particle-{chosen.dims}",
        chosen,
        METHODS[chosen.method],
        None,
        lambda: demonstrations(chosen.dims, chosen.demonstrations),
        lambda policy: rollouts(policy, chosen.dims, chosen.episodes),
        {"dims": chosen.dims, "episodes": chosen.episodes},
    )


if __name__ == "__main__":
    main()
