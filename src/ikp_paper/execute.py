"""Train and evaluate one run up to its record, and report its progress; after a kill the next call continues it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ikp.data import DatasetError
from ikp.data.metadata import read_info
from ikp.demo.stages import Stage, Stages
from ikp.files import write_json
from ikp.kinematics import Camera
from ikp.locks import is_locked, lock
from ikp.rollouts.collect import collect
from ikp.runs import Task, evaluate_policy, train_policy
from ikp_paper.record import check_record, read_record, record_of
from ikp_paper.run import Places, Run
from ikp_paper.variants import ROUGH_DEGREES, ROUGH_METRES

METRICS = "metrics.jsonl"
ERROR = "error.txt"


def execute(run: Run, places: Places, share: dict[str, Any]) -> bool:
    """Train and evaluate a run whose demonstrations exist, and write its record.

    An interrupted training continues from its last state; an interrupted evaluation starts again.

    Args:
        run: the run.
        places: its folders.
        share: the part of the machine that it gets (`jobs`, `threads`), for the record.

    Returns:
        True when the run is finished, False if another process works on it.

    Raises:
        ValueError: the folder holds a run with other settings.
        Exception: any error of the training or the evaluation.
    """
    with lock(places.lock(run)) as held:
        if not held:
            return False
        if read_record(places.result(run)) is None:
            _execute(run, places, share)
    return True


def _execute(run: Run, places: Places, share: dict[str, Any]) -> None:
    work = places.work(run)
    work.mkdir(parents=True, exist_ok=True)

    def train() -> None:
        train_policy(
            places.data(run),
            work,
            method=run.method,
            policy=run.policy,
            train_config=run.train,
            episodes=run.demonstrations,
            recipe=run.recipe,
            cameras=rough_cameras(run.task) if run.rough_camera else None,
            task=run.task.env_id,
            resume=True,
        )

    trained = {key: value for key, value in run.settings().items() if key not in ("episodes", "metric")}
    stages = Stages(work)
    stages.run([Stage("train", f"training {run.name}", trained, train)])
    evaluation = evaluate_policy(work, episodes=run.episodes, task=run.task.env_id)
    made_in = {"machine_share": share, "starts": stages.done["train"]["runs"]}
    write_json(places.result(run), record_of(run, evaluation, work / METRICS, made_in))


def rough_cameras(task: Task) -> dict[str, Camera]:
    """The task's cameras with the pose errors of `ikp_paper.variants`."""
    turned = [math.radians(angle) for angle in ROUGH_DEGREES]
    return {name: camera.displaced(ROUGH_METRES, turned) for name, camera in task.cameras().items()}


def ensure_data(run: Run, places: Places, workers: int | None = None) -> None:
    """Collect the demonstrations of a run; one process collects while others that need them wait.

    Raises:
        DatasetError, RuntimeError, CollectionInterrupted: as `ikp.rollouts.collect.collect`.
    """
    root = places.data(run)
    with lock(root.with_name(f"{root.name}.lock"), wait=True):
        collect(
            run.task.env_id,
            root,
            run.demonstrations,
            env_kwargs=run.task.env_kwargs,
            perturbation=run.perturbation,
            expert_kwargs=run.expert,
            workers=workers,
            task=run.setting.task,
        )


def collected(run: Run, places: Places) -> int:
    """Number of demonstrations that exist of a run's data set."""
    try:
        return int(read_info(places.data(run))["total_episodes"])
    except DatasetError:  # none yet, or damaged, which the collection reports
        return 0


@dataclass(frozen=True)
class Standing:
    """Progress of a run.

    Attributes:
        words: description for the user.
        trained: share of its training that is done.
        finished: whether its record exists.
    """

    words: str
    trained: float
    finished: bool = False


def standing(run: Run, places: Places) -> Standing:
    """Progress of a run, from its files.

    Raises:
        ValueError: the run is finished, with other settings.
    """
    record = read_record(places.result(run))
    if record is not None:
        check_record(places.result(run), record, run)
        low, high = (100 * bound for bound in record["score"]["interval_95"])
        words = f"done: {100 * record['score']['mean']:.1f} % ({low:.0f} to {high:.0f} %)"
        return Standing(words, 1.0, finished=True)
    work = places.work(run)
    trained = _trained(work / METRICS, run)
    if is_locked(places.lock(run)):
        return Standing("evaluating" if trained == 1 else f"training {100 * trained:.0f} %", trained)
    if (work / ERROR).exists():
        return Standing(f"failed, see {work / ERROR}", trained)
    if trained == 1:
        return Standing("trained, not evaluated", trained)
    return Standing(f"interrupted at {100 * trained:.0f} %" if trained else "not run", trained)


def _trained(metrics: Path, run: Run) -> float:
    """Share of the training that is done, from the last complete line of its metrics."""
    try:
        with metrics.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return 0.0
    try:
        last = json.loads(lines[-1])
    except (IndexError, ValueError):
        return 0.0
    by_clock = last["seconds"] / (60 * run.train.minutes) if run.train.minutes else 0.0
    return min(1.0, max(last["step"] / run.train.steps, by_clock))
