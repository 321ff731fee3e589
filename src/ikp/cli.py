"""The command line: `ikp collect | train | evaluate | demo | reproduce`. Thin: arguments to the functions below it."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro
from tyro.conf import arg, subcommand

from ikp.policies.config import METHODS, PolicyConfig
from ikp.recipes import METHOD_NAMES, PRESETS, Preset, policy_for
from ikp.tasks.registry import registered_tasks, task_entry
from ikp.training.config import TrainConfig
from ikp_paper.reproduce import Reproduce

DEBUG = "IKP_DEBUG"
"""Set this environment variable to see where an error comes from."""

PRESET_CHOICES = "{" + ",".join(PRESETS) + "}"
METHOD_CHOICES = "{" + ",".join(METHOD_NAMES) + "}"
TASK_CHOICES = "{" + ",".join(entry.name for entry in registered_tasks()) + "}"
DESCRIPTION = """Robot policies that see every action in joint and Cartesian space at once.

Start with `ikp demo`, or step by step:
  ikp collect --out data/insertion
  ikp train --data data/insertion --out runs/ikp
  ikp evaluate --policy runs/ikp --video runs/ikp/rollouts.mp4

After Ctrl-C or a kill, collect and demo continue when they are run again, train with --resume.
`ikp COMMAND --help` shows all options and examples; IKP_DEBUG=1 shows where an error comes from."""


@dataclass(frozen=True)
class Collect:
    """Record demonstrations of a task's scripted expert as a LeRobotDataset v3.0 folder.

    Uses all cores. Run again, it continues; with more episodes, it adds them.

    For example:
      ikp collect --out data/insertion
      ikp collect --out data/state --observation state --episodes 200
      ikp collect --out data/calibrated --offset-seed None
      ikp collect --out data/sweeping --task sweeping
      ikp collect --out data/abrupt --expert profile=bang-bang

    Attributes:
        out: folder of the data set.
        task: name of a simulated task, or module:id of one that the module registers (ikp.tasks.register_task).
        episodes: how many the data set has in the end.
        observation: pixels (camera and joints) or state (object poses and joints).
        offset_seed: draws the joint offsets of a miscalibrated robot; None: calibrated; "task": as in the paper.
        perturbation: disturbance of the executed actions, as recovery data; 1 is the standard one.
        seed: episode i starts from seed + i.
        env: further options of the task, as name=value.
        expert: further options of its expert, as name=value.
        workers: processes; all cores if not given.
    """

    out: Path
    task: Annotated[str, arg(metavar=TASK_CHOICES)] = "insertion"
    episodes: int = 1000
    observation: Annotated[str, arg(metavar="{pixels,state}")] = "pixels"
    offset_seed: int | Literal["task"] | None = "task"
    perturbation: float = 0.0
    seed: int = 0
    env: tuple[str, ...] = ()
    expert: tuple[str, ...] = ()
    workers: int | None = None

    def run(self) -> None:
        from ikp.rollouts.collect import collect

        entry = task_entry(self.task)
        offset = entry.options if self.offset_seed == "task" else {"offset_seed": self.offset_seed}
        kwargs = {
            "observation": self.observation,
            **offset,
            **_options(self.env, "--env", "offset_seed=7 or observation=state"),
        }
        report = collect(
            entry.env_id,
            self.out,
            self.episodes,
            seed=self.seed,
            env_kwargs=kwargs,
            perturbation=self.perturbation,
            expert_kwargs=_options(self.expert, "--expert", "profile=bang-bang"),
            workers=self.workers,
            task=entry.name,
        )
        print(
            f"{report.episodes} episodes, {report.frames} frames in {report.root} "
            f"({report.collected} new in {report.seconds:.0f} s)"
        )
        print(f"next: ikp train --data {report.root} --out runs/ikp")


@dataclass(frozen=True)
class Train:
    """Train a policy on demonstrations.

    The recipe is a preset; each of its choices can be replaced (the defaults below are those of the given
    preset and method). The result in OUT/policy knows its task.

    For example:
      ikp train --data data/insertion --out runs/ikp
      ikp train --data data/insertion --out runs/joints --method implicit-joint --train.minutes 10
      ikp train --data data/few --out runs/few --train.scene-turn 8 --train.scene-shift 0.03
      ikp train --data recordings --out runs/mine --robot arm.urdf --tips tool0

    Attributes:
        data: folder of a LeRobotDataset v3.0.
        out: folder of the run: policy/, metrics.jsonl, tensorboard/ and the state to resume from.
        method: one of the paper's five, or raw (implicit on plain vectors, no robot).
        preset: the recipe.
        episodes: use only the first ones of the data set.
        robot: ur5e, iiwa14, iiwa14_dual or a URDF or MJCF file; data of the simulated tasks need none.
        tips: names of the robot's tip links, where its leaves are not what is meant.
        camera: models of cameras, where an action space has `+image` and the data hold none, as NAME=FILE (JSON).
        task: name of the simulated task, where the data set names none; module:id for data of your own task.
        resume: continue the run in OUT, with the same options otherwise.
        policy: what the policy is made of.
        train: budget and optimisation.
    """

    data: Path
    out: Path
    method: Annotated[str, arg(metavar=METHOD_CHOICES)] = "ikp"
    preset: Annotated[str, arg(metavar=PRESET_CHOICES)] = "standard"
    episodes: int | None = None
    robot: str | None = None
    tips: tuple[str, ...] = ()
    camera: tuple[str, ...] = ()
    task: str | None = None
    resume: bool = False
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def run(self) -> None:
        from ikp.kinematics import Camera, load_robot
        from ikp.recipes import preset
        from ikp.runs import train_policy

        preset(self.preset)  # an unknown name is an error here; its values are the defaults of --help
        result = train_policy(
            self.data,
            self.out,
            method=self.method,
            policy=self.policy,
            train_config=self.train,
            episodes=self.episodes,
            robot=load_robot(self.robot, tips=self.tips or None) if self.robot else None,
            cameras={
                name: Camera.load(path)
                for name, path in _options(self.camera, "--camera", "front=camera.json").items()
            },
            task=self.task,
            resume=self.resume,
        )
        print(f"{result.steps} steps in {result.seconds / 60:.1f} min; errors on held-out demonstrations:")
        for name, value in (result.validation["held_out"] | result.probe).items():
            print(f"  {name:18s} {value:.3f}")
        print(f"next: ikp evaluate --policy {self.out}")


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
        task: name or Gymnasium id, where the policy does not know its own.
        env: options of the task that replace the policy's, as name=value.
        video: an mp4 grid of the first rollouts.
        video_episodes: how many the video shows.
        out: a JSON file with every episode and the origin of the figures.
    """

    policy: Path
    episodes: int = 200
    seed: int = 0
    task: str | None = None
    env: tuple[str, ...] = ()
    video: Path | None = None
    video_episodes: int = 9
    out: Path | None = None

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
        print(f"{result['env_id']} ({options}): {self.episodes} unseen episodes in {result['seconds']:.0f} s")
        print(summary_table(result["summary"]))
        for path in (self.video, self.out):
            if path is not None:
                print(f"wrote {path}")


