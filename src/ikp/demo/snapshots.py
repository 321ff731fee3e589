"""Policies that are kept during training, to be evaluated afterwards for the curve of success over training time."""

from __future__ import annotations

import shutil
from pathlib import Path

from ikp.policies import Policy, save_policy
from ikp.policies.checkpoint import WEIGHTS_FILE
from ikp.runs import policy_provenance
from ikp.training.config import TrainConfig
from ikp.training.trainer import Callback

SHARES = (0.1, 0.25, 0.5, 0.75)
"""Shares of the training after which the averaged policy is kept, at the next validation."""


def keep_snapshots(folder: Path, train: TrainConfig) -> Callback:
    """A callback for `ikp.train` that keeps the averaged policy after each of `SHARES`.

    Policies that a killed run kept after the state from which it is resumed are deleted.

    Args:
        folder: one folder per policy is written here, named by its share in percent.
        train: the training's budget.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_first_call = True

    def keep(policy: Policy, step: int, seconds: float) -> None:
        nonlocal is_first_call
        if is_first_call:
            for path in folder.iterdir():
                if not (path / WEIGHTS_FILE).exists() or policy_provenance(path)["step"] >= step:
                    shutil.rmtree(path)
            is_first_call = False
        by_clock = seconds / (60 * train.minutes) if train.minutes else 0.0
        passed = max(step / train.steps, by_clock)
        due = [share for share in SHARES if share <= passed < 1]
        path = folder / f"{round(100 * due[-1]):02d}" if due else None
        if path is not None and not path.exists():
            save_policy(policy, path, provenance={"step": step, "seconds": round(seconds, 1)})

    return keep
