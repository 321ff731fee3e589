"""The demo: a miscalibrated UR5e learns block insertion from pixels, and a report shows the result.

A folder with the data, the runs, the evaluations and one page. Every stage continues where it was stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ikp.data import load_dataset
from ikp.demo.config import Contestant, DemoConfig
from ikp.demo.decision import record_decision
from ikp.demo.offsets import compare_offsets
from ikp.demo.report import PAGE, write_report
from ikp.demo.snapshots import SHARES, keep_snapshots
from ikp.demo.stages import LEDGER, Stage, Stages
from ikp.files import read_json, writable_folder, write_json
from ikp.policies import ImplicitPolicy, load_policy
from ikp.rollouts.collect import collect
from ikp.rollouts.summary import percent
from ikp.runs import evaluate_policy, train_policy

RENDER_SIZE = (320, 320)
"""Pixels of the video's pictures."""
SECONDS_PER_DEMONSTRATION = 0.08
"""On two cores, for the announcement."""


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Run what is not done yet and write the report.

    Returns:
        The content of `result.json`.

    Raises:
        ValueError: unusable settings, or the folder holds a run with others.
    """
    demo = _Demo(config)
    writable_folder(config.out)
    stages = Stages(config.out)
    print(
        f"the report will be {config.out / PAGE}; stopped at any time, the same command continues", flush=True
    )
    stages.run(demo.stages())
    result = demo.result(stages)
    page = write_report(config.out, result)
    success = result["summary"]["success"]
    print(
        f"inserted within 10 mm and 15 deg in {percent(success)} of {demo.recipe.episodes} unseen configurations"
    )
    print(f"report: {page}")
    return result


class _Demo:
    def __init__(self, config: DemoConfig) -> None:
        self.config, self.recipe, self.out = config, config.chosen, config.out

    def stages(self) -> list[Stage]:
        wanted = self.config.collection
        data = {**vars(wanted), "seed": self.config.seed}
        about = f"collecting {wanted.episodes} demonstrations of a robot with joint offsets of up to 2 deg"
        expected = _duration(wanted.episodes * SECONDS_PER_DEMONSTRATION)
        stages = [Stage("collect", f"{about} (about {expected})", data, self._collect)]
        for contestant in self.config.contestants:
            stages += self._stages_of(contestant, data)
        return stages

    def _stages_of(self, contestant: Contestant, data: dict[str, Any]) -> list[Stage]:
        name, title, config = contestant.name, contestant.title, self.config
        policy, train = contestant.policy(self.recipe), contestant.train(self.recipe)
        trained = {**data, "policy": policy.to_json(), "train": train.to_json()}
        budget = f"{train.steps} steps" if train.minutes is None else f"{train.minutes:g} min"
        points = f"{len(SHARES)} x {config.curve_episodes} configurations"
        stages = [
            Stage(
                f"train-{name}",
                f"training {title} from pixels ({budget} and a little for checks)",
                trained,
                lambda: self._train(contestant),
            ),
            Stage(
                f"evaluate-{name}",
                f"evaluating {title} on {self.recipe.episodes} unseen configurations (about 1 min)",
                {**trained, "evaluated": self.recipe.episodes},
                lambda: self._evaluate(contestant),
            ),
            Stage(
                f"curve-{name}",
                f"evaluating {title} as it was during training, {points} (about 1 min)",
                {**trained, "evaluated": config.curve_episodes},
                lambda: self._evaluate_curve(contestant),
            ),
        ]
        if contestant == config.main:
            about = "analysing one decision and comparing learned with true joint offsets (seconds)"
            stages.append(Stage("explain", about, trained, self._explain))
        return stages

    def _collect(self) -> None:
        wanted = self.config.collection
        collect(
            wanted.env_id,
            self.out / "data",
            wanted.episodes,
            seed=self.config.seed,
            env_kwargs=wanted.env_kwargs,
            perturbation=wanted.perturbation,
            workers=self.config.workers,
            task="insert the block into the fixture",
        )

    def _run(self, contestant: Contestant) -> Path:
        return self.out / "runs" / contestant.name

    def _snapshots(self, contestant: Contestant) -> list[Path]:
        return sorted((self._run(contestant) / "snapshots").iterdir())

    def _train(self, contestant: Contestant) -> None:
        train = contestant.train(self.recipe)
        train_policy(
            self.out / "data",
            self._run(contestant),
            method=contestant.method,
            policy=contestant.policy(self.recipe),
            train_config=train,
            recipe=self.recipe.name,
            resume=True,
            callback=keep_snapshots(self._run(contestant) / "snapshots", train),
        )

    def _evaluate(self, contestant: Contestant) -> None:
        filmed = contestant == self.config.main
        evaluate_policy(
            self._run(contestant),
            episodes=self.recipe.episodes,
            video=self.out / "rollouts.mp4" if filmed else None,
            render_kwargs={"render_size": RENDER_SIZE, "render_camera": "overview"} if filmed else None,
            out=self._result(contestant),
        )

    def _result(self, contestant: Contestant, name: str = "final") -> Path:
        return self.out / "evaluations" / f"{contestant.name}-{name}.json"

    def _evaluate_curve(self, contestant: Contestant) -> None:
        task = self.config.task
        for folder in self._snapshots(contestant):
            path = self._result(contestant, folder.name)
            if not path.exists():
                evaluate_policy(
                    folder,
                    episodes=self.config.curve_episodes,
                    task=task.env_id,
                    env_kwargs=task.env_kwargs,
                    out=path,
                )

    def _explain(self) -> None:
        task = self.config.task
        policy = load_policy(self._run(self.config.main))
        assert isinstance(policy, ImplicitPolicy)
        record_decision(policy, task).save(self.out / "decision.npz")
        demonstrations = load_dataset(self.out / "data", cameras=[])
        write_json(self.out / "offsets.json", compare_offsets(policy, demonstrations, task.true_offsets()))

    def result(self, stages: Stages) -> dict[str, Any]:
        """The numbers of the report; also written to `result.json`."""
        contestants, main = self.config.contestants, self.config.main.name
        final = {made.name: self._read(self._result(made)) for made in contestants}
        known = [stage.name for stage in self.stages()]
        result = {
            "main": main,
            "recipe": self.recipe.name,
            "summary": final[main]["summary"],
            "methods": {name: values["summary"] for name, values in final.items()},
            "policy_milliseconds": {name: values["policy_milliseconds"] for name, values in final.items()},
            "training": {name: _training(values["policy"]) for name, values in final.items()},
            "curves": {made.name: self._curve(made, final[made.name]) for made in contestants},
            "offsets": read_json(self.out / "offsets.json"),
            "stages": {name: stages.done[name] for name in known},
            "seconds": sum(stages.done[name]["seconds"] for name in known),
            "task": vars(self.config.task),
            "data": final[main]["policy"]["data"],
            "provenance": final[main]["provenance"],
        }
        write_json(self.out / "result.json", result)
        return result

    def _read(self, path: Path) -> dict[str, Any]:
        """The stored result of an evaluation."""
        keys = {"summary": dict, "policy": dict, "policy_milliseconds": float, "provenance": dict}
        return read_json(path, fix=f"delete it and {LEDGER}, and run the demo again", keys=keys)

    def _curve(self, contestant: Contestant, final: dict[str, Any]) -> list[dict[str, Any]]:
        """Points of success over training time: the kept policies and the final one."""
        kept = [self._read(self._result(contestant, folder.name)) for folder in self._snapshots(contestant)]
        return [
            {"minutes": values["policy"]["seconds"] / 60, "summary": values["summary"]}
            for values in [*kept, final]
        ]


def _training(provenance: dict[str, Any]) -> dict[str, Any]:
    return {key: provenance[key] for key in ("steps", "seconds", "train")}


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
