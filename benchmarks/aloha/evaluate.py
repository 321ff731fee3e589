"""Success of a policy on ALOHA's simulated tasks, at seeds that no demonstration has.

.venv-aloha/bin/python benchmarks/aloha/evaluate.py transfer runs/transfer
.venv-aloha/bin/python benchmarks/aloha/evaluate.py transfer expert     the scripted expert's own way-points

A policy sees one frame at a time, {"state": (14,), "images": {camera: (height, width, 3)}}, and returns the joint
targets at one or several way-points, (way_points, 14), which are due k / rate seconds after the frame, k = 1, 2, ...
Between them the commands are interpolated at 50 Hz, and after a share of them the policy decides again
(ikp.policies.execution). An episode ends with gym-aloha's own success or after 400 steps. The record is
results/aloha/TASK_NAME.json; --video FILE.mp4 films the first episodes.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import ikp
from experts import plan
from ikp.files import write_json
from ikp.policies.checkpoint import FORMAT
from ikp.policies.execution import Execution
from ikp.policies.timing import TimingConfig
from ikp.provenance import provenance
from ikp.rollouts.evaluate import FIRST_SEED
from ikp.rollouts.intervals import wilson_interval
from ikp.rollouts.video import write_grid
from ikp.runs import policy_provenance
from task import FPS, STEPS, SUCCESS, TEXT

if TYPE_CHECKING:
    from simulation import Simulation

Policy = Callable[[Mapping[str, Any]], np.ndarray]
FILMED = 10
"""Pictures of a film per second."""


@dataclass(frozen=True)
class Episode:
    """Outcome of one episode: its largest reward, from 0 to 4 for success, and the steps until its end."""

    seed: int
    reward: int
    steps: int

    @property
    def is_success(self) -> bool:
        return self.reward == SUCCESS


class Film:
    """Pictures of the first episodes from the front, for `ikp.rollouts.video`.

    Args:
        simulation: what is filmed.
        count: number of episodes.
    """

    def __init__(self, simulation: Simulation, count: int) -> None:
        self.simulation, self.count = simulation, count
        self.episodes: list[list[np.ndarray]] = []
        self.labels: list[bool] = []

    def start(self) -> None:
        """A new episode."""
        self.episodes.append([])

    def take(self, step: int) -> None:
        """A picture before this step of the newest episode, of every fifth one."""
        if len(self.episodes) <= self.count and step % (FPS // FILMED) == 0:
            self.episodes[-1].append(self.simulation.view())

    def end(self, episode: Episode) -> None:
        """The newest episode's outcome."""
        self.labels.append(episode.is_success)

    def write(self, path: Path) -> Path:
        """The episodes as an mp4 file."""
        return write_grid(self.episodes[: self.count], path, FILMED, self.labels[: self.count])


def run_episode(
    policy: Policy, simulation: Simulation, seed: int, execution: Execution, film: Film | None = None
) -> tuple[Episode, list[float]]:
    """One episode, and the time of each decision [s]."""
    state, best, seconds = simulation.reset(seed), 0, []
    execution.reset()
    if film is not None:
        film.start()
    for step in range(STEPS):
        if film is not None:
            film.take(step)
        if execution.is_due:
            started = time.perf_counter()
            way_points = policy({"state": state, "images": simulation.images(), "step": step})
            seconds.append(time.perf_counter() - started)
            execution.follow(torch.as_tensor(way_points), torch.as_tensor(state))
        state = simulation.step(execution.next().numpy())
        best = max(best, simulation.reward)
        if best == SUCCESS:
            return Episode(seed, best, step + 1), seconds
    return Episode(seed, best, STEPS), seconds


def evaluate(
    policy: Policy,
    simulation: Simulation,
    seeds: Iterable[int],
    timing: TimingConfig,
    held: Sequence[int] = (),
    turns: Mapping[int, float] | None = None,
    film: Film | None = None,
) -> dict[str, Any]:
    """Episodes at all seeds, as the values of a record: success rate, its interval, and how far the others came."""
    execution, episodes, seconds = Execution(timing, FPS, held, turns), [], []
    for seed in seeds:
        episode, times = run_episode(policy, simulation, seed, execution, film)
        episodes.append(episode)
        if film is not None:
            film.end(episode)
        seconds += times
        solved = sum(each.is_success for each in episodes)
        print(f"seed {seed}: reward {episode.reward}; {solved} of {len(episodes)} solved", flush=True)
    solved = sum(episode.is_success for episode in episodes)
    return {
        "task": simulation.task,
        "timing": asdict(timing) | {"executed": timing.share},
        "success_rate": solved / len(episodes),
        "interval_95": wilson_interval(solved, len(episodes)),
        "rewards": {
            str(reward): sum(each.reward == reward for each in episodes) for reward in range(SUCCESS + 1)
        },
        "decision_ms": round(1e3 * float(np.median(seconds)), 1),
        "episodes": [asdict(episode) for episode in episodes],
    }


