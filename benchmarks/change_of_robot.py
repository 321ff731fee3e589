"""Success of a policy on arms whose encoders have other zeros than the arm it was trained on, by kind of calibration.

python benchmarks/change_of_robot.py --method ikp [--task sweeping-miscalibrated] [--pool 3] [--arms 1 2 3]
    [--episodes 60] [--run FOLDER] [--results FOLDER]

A policy learns a task from pixels on arm A, with offsets within 2 degrees, and does it on arms B with offsets within 5
degrees. What it is told about an arm B is a joint map: none, from a minute of measured poses (20 of each tip, with 0.1
mm and 0.05 degrees of noise, on A and on B), from 1, 3 or 10 demonstrations on B and the policy itself, or the true
one. Each arm and calibration is one record; one that exists is not measured again.

With --pool N the policy learns from as many demonstrations of N arms in place of arm A, with offsets within 5 degrees
that their joint maps tell. --run takes a policy that learned on arm A already, such as one of `ikp-paper table2`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import ikp
from ikp.calibration.from_policy import calibrate_from_policy
from ikp.cli import main as run_ikp
from ikp.data import Demonstrations, store_joint_map
from ikp.files import write_json
from ikp.kinematics import forward_kinematics
from ikp.policies import Policy
from ikp.provenance import provenance
from ikp.rollouts.summary import count_of, percent
from ikp.runs import robot_of_data
from ikp.tasks import Miscalibration
from ikp.tasks.registry import task_entry
from simulated_arms import TrueArm


class Sizes(NamedTuple):
    """Sizes of a task's training and measurement unless the command gives others."""

    demonstrations: int
    steps: int
    episodes: int


TASKS = {"insertion": Sizes(100, 1500, 60), "sweeping-miscalibrated": Sizes(1000, 8000, 20)}
LIMIT = 5.0
"""Largest offset of an arm B [deg]."""
POSES = 20
SHOWN = (1, 3, 10)
FIRST_SHOWN, FIRST_UNSEEN = 5000, 10_000
CONDITIONS = ("arm A", "none", "tip poses", *(f"{n} demonstrations" for n in SHOWN), "true")
OF_POOLS = ("arm A", "none", "tip poses", "true")
"""Conditions that are measured of pools unless others are named; their arm A is the first arm of the pool."""
FIRST_POOLED, SCENES_OF_AN_ARM = 101, 200
"""The first arm of a pool, and the distance between the first scenes of two arms."""


def options(arm: int | None) -> dict[str, Any]:
    """Arguments of the environment with arm A (None) or an arm B."""
    offsets = {"offset_seed": 0} if arm is None else {"offset_seed": arm, "offset_limit": LIMIT}
    return {"observation": "pixels", **offsets}


def true_offset(arm: int | None, dof: int) -> np.ndarray:
    """q_true - q_measured (dof,) of an arm [rad]."""
    return Miscalibration.from_seed(0 if arm is None else arm, dof, 2.0 if arm is None else LIMIT).q_offset


def measured_offset(robot: ikp.Robot, arm: int | None) -> np.ndarray:
    """The same, estimated from measured tip poses."""
    simulated = TrueArm(robot, seed=0 if arm is None else arm)
    simulated.beta = true_offset(arm, robot.dof)
    measurements = []
    for name in robot.tip_names:
        simulated.link = name
        measurements.append(simulated.tip_poses(POSES))
    return ikp.calibrate(robot, measurements).q_offset


def collected(task: str, folder: Path, arm: int | None, count: int, seed: int = 0) -> Path:
    """The folder, with demonstrations on an arm in it."""
    perturbation = 0.7 if task_entry(task).disturbed else 0.0
    ikp.collect(task, folder, count, seed=seed, env_kwargs=options(arm), perturbation=perturbation)
    return folder


def shown(task: str, data: Path, arm: int) -> Demonstrations:
    """Demonstrations on an arm B."""
    return ikp.load_dataset(collected(task, data / f"arm{arm}", arm, max(SHOWN), FIRST_SHOWN))


