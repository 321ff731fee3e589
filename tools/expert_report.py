"""Measure a task's scripted expert, beside random actions, no action and a replayed demonstration.

python tools/expert_report.py TASK [--episodes 100] [--baseline-episodes 20] [--demonstrations 3]
    [--out results/experts/TASK.json]

The table of all results is rebuilt by tools/tables.py.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np

from expert_table import WHO
from ikp.files import write_json
from ikp.provenance import provenance
from ikp.rollouts.evaluate import FIRST_SEED
from ikp.rollouts.summary import count_of, percent, summarize, summary_table
from ikp.tasks import registered_tasks, task_entry

Policy = Callable[[int, dict], np.ndarray]
"""From the number of the step and the observation to an action."""

TASK_NAMES = [entry.name for entry in registered_tasks()]
STARTS = 400  # of which one half predicts the other's objects from the joints
CAMERA_FRAMES, PHYSICS_SECONDS = 200, 3.0
RESULTS = Path("results/experts")
RANDOM_STEP = 0.1  # standard deviation of random targets around the measured state [rad]


def rollout(env: gymnasium.Env, seed: int, make_policy: Callable[[gymnasium.Env], Policy]) -> dict[str, Any]:
    """One episode as a row of `summarize`, with its actions."""
    observation, _ = env.reset(seed=seed)
    policy = make_policy(env)
    actions, done, info = [], False, {}
    while not done:
        actions.append(policy(len(actions), observation))
        observation, _, terminated, truncated, info = env.step(actions[-1])
        done = terminated or truncated
    numbers = {key: float(value) for key, value in info.items() if key != "success"}
    row = {"seed": seed, "success": bool(info["success"]), "steps": len(actions), "info": numbers}
    return row | {"actions": np.stack(actions)}


def expert(env: gymnasium.Env) -> Policy:
    """The task's scripted expert."""
    assert env.spec is not None
    scripted = task_entry(env.spec.id).expert_class()(env)
    return lambda step, observation: scripted.action()


def idle(env: gymnasium.Env) -> Policy:
    """Stay where the arms start."""
    first = np.array(env.unwrapped._observe()["state"])  # type: ignore[attr-defined]
    return lambda step, observation: first


def random(env: gymnasium.Env) -> Policy:
    """Random targets around the measured joints."""
    rng = np.random.default_rng(0)
    return lambda step, observation: (
        observation["state"] + rng.normal(0, RANDOM_STEP, observation["state"].shape)
    )


def replay(actions: np.ndarray) -> Callable[[gymnasium.Env], Policy]:
    """Actions played again, the last one held."""

    def replayed(env: gymnasium.Env) -> Policy:
        return lambda step, observation: actions[min(step, len(actions) - 1)]

    return replayed


def episodes_of(
    env: gymnasium.Env, seeds: Sequence[int], make_policy: Callable[[gymnasium.Env], Policy]
) -> list[dict]:
    """One episode per seed, with a line of progress."""
    rows = []
    for seed in seeds:
        rows.append(rollout(env, seed, make_policy))
        print(f"\r{make_policy.__name__} {len(rows)}/{len(seeds)}", end="", flush=True)
    print()
    return rows


def replays_of(env: gymnasium.Env, demonstrations: list[dict], seeds: range) -> list[dict]:
    """Each demonstration played again on all the other seeds, with the seed that it is from."""
    rows = []
    for demonstration in demonstrations:
        others = [seed for seed in seeds if seed != demonstration["seed"]]
        played = episodes_of(env, others, replay(demonstration["actions"]))
        rows += [row | {"demonstration": demonstration["seed"]} for row in played]
    return rows


def told_by_joints(env: gymnasium.Env, seeds: range) -> dict[str, Any]:
    """Predict the objects from the joints at the start of an episode, without an image.

    A linear prediction from the state of the first half of the starts, as its R^2 on the second half: 1 tells
    all, 0 or less is no better than the mean.
    """
    starts = [env.reset(seed=seed)[0] for seed in seeds]
    joints = np.stack([start["state"] for start in starts]).astype(float)
    objects = np.stack([start["environment_state"] for start in starts]).astype(float)
    joints = np.column_stack((joints, np.ones(len(joints))))
    half = len(seeds) // 2
    weights = np.linalg.lstsq(joints[:half], objects[:half])[0]
    missed = ((joints[half:] @ weights - objects[half:]) ** 2).sum(axis=0)
    spread = ((objects[half:] - objects[:half].mean(axis=0)) ** 2).sum(axis=0)
    names = env.unwrapped.environment_state_names  # type: ignore[attr-defined]
    varies = objects.std(axis=0) > 1e-4
    told = {name: float(1 - missed[i] / spread[i]) for i, name in enumerate(names) if varies[i]}
    return {"starts": len(seeds), "r2": told}


