"""`ikp train`: a policy from demonstrations."""

from __future__ import annotations

import inspect
import shlex
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from tyro.conf import arg

from ikp.cli.data import ArmOptions, DataOptions
from ikp.cli.words import METHOD_CHOICES, OF_THE_RECIPE, RECIPE_CHOICES, given, named_options
from ikp.policies.config import PolicyConfig
from ikp.recipes import RECIPES, Recipe, recipe

RECIPE_TABLE = "\n".join(
    f"  {name:9s} {made.title}: {made.demonstrations} demonstrations, {made.train.steps} steps"
    for name, made in RECIPES.items()
)


@dataclass(frozen=True)
class PolicyOptions:
    """Choices of the policy that replace the recipe's; all of them are fields of ikp.PolicyConfig in Python.

    Attributes:
        image_plane: also show each action in the image of a camera whose model is known.
        residual: learned corrections of the kinematics (not of all methods): offset, dense, link; or nothing.
        history: frames per observation.
        encoder: image encoder.
        width: outputs of the networks' layers.
        action_rate: way-points per second; the robot is commanded at the data's rate.
        way_points: way-points decided at once.
    """

    image_plane: Annotated[bool | None, arg(metavar="{True,False}", help_behavior_hint=OF_THE_RECIPE)] = None
    residual: Annotated[
        tuple[str, ...] | None, arg(metavar="[NAME ...]", help_behavior_hint=OF_THE_RECIPE)
    ] = None
    history: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    encoder: Annotated[
        str | None, arg(metavar="{keypoint,pool,resnet26}", help_behavior_hint=OF_THE_RECIPE)
    ] = None
    width: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    action_rate: Annotated[float | None, arg(metavar="HZ", help_behavior_hint=OF_THE_RECIPE)] = None
    way_points: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None

    def applied(self, chosen: Recipe) -> Recipe:
        """The recipe with these choices."""
        return chosen.with_policy(**vars(self))

    def check(self, method: str, policy: PolicyConfig) -> None:
        """Raise ValueError where a method does not have the part that an option asks for."""
        if self.image_plane and policy.image_plane is None:
            raise ValueError(
                f"--image-plane is for methods that choose joints, and --method is {method}: leave it out, or choose "
                "any but implicit-cartesian and raw"
            )
        if self.residual and not policy.residuals:
            raise ValueError(
                f"--residual is for the methods ikp, two-step and flow, and --method is {method}: leave one of them out"
            )


@dataclass(frozen=True)
class TrainingOptions:
    """Choices of the training that replace the recipe's; all of them are fields of ikp.TrainConfig in Python.

    Attributes:
        steps: optimiser steps; the learning-rate schedule spans them.
        minutes: time budget in place of steps; the result is not reproducible to the bit.
        batch_size: frames per step.
        moved_scenes: turn and shift each scene on the table as further demonstrations.
        seed: of weights, batches and negatives.
        device: torch device; auto takes a GPU if any.
        threads: torch threads; 0 leaves it to torch.
        resume: continue the run in OUT, with the same options.
    """

    steps: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    minutes: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=OF_THE_RECIPE)] = None
    batch_size: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    moved_scenes: Annotated[
        bool | None,
        arg(metavar="{True,False}", help_behavior_hint="(default: recipe's, where the task allows it)"),
    ] = None
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    resume: bool = False

    def applied(self, chosen: Recipe) -> Recipe:
        """The recipe with these choices, apart from `moved_scenes`, which the task also decides."""
        changes = given(batch_size=self.batch_size)
        same = {"seed": self.seed, "device": self.device, "threads": self.threads}
        changed = replace(chosen, train=replace(chosen.train, **changes, **same))
        return changed.with_budget(steps=self.steps, minutes=self.minutes)