def offset_of(condition: str, policy: Policy, arm: int | None, chosen: argparse.Namespace) -> np.ndarray:
    """Offsets that a calibration adds to the joints of an arm to give the policy's (dof,) [rad].

    The policy's joints are those of arm A, and of a pool the true ones.
    """
    robot = policy.robot
    assert robot is not None
    if condition == "none":
        return np.zeros(robot.dof)
    if condition in ("arm A", "true"):
        return true_offset(arm, robot.dof) - (0 if chosen.pool else true_offset(None, robot.dof))
    if condition == "tip poses":
        return measured_offset(robot, arm) - (0 if chosen.pool else measured_offset(robot, None))
    count = int(condition.split(maxsplit=1)[0])
    assert arm is not None
    demonstrations = shown(chosen.task, data_of(chosen), arm)
    return calibrate_from_policy(policy, demonstrations, range(count)).q_offset.numpy()


def tip_error(robot: ikp.Robot, offset: np.ndarray, true: np.ndarray, q: torch.Tensor) -> float:
    """Mean distance [mm] of the tips from themselves at the joints q (n, dof) of the demonstrations."""
    tips = [robot.link_index(name) for name in robot.tip_names]
    places = [
        forward_kinematics(robot, q + torch.as_tensor(o, dtype=q.dtype))[:, tips, :3, 3]
        for o in (offset, true)
    ]
    return 1e3 * float((places[0] - places[1]).norm(dim=-1).mean())


def named(chosen: argparse.Namespace) -> str:
    """Name of a policy."""
    pool = f"-pool{chosen.pool}" if chosen.pool else ""
    return f"{chosen.task}-{chosen.method}{pool}-seed{chosen.seed}"


def data_of(chosen: argparse.Namespace) -> Path:
    """Folder of a task's demonstrations."""
    return chosen.out / "data" / chosen.task


def pooled_data(chosen: argparse.Namespace) -> list[Path]:
    """Folders with the demonstrations of each arm of a pool, and its joint map in them."""
    folders = []
    for number in range(chosen.pool):
        arm = FIRST_POOLED + number
        folder = data_of(chosen) / f"pool{chosen.pool}" / f"arm{arm}"
        count = math.ceil(chosen.demonstrations / chosen.pool)
        collected(chosen.task, folder, arm, count, SCENES_OF_AN_ARM * number)
        robot = robot_of_data(folder)
        assert robot is not None
        nominal = ikp.load_dataset(folder, robot=robot, images=False).spec
        if nominal.joint_map is None:  # not stored yet
            told = nominal.recorded_map(robot).shifted(true_offset(arm, robot.dof).tolist(), "true offsets")
            store_joint_map(folder, told)
        folders.append(folder)
    return folders


def trained(chosen: argparse.Namespace) -> Path:
    """Folder of the policy of arm A, or of a pool."""
    if chosen.run:
        return chosen.run
    if chosen.pool:
        data = pooled_data(chosen)
    else:
        data = [collected(chosen.task, data_of(chosen) / "armA", None, chosen.demonstrations)]
    folder = chosen.out / f"{named(chosen)}-{chosen.demonstrations}-{chosen.steps}steps"
    words = ["--method", chosen.method, "--steps", chosen.steps, "--seed", chosen.seed, "--threads", 1]
    resume = ["--resume"] if folder.exists() else []
    if run_ikp(["train", "--data", *map(str, data), "--out", str(folder), *map(str, words), *resume]):
        raise SystemExit(f"the training in {folder} failed")
    return folder


