"""The small JSON file of a finished run: everything that the tables and figures are made of, and its origin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ikp.demo.plots import read_metrics
from ikp.demo.stages import differences
from ikp.files import read_json
from ikp.policies import PolicyConfig
from ikp.rollouts.intervals import bootstrap_interval, wilson_interval
from ikp.rollouts.summary import summarize
from ikp.training.config import TrainConfig
from ikp_paper.run import NOT_IN_THE_OUTCOME, Run

CURVE_POINTS = 60
BEFORE = {"fine_motion": False, "energy_gradient": 0.1}
"""What every policy did before these choices existed."""
DIGITS = 5
"""Significant digits of the numbers of single episodes and of curves."""


def record_of(
    run: Run, evaluation: Mapping[str, Any], metrics: Path, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of a run.

    Args:
        run: what was run.
        evaluation: what `evaluate_policy` returned.
        metrics: the training's metrics.jsonl.
        extra: further entries, such as the stages' durations.

    Raises:
        ValueError: the task reports no `score` and the run's metric is one.
    """
    trained = evaluation["policy"]
    summary = summarize(evaluation)
    return {
        "run": {
            "name": run.name,
            "preset": run.preset,
            "task": run.column.task,
            "variant": run.variant,
            "seed": run.train.seed,
        },
        "score": score_of(run.metric, evaluation["episodes"]),
        "summary": {
            key: summary[key] for key in ("success", "standing", "within", "errors") if key in summary
        },
        "training": {key: trained[key] for key in ("steps", "seconds")},
        "frames": trained["data"]["frames"],
        "evaluation": {key: round(evaluation[key], 2) for key in ("seconds", "policy_milliseconds")},
        **extra,
        "settings": run.settings(),
        "origin": evaluation["origin"],
        "curve": _curve(metrics),
        "probe": {key: _rounded(value) for key, value in last_probe(read_metrics(metrics)).items()},
        "episodes": _columns(evaluation["episodes"]),
    }


def last_probe(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What the training's perception probe found at the end; empty where there is none."""
    return next((line["probe"] for line in reversed(metrics) if "probe" in line), {})


def score_of(metric: str, episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of a metric over episodes, 0 to 1, with a 95 % interval: Wilson's for success, bootstrap for a score."""
    if metric == "success":
        count = sum(bool(episode["success"]) for episode in episodes)
        interval = wilson_interval(count, len(episodes))
        return {"metric": metric, "mean": count / len(episodes), "interval_95": list(interval)}
    lacking = [episode["seed"] for episode in episodes if metric not in episode["info"]]
    if lacking:
        raise ValueError(
            f"the task's info has no {metric!r} at the end of episode {lacking[0]}: its metric is that"
        )
    values = np.array([episode["info"][metric] for episode in episodes])
    interval = bootstrap_interval(values[None])
    return {"metric": metric, "mean": float(values.mean()), "interval_95": list(interval)}


def _columns(episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Episodes, whose seeds count up from the first one's, as one list per number."""
    columns: dict[str, Any] = {"first_seed": episodes[0]["seed"]}
    columns["success"] = [int(episode["success"]) for episode in episodes]
    columns["steps"] = [episode["steps"] for episode in episodes]
    for key in episodes[0]["info"]:
        columns[key] = [_rounded(episode["info"][key]) for episode in episodes]
    return columns


def _curve(path: Path) -> dict[str, list[float]]:
    """Loss (mean since the last validation) and errors on held-out demonstrations, at most `CURVE_POINTS` points."""
    points: list[dict[str, float]] = []
    losses: list[float] = []
    for line in read_metrics(path):
        if "train" in line:
            losses.append(line["train"]["loss"])
        if "held_out" in line and losses:
            now = {"step": line["step"], "seconds": line["seconds"], "loss": float(np.mean(losses))}
            points.append({**now, **line["held_out"]})
            losses = []
    every = -(-len(points) // CURVE_POINTS)
    kept = points[::-1][:: max(1, every)][::-1]  # the last point stays
    return {key: [_rounded(point[key]) for point in kept] for key in kept[0]} if kept else {}


def _rounded(value: float) -> float:
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short


def values_of(record: Mapping[str, Any]) -> np.ndarray:
    """The metric of every episode of a record, (episodes,), 0 to 1."""
    return np.array(record["episodes"][record["score"]["metric"]], dtype=float)


def within_of(record: Mapping[str, Any], tolerance: tuple[float, float]) -> np.ndarray:
    """Whether each episode succeeded and ended within a position [mm] and yaw [deg], (episodes,), 0 or 1."""
    episodes, (most_mm, most_deg) = record["episodes"], tolerance
    success, position, yaw = (np.array(episodes[key]) for key in ("success", "position_error", "yaw_error"))
    return ((success > 0) & (1e3 * position <= most_mm) & (yaw <= most_deg)).astype(float)


def read_record(path: Path) -> dict[str, Any] | None:
    """A finished run's record; None if it has none.

    Choices of policy, training and camera that did not exist then are at their defaults, or what they were (`BEFORE`).

    Raises:
        ValueError: the file is no such record.
    """
    try:
        record = read_json(path, fix="restore or delete it, then its run is made again")
    except FileNotFoundError:
        return None
    lacking = [key for key in ("run", "score", "settings", "episodes") if key not in record]
    if lacking:
        raise ValueError(
            f"{path} is no record of 'ikp reproduce': it lacks {', '.join(lacking)}. Move it elsewhere"
        )
    train = {key: value for key, value in TrainConfig().to_json().items() if key not in NOT_IN_THE_OUTCOME}
    policy = PolicyConfig().to_json() | BEFORE
    defaults = {"policy": policy, "train": train, "expert": {}, "rough_camera": False}
    record["settings"] = _completed(record["settings"], defaults)
    return record


def _completed(stored: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with what they lack at its default."""
    found = {**defaults, **stored}
    for key, default in defaults.items():
        if isinstance(default, dict) and isinstance(found[key], dict):
            found[key] = _completed(found[key], default)
    return found


def check_record(path: Path, record: Mapping[str, Any], run: Run) -> None:
    """Raise ValueError where a finished run was made with other settings than the present ones."""
    different = differences(record["settings"], json.loads(json.dumps(run.settings())))
    if different:
        raise ValueError(
            f"{path} was made with other settings: {'; '.join(different)}. Use the same settings, another "
            "--results, or delete the file to run it again"
        )