@dataclass(frozen=True)
class Demo:
    """A miscalibrated UR5e learns to insert a block from pixels: data, training, evaluation, one report page.

    Continues where it was stopped; finished stages are not repeated.

    For example:
      ikp demo
      ikp demo --compare --out outputs/comparison
      ikp demo --preset quick --minutes 2 --episodes 50 --out outputs/quick

    Attributes:
        out: folder of the report; open its index.html.
        preset: the recipe.
        minutes: time budget of a training; the preset's if not given.
        demonstrations: how many to collect; the preset's if not given.
        episodes: unseen configurations in the final evaluation.
        curve_episodes: configurations for each point of the curve of success over training time.
        compare: also train IKP without the image plane, implicit-joint and explicit on the same data and budget.
        offset_seed: draws the robot's joint offsets.
        seed: of demonstrations and weights.
        workers: processes that collect; all cores if not given.
    """

    out: Path = Path("outputs/demo")
    preset: Annotated[str, arg(metavar=PRESET_CHOICES)] = "standard"
    minutes: float | None = None
    demonstrations: int | None = None
    episodes: int = 100
    curve_episodes: int = 50
    compare: bool = False
    offset_seed: int = 0
    seed: int = 0
    workers: int | None = None

    def run(self) -> None:
        from ikp.demo.run import DemoConfig, run_demo

        run_demo(DemoConfig(**vars(self)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for an error, 2 for wrong arguments, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.filterwarnings("ignore", message=".*lowering.*", module="torch")
    try:
        command = tyro.cli(
            _commands(arguments),
            prog="ikp",
            description=DESCRIPTION,
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        command.run()
    except KeyboardInterrupt as error:
        hint = "add --resume to continue" if arguments[:1] == ["train"] else "run the same again to continue"
        print(f"\nikp: stopped: {_line(error) or hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output, a pager or `head`, is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
        if os.environ.get(DEBUG):
            raise
        print(f"ikp: error: {_line(error)}", file=sys.stderr)
        return 1
    return 0


def _commands(arguments: Sequence[str]) -> Any:
    """The union of the commands, `train` with the defaults of the preset and method that are given."""
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scan.add_argument("--preset", default="standard")
    scan.add_argument("--method", default="ikp")
    try:
        given, _ = scan.parse_known_args(arguments)
    except argparse.ArgumentError:  # tyro says what is wrong
        given = argparse.Namespace(preset="standard", method="ikp")
    recipe: Preset = PRESETS.get(given.preset, PRESETS["standard"])
    method = given.method if given.method in METHOD_NAMES else next(iter(METHODS))
    defaults = [
        ("policy", PolicyConfig, field(default=policy_for(method, recipe.policy))),
        ("train", TrainConfig, field(default=recipe.train)),
    ]
    train = make_dataclass(
        "Train", defaults, bases=(Train,), frozen=True, namespace={"__doc__": Train.__doc__}
    )
    chosen = arguments[0] if arguments else ""
    commands = {kind.__name__.lower(): kind for kind in (Collect, train, Evaluate, Demo, Reproduce)}
    described = [
        Annotated[command, subcommand(name, description=_description(command, in_full=name == chosen))]
        for name, command in commands.items()
    ]
    return Union[tuple(described)]  # noqa: UP007 - the members are only known here


def _description(command: type, *, in_full: bool) -> str:
    """A command's docstring without its attributes; only the first line for the list of all commands."""
    text = (inspect.getdoc(command) or "").partition("\nAttributes:")[0].rstrip()
    return text if in_full else text.partition("\n")[0]


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
