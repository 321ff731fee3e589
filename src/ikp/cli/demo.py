"""`ikp demo`: data, training, evaluation and one report page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import arg

from ikp.cli.words import OF_THE_RECIPE, RECIPE_CHOICES


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

    HINT: ClassVar[str] = "run the same again to continue"

    out: Path = Path("outputs/demo")
    recipe: Annotated[str, arg(metavar=RECIPE_CHOICES)] = "demo"
    minutes: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="(default: by steps)")] = None
    demonstrations: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    episodes: Annotated[int | None, arg(metavar="INT", help_behavior_hint=OF_THE_RECIPE)] = None
    curve_episodes: int = 25
    compare: bool = False
    offset_seed: int = 0
    seed: int = 0
    workers: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all cores)")] = None

    def run(self) -> None:
        from ikp.demo.config import DemoConfig
        from ikp.demo.run import run_demo

        run_demo(DemoConfig(**vars(self)))