@dataclass(frozen=True)
class Train:
    """Train a policy on demonstrations.

    A recipe makes all choices; each option below replaces one of them. Recipes:
    {recipes}

    The policy in OUT/policy stores its robot, its task and its provenance.

    For example:
      ikp train --data data/insertion --out runs/ikp
      ikp train --data data/insertion --out runs/joints --method implicit-joint --minutes 10

    Data of your own, recorded with a robot or in a simulation (`ikp data check` shows what is understood of them):
      ikp train --data recordings --out runs/mine --robot arm.urdf --tips tool0 --units deg
      ikp train --data recordings --out runs/plane --robot arm.urdf --camera front=front.json --image-plane True
      ikp train --data recordings --out runs/far --robot arm.urdf --action-rate 2.5 --way-points 5
      ikp train --data recordings --out runs/raw --method raw
      ikp train --data recordings/left recordings/right --out runs/both --robot arm.urdf

    Attributes:
        recipe: the recipe.
        method: the paper's five, denoising, or raw.
        data: the demonstrations.
        arm: the robot of the data, and how its joints are recorded.
        policy: choices of the policy.
        training: choices of the training.
    """

    HINT: ClassVar[str] = "add --resume to continue"

    data: DataOptions
    arm: ArmOptions = field(default_factory=ArmOptions)
    recipe: Annotated[str, arg(metavar=RECIPE_CHOICES)] = "standard"
    method: Annotated[str, arg(metavar=METHOD_CHOICES)] = "ikp"
    policy: PolicyOptions = field(default_factory=PolicyOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def run(self) -> None:
        from ikp.kinematics import Camera
        from ikp.runs import ARM_MAPS, folders_of, is_from_bench, task_of_data, train_policy
        from ikp.tasks.registry import task_entry

        source = self.data
        chosen = self.training.applied(self.policy.applied(recipe(self.recipe)))
        policy = chosen.policy_for(self.method)
        self.policy.check(self.method, policy)
        task = task_of_data(folders_of(source.data)[0], source.task)
        train = chosen.train_for(task.env_id if task else None, self.method, self.training.moved_scenes)
        cameras = named_options(source.camera, "--camera", "front=camera.json")
        result = train_policy(
            source.data,
            source.out,
            method=self.method,
            policy=policy,
            train_config=train,
            recipe=self.recipe,
            episodes=source.chosen_episodes,
            robot=self.arm.load_robot(),
            cameras={name: Camera.load(path) for name, path in cameras.items()},
            loading=source.loading | self.arm.loading,
            task=source.task,
            resume=self.training.resume,
            report=print,
        )
        print(f"{result.steps} steps in {result.seconds / 60:.1f} min; errors on held-out demonstrations:")
        for name, value in (result.validation["held_out"] | result.probe | result.dependence).items():
            print(f"  {name:18s} {value:.3f}")
        if result.residual is not None:
            print("learned corrections of the kinematics, with 95 % intervals:")
            print("\n".join(f"  {line}" for line in str(result.residual).splitlines()))
        for arm, errors in result.arms.items():
            print(f"  of the arm {arm}: {', '.join(f'{name} {value:.3f}' for name, value in errors.items())}")
        if result.arms:
            print(
                f"the policy drives the arm {next(iter(result.arms))}; for another one give its joint map "
                f"(ikp.load_policy(..., joint_map=FILE), ikp deploy --joint-map FILE): {source.out / ARM_MAPS} has "
                "those of the data"
            )
        if is_from_bench(folders_of(source.data)[0]):
            bench = "ur5e:ADDRESS" if task is None else f"lockstep:{task_entry(task.env_id).name}"
            deploy = ["ikp", "deploy", "--policy", str(source.out), "--bench", bench]
            print(f"next: {shlex.join([*deploy, '--out', f'{source.out}-deployed'])}")
            return
        if task is None:
            print(
                f"next: in Python, ikp.load_policy({str(source.out)!r}).select_action(frame); the data name no "
                "simulated task for ikp evaluate"
            )
            return
        own_task = ["--task", source.task] if source.task and ":" in source.task else []
        print(f"next: {shlex.join(['ikp', 'evaluate', '--policy', str(source.out), *own_task])}")


Train.__doc__ = inspect.cleandoc(Train.__doc__ or "").replace("{recipes}", RECIPE_TABLE)
