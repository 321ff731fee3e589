"""How fast demonstrations are collected and policies are evaluated, in insertion and in sweeping.

.venv/bin/python benchmarks/bench_rollouts.py   writes results/bench/rollouts.json

Rates of collection are those of a long one: the start of the processes is taken off by the difference of two
lengths. An untrained policy is evaluated; it costs what a trained one costs, but its episodes last to the end.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from tqdm import tqdm

import ikp.tasks  # noqa: F401  (registers the environments)
from common import Row, command_line, measure, write_rows
from ikp.data import load_dataset
from ikp.policies import Policy, make_policy
from ikp.recipes import recipe
from ikp.rollouts.collect import collect
from ikp.rollouts.evaluate import evaluate
from ikp.training.memory import reuse_freed_memory

TASK, SWEEPING = "ikp/Insertion-v0", "ikp/BimanualSweeping-v0"
OBSERVATIONS = {"state": "state", "pixels": "96x96 pixels"}
SHORT, LONG = 8, 72
"""Episodes of the two collections whose difference gives a rate."""
ROUNDS = 3
EVALUATED = {TASK: 100, SWEEPING: 20}
PROCESSES = (1, 2)


def collection_seconds(observation: str, episodes: int, processes: int) -> float:
    """Duration of a collection of its own."""
    with tempfile.TemporaryDirectory() as root:
        report = collect(
            TASK,
            Path(root) / "demonstrations",
            episodes,
            env_kwargs={"observation": observation},
            workers=processes,
            progress=False,
        )
    return report.seconds


def collection_rows() -> list[Row]:
    """Seconds per episode with one process and with two, in interleaved rounds."""
    kinds = [(observation, processes) for observation in OBSERVATIONS for processes in PROCESSES]
    seconds: dict[tuple[str, int], list[float]] = {kind: [] for kind in kinds}
    for _ in tqdm(range(ROUNDS), desc="collections", leave=False, disable=None):
        for kind in kinds:
            short, long = (collection_seconds(kind[0], episodes, kind[1]) for episodes in (SHORT, LONG))
            seconds[kind].append((long - short) / (LONG - SHORT))
    rows = []
    for observation, words in OBSERVATIONS.items():
        one, two = (seconds[observation, processes] for processes in PROCESSES)
        ratio = statistics.median(b / a for a, b in zip(one, two, strict=True))
        rows.append(
            _row(
                "one demonstration of insertion, one process",
                words,
                "ms",
                ROUNDS,
                statistics.median(one) * 1e3,
            )
            | {
                "peers": [
                    {
                        "name": "two processes",
                        "value": _digits(statistics.median(two) * 1e3),
                        "ratio": _digits(ratio),
                    }
                ]
            }
            | {
                "episodes_per_second": {
                    str(n): _digits(1 / statistics.median(seconds[observation, n])) for n in PROCESSES
                }
            }
        )
    return rows


class Simulation:
    """Steps of an environment that holds its joints, episode after episode."""

    def __init__(self, observation: str, task: str = TASK) -> None:
        self.env = gymnasium.make(task, observation=observation, disable_env_checker=True)
        self.seed = 0
        self.start()

    def start(self) -> None:
        """The next episode."""
        first, _ = self.env.reset(seed=self.seed)
        self.seed += 1
        joints = len(self.env.get_wrapper_attr("joint_dims"))
        others = self.env.action_space.shape[0] - joints
        self.action = np.concatenate([first["state"][:joints], np.zeros(others)]).astype(np.float32)

    def __call__(self) -> None:
        _, _, terminated, truncated, _ = self.env.step(self.action)
        if terminated or truncated:
            self.start()


def step_row() -> Row:
    """One control step with its image and without; the image's own cost in time on the clock and of processors."""
    pixels, state = Simulation("pixels"), Simulation("state")
    name = "one control step of insertion, with a 96x96 image"
    row = measure(name, "1 environment", {"with image": pixels, "without image": state})
    processor = _processor_ms(pixels) - _processor_ms(state)
    return row | {
        "image_ms": _digits(row["ours"] - row["peers"][0]["value"]),
        "image_processor_ms": _digits(processor),
    }


def _processor_ms(simulation: Simulation, steps: int = 200) -> float:
    """Time of all processors for one step, which other processes don't change much."""
    started = time.process_time()
    for _ in range(steps):
        simulation()
    return 1e3 * (time.process_time() - started) / steps


def evaluation_row(observation: str, task: str = TASK) -> Row:
    """A batched evaluation in as many processes as pay, beside one process, and the physics alone."""
    policy, count = untrained_policy(observation, task), EVALUATED[task]
    options = {"episodes": count, "env_kwargs": {"observation": observation}, "progress": False}
    found = evaluate(task, policy, **options)
    alone = evaluate(task, policy, workers=1, **options)
    assert found.episodes == alone.episodes
    steps = sum(episode.steps for episode in found.episodes)
    physics = _processor_ms(Simulation("state", task)) / 1e3 * steps
    name = f"evaluation of {count} episodes of {task.removeprefix('ikp/').removesuffix('-v0')}"
    peer = {"value": _digits(alone.seconds), "ratio": _digits(alone.seconds / found.seconds)}
    return _row(name, OBSERVATIONS[observation], "s", 1, found.seconds) | {
        "peers": [{"name": "one process", **peer}],
        "environment_steps": steps,
        "environment_steps_per_second": _digits(steps / found.seconds),
        "episodes_per_second": _digits(count / found.seconds),
        "episodes_per_second_of_physics_on_one_core": _digits(count / physics),
        "policy_ms_per_call": _digits(found.policy_milliseconds),
    }


def untrained_policy(observation: str, task: str = TASK) -> Policy:
    """An IKP of the recipe standard whose scales fit the task."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "demonstrations"
        collect(task, folder, SHORT, env_kwargs={"observation": observation}, progress=False)
        demonstrations = load_dataset(folder)
    env = gymnasium.make(task, observation="state")
    config = recipe("standard").policy_for("ikp")
    policy = make_policy(env.get_wrapper_attr("robot"), demonstrations.spec, config)
    policy.fit_scales(demonstrations.state, demonstrations.action, demonstrations.environment_state)
    return policy.eval()


def _row(name: str, size: str, unit: str, rounds: int, value: float) -> dict[str, Any]:
    row = {"name": name, "size": size, "threads": torch.get_num_threads(), "unit": unit}
    return row | {"rounds": rounds, "ours": _digits(value)}


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    torch.set_num_threads(command_line(__doc__).parse_args().threads)
    torch.manual_seed(0)
    reuse_freed_memory()
    rows = [step_row(), *collection_rows(), *(evaluation_row(observation) for observation in OBSERVATIONS)]
    rows.append(evaluation_row("pixels", SWEEPING))
    write_rows("rollouts", "Demonstrations and evaluation", rows)


if __name__ == "__main__":
    main()
