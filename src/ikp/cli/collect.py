"""`ikp collect`: demonstrations of a task's scripted expert."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import arg

from ikp.cli.train import Train
from ikp.cli.words import OF_THE_RECIPE, OF_THE_TASK, RECIPE_CHOICES, TASK_CHOICES, named_options
from ikp.recipes import Recipe, recipe


@dataclass(frozen=True)
class Collect:
    """Record demonstrations of a task's scripted expert as a LeRobotDataset v3.0 folder.

    Uses all cores. Run again, it continues; with more episodes, it adds them. Options of the task are those of the
    paper, so that insertion and sweeping-miscalibrated have a robot with joint offsets.

    For example:
      ikp collect --out data/insertion
      ikp collect --out data/state --observation state --episodes 200
      ikp collect --out data/calibrated --env offset_seed=None
      ikp collect --out data/sweeping --task sweeping
      ikp collect --out data/abrupt --expert profile=bang-bang

    Attributes:
        out: folder of the data set.
        task: name of a simulated task, or module:id for one of your own, which the module registers with
            ikp.tasks.register_task.
        recipe: the recipe that the demonstrations are for.
        episodes: number of demonstrations in the data set when the command ends.
        observation: pixels (camera and joints) or state (object poses and joints).
        perturbation: disturbance of the executed actions, so that the expert shows how to recover; 0 for none.
        seed: episode i starts from seed + i.
        env: further options of the task, as name=value; offset_seed draws the joint offsets, None for none.
        expert: further options of the task's expert, as name=value.
        workers: processes.
    """

    HINT: ClassVar[str] = "run the same again to continue"

    out: Path
    task: Annotated[str, arg(metavar=TASK_CHOICES)] = "insertion"
    recipe: Annotated[str, arg(metavar=RECIPE_CHOICES)] = "standard"
    episodes: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    observation: Annotated[str, arg(metavar="{pixels,state}")] = "pixels"
    perturbation: Annotated[
        float | None,
        arg(
            metavar="FLOAT",
            help_behavior_hint="(default: recipe's; 0 where the task's expert does not recover)",
        ),
    ] = None
    seed: int = 0
    env: Annotated[tuple[str, ...], arg(metavar="[NAME=VALUE ...]", help_behavior_hint=OF_THE_TASK)] = ()
    expert: Annotated[
        tuple[str, ...], arg(metavar="[NAME=VALUE ...]", help_behavior_hint="(default: expert's)")
    ] = ()
    workers: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all cores)")] = None

    def run(self) -> None:
        from ikp.rollouts.collect import collect

        chosen = recipe(self.recipe)
        wanted = chosen.collection_for(self.task, self.observation)
        kwargs = wanted.env_kwargs | named_options(self.env, "--env", "offset_seed=7 or observation=state")
        report = collect(
            wanted.env_id,
            self.out,
            wanted.episodes if self.episodes is None else self.episodes,
            seed=self.seed,
            env_kwargs=kwargs,
            perturbation=wanted.perturbation if self.perturbation is None else self.perturbation,
            expert_kwargs=named_options(self.expert, "--expert", "profile=bang-bang"),
            workers=self.workers,
            task=self.task,
        )
        print(
            f"{report.episodes} episodes, {report.frames} frames in {report.root} "
            f"({report.collected} new in {report.seconds:.0f} s)"
        )
        print(f"next: {self._next(report.root, chosen, sees_images=kwargs['observation'] == 'pixels')}")

    def _next(self, root: Path, chosen: Recipe, *, sees_images: bool) -> str:
        """The training of these demonstrations, in a folder that holds none."""
        name, number = root.resolve().name, 1
        while (out := Path("runs", name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        words = ["ikp", "train", "--data", str(root), "--out", str(out)]
        if self.recipe != Train.recipe:
            words += ["--recipe", self.recipe]
        if ":" in self.task:
            words += ["--task", self.task]
        if chosen.policy.image_plane is not None and not sees_images:
            words += ["--image-plane", "False"]
        return shlex.join(words)