def described(rows: list[dict]) -> dict[str, Any]:
    """Summary and episodes without their actions."""
    episodes = [{key: value for key, value in row.items() if key != "actions"} for row in rows]
    steps = [row["steps"] for row in rows]
    scores = [row["info"].get("score", float(row["success"])) for row in rows]
    return {
        "summary": summarize({"episodes": episodes}),
        "below_half": count_of(sum(score < 0.5 for score in scores), len(scores)),
        "steps": {"mean": float(np.mean(steps)), "max": int(max(steps))},
        "episodes": episodes,
    }


def speeds(env_id: str, kwargs: dict[str, Any], seed: int) -> dict[str, Any]:
    """Physics as a multiple of real time, images per second and seconds per episode with images.

    In seconds of one core, which a busy machine changes less than those of a clock.
    """
    env = gymnasium.make(env_id, observation="pixels", disable_env_checker=True, **kwargs)
    base: Any = env.unwrapped
    started = time.process_time()
    row = rollout(env, seed, expert)
    episode = time.process_time() - started
    env.reset(seed=seed)
    started = time.process_time()
    for _ in range(CAMERA_FRAMES):
        base._observe()
    frames = CAMERA_FRAMES / (time.process_time() - started)
    steps = round(PHYSICS_SECONDS / base.model.opt.timestep)
    # In the middle of the episode, where most contacts are.
    for action in row["actions"][: len(row["actions"]) // 2]:
        env.step(action)
    started = time.process_time()
    mujoco.mj_step(base.model, base.data, steps)
    physics = PHYSICS_SECONDS / (time.process_time() - started)
    env.close()
    return {
        "physics_times_real_time": physics,
        "images_per_core_second": frames,
        "core_seconds_per_episode_with_images": episode,
        "steps_of_that_episode": row["steps"],
        "load_average": os.getloadavg()[0],
    }


def report(task: str, episodes: int, baseline_episodes: int, demonstrations: int) -> dict[str, Any]:
    """Everything this script measures, as plain JSON values."""
    env_id, kwargs = task_entry(task).env_id, dict(task_entry(task).options)
    here = provenance()  # before a long run: the commit that it began with
    env = gymnasium.make(env_id, observation="state", disable_env_checker=True, **kwargs)
    seeds = range(FIRST_SEED, FIRST_SEED + episodes)
    few = seeds[:baseline_episodes]
    started = time.process_time()
    demonstrated = episodes_of(env, seeds, expert)
    seconds = time.process_time() - started
    replays = replays_of(env, demonstrated[:demonstrations], few)
    return {
        "task": {"env_id": env_id, "env_kwargs": kwargs},
        "expert": described(demonstrated) | {"core_seconds_per_episode": seconds / episodes},
        "replayed_demonstrations": described(replays) | {"demonstrations": demonstrations},
        "random": described(episodes_of(env, few, random)),
        "do_nothing": described(episodes_of(env, few, idle)),
        "told_by_joints": told_by_joints(env, range(FIRST_SEED, FIRST_SEED + STARTS)),
        "speed": speeds(env_id, kwargs, FIRST_SEED),
        "provenance": here,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=TASK_NAMES)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--baseline-episodes", type=int, default=20)
    parser.add_argument(
        "--demonstrations", type=int, default=3, help="number of demonstrations that are replayed"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = report(arguments.task, arguments.episodes, arguments.baseline_episodes, arguments.demonstrations)
    for who in WHO:
        print(f"\n{who}\n{summary_table(result[who]['summary'])}")
        print(f"below one half: {percent(result[who]['below_half'])}")
    print(f"\n{result['speed']}")
    print(f"wrote {write_json(arguments.out or RESULTS / f'{arguments.task}.json', result)}")


if __name__ == "__main__":
    main()