def measure(run: Path, condition: str, arm: int | None, chosen: argparse.Namespace) -> Mapping[str, Any]:
    """Calibrate and roll out."""
    policy = ikp.load_policy(run)
    robot = policy.robot
    assert robot is not None
    if condition == "arm A":
        arm = FIRST_POOLED if chosen.pool else None
    offset = offset_of(condition, policy, arm, chosen)
    # the policy's own map has the offsets of the first arm of a pool already
    own = true_offset(FIRST_POOLED, robot.dof) if chosen.pool else np.zeros(robot.dof)
    other = policy.spec.recorded_map(robot).shifted((offset - own).tolist())
    told = ikp.load_policy(run, joint_map=other)
    outcome = ikp.evaluate(
        chosen.task, told, episodes=chosen.episodes, seed=FIRST_UNSEEN, env_kwargs=options(arm)
    )
    true = offset_of("true", policy, arm, chosen)
    joints = shown(chosen.task, data_of(chosen), chosen.arms[0]).state[:, list(policy.spec.joint_dims)]
    graded = task_entry(chosen.task).metric == "score"
    return {
        "success": count_of(outcome.successes, chosen.episodes),
        **({"scores": [round(one.info["score"], 4) for one in outcome.episodes]} if graded else {}),
        "episodes": chosen.episodes,
        "offset_error_deg": np.round(np.degrees(offset - true), 3).tolist(),
        "tip_error_mm": round(tip_error(robot, offset, true, joints), 3),
    }


def sizes(name: str) -> str:
    """The default of a size for each task, for the help."""
    return ", ".join(f"{task} {getattr(each, name)}" for task, each in TASKS.items())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--method", required=True, choices=("explicit", "explicit-fk", "implicit-joint", "ikp")
    )
    parser.add_argument("--task", choices=tuple(TASKS), default="insertion")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--steps", type=int, help=f"(default: {sizes('steps')})")
    parser.add_argument("--demonstrations", type=int, help=f"(default: {sizes('demonstrations')})")
    parser.add_argument("--pool", type=int, default=0, help="arms that train the policy, 0 for arm A alone")
    parser.add_argument("--arms", type=int, nargs="+", default=[1, 2, 3], help="seeds of the arms B")
    parser.add_argument("--episodes", type=int, help=f"of each arm (default: {sizes('episodes')})")
    parser.add_argument(
        "--conditions", nargs="+", choices=CONDITIONS, help="(default: all, of a pool those without --policy)"
    )
    parser.add_argument("--run", type=Path, help="folder of a policy that learned on arm A")
    parser.add_argument("--results", type=Path, default=Path("results/change_of_robot"))
    parser.add_argument("--out", type=Path, default=Path("outputs/change_of_robot"))
    chosen = parser.parse_args(arguments)
    if chosen.run and chosen.pool:
        parser.error("--run is a policy of arm A: leave out --pool")
    for name, value in TASKS[chosen.task]._asdict().items():
        setattr(chosen, name, value if getattr(chosen, name) is None else getattr(chosen, name))
    run = trained(chosen)
    for condition in chosen.conditions or (OF_POOLS if chosen.pool else CONDITIONS):
        for arm in chosen.arms[:1] if condition == "arm A" else chosen.arms:
            name = f"{named(chosen)}-{condition.replace(' ', '-')}" + f"-arm{arm}" * (condition != "arm A")
            path = chosen.results / f"{name}.json"
            if path.exists():
                print(f"{path} exists already; delete it to repeat it")
                continue
            episodes = chosen.episodes * (len(chosen.arms) if condition == "arm A" else 1)
            found = measure(run, condition, arm, argparse.Namespace(**{**vars(chosen), "episodes": episodes}))
            settings = {"steps": chosen.steps, "demonstrations": chosen.demonstrations, "limit_deg": LIMIT}
            record = {"task": chosen.task, "method": chosen.method, "seed": chosen.seed}
            record |= {"condition": condition, "arm": arm} | ({"pool": chosen.pool} if chosen.pool else {})
            write_json(path, {**record, **found, "settings": settings, "provenance": provenance()})
            print(
                f"{name}: {percent(found['success'])}, tip off by {found['tip_error_mm']:.2f} mm", flush=True
            )


if __name__ == "__main__":
    main()