def trained_policy(run: str) -> tuple[Policy, ikp.Policy]:
    """The policy of a run of `ikp train` as a function of a frame, and itself."""
    policy = ikp.load_policy(run)
    if policy.config.history != 1:
        raise ValueError(f"{run} sees {policy.config.history} frames: train it with --history 1")
    sizes = {size for *size, _ in policy.spec.image_shapes.values() for size in size}
    if len(sizes) > 1:
        raise ValueError(f"{run} has images of {policy.spec.image_shapes}: all must be squares of one size")

    def decide(frame: Mapping[str, Any]) -> np.ndarray:
        return policy.act(ikp.observation_from_frames([[frame]], policy.spec))[0].numpy()

    return decide, policy


def zeros(policy: ikp.Policy) -> float:
    """How far the zeros of the policy's joints are from those of the arms, at most [deg]; see wrong_zeros.py."""
    joint_map = policy.spec.joint_map
    offsets = [] if joint_map is None else [abs(dimension.offset) for dimension in joint_map.action]
    return round(math.degrees(max(offsets, default=0.0)), 2)


def expert_policy(simulation: Simulation, timing: TimingConfig) -> Policy:
    """The scripted expert, at way-points alone: what is lost by their rate."""
    due, planned = np.array(timing.due(FPS)), []

    def decide(frame: Mapping[str, Any]) -> np.ndarray:
        if frame["step"] == 0:
            planned[:] = [plan(simulation.task, simulation.objects)]
        return planned[0][(frame["step"] + due - 1).clip(max=STEPS - 1)]

    return decide


def main(arguments: Sequence[str] | None = None) -> None:
    from simulation import Simulation

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=list(TEXT))
    parser.add_argument("policy", help="folder of a run, or expert")
    parser.add_argument("--name", help="name of the record; by default that of the folder")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="offset of the first seed")
    parser.add_argument("--executed", type=float, help="share executed before the next decision")
    parser.add_argument(
        "--action-rate", type=float, default=2.5, help="the expert's way-points per second [Hz]"
    )
    parser.add_argument("--way-points", type=int, default=5, help="of the expert's decisions")
    parser.add_argument("--out", type=Path, default=Path("results/aloha"))
    parser.add_argument("--video", type=Path, help="mp4 file of the first episodes")
    parser.add_argument("--video-episodes", type=int, default=4)
    chosen = parser.parse_args(arguments)
    if chosen.video_episodes < 1:
        parser.error(f"--video-episodes is {chosen.video_episodes}: film at least one")
    trained, held, turns = {}, (), {}
    if chosen.policy == "expert":
        timing = TimingConfig(chosen.action_rate, chosen.way_points)
        simulation = Simulation(chosen.task)
        policy = expert_policy(simulation, timing)
    else:
        policy, loaded = trained_policy(chosen.policy)
        timing, execution = loaded.config.timing, loaded.new_execution()
        held, turns = execution.held, execution.turns
        size = next(iter(loaded.spec.image_shapes.values()), (96,))[0]
        simulation = Simulation(chosen.task, loaded.spec.camera_names, size)
        seen = {"cameras": list(loaded.spec.camera_names), "format": FORMAT, "zeros_deg": zeros(loaded)}
        trained = {"training": policy_provenance(chosen.policy) | seen}
    if chosen.executed is not None:
        timing = replace(timing, executed=chosen.executed)
    name = chosen.name or Path(chosen.policy).name
    seeds = range(FIRST_SEED + chosen.seed, FIRST_SEED + chosen.seed + chosen.episodes)
    film = Film(simulation, chosen.video_episodes) if chosen.video else None
    found = evaluate(policy, simulation, seeds, timing, held, turns, film)
    physics = {"mujoco": version("mujoco")}  # the version decides how contacts behave
    record = {"policy": name, **found, **trained, **physics, "provenance": provenance()}
    print(f"success {100 * record['success_rate']:.1f} %, 95 % interval {record['interval_95']}")
    print(write_json(chosen.out / f"{chosen.task}_{name}.json", record))
    if film is not None:
        print(film.write(chosen.video))


if __name__ == "__main__":
    main()
