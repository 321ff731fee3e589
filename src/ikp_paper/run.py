"""From a cell of a table to the run that fills it: one training with one seed, fully described, and its places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ikp.policies import PolicyConfig
from ikp.recipes import policy_for, preset
from ikp.runs import Task
from ikp.tasks.registry import task_entry
from ikp.training.config import TrainConfig
from ikp_paper.matrix import Cell, Column, Table
from ikp_paper.variants import VARIANTS

NOT_IN_THE_OUTCOME = ("device", "threads", "checkpoint_every", "log_every")
"""Fields of `TrainConfig` that a run may be continued with other values of."""


@dataclass(frozen=True)
class Run:
    """One training and its evaluation; everything that its outcome depends on.

    Attributes:
        name: of its files; tables that share a cell share its runs.
        preset: the recipe's name.
        column: the cell's setting.
        method: one of `METHOD_NAMES`.
        variant: the row of the table.
        task: the environment.
        metric: `success` or `score`.
        policy, train: the recipe; `train.seed` is the run's.
        demonstrations: how many it is trained on, the first ones of the data set.
        perturbation: disturbance of the executed actions in them.
        episodes: unseen episodes of the evaluation, the same for all runs.
        expert: further arguments of the expert that demonstrates.
        rough_camera: whether the image plane's camera is given wrongly (`ikp_paper.variants`).
    """

    name: str
    preset: str
    column: Column
    method: str
    variant: str
    task: Task
    metric: str
    policy: PolicyConfig
    train: TrainConfig
    demonstrations: int
    perturbation: float
    episodes: int
    expert: Mapping[str, Any] = field(default_factory=dict)
    rough_camera: bool = False

    @property
    def data_name(self) -> str:
        """Folder of the demonstrations that it shares with others."""
        expert = "".join(f"-{value}" for value in self.expert.values())
        return f"{self.column.task}-{self.column.observation}-perturbed{self.perturbation:g}{expert}"

    def settings(self) -> dict[str, Any]:
        """What the outcome depends on, as plain JSON values."""
        train = {k: v for k, v in self.train.to_json().items() if k not in NOT_IN_THE_OUTCOME}
        return {
            "task": {"env_id": self.task.env_id, "env_kwargs": dict(self.task.env_kwargs)},
            "metric": self.metric,
            "method": self.method,
            "policy": self.policy.to_json(),
            "train": train,
            "demonstrations": self.demonstrations,
            "perturbation": self.perturbation,
            "episodes": self.episodes,
            "expert": dict(self.expert),
            "rough_camera": self.rough_camera,
        }


@dataclass(frozen=True)
class Places:
    """Where runs live.

    Attributes:
        results: small JSON files of finished runs, to be committed.
        out: demonstrations, checkpoints and logs; can be deleted when the results are complete.
    """

    results: Path
    out: Path

    def result(self, run: Run) -> Path:
        """The finished run's file."""
        return result_path(self.results, run.preset, run.name)

    def lock(self, run: Run) -> Path:
        """Held while a process works on the run."""
        return self.result(run).with_suffix(".lock")

    def work(self, run: Run) -> Path:
        """Checkpoints and the log of the run."""
        return self.out / "runs" / run.preset / run.name

    def data(self, run: Run) -> Path:
        """The demonstrations of the run."""
        return self.out / "data" / run.data_name


def result_path(results: Path, preset_name: str, run_name: str) -> Path:
    """`results/reproduce/PRESET/RUN.json`."""
    return results / "reproduce" / preset_name / f"{run_name}.json"


def resolve(cell: Cell, preset_name: str, seed: int, episodes: int | None = None) -> Run:
    """The run of a cell with a recipe and a seed.

    Args:
        episodes: unseen episodes; the preset's if not given.

    Raises:
        ValueError: an unknown preset or task.
    """
    column, recipe, variant = cell.column, preset(preset_name), VARIANTS[cell.variant]
    entry = task_entry(column.task)
    plain = policy_for(variant.method, recipe.policy)
    budget = replace(recipe.train_for(movable=entry.movable), seed=seed)
    if column.steps is not None:
        budget = replace(budget, steps=column.steps, minutes=column.minutes)
    policy, train = variant.applied(plain, budget)
    # a variant that the preset has by itself is the method, and shares its runs
    changes_data = bool(variant.rough_camera or variant.expert)
    is_method = (policy, train) == (plain, budget) and not changes_data
    count = min(column.demonstrations, recipe.demonstrations)
    name = "-".join(filter(None, (column.task, column.observation, str(count), column.budget)))
    env_kwargs = {"observation": column.observation, **entry.options}
    return Run(
        name=f"{name}-{variant.method if is_method else cell.variant}-seed{seed}",
        preset=preset_name,
        column=column,
        method=variant.method,
        variant=cell.variant,
        task=Task(entry.env_id, env_kwargs),
        metric=entry.metric,
        policy=policy,
        train=train,
        demonstrations=count,
        perturbation=recipe.perturbation if entry.disturbed else 0.0,
        episodes=recipe.episodes if episodes is None else episodes,
        expert=variant.expert,
        rough_camera=variant.rough_camera,
    )


def plan(table: Table, preset_name: str, seeds: Iterable[int], episodes: int | None = None) -> list[Run]:
    """The runs of a table, without doubles: all cells with the first seed, then with the next one."""
    found = [resolve(cell, preset_name, seed, episodes) for seed in seeds for cell in table.cells]
    return list({run.name: run for run in found}.values())


def data_sets(planned: Sequence[Run]) -> Mapping[str, Run]:
    """For every data set the run that needs most of it."""
    largest: dict[str, Run] = {}
    for run in planned:
        if run.data_name not in largest or run.demonstrations > largest[run.data_name].demonstrations:
            largest[run.data_name] = run
    return largest
