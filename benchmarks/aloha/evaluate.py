"""Success of a policy on ALOHA's simulated tasks, at seeds that no demonstration has.

.venv-aloha/bin/python benchmarks/aloha/evaluate.py transfer runs/transfer
.venv-aloha/bin/python benchmarks/aloha/evaluate.py transfer expert     the scripted expert's own way-points

A policy sees one frame at a time, {"state": (14,), "images": {camera: (height, width, 3)}}, and returns the joint
targets at one or several way-points, (way_points, 14), which are due k / action_rate seconds after the frame, k = 1, 2,
... Between them the commands are interpolated at 50 Hz, and after a share of them the policy decides again. An episode
ends with gym-aloha's own success or after 400 steps. The record is results/aloha/TASK_NAME.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ikp
from execution import due_frames, interpolated
from experts import plan
from ikp.files import write_json
from ikp.provenance import provenance
from ikp.rollouts.evaluate import FIRST_SEED
from ikp.rollouts.intervals import wilson_interval
from task import FPS, STEPS, SUCCESS, TEXT

if TYPE_CHECKING:
    from simulation import Simulation

Policy = Callable[[Mapping[str, Any]], np.ndarray]


@dataclass(frozen=True)
class Timing:
    """When a decision's way-points are due [Hz], and the share of them that is executed before the next decision."""

    action_rate: float
    executed: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.executed <= 1:
            raise ValueError(f"executed is {self.executed}: give a share above 0 and up to 1")

    def commands(self, start: np.ndarray, way_points: np.ndarray) -> np.ndarray:
        """Commands (frames, 14) until the next decision."""
        due = due_frames(len(way_points), self.action_rate, FPS)
        return interpolated(start, way_points, due)[: max(1, round(self.executed * due[-1]))]


@dataclass(frozen=True)
class Episode:
    """Outcome of one episode: its largest reward, from 0 to 4 for success, and the steps until its end."""

    seed: int
    reward: int
    steps: int

    @property
    def is_success(self) -> bool:
        return self.reward == SUCCESS


def run_episode(
    policy: Policy, simulation: Simulation, seed: int, timing: Timing
) -> tuple[Episode, list[float]]:
    """One episode, and the time of each decision [s]."""
    state = simulation.reset(seed)
    last, steps, best = state, 0, 0
    seconds = []
    while steps < STEPS and best < SUCCESS:
        started = time.perf_counter()
        frame = {"state": state, "images": simulation.images(), "step": steps}
        way_points = np.asarray(policy(frame))
        seconds.append(time.perf_counter() - started)
        for command in timing.commands(last, way_points)[: STEPS - steps]:
            state, last = simulation.step(command), command
            steps, best = steps + 1, max(best, simulation.reward)
            if best == SUCCESS:
                break
    return Episode(seed, best, steps), seconds


def evaluate(policy: Policy, simulation: Simulation, seeds: Iterable[int], timing: Timing) -> dict[str, Any]:
    """Episodes at all seeds, as the values of a record: success rate, its interval, and how far the others came."""
    episodes, seconds = [], []
    for seed in seeds:
        episode, times = run_episode(policy, simulation, seed, timing)
        episodes.append(episode)
        seconds += times
        solved = sum(each.is_success for each in episodes)
        print(f"seed {seed}: reward {episode.reward}; {solved} of {len(episodes)} solved", flush=True)
    solved = sum(episode.is_success for episode in episodes)
    return {
        "task": simulation.task,
        **asdict(timing),
        "success_rate": solved / len(episodes),
        "interval_95": wilson_interval(solved, len(episodes)),
        "rewards": {
            str(reward): sum(each.reward == reward for each in episodes) for reward in range(SUCCESS + 1)
        },
        "decision_ms": round(1e3 * float(np.median(seconds)), 1),
        "episodes": [asdict(episode) for episode in episodes],
    }


def trained_policy(run: str) -> tuple[Policy, tuple[str, ...], int]:
    """The policy of a run of `ikp train`, its cameras and the size of their images [pixel]."""
    policy = ikp.load_policy(run)
    if policy.config.history != 1:
        raise ValueError(f"{run} sees {policy.config.history} frames: train it with --history 1")
    sizes = {size for *size, _ in policy.spec.image_shapes.values() for size in size}
    if len(sizes) > 1:
        raise ValueError(f"{run} has images of {policy.spec.image_shapes}: all must be squares of one size")

    def decide(frame: Mapping[str, Any]) -> np.ndarray:
        action = policy.act(ikp.observation_from_frames([[frame]], policy.spec))[0]
        return action.numpy().reshape(-1, policy.spec.action_dim)

    return decide, policy.spec.camera_names, sizes.pop() if sizes else 96


def expert_policy(simulation: Simulation, way_points: int, timing: Timing) -> Policy:
    """The scripted expert, at way-points alone: what is lost by their rate."""
    due = due_frames(way_points, timing.action_rate, FPS)
    planned: list[np.ndarray] = []

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
    parser.add_argument("--action-rate", type=float, default=2.5, help="way-points per second [Hz]")
    parser.add_argument("--way-points", type=int, default=5, help="of the expert's decisions")
    parser.add_argument("--executed", type=float, default=1.0, help="share executed before the next decision")
    parser.add_argument("--out", type=Path, default=Path("results/aloha"))
    chosen = parser.parse_args(arguments)
    timing = Timing(chosen.action_rate, chosen.executed)
    if chosen.policy == "expert":
        simulation = Simulation(chosen.task)
        policy = expert_policy(simulation, chosen.way_points, timing)
    else:
        policy, cameras, size = trained_policy(chosen.policy)
        simulation = Simulation(chosen.task, cameras, size)
    name = chosen.name or Path(chosen.policy).name
    seeds = range(FIRST_SEED + chosen.seed, FIRST_SEED + chosen.seed + chosen.episodes)
    record = {"policy": name, **evaluate(policy, simulation, seeds, timing), "provenance": provenance()}
    print(f"success {100 * record['success_rate']:.1f} %, 95 % interval {record['interval_95']}")
    print(write_json(chosen.out / f"{chosen.task}_{name}.json", record))


if __name__ == "__main__":
    main()
