"""The command line, `ikp collect | train | evaluate | demo`: passes options to functions of the library."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import arg, subcommand

from ikp.policies.config import METHODS, PolicyConfig
from ikp.recipes import RECIPES, Recipe, recipe
from ikp.tasks.registry import registered_tasks

DEBUG = "IKP_DEBUG"
"""Environment variable: set it to see the traceback of an error."""

RECIPE_CHOICES = "{" + ",".join(RECIPES) + "}"
METHOD_CHOICES = "{" + ",".join(METHODS) + "}"
TASK_CHOICES = "{" + ",".join(entry.name for entry in registered_tasks()) + "}"
RECIPE_TABLE = "\n".join(
    f"  {name:9s} {made.title}: {made.demonstrations} demonstrations, {made.train.steps} steps"
    for name, made in RECIPES.items()
)
OF_THE_RECIPE = "(default: recipe's)"
OF_THE_TASK = "(default: task's)"
DESCRIPTION = """Robot policies that see every action in joint and Cartesian space at once.

Start with `ikp demo`, or step by step:
  ikp collect --out data/insertion
  ikp train --data data/insertion --out runs/insertion
  ikp evaluate --policy runs/insertion --video runs/insertion/rollouts.mp4

After Ctrl-C or a kill, run collect and demo again, and train with --resume: they continue.
`ikp COMMAND --help` shows all options and examples, `ikp --version` the version; IKP_DEBUG=1 shows tracebacks."""
MOVED = "'ikp reproduce' is now a command of its own: see ikp-paper --help"


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
        kwargs = wanted.env_kwargs | _options(self.env, "--env", "offset_seed=7 or observation=state")
        report = collect(
            wanted.env_id,
            self.out,
            wanted.episodes if self.episodes is None else self.episodes,
            seed=self.seed,
            env_kwargs=kwargs,
            perturbation=wanted.perturbation if self.perturbation is None else self.perturbation,
            expert_kwargs=_options(self.expert, "--expert", "profile=bang-bang"),
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


@dataclass(frozen=True)
class DataOptions:
    """The demonstrations, and what they do not say about themselves.

    Attributes:
        data: folder of a LeRobotDataset v3.0.
        out: folder of the run: policy/, metrics.jsonl, tensorboard/ and the state to resume from.
        episodes: use only the first ones of the data set.
        robot: ur5e, iiwa14, iiwa14_dual or a URDF or MJCF file.
        tips: names of the robot's tip links.
        camera: models of cameras that the data set does not describe, for the image plane and moved scenes, as
            NAME=FILE (JSON).
        task: the simulated task, where the data set names none; module:id for a task of your own.
    """

    data: Path
    out: Path
    episodes: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    robot: Annotated[str | None, arg(metavar="NAME|FILE", help_behavior_hint=OF_THE_TASK)] = None
    tips: Annotated[
        tuple[str, ...], arg(metavar="[LINK ...]", help_behavior_hint="(default: its leaves)")
    ] = ()
    camera: Annotated[
        tuple[str, ...], arg(metavar="[NAME=FILE ...]", help_behavior_hint="(default: data set's)")
    ] = ()
    task: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: data set's)")] = None


@dataclass(frozen=True)
class PolicyOptions:
    """Choices of the policy that replace the recipe's; all of them are fields of ikp.PolicyConfig in Python.

    Attributes:
        image_plane: also show each action in the image of a camera whose model is known; for methods that
            choose joints.
        residual: learned corrections of the kinematics (ikp only): offset, dense, link; nothing after
            --residual means none.
        history: frames per observation.
        encoder: image encoder.
        width: outputs of the networks' layers.
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

    def applied(self, chosen: Recipe) -> Recipe:
        """The recipe with these choices."""
        from ikp.policies import ImagePlaneConfig

        policy = chosen.policy
        changes = _given(residual=self.residual, history=self.history, width=self.width)
        if self.encoder is not None:
            changes["encoder"] = replace(policy.encoder, kind=self.encoder)
        if self.image_plane is not None:
            changes["image_plane"] = (policy.image_plane or ImagePlaneConfig()) if self.image_plane else None
        return replace(chosen, policy=replace(policy, **changes))

    def check(self, method: str, policy: PolicyConfig) -> None:
        """Raise ValueError where a method does not have what an option asks for."""
        if self.image_plane and policy.image_plane is None:
            raise ValueError(
                f"--image-plane is for methods that choose joints, and --method is {method}: leave it out, or choose "
                "explicit, explicit-fk, implicit-joint or ikp"
            )
        if self.residual and not policy.residuals:
            raise ValueError(
                f"--residual is for the method ikp, and --method is {method}: leave one of them out"
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
        device: torch device; auto takes a GPU where there is one.
        threads: torch threads; 0 leaves the number to torch.
        resume: continue the run in OUT, with the same options otherwise.
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
        changes = _given(batch_size=self.batch_size)
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

    Data of your own, recorded with a robot or in a simulation:
      ikp train --data recordings --out runs/mine --robot arm.urdf --tips tool0
      ikp train --data recordings --out runs/plane --robot arm.urdf --camera front=front.json --image-plane True
      ikp train --data recordings --out runs/raw --method raw

    Attributes:
        recipe: the recipe.
        method: one of the paper's five, or raw (implicit on plain action vectors, without a robot).
        data: the demonstrations.
        policy: choices of the policy.
        training: choices of the training.
    """

    data: DataOptions
    recipe: Annotated[str, arg(metavar=RECIPE_CHOICES)] = "standard"
    method: Annotated[str, arg(metavar=METHOD_CHOICES)] = "ikp"
    policy: PolicyOptions = field(default_factory=PolicyOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def run(self) -> None:
        from ikp.kinematics import Camera, load_robot
        from ikp.runs import task_of_data, train_policy

        source = self.data
        chosen = self.training.applied(self.policy.applied(recipe(self.recipe)))
        policy = chosen.policy_for(self.method)
        self.policy.check(self.method, policy)
        task = task_of_data(source.data, source.task)
        train = chosen.train_for(task.env_id if task else None, self.method)
        if self.training.moved_scenes is not None:
            train = replace(train, moved_scenes=self.training.moved_scenes)
        cameras = _options(source.camera, "--camera", "front=camera.json")
        result = train_policy(
            source.data,
            source.out,
            method=self.method,
            policy=policy,
            train_config=train,
            recipe=self.recipe,
            episodes=source.episodes,
            robot=load_robot(source.robot, tips=source.tips or None) if source.robot else None,
            cameras={name: Camera.load(path) for name, path in cameras.items()},
            task=source.task,
            resume=self.training.resume,
        )
        print(f"{result.steps} steps in {result.seconds / 60:.1f} min; errors on held-out demonstrations:")
        for name, value in (result.validation["held_out"] | result.probe).items():
            print(f"  {name:18s} {value:.3f}")
        if task is None:
            print(
                f"next: in Python, ikp.load_policy({str(source.out)!r}).select_action(frame); the data name no "
                "simulated task for ikp evaluate"
            )
            return
        own_task = ["--task", source.task] if source.task and ":" in source.task else []
        print(f"next: {shlex.join(['ikp', 'evaluate', '--policy', str(source.out), *own_task])}")


Train.__doc__ = inspect.cleandoc(Train.__doc__ or "").replace("{recipes}", RECIPE_TABLE)


@dataclass(frozen=True)
class Evaluate:
    """Roll a policy out on unseen configurations of its task: success with a 95 % interval, final errors.

    For example:
      ikp evaluate --policy runs/ikp
      ikp evaluate --policy runs/ikp --episodes 50 --video rollouts.mp4 --out result.json
      ikp evaluate --policy runs/ikp --env offset_seed=7

    Attributes:
        policy: folder of a run or of a policy.
        episodes: number of rollouts.
        seed: first one of the unseen seeds.
        task: name or Gymnasium id, where the policy stores no task or another one is meant.
        env: options of the task that replace the stored ones, as name=value.
        video: an mp4 grid of the first rollouts.
        video_episodes: number of rollouts in the video.
        out: a JSON file with every episode and the provenance of the numbers.
    """

    policy: Path
    episodes: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    seed: int = 0
    task: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: policy's)")] = None
    env: Annotated[
        tuple[str, ...], arg(metavar="[NAME=VALUE ...]", help_behavior_hint="(default: policy's)")
    ] = ()
    video: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    video_episodes: int = 9
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None

    def run(self) -> None:
        from ikp.rollouts.summary import summary_table
        from ikp.runs import evaluate_policy

        result = evaluate_policy(
            self.policy,
            episodes=self.episodes,
            seed=self.seed,
            task=self.task,
            env_kwargs=_options(self.env, "--env", "offset_seed=7 or observation=state"),
            video=self.video,
            video_episodes=self.video_episodes,
            out=self.out,
        )
        options = ", ".join(f"{key}={value}" for key, value in result["env_kwargs"].items())
        count = len(result["episodes"])
        print(f"{result['env_id']} ({options}): {count} unseen episodes in {result['seconds']:.0f} s")
        print(summary_table(result["summary"]))
        for path in (self.video, self.out):
            if path is not None:
                print(f"wrote {path}")


@dataclass(frozen=True)
class Demo:
    """A miscalibrated UR5e learns to insert a block from pixels: data, training, evaluation, one report page.

    It trains what `ikp train --recipe demo` trains. Run again, it continues; finished stages are not repeated.

    For example:
      ikp demo
      ikp demo --compare --out outputs/comparison
      ikp demo --recipe quick --episodes 50 --out outputs/quick

    Attributes:
        out: folder of the report; open its index.html.
        recipe: the recipe.
        minutes: time budget of a training in place of the recipe's steps.
        demonstrations: number of demonstrations.
        episodes: unseen configurations in the final evaluation.
        curve_episodes: unseen configurations for each point of the curve of success over training time.
        compare: also train IKP without the image plane, implicit-joint and explicit on the same data and budget.
        offset_seed: draws the robot's joint offsets.
        seed: of demonstrations and weights.
        workers: processes that collect.
    """

    out: Path = Path("outputs/demo")
    recipe: Annotated[str, arg(metavar=RECIPE_CHOICES)] = "demo"
    minutes: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="(default: by steps)")] = None
    demonstrations: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    episodes: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    curve_episodes: int = 50
    compare: bool = False
    offset_seed: int = 0
    seed: int = 0
    workers: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all cores)")] = None

    def run(self) -> None:
        from ikp.demo.config import DemoConfig
        from ikp.demo.run import run_demo

        run_demo(DemoConfig(**vars(self)))


COMMANDS = {"collect": Collect, "train": Train, "evaluate": Evaluate, "demo": Demo}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for an error, 2 for wrong arguments, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["--version"]:
        import ikp

        print(f"ikp {ikp.__version__}")
        return 0
    if arguments[:1] == ["reproduce"]:
        print(f"ikp: error: {MOVED}", file=sys.stderr)
        return 2
    hint = "add --resume to continue" if arguments[:1] == ["train"] else "run the same again to continue"
    return run_command(lambda: parsed(arguments).run(), "ikp", hint)


def run_command(run: Callable[[], None], program: str, hint: str) -> int:
    """Run a program and print an error as one line; return the exit status: 0, 1 for an error, 130 for Ctrl-C.

    Args:
        run: parses the arguments and does the work.
        program: its name, for messages.
        hint: how to continue after Ctrl-C.
    """
    warnings.filterwarnings("ignore", message=".*lowering.*", module="torch")
    try:
        run()
    except KeyboardInterrupt as error:
        print(f"\n{program}: stopped: {_line(error) or hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output, a pager or `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
        if os.environ.get(DEBUG):
            raise
        print(f"{program}: error: {_line(error)}", file=sys.stderr)
        return 1
    return 0


def parsed(arguments: Sequence[str]) -> Collect | Train | Evaluate | Demo:
    """The command with its options; ends the process with help or an error where there is nothing to run."""
    chosen = arguments[0] if arguments else ""
    described: Any = tuple(
        Annotated[command, subcommand(name, description=_description(command, in_full=name == chosen))]
        for name, command in COMMANDS.items()
    )
    commands = described[0] | described[1] | described[2] | described[3]
    return tyro.cli(
        commands,
        prog="ikp",
        description=DESCRIPTION,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )


def _description(command: type, *, in_full: bool) -> str:
    """A command's docstring without its attributes; only the first line for the list of all commands."""
    text = (inspect.getdoc(command) or "").partition("\nAttributes:")[0].rstrip()
    return text if in_full else text.partition("\n")[0]


def _given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def _options(pairs: Sequence[str], option: str, example: str) -> dict[str, Any]:
    """`name=value` words as a dict; values that are JSON are read as such."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"{option} {pair!r}: write name=value, such as {example}")
        try:
            options[name] = None if text == "None" else json.loads(text)
        except ValueError:
            options[name] = text
    return options


def _line(error: BaseException) -> str:
    """An error's message on one line; its kind where it has none."""
    return " ".join(str(error).split()) or (
        "" if isinstance(error, KeyboardInterrupt) else type(error).__name__
    )


if __name__ == "__main__":
    sys.exit(main())
