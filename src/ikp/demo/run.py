"""The demo: a miscalibrated UR5e learns block insertion from pixels, and a report says how well.

A folder with the data, the runs, the evaluations and one page. Every stage continues where it was stopped.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ikp.data import load_dataset
from ikp.demo.decision import record_decision
from ikp.demo.offsets import compare_offsets
from ikp.demo.report import PAGE, write_report
from ikp.demo.stages import Stage, Stages
from ikp.files import read_json, write_json
from ikp.policies import ImplicitPolicy, Policy, PolicyConfig, load_policy, save_policy
from ikp.policies.checkpoint import WEIGHTS_FILE
from ikp.recipes import Preset, policy_for, preset
from ikp.rollouts.collect import collect
from ikp.rollouts.summary import percent
from ikp.runs import Task, evaluate_policy, policy_origin, train_policy
from ikp.tasks.registry import task_entry
from ikp.training.config import TrainConfig
from ikp.training.trainer import Callback
from ikp_paper.variants import VARIANTS

ROWS = ("ikp-image", "ikp", "implicit-joint", "explicit")
"""Rows of `ikp_paper.variants.VARIANTS`; the first one that a preset's encoder allows is the main one."""
OBSERVATION = "pixels"
CURVE_SHARES = (0.1, 0.25, 0.5, 0.75)
"""Shares of the training at which the averaged policy is kept, to be evaluated afterwards."""
VALIDATE_EVERY = 200
"""Steps between checks, at which policies for the curve can be kept: a few seconds each, and the demo is short."""
RENDER_SIZE = (320, 320)
SECONDS_PER_DEMONSTRATION = 0.08
"""On two cores, for the announcement."""


