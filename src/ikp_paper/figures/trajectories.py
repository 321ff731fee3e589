"""Motions of the scripted experts in joint and Cartesian space, for Figures 4 and 5 of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ikp.data import load_dataset
from ikp.files import write_json
from ikp.kinematics import Robot, forward_kinematics
from ikp.locks import lock
from ikp.provenance import provenance
from ikp.rollouts.collect import collect
from ikp.runs import Task
from ikp.tasks.registry import task_entry

EPISODES = 4
MOST_POINTS = 60
"""Largest number of times that are kept of an episode."""


def trajectory_path(results: Path, task: str) -> Path:
    """`results/reproduce/trajectories/TASK.json`."""
    return results / "reproduce" / "trajectories" / f"{task}.json"


def record_trajectories(task_name: str, results: Path, out: Path) -> Path:
    """Record some episodes of a task's expert unless the file exists; return its path.

    The file holds, per episode, `time` [s], `q_measured` (time, dof) [rad or m], and the tips' positions in the
    robot's base frame (time, tips, 3) [m]: `position_seen` by nominal kinematics of the measured joints, and
    `position_true` with the joints' true offsets `q_offset` (dof,).

    Raises:
        RuntimeError: the expert failed.
    """
    path = trajectory_path(results, task_name)
    with lock(path.with_suffix(".lock"), wait=True):
        if not path.exists():
            entry = task_entry(task_name)
            task = Task(entry.env_id, {"observation": "state", **entry.options})
            data = out / "data" / f"{task_name}-trajectories"
            collect(task.env_id, data, EPISODES, env_kwargs=task.env_kwargs, workers=1, task=task_name)
            write_json(path, {**trajectories(data, task), "provenance": provenance()})
    return path


def trajectories(data: Path, task: Task) -> dict[str, Any]:
    """The motions in a data set of a task as plain JSON values; see `record_trajectories`."""
    demonstrations, robot = load_dataset(data, cameras=[]), task.robot()
    q_offset = torch.tensor(task.true_offsets(), dtype=torch.float64)
    joints = list(demonstrations.spec.joint_dims)
    episodes = []
    for start, end in demonstrations.episode_bounds.tolist():
        kept = np.unique(np.linspace(start, end - 1, MOST_POINTS).round().astype(int))
        q = demonstrations.state[kept][:, joints].double()
        episodes.append(
            {
                "time": ((kept - start) / demonstrations.spec.fps).round(3).tolist(),
                "q_measured": _rounded(q),
                "position_seen": _rounded(_tips(robot, q)),
                "position_true": _rounded(_tips(robot, q + q_offset)),
            }
        )
    return {
        "task": {"env_id": task.env_id, "env_kwargs": dict(task.env_kwargs)},
        "joint_names": list(robot.joint_names),
        "tip_names": list(robot.tip_names),
        "q_offset": _rounded(q_offset),
        "episodes": episodes,
    }


def _tips(robot: Robot, q: torch.Tensor) -> torch.Tensor:
    return forward_kinematics(robot, q)[:, list(robot.tip_indices), :3, 3]


def _rounded(values: torch.Tensor) -> list:
    return np.round(values.numpy(), 5).tolist()
