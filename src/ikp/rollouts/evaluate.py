"""Evaluation by rollouts: many environments in lock step, one batched policy call per step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from ikp.policies import Policy
from ikp.policies.frames import FrameHistory, observation_from_frames
from ikp.rollouts.intervals import wilson_interval
from ikp.tasks.registry import gymnasium_id, make_environment

FIRST_SEED = 1_000_000
"""First seed of evaluations, far from the seeds of demonstrations."""
LOCK_STEP = 100
"""Largest number of environments that step together."""
MOST_EPISODES = 1_000_000
"""Bound of what can be asked for, against slips of the hand."""
STANDING = 10
"""Number of equal actions at the end of an episode that count as standing still."""
ALIKE = 0.01
"""Largest difference between equal actions, of joints [rad or m] or in the units of the action."""


@dataclass(frozen=True)
class Episode:
    """Outcome of one rollout.

    Attributes:
        seed: seed of the environment.
        success: whether the task succeeded.
        steps: number of executed actions.
        info: numbers that the task reports at the end, such as errors [m, deg].
        standing: whether the last `STANDING` actions were equal: a memoryless policy that stops moving sees the same
            input and never recovers.
    """

    seed: int
    success: bool
    steps: int
    info: dict[str, float]
    standing: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Outcome of an evaluation.

    Attributes:
        env_id, env_kwargs: the task and its options.
        episodes: one entry per seed.
        seconds: duration [s].
        policy_milliseconds: mean time of one batched policy call [ms].
    """

    env_id: str
    env_kwargs: dict[str, Any]
    episodes: tuple[Episode, ...]
    seconds: float
    policy_milliseconds: float

    @property
    def successes(self) -> int:
        return sum(episode.success for episode in self.episodes)

    @property
    def success_rate(self) -> float:
        return self.successes / len(self.episodes)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval (95 %) of the success rate."""
        return wilson_interval(self.successes, len(self.episodes))

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values, with success rate and interval."""
        summary = {"success_rate": self.success_rate, "interval_95": self.interval}
        return summary | {**asdict(self), "episodes": [asdict(episode) for episode in self.episodes]}


def evaluate(
    env_id: str,
    policy: Policy,
    *,
    episodes: int = 100,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    video: Path | str | None = None,
    video_episodes: int = 9,
    progress: bool = True,
) -> Evaluation:
    """Evaluate a policy by rollouts on unseen seeds.

    Args:
        env_id: name or Gymnasium id of a task, such as `insertion` or `ikp/Insertion-v0`.
        policy: policy in evaluation mode, whose spec matches the task's observations.
        episodes: number of rollouts, with the seeds `FIRST_SEED + seed` and following.
        seed: offset of the first seed.
        env_kwargs: options of the task, such as `observation` and `offset_seed`.
        video: path of an mp4 grid of the first `video_episodes` rollouts; None for no video.
        video_episodes: number of rollouts in the video.
        progress: show a progress bar.

    Raises:
        ValueError: a number is out of range, there is no such task, it does not take these options, or its
            observations or actions do not match the policy.
    """
    for name, value, (low, high) in (
        ("episodes", episodes, (1, MOST_EPISODES)),
        ("seed", seed, (0, 2**31)),
        ("video_episodes", video_episodes, (1, LOCK_STEP)),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}: it must be from {low} to {high}")
    env_id = gymnasium_id(env_id)
    kwargs = dict(env_kwargs or {})
    seeds = [FIRST_SEED + seed + i for i in range(episodes)]
    started = time.perf_counter()
    finished: list[Episode] = []
    calls: list[float] = []
    frames: list[list[np.ndarray]] = []
    with tqdm(total=episodes, desc="evaluating", unit="episode", disable=not progress) as bar:
        for first in range(0, episodes, LOCK_STEP):
            filmed = max(0, video_episodes - first) if video else 0
            with _Group(env_id, kwargs, seeds[first : first + LOCK_STEP], policy, filmed) as group:
                group.run(bar, calls)
                finished += group.finished()
                frames += group.frames
    if video is not None:
        from ikp.rollouts.video import write_grid

        write_grid(
            frames,
            video,
            fps=policy.spec.fps,
            labels=[episode.success for episode in finished[: len(frames)]],
        )
    seconds = time.perf_counter() - started
    return Evaluation(env_id, kwargs, tuple(finished), seconds, 1e3 * float(np.mean(calls)))


class _Group:
    """Environments that step together until all are done."""

    def __init__(
        self, env_id: str, kwargs: dict[str, Any], seeds: Sequence[int], policy: Policy, filmed: int
    ) -> None:
        self.policy, self.seeds = policy, seeds
        self.filmed = min(filmed, len(seeds))
        self.envs: list[gym.Env] = []
        try:
            for i in range(len(seeds)):
                mode = {"render_mode": "rgb_array"} if i < self.filmed else {}
                self.envs.append(make_environment(env_id, kwargs, **mode))
                self._check_actions(env_id)
        except BaseException:
            self.close()
            raise
        self.frames: list[list[np.ndarray]] = [[] for _ in range(self.filmed)]
        self.results: list[Episode | None] = [None] * len(seeds)
        self.windows = [FrameHistory(policy.spec, policy.config.history) for _ in seeds]
        self.last_actions: list[deque] = [deque(maxlen=STANDING) for _ in seeds]

    def run(self, bar: tqdm, calls: list[float]) -> None:
        for i, (env, seed) in enumerate(zip(self.envs, self.seeds, strict=True)):
            observation, _ = env.reset(seed=seed)
            self.windows[i].add(observation)
            self._film(i)
        steps = 0
        while running := [i for i, result in enumerate(self.results) if result is None]:
            started = time.perf_counter()
            windows = [self.windows[i].frames for i in running]
            actions = self.policy.act(observation_from_frames(windows, self.policy.spec)).numpy()
            calls.append(time.perf_counter() - started)
            steps += 1
            for action, i in zip(actions, running, strict=True):
                observation, _, terminated, truncated, info = self.envs[i].step(action)
                self.windows[i].add(observation)
                self.last_actions[i].append(action)
                self._film(i)
                if terminated or truncated:
                    self.results[i] = Episode(
                        self.seeds[i],
                        bool(info["success"]),
                        steps,
                        _numbers(info),
                        is_standing(self.last_actions[i]),
                    )
                    bar.update()

    def _check_actions(self, env_id: str) -> None:
        shape, size = self.envs[-1].action_space.shape, self.policy.spec.action_dim
        if shape != (size,):
            raise ValueError(
                f"{env_id} takes actions of the shape {shape}, the policy makes {size} numbers "
                f"({', '.join(self.policy.spec.action_names)}): evaluate it on the task of its demonstrations"
            )

    def _film(self, i: int) -> None:
        if i < self.filmed:
            self.frames[i].append(np.asarray(self.envs[i].render()))

    def finished(self) -> list[Episode]:
        return [result for result in self.results if result is not None]

    def __enter__(self) -> _Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for env in self.envs:
            env.close()


def is_standing(actions: Sequence[np.ndarray]) -> bool:
    """Whether there are `STANDING` actions and all are within `ALIKE` of each other."""
    return len(actions) == STANDING and float(np.ptp(np.stack(actions), axis=0).max()) <= ALIKE


def _numbers(info: Mapping[str, Any]) -> dict[str, float]:
    numbers = (int, float, np.number, np.bool_)
    return {
        key: float(value) for key, value in info.items() if isinstance(value, numbers) and key != "success"
    }
