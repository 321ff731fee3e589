"""The settings of a run, in `train.json` of its folder: a run resumes with the same ones or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from ikp.data import Demonstrations
from ikp.files import read_json, write_json
from ikp.policies import Policy
from ikp.policies.checkpoint import FORMAT
from ikp.policies.weights import checksum
from ikp.training.config import TrainConfig
from ikp.words import differences

SETTINGS_FILE = "train.json"
FREE = ("device", "threads", "log_every", "checkpoint_every")
"""Choices of the training that may change when a run resumes."""
SHOWN = 6
"""Largest number of differences in a message."""
KEYS: dict[str, type | tuple[type, ...]] = {
    "method": (str, NoneType),
    "train": dict,
    "policy": dict,
    "robot": (dict, NoneType),
    "data": dict,
}
"""Parts of the settings, each with the type of its value."""
CHECKED_IMAGES = 16
"""Images of each camera, evenly spaced, that the checksum of the data covers."""


def run_settings(
    policy: Policy, dataset: Demonstrations, config: TrainConfig, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the outcome of a run depends on, as plain JSON values; data and robot by their checksums.

    The checksum of the data covers every number but only some images of each camera, since reading all images can take
    minutes.
    """
    settings = {
        "format": FORMAT,
        "method": provenance.get("method"),
        "train": config.to_json(),
        "policy": policy.config.to_json(),
        "robot": policy.robot
        and {"name": policy.robot.name, "checksum": checksum(json.dumps(policy.robot.to_dict()))},
        "data": {
            "episodes": dataset.episodes,
            "frames": len(dataset),
            "checksum": _data_checksum(dataset),
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
    stored = read_json(path, fix=fix, keys=KEYS)
    if stored.get("format") != settings["format"]:
        raise ValueError(
            f"{out} holds a run of another version of the policies (format {stored.get('format')}, this version has "
            f"{settings['format']}): {fix}"
        )
    found = differences(_compared(stored), _compared(settings))
    if found:
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        raise ValueError(
            f"{out} holds a run of other settings ({'; '.join([*found[:SHOWN], *more])}): resume with the same ones, "
            "or choose another folder"
        )


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {**settings, "train": {key: value for key, value in settings["train"].items() if key not in FREE}}


def _data_checksum(dataset: Demonstrations) -> str:
    rows = torch.linspace(0, len(dataset) - 1, CHECKED_IMAGES).round().long()
    shown = [images[rows] for images in dataset.images.values()]
    return checksum(
        dataset.state, dataset.action, dataset.environment_state, dataset.frame_index.cpu(), *shown
    )