@dataclass(frozen=True)
class DemoConfig:
    """What to run; see `ikp demo --help`. None takes the preset's value."""

    out: Path = Path("outputs/demo")
    preset: str = "standard"
    minutes: float | None = None
    demonstrations: int | None = None
    episodes: int = 100
    curve_episodes: int = 50
    compare: bool = False
    offset_seed: int = 0
    seed: int = 0
    workers: int | None = None

    @property
    def recipe(self) -> Preset:
        """The preset with the values that are given here."""
        chosen = preset(self.preset)
        minutes = chosen.minutes if self.minutes is None else self.minutes
        count = chosen.demonstrations if self.demonstrations is None else self.demonstrations
        every = min(VALIDATE_EVERY, chosen.train.validate_every)
        train = chosen.train_for(movable=task_entry("insertion").movable)
        train = replace(train, minutes=minutes, seed=self.seed, validate_every=every)
        return replace(chosen, train=train, demonstrations=count, minutes=minutes)

    @property
    def variants(self) -> tuple[str, ...]:
        """What to train, the main one first."""
        has_map = self.recipe.policy.encoder.kind == "keypoint"  # the image plane needs the encoder's map
        possible = [name for name in ROWS if has_map or "image" not in name]
        return tuple(possible if self.compare else possible[:1])

    @property
    def main(self) -> str:
        """The one that the report is about."""
        return self.variants[0]

    @property
    def task(self) -> Task:
        """Insertion from pixels on the miscalibrated robot."""
        return Task(
            task_entry("insertion").env_id, {"observation": OBSERVATION, "offset_seed": self.offset_seed}
        )


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Run what is not done yet and write the report.

    Returns:
        What `result.json` holds.

    Raises:
        ValueError: unusable settings, or the folder holds a run with others.
    """
    if config.episodes < 1 or config.curve_episodes < 1:
        raise ValueError(
            f"episodes={config.episodes}, curve_episodes={config.curve_episodes}: both must be at least 1"
        )
    demo = _Demo(config)
    config.out.mkdir(parents=True, exist_ok=True)
    stages = Stages(config.out)
    print(
        f"the report will be {config.out / PAGE}; stopped at any time, the same command continues", flush=True
    )
    stages.run(demo.stages())
    result = demo.result(stages)
    page = write_report(config.out, result)
    share = percent(result["summary"]["success"])
    print(f"inserted within 10 mm and 15 deg in {share} of {config.episodes} unseen configurations")
    print(f"report: {page}")
    return result


class _Demo:
    def __init__(self, config: DemoConfig) -> None:
        self.config, self.recipe, self.out = config, config.recipe, config.out

    def stages(self) -> list[Stage]:
        config, recipe = self.config, self.recipe
        data = {
            "task": vars(config.task),
            "demonstrations": recipe.demonstrations,
            "perturbation": recipe.perturbation,
            "seed": config.seed,
        }
        about = (
            f"collecting {recipe.demonstrations} demonstrations of a robot with joint offsets of up to 2 deg"
        )
        expected = _minutes(recipe.demonstrations * SECONDS_PER_DEMONSTRATION)
        stages = [Stage("collect", f"{about} (about {expected})", data, self._collect)]
        for name in config.variants:
            title = VARIANTS[name].title
            policy, train = self._recipe(name)
            settings = {**data, "policy": policy.to_json(), "train": train.to_json()}
            about = f"training {title} from pixels ({recipe.minutes:g} min and a little for checks)"
            stages.append(Stage(f"train-{name}", about, settings, lambda v=name: self._train(v)))
            evaluated = {**settings, "episodes": config.episodes}
            about = f"evaluating {title} on {config.episodes} unseen configurations (about 1 min)"
            stages.append(Stage(f"evaluate-{name}", about, evaluated, lambda v=name: self._evaluate(v)))
            evaluated = {**settings, "episodes": config.curve_episodes}
            points = f"{len(CURVE_SHARES)} x {config.curve_episodes} configurations (about 1 min)"
            about = f"evaluating {title} as it was during training, {points}"
            stages.append(Stage(f"curve-{name}", about, evaluated, lambda v=name: self._evaluate_curve(v)))
            if name == config.main:
                about = "taking one decision apart and comparing learned with true joint offsets (seconds)"
                stages.append(Stage("explain", about, settings, self._explain))
        return stages

    def _collect(self) -> None:
        config, recipe = self.config, self.recipe
        collect(
            config.task.env_id,
            self.out / "data",
            recipe.demonstrations,
            seed=config.seed,
            env_kwargs=config.task.env_kwargs,
            perturbation=recipe.perturbation,
            workers=config.workers,
            task="insert the block into the fixture",
        )

    def _recipe(self, variant: str) -> tuple[PolicyConfig, TrainConfig]:
        row = VARIANTS[variant]
        return row.applied(policy_for(row.method, self.recipe.policy), self.recipe.train)

    def _run(self, variant: str) -> Path:
        return self.out / "runs" / variant

    def _train(self, variant: str) -> None:
        policy, train = self._recipe(variant)
        train_policy(
            self.out / "data",
            self._run(variant),
            method=VARIANTS[variant].method,
            policy=policy,
            train_config=train,
            resume=True,
            callback=snapshots(self._run(variant) / "snapshots", train),
        )

    def _evaluate(self, variant: str) -> None:
        filmed = variant == self.config.main
        evaluate_policy(
            self._run(variant),
            episodes=self.config.episodes,
            video=self.out / "rollouts.mp4" if filmed else None,
            render_kwargs={"render_size": RENDER_SIZE, "render_camera": "overview"} if filmed else None,
            out=self._result(variant),
        )

    def _result(self, variant: str, name: str = "final") -> Path:
        return self.out / "evaluations" / f"{variant}-{name}.json"

    def _evaluate_curve(self, variant: str) -> None:
        for folder in sorted((self._run(variant) / "snapshots").iterdir()):
            path = self._result(variant, folder.name)
            if not path.exists():
                kwargs = self.config.task.env_kwargs
                evaluate_policy(
                    folder, episodes=self.config.curve_episodes, task="insertion", env_kwargs=kwargs, out=path
                )

    def _explain(self) -> None:
        policy = load_policy(self._run(self.config.main) / "policy")
        assert isinstance(policy, ImplicitPolicy)
        record_decision(policy, self.config.task).save(self.out / "decision.npz")
        demonstrations = load_dataset(self.out / "data", cameras=[])
        offsets = compare_offsets(policy, demonstrations, self.config.task.true_offsets())
        write_json(self.out / "offsets.json", offsets)

    def result(self, stages: Stages) -> dict[str, Any]:
        """What the report is made of, apart from the arrays; also written to `result.json`."""
        config = self.config
        final = {name: read_json(self._result(name)) for name in config.variants}
        known = [stage.name for stage in self.stages()]
        result = {
            "main": config.main,
            "summary": final[config.main]["summary"],
            "methods": {name: values["summary"] for name, values in final.items()},
            "policy_milliseconds": {name: values["policy_milliseconds"] for name, values in final.items()},
            "training": {name: _training(values["policy"]) for name, values in final.items()},
            "curves": {name: self._curve(name, final[name]) for name in config.variants},
            "offsets": read_json(self.out / "offsets.json"),
            "stages": {name: stages.done[name] for name in known},
            "seconds": sum(stages.done[name]["seconds"] for name in known),
            "task": vars(config.task),
            "data": final[config.main]["policy"]["data"],
            "origin": final[config.main]["origin"],
        }
        write_json(self.out / "result.json", result)
        return result

    def _curve(self, variant: str, final: dict[str, Any]) -> list[dict[str, Any]]:
        """Points of success over training time: the kept policies and the final one."""
        points = []
        for folder in sorted((self._run(variant) / "snapshots").iterdir()):
            values = read_json(self._result(variant, folder.name))
            points.append({"minutes": values["policy"]["seconds"] / 60, "summary": values["summary"]})
        return [*points, {"minutes": final["policy"]["seconds"] / 60, "summary": final["summary"]}]


def snapshots(folder: Path, train: TrainConfig) -> Callback:
    """A callback for `ikp.train` that keeps the averaged policy when a share of `CURVE_SHARES` has passed.

    Policies that a killed run kept after the state from which it is resumed are dropped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    resumed = True

    def keep(policy: Policy, step: int, seconds: float) -> None:
        nonlocal resumed
        if resumed:
            for path in folder.iterdir():
                if not (path / WEIGHTS_FILE).exists() or policy_origin(path)["step"] >= step:
                    shutil.rmtree(path)
            resumed = False
        by_clock = seconds / (60 * train.minutes) if train.minutes else 0.0
        passed = max(step / train.steps, by_clock)
        due = [share for share in CURVE_SHARES if share <= passed < 1]
        path = folder / f"{round(100 * due[-1]):02d}" if due else None
        if path is not None and not path.exists():
            save_policy(policy, path, origin={"step": step, "seconds": round(seconds, 1)})

    return keep


def _training(policy_origin: dict[str, Any]) -> dict[str, Any]:
    return {key: policy_origin[key] for key in ("steps", "seconds", "train")}


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
