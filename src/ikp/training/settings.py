"""The settings of a run, in `train.json` of its folder: a run resumes with the same ones or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ikp.data import Demonstrations
from ikp.files import differences, read_json, write_json
from ikp.policies import Policy
from ikp.policies.weights import checksum
from ikp.training.config import TrainConfig

SETTINGS_FILE = "train.json"
FREE = ("device", "threads", "log_every", "checkpoint_every")
"""Choices of the training that may change when a run resumes."""
SHOWN = 6
"""Largest number of differences in a message."""


def run_settings(
    policy: Policy, dataset: Demonstrations, config: TrainConfig, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the outcome of a run depends on, as plain JSON values; data and robot by their checksums."""
    settings = {
        "method": provenance.get("method"),
        "train": config.to_json(),
        "policy": policy.config.to_json(),
        "robot": policy.robot
        and {"name": policy.robot.name, "checksum": checksum(json.dumps(policy.robot.to_dict()))},
        "data": {
            "episodes": dataset.episodes,
            "frames": len(dataset),
            "checksum": checksum(dataset.state, dataset.action),
            "spec": policy.spec.to_json(),
        },
    }
    return json.loads(json.dumps(settings))


def write_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a run."""
    write_json(out / SETTINGS_FILE, settings)


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Compare the settings of a run in `out` with those that shall continue it.

    Raises:
        ValueError: they differ, or the stored ones are missing or damaged.
    """
    path = out / SETTINGS_FILE
    fix = "choose another folder, or delete this one to train from the start"
    if not path.is_file():
        raise ValueError(f"{path}, with the settings of the run, is missing: {fix}")
    stored = read_json(path, fix=fix)
    # a version of the library without one of these could not store it
    found = differences(_compared(stored), _compared({key: settings.get(key) for key in stored}))
    if found:
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        raise ValueError(
            f"{out} holds a run of other settings ({'; '.join([*found[:SHOWN], *more])}): resume with the same ones, "
            "or choose another folder"
        )


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    train = settings.get("train")
    if not isinstance(train, Mapping):
        return dict(settings)
    return {**settings, "train": {key: value for key, value in train.items() if key not in FREE}}
