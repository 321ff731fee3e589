"""Evaluation by rollouts: many environments in lock step, one batched policy call per step."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from ikp.checks import whole_number
from ikp.memory import free_memory
from ikp.policies import Policy
from ikp.policies.execution import Execution
from ikp.policies.frame_map import FrameMap, frame_of
from ikp.policies.frames import FrameHistory, stacked
from ikp.rollouts.environments import (
    SUCCESS_KEYS,
    Environment,
    EnvironmentMaker,
    Success,
    check_actions,
    has_time_limit,
    succeeded,
    warn_of_differences,
)
from ikp.rollouts.intervals import wilson_interval
from ikp.rollouts.processes import ProcessSimulation, processes_that_pay
from ikp.rollouts.simulation import LocalSimulation, Simulation, Turn

FIRST_SEED = 1_000_000
"""First seed of evaluations, far from the seeds of demonstrations."""
LOCK_STEP = 100
"""Largest number of environments that step together, unless more are asked for."""
MOST_EPISODES = 1_000_000
"""Largest number of episodes, steps and environments; a larger one is a typing error."""
MOST_WORKERS = 512
"""Largest number of processes; a larger one is a typing error."""
MOST_STEPS = 1000
"""Longest episode of an environment without a time limit, unless another one is asked for."""
OUTSIDE = 1e-3
"""Excess over an action space that is no excess, as a share of its range."""
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
        reward: sum of the rewards.
    """

    seed: int
    success: bool
    steps: int
    info: dict[str, float]
    standing: bool = False
    reward: float = 0.0


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
    env: Environment,
    policy: Policy,
    *,
    episodes: int = 100,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    frame: FrameMap | None = None,
    success: Success | None = None,
    max_steps: int | None = None,
    simultaneous: int | None = None,
    workers: int | None = None,
    video: Path | str | None = None,
    video_episodes: int = 9,
    progress: bool = True,
) -> Evaluation:
    """Evaluate a policy by rollouts on unseen seeds.

    Args:
        env: a Gymnasium id such as `ikp/Insertion-v0` or a task's name, a function that makes an environment, or an
            environment, which then rolls out one episode after another.
        policy: its actions are given to the environment as they come, in the units of the recorded data.
        episodes: number of rollouts, with the seeds `FIRST_SEED + seed` and following.
        seed: offset of the first seed.
        env_kwargs: arguments of the environment, such as `observation` and `offset_seed`.
        frame: where the policy's inputs are in the observation, if not under the keys of `observation_from_frames`:
            `{"state": "qpos", "front": "pixels/top"}`, or functions of the observation; see `frame_of`.
        success: key of `info` that says whether the last step left the task solved, or a function of `info`; by
            default `success` or `is_success`.
        max_steps: steps after which an episode ends; by default `MOST_STEPS`, unless the environment has a time limit.
        simultaneous: largest number of environments that exist and step together; by default as many as half of the
            free memory holds, at most `LOCK_STEP`.
        workers: processes that simulate, for registered tasks; by default one for each core that torch uses where
            enough is simulated to pay for their start, and else 1: this process alone. The outcome does not depend on
            it.
        video: path of an mp4 grid of the first `video_episodes` rollouts; None for no video.
        video_episodes: number of rollouts in the video.
        progress: show a progress bar.

    Raises:
        ValueError: a number is not whole or out of range, the environment cannot be made, or its observations,
            actions or `info` are not those that the policy needs; the message names the key and the fix.
    """
    for name, value, (low, high) in (
        ("episodes", episodes, (1, MOST_EPISODES)),
        ("seed", seed, (0, 2**31)),
        ("video_episodes", video_episodes, (1, LOCK_STEP)),
        ("max_steps", max_steps, (1, MOST_EPISODES)),
        ("simultaneous", simultaneous, (1, MOST_EPISODES)),
        ("workers", workers, (1, MOST_WORKERS)),
    ):
        if value is not None:
            whole_number(name, value, low, high)
    kwargs = dict(env_kwargs or {})
    maker = EnvironmentMaker(env, kwargs)
    started = time.perf_counter()
    most = 1 if maker.is_shared else simultaneous or LOCK_STEP
    with (
        tqdm(total=episodes, desc="evaluating", unit="episode", disable=not progress) as bar,
        closing(_simulation(maker, workers, episodes, most)) as simulation,
    ):
        rollouts = _Rollouts(
            simulation,
            maker.name,
            policy,
            frame,
            success,
            max_steps,
            [FIRST_SEED + seed + i for i in range(episodes)],
        )
        rollouts.filmed = min(video_episodes, episodes) if video is not None else 0
        rollouts.open(most, bounded=simultaneous is None)
        rollouts.run(bar)
    finished = rollouts.finished()
    if video is not None:
        from ikp.rollouts.video import write_grid

        labels = [episode.success for episode in finished[: rollouts.filmed]]
        write_grid(rollouts.frames, video, fps=policy.spec.fps, labels=labels)
    seconds = time.perf_counter() - started
    return Evaluation(maker.name, kwargs, tuple(finished), seconds, 1e3 * float(np.mean(rollouts.calls)))


