"""Demonstrations of scripted experts on ALOHA's simulated tasks, as a LeRobotDataset v3.0 that `ikp train` reads.

make aloha
.venv-aloha/bin/python benchmarks/aloha/record.py transfer outputs/aloha/transfer
.venv-aloha/bin/ikp train --data outputs/aloha/transfer --robot aloha --cameras top --out runs/transfer

Episodes have 400 frames at 50 Hz. The expert's commands are kept where the environment says that they solved the task.
The seed of every episode is stored with it, so that a recording that was stopped continues; evaluation takes others
(evaluate.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ikp
from experts import ROBOT, plan
from ikp.data import MapHints
from ikp.data.joint_maps import store_joint_map
from task import CLOSED, FPS, NAMES, OPEN, SUCCESS, TEXT

if TYPE_CHECKING:
    from simulation import Simulation


def demonstrate(simulation: Simulation, seed: int) -> tuple[list[tuple[dict[str, Any], np.ndarray]], int]:
    """Frames and commands of the expert's episode, and its largest reward."""
    state = simulation.reset(seed)
    steps, best = [], 0
    for command in plan(simulation.task, simulation.objects):
        steps.append(({"state": state, "images": simulation.images()}, command))
        state = simulation.step(command)
        best = max(best, simulation.reward)
    return steps, best


def record(simulation: Simulation, root: Path, episodes: int) -> list[int]:
    """Record successful episodes at the seeds 0, 1, ... until there are as many as asked for.

    A folder that has some of them already is continued.

    Returns:
        The seeds at which the expert failed.

    Raises:
        ValueError: the folder holds more episodes than asked for.
    """
    names = {"action_names": NAMES, "state_names": NAMES, "units": "rad", "robot_type": ROBOT.name}
    with ikp.Recorder(root, fps=FPS, task=TEXT[simulation.task], **names) as recorder:
        if recorder.episodes > episodes:
            raise ValueError(
                f"{root} holds {recorder.episodes} episodes, more than {episodes}: give another folder"
            )
        solved = recorded_seeds(root) if recorder.episodes else []
        seed = solved[-1] + 1 if solved else 0
        while recorder.episodes < episodes:
            steps, best = demonstrate(simulation, seed)
            if best == SUCCESS:
                for frame, command in steps:
                    recorder.add(frame, command)
                recorder.save_episode(success=True, info={"seed": seed})
                solved.append(seed)
            print(f"seed {seed}: reward {best}; {recorder.episodes} episodes", flush=True)
            seed += 1
    grippers = {name: (OPEN, CLOSED) for name in NAMES if name.endswith("gripper")}
    data = ikp.load_dataset(root, robot=ROBOT, hints=MapHints(gripper=grippers), images=False)
    store_joint_map(root, data.spec.joint_map)
    return sorted(set(range(seed)) - set(solved))


def recorded_seeds(root: Path) -> list[int]:
    """Seeds of the episodes in a folder, in their order."""
    return [int(info["seed"]) for info in ikp.load_dataset(root, images=False).info]


def main(arguments: Sequence[str] | None = None) -> None:
    from simulation import Simulation

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=list(TEXT))
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--cameras", nargs="+", default=["top", "angle"])
    parser.add_argument("--size", type=int, default=96, help="height and width of the images [pixel]")
    chosen = parser.parse_args(arguments)
    simulation = Simulation(chosen.task, tuple(chosen.cameras), chosen.size)
    failed = record(simulation, chosen.out, chosen.episodes)
    print(f"{chosen.out}: {chosen.episodes} episodes; the expert failed at the seeds {failed}")


if __name__ == "__main__":
    main()
