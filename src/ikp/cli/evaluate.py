"""`ikp evaluate`: success of a policy on unseen configurations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import arg

from ikp.cli.words import OF_THE_RECIPE, named_options


@dataclass(frozen=True)
class Evaluate:
    """Roll a policy out on unseen configurations of its task: success with a 95 % interval, final errors.

    For example:
      ikp evaluate --policy runs/ikp
      ikp evaluate --policy runs/ikp --episodes 50 --video rollouts.mp4 --out result.json
      ikp evaluate --policy runs/ikp --env offset_seed=7
      ikp evaluate --policy runs/both --joint-map third.json

    Attributes:
        policy: folder of a run or of a policy.
        joint_map: the joint map of the arm in the task, as `ikp calibrate` writes it: another arm than the policy's
            first one.
        episodes: number of rollouts.
        seed: first one of the unseen seeds.
        task: name or Gymnasium id, where the policy stores no task or another one is meant.
        env: options of the task that replace the stored ones, as name=value.
        video: an mp4 grid of the first rollouts.
        video_episodes: number of rollouts in the video.
        out: a JSON file with every episode and the provenance of the numbers.
    """

    HINT: ClassVar[str] = "an evaluation begins anew when it is run again"

    policy: Path
    joint_map: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: policy's)")] = None
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
            joint_map=self.joint_map,
            episodes=self.episodes,
            seed=self.seed,
            task=self.task,
            env_kwargs=named_options(self.env, "--env", "offset_seed=7 or observation=state"),
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