def _simulation(maker: EnvironmentMaker, workers: int | None, episodes: int, most: int) -> Simulation:
    """The simulation of at most `most` environments at once, in as many processes as were asked for or pay."""
    if workers is None:
        workers = processes_that_pay(maker, episodes)
    workers = min(workers, most, episodes)
    return LocalSimulation(maker) if workers == 1 else ProcessSimulation(maker, workers)


class _Rollouts:
    """Environments that step together; one whose episode ends starts the next one."""

    def __init__(
        self,
        simulation: Simulation,
        name: str,
        policy: Policy,
        frame: FrameMap | None,
        success: Success | None,
        max_steps: int | None,
        seeds: Sequence[int],
    ) -> None:
        self.simulation, self.name = simulation, name
        self.policy, self.frame, self.success = policy, frame, success
        self.max_steps, self.seeds = max_steps, seeds
        self.filmed = 0
        self.calls: list[float] = []
        self.frames: list[list[np.ndarray]] = []
        self._slots: list[_Slot] = []
        self._waiting = deque(range(len(seeds)))
        self._results: dict[int, Episode] = {}
        self._told: set[str] = set()

    def open(self, most: int, *, bounded: bool) -> None:
        """Make the environments and start an episode in each; if `bounded`, no more than half of the memory holds."""
        self.frames = [[] for _ in range(self.filmed)]
        free = free_memory()
        while (count := min(self.simulation.width, len(self._waiting), most - len(self._slots))) > 0:
            self._start(self._new_slots(count))
            left = free_memory()
            if bounded and free is not None and left is not None and left < free / 2:
                break

    def _new_slots(self, count: int) -> list[_Slot]:
        first = len(self._slots)
        numbers = range(first, first + count)
        for env in self.simulation.make(numbers, range(self.filmed)):
            check_actions(env, self.policy.spec, self.name)
            if not self._slots:
                robot = self.policy.robot
                joints = robot.joint_names if robot is not None else ()
                warn_of_differences(env, self.policy.spec, joints, self.name)
            space = env.action_space
            assert isinstance(space, gym.spaces.Box)
            slot = _Slot(
                len(self._slots),
                space,
                has_time_limit(env),
                self.policy.new_history(),
                self.policy.new_execution(),
            )
            self._slots.append(slot)
        return self._slots[first:]

    def run(self, bar: tqdm) -> None:
        while running := [slot for slot in self._slots if slot.index is not None]:
            self._decide([slot for slot in running if slot.execution.is_due])
            actions = {slot.number: self._action(slot) for slot in running}
            turns = self.simulation.step(actions, self._filmed(running))
            ended = [slot for slot in running if self._advance(slot, turns[slot.number])]
            bar.update(len(ended))
            self._start(ended)

    def _filmed(self, slots: Sequence[_Slot]) -> Collection[int]:
        return [slot.number for slot in slots if slot.index is not None and slot.index < self.filmed]

    def _decide(self, slots: Sequence[_Slot]) -> None:
        if not slots:
            return
        started = time.perf_counter()
        action, rest = self.policy.plan(stacked([slot.window.frames for slot in slots], self.policy.spec))
        for *decided, slot in zip(action.cpu(), rest.cpu(), slots, strict=True):
            slot.execution.follow(*decided)
        self.calls.append(time.perf_counter() - started)

    def _start(self, slots: Sequence[_Slot]) -> None:
        """Start the next episodes in slots, or leave slots empty when there is none."""
        for slot in slots:
            slot.index = self._waiting.popleft() if self._waiting else None
        begun = [slot for slot in slots if slot.index is not None]
        seeds = {slot.number: self.seeds[slot.index] for slot in begun if slot.index is not None}
        turns = self.simulation.reset(seeds, self._filmed(begun))
        for slot in begun:
            slot.window.reset()
            slot.execution.reset()
            slot.last_actions.clear()
            slot.steps, slot.reward = 0, 0.0
            self._receive(slot, turns[slot.number])

    def _action(self, slot: _Slot) -> np.ndarray:
        """The next action of a slot, as its environment takes it."""
        action = slot.execution.next().numpy()
        self._warn_of_action(action, slot.space)
        slot.last_actions.append(action)
        return action.astype(slot.space.dtype)

    def _advance(self, slot: _Slot, turn: Turn) -> bool:
        """Take the result of a step in; True at the end of an episode, whose outcome is then stored."""
        assert slot.index is not None
        slot.steps, slot.reward = slot.steps + 1, slot.reward + turn.reward
        self._receive(slot, turn)
        over = turn.terminated or turn.truncated or self._is_too_long(slot)
        if over:
            self._results[slot.index] = Episode(
                self.seeds[slot.index],
                succeeded(turn.info, self.success),
                slot.steps,
                _numbers(turn.info),
                is_standing(slot.last_actions),
                slot.reward,
            )
        return over

    def _receive(self, slot: _Slot, turn: Turn) -> None:
        try:
            slot.window.add(frame_of(turn.observation, self.frame))
        except ValueError as error:
            raise ValueError(
                f"{self.name}: {error}; where an input is under another key, say so: "
                "frame={'state': 'KEY'}, or a function of the observation in place of the key"
            ) from error
        if slot.index is not None and slot.index < self.filmed:
            picture = turn.picture
            if not isinstance(picture, np.ndarray):
                raise ValueError(
                    f"{self.name} renders a {type(picture).__name__}, no image: make it with "
                    "render_mode='rgb_array', or leave the video out"
                )
            self.frames[slot.index].append(picture)

    def _is_too_long(self, slot: _Slot) -> bool:
        if self.max_steps is not None:
            return slot.steps >= self.max_steps
        if slot.steps < MOST_STEPS or slot.has_time_limit:
            return False
        self._tell("length", f"{self.name} did not end within {MOST_STEPS} steps: set max_steps")
        return True

    def _warn_of_action(self, action: np.ndarray, space: gym.spaces.Box) -> None:
        slack = OUTSIDE * np.where(np.isfinite(space.high - space.low), space.high - space.low, 0.0)
        outside = np.flatnonzero((action < space.low - slack) | (action > space.high + slack))
        if len(outside):
            dim = int(outside[0])
            self._tell(
                "action",
                f"the policy's action leaves the action space of {self.name} in "
                f"{self.policy.spec.recorded_action_names[dim]!r}: {action[dim]:g} is not from {space.low[dim]:g} to "
                f"{space.high[dim]:g}",
            )

    def _tell(self, kind: str, message: str) -> None:
        """Warn once of each kind."""
        if kind not in self._told:
            self._told.add(kind)
            warnings.warn(message, stacklevel=2)

    def finished(self) -> list[Episode]:
        """The outcomes, in the order of the seeds."""
        return [self._results[index] for index in sorted(self._results)]


@dataclass
class _Slot:
    """An environment and the episode in it; `index` is None when there is no further one."""

    number: int
    space: gym.spaces.Box
    has_time_limit: bool
    window: FrameHistory
    execution: Execution
    index: int | None = None
    steps: int = 0
    reward: float = 0.0
    last_actions: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=STANDING))


def is_standing(actions: Sequence[np.ndarray]) -> bool:
    """Whether there are `STANDING` actions and all are within `ALIKE` of each other."""
    return len(actions) == STANDING and float(np.ptp(np.stack(actions), axis=0).max()) <= ALIKE


def _numbers(info: Mapping[str, Any]) -> dict[str, float]:
    numbers = (int, float, np.number, np.bool_)
    return {
        key: float(value)
        for key, value in info.items()
        if isinstance(value, numbers) and key not in SUCCESS_KEYS
    }
