"""One run from start to its record, and how far it is; killed at any moment, the next call continues it."""

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
    """Train and evaluate a run whose demonstrations are there, and write its record.

    An interrupted training continues from its last state, an interrupted evaluation starts again.

    Args:
        run: what to do.
        places: where; the folder of a run that was interrupted is continued.
        share: the part of the machine that it gets, stored in the record (`jobs`, `threads`).

    Returns:
        Whether the run is finished: False where another process works on it.

    Raises:
        ValueError: the folder holds a run with other settings.
        Exception: whatever training or evaluation raises.
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
    """The task's cameras, each as wrong as one that was set up by hand (`ikp_paper.variants`)."""
    turned = [math.radians(angle) for angle in ROUGH_DEGREES]
    return {name: camera.displaced(ROUGH_METRES, turned) for name, camera in task.cameras().items()}


def ensure_data(run: Run, places: Places, workers: int | None = None) -> None:
    """Collect the demonstrations of a run, once for all processes that want them.

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
            task=run.column.task,
        )


def collected(run: Run, places: Places) -> int:
    """Demonstrations of a run's data set that are there."""
    try:
        return int(read_info(places.data(run))["total_episodes"])
    except DatasetError:  # none yet, or damaged, which the collection will say
        return 0


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes:
        words: for the user.
        trained: share of its training.
        finished: whether its record is there.
    """

    words: str
    trained: float
    finished: bool = False


def standing(run: Run, places: Places) -> Standing:
    """How far a run is, from its files alone.

    Raises:
        ValueError: it is finished, with other settings.
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
    """Share of the training, from the last whole line of its metrics."""
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
