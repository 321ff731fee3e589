"""One run: the training of a table's cell with one seed and its evaluation, fully described, and its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ikp.policies import PolicyConfig
from ikp.recipes import Recipe, recipe
from ikp.runs import Task
from ikp.tasks.registry import task_entry
from ikp.training.config import TrainConfig
from ikp_paper.tables import Cell, Setting, Table
from ikp_paper.variants import VARIANTS

VERSIONS = {"keypoint": 2, "regression": 2}
"""Versions of parts of policies that changed while records were kept: the encoder `keypoint` (2 shows the positions of
keypoints as they are) and the regression inside implicit policies (2 is as deep as Explicit's). Earlier records have
none; they are outdated where the policy has the part."""
NOT_IN_THE_OUTCOME = ("device", "threads", "checkpoint_every", "log_every")
"""Fields of `TrainConfig` that may change when a run is continued."""


@dataclass(frozen=True)
class Run:
    """One training and its evaluation, with everything that the outcome depends on.

    Attributes:
        name: name of its files; tables that share a cell share its runs.
        recipe: the recipe's name.
        setting: the cell's column.
        method: a key of `ikp.policies.METHODS`.
        variant: the cell's row.
        task: the environment.
        metric: `success` or `score`.
        policy, train: the configurations; `train.seed` is the run's seed.
        demonstrations: how many it is trained on, the first ones of the data set.
        perturbation: disturbance of the executed actions in them.
        episodes: unseen episodes of the evaluation, the same for all runs.
        expert: further arguments of the expert that demonstrates.
        rough_camera: whether the image plane's camera is given with a wrong pose (`ikp_paper.variants`).
    """

    name: str
    recipe: str
    setting: Setting
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
        """Folder of the demonstrations, which runs of the same task share."""
        expert = "".join(f"-{value}" for value in self.expert.values())
        return f"{self.setting.task}-{self.setting.observation}-perturbed{self.perturbation:g}{expert}"

    def settings(self) -> dict[str, Any]:
        """Everything that the outcome depends on, as plain JSON values."""
        train = {k: v for k, v in self.train.to_json().items() if k not in NOT_IN_THE_OUTCOME}
        return {
            "task": {"env_id": self.task.env_id, "env_kwargs": dict(self.task.env_kwargs)},
            "metric": self.metric,
            "method": self.method,
            "policy": self.policy.to_json(),
            "versions": self._versions(),
            "train": train,
            "demonstrations": self.demonstrations,
            "perturbation": self.perturbation,
            "episodes": self.episodes,
            "expert": dict(self.expert),
            "rough_camera": self.rough_camera,
        }

    def _versions(self) -> dict[str, int]:
        """`VERSIONS` of the parts that the policy has."""
        parts = []
        if self.setting.observation == "pixels":
            parts.append(self.policy.encoder.kind)
        if self.policy.kind == "implicit" and self.policy.proposal == "learned":
            parts.append("regression")
        return {part: version for part, version in VERSIONS.items() if part in parts}


@dataclass(frozen=True)
class Places:
    """Folders of runs.

    Attributes:
        results: small JSON files of finished runs, to be committed.
        out: demonstrations, checkpoints and logs; can be deleted when the results are complete.
    """

    results: Path
    out: Path

    def result(self, run: Run) -> Path:
        """The record of a finished run."""
        return result_path(self.results, run.recipe, run.name)

    def lock(self, run: Run) -> Path:
        """Lock file that a process holds while it works on the run."""
        return self.result(run).with_suffix(".lock")

    def work(self, run: Run) -> Path:
        """Checkpoints and the log of the run."""
        return self.out / "runs" / run.recipe / run.name

    def data(self, run: Run) -> Path:
        """Demonstrations of the run."""
        return self.out / "data" / run.data_name


def result_path(results: Path, recipe_name: str, run_name: str) -> Path:
    """`results/reproduce/RECIPE/RUN.json`."""
    return results / "reproduce" / recipe_name / f"{run_name}.json"


def run_name(cell: Cell, chosen: Recipe, seed: int = 0) -> str:
    """Name of a cell's run with a recipe and a seed."""
    setting, row = cell.setting, cell.variant
    count = str(min(setting.demonstrations, chosen.collection_for(setting.task).episodes))
    return "-".join(
        filter(None, (setting.task, setting.observation, count, setting.budget, row, f"seed{seed}"))
    )


def resolve(cell: Cell, recipe_name: str, seed: int, episodes: int | None = None) -> Run:
    """Join a cell with a recipe and a seed.

    A variant that does not differ from its method in this recipe has the method's runs.

    Args:
        cell: any cell whose variant is not settled.
        recipe_name: a key of `ikp.recipes.RECIPES`.
        seed: of the training.
        episodes: unseen episodes; the recipe's if not given.

    Raises:
        ValueError: an unknown recipe, or a settled variant.
    """
    setting, chosen, variant = cell.setting, recipe(recipe_name), VARIANTS[cell.variant]
    if variant.settled:
        raise ValueError(
            f"{cell.variant} is settled: its option is gone, and its stored records are what there is"
        )
    collection = chosen.collection_for(setting.task, setting.observation)
    plain = chosen.policy_for(variant.method)
    budget = replace(chosen.train_for(setting.task, variant.method), seed=seed)
    if setting.steps is not None:
        budget = replace(budget, steps=setting.steps, minutes=setting.minutes)
    policy, train = variant.applied(plain, budget)
    is_method = (policy, train) == (plain, budget) and not (variant.rough_camera or variant.expert)
    return Run(
        name=run_name(replace(cell, variant=variant.method) if is_method else cell, chosen, seed),
        recipe=recipe_name,
        setting=setting,
        method=variant.method,
        variant=cell.variant,
        task=Task(collection.env_id, collection.env_kwargs),
        metric=task_entry(setting.task).metric,
        policy=policy,
        train=train,
        demonstrations=min(setting.demonstrations, collection.episodes),
        perturbation=collection.perturbation,
        episodes=chosen.episodes if episodes is None else episodes,
        expert=variant.expert,
        rough_camera=variant.rough_camera,
    )


def plan(table: Table, recipe_name: str, seeds: Iterable[int], episodes: int | None = None) -> list[Run]:
    """The runs of a table without duplicates and settled rows: all cells with the first seed, then the next one."""
    cells = [cell for cell in table.cells if not VARIANTS[cell.variant].settled]
    found = [resolve(cell, recipe_name, seed, episodes) for seed in seeds for cell in cells]
    return list({run.name: run for run in found}.values())


def data_sets(planned: Sequence[Run]) -> dict[str, Run]:
    """For every data set the run that needs most of it."""
    largest: dict[str, Run] = {}
    for run in planned:
        if run.data_name not in largest or run.demonstrations > largest[run.data_name].demonstrations:
            largest[run.data_name] = run
    return largest
