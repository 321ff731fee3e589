"""The record of a finished run: a small JSON file from which all tables and figures are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ikp.files import read_json
from ikp.rollouts.intervals import bootstrap_interval, wilson_interval
from ikp.rollouts.summary import summarize
from ikp.training.metrics import last_probe, read_metrics
from ikp.words import differences
from ikp_paper.run import Run

CURVE_POINTS = 60
DIGITS = 5
"""Significant digits of the numbers of single episodes and of curves."""


def record_of(
    run: Run, evaluation: Mapping[str, Any], metrics: Path, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the record of a run.

    Args:
        run: the run.
        evaluation: the result of `ikp.runs.evaluate_policy`.
        metrics: the training's metrics.jsonl.
        extra: further entries, such as the share of the machine.

    Raises:
        ValueError: the run's metric is `score` and the task does not report it.
    """
    trained = evaluation["policy"]
    summary = summarize(evaluation)
    return {
        "run": {
            "name": run.name,
            "recipe": run.recipe,
            "task": run.setting.task,
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
        "provenance": evaluation["provenance"],
        "curve": _curve(metrics),
        "probe": {key: _rounded(value) for key, value in last_probe(read_metrics(metrics)).items()},
        "episodes": _columns(evaluation["episodes"]),
    }


def score_of(metric: str, episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of a metric over episodes, 0 to 1, with a 95 % interval: Wilson's for success, bootstrap for a score."""
    if metric == "success":
        count = sum(bool(episode["success"]) for episode in episodes)
        interval = wilson_interval(count, len(episodes))
        return {"metric": metric, "mean": count / len(episodes), "interval_95": list(interval)}
    lacking = [episode["seed"] for episode in episodes if metric not in episode["info"]]
    if lacking:
        raise ValueError(
            f"the task's metric is {metric!r}, and its info at the end of episode {lacking[0]} does not have it"
        )
    values = np.array([episode["info"][metric] for episode in episodes])
    interval = bootstrap_interval(values[None])
    return {"metric": metric, "mean": float(values.mean()), "interval_95": list(interval)}


def _columns(episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Results of episodes as one list per quantity; their seeds are consecutive."""
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
    """Read the record of a finished run; None for a run without one.

    Raises:
        ValueError: the file is damaged or not a record.
    """
    try:
        return read_json(
            path,
            fix="restore it, or delete it to repeat its run",
            keys={"run": dict, "score": dict, "settings": dict, "episodes": dict},
        )
    except FileNotFoundError:
        return None


def settings_changed(record: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Differences between a record's settings and those of a run, in words."""
    wanted = json.loads(json.dumps(settings))  # as it would be read from a record
    return differences(_relevant(record["settings"]), _relevant(wanted))


def _relevant(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those of the search that the policy does not use.

    Trainings once had no noise, and parts of policies no versions.
    """
    policy = settings.get("policy")
    settings = {"versions": {}, **settings}
    if "train" in settings:
        settings = {**settings, "train": {"state_noise": 0.0, **settings["train"]}}
    if not policy:
        return dict(settings)
    unused = ()
    if policy.get("kind") == "explicit":
        unused = tuple(policy.get("search", ()))
    elif policy.get("proposal") == "uniform":
        unused = ("regression",)
    search = {name: value for name, value in policy.get("search", {}).items() if name not in unused}
    return {**settings, "policy": {**policy, "search": search}}


def regression_weight(record: Mapping[str, Any]) -> float | None:
    """Weight of the regression in the decisions of a record; None if the policy has no energies to pool it with."""
    return _relevant(record["settings"]).get("policy", {}).get("search", {}).get("regression")


def check_record(path: Path, record: Mapping[str, Any], run: Run) -> None:
    """Raise ValueError if a record was made with other settings than the run's; the message lists them."""
    different = settings_changed(record, run.settings())
    if different:
        raise ValueError(
            f"{path} was made with other settings: {'; '.join(different)}. Use the same settings, another "
            "--results, or delete the file to repeat the run"
        )
