"""The trained tables as data: the paper's, with its published results, and further ones of our own.

A table has one column per setting and one row per variant of a method (`ikp_paper.variants`); a cell is trained once
per seed. No recipe appears here: `ikp_paper.run` joins a cell with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ikp.policies.config import PAPER_METHODS

PAPER = "Ganapathi et al., Implicit Kinematic Policies, ICRA 2022"


@dataclass(frozen=True)
class Published:
    """A result from the paper: mean and standard deviation over three seeds [%]."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.deviation:.1f}"


@dataclass(frozen=True)
class Setting:
    """A table's column: the conditions under which its methods are compared.

    Attributes:
        task: name of a registered task (`ikp.tasks`).
        demonstrations: how many a policy is trained on; a small recipe may have fewer.
        observation: `pixels` or `state`.
        steps: optimiser steps; the recipe's if not given.
        minutes: training time instead of steps; such a result depends on the machine.
    """

    task: str
    demonstrations: int
    observation: str = "pixels"
    steps: int | None = None
    minutes: float | None = None

    @property
    def budget(self) -> str:
        """The training's length in file names: `4000steps`, `10min`, or empty where the recipe decides."""
        if self.minutes is not None:
            return f"{self.minutes:g}min"
        return "" if self.steps is None else f"{self.steps}steps"


@dataclass(frozen=True)
class Cell:
    """One result of a table; `variant` is a key of `ikp_paper.variants.VARIANTS`."""

    setting: Setting
    variant: str
    published: Published | None = None


@dataclass(frozen=True)
class Table:
    """Settings by variants.

    Attributes:
        title: heading.
        source: where the published results are from; empty for a table of our own.
        settings, variants: columns and rows.
        published: the paper's results of a column, in the order of `variants`.
    """

    title: str
    source: str
    settings: tuple[Setting, ...]
    variants: tuple[str, ...]
    published: Mapping[Setting, tuple[Published, ...]] = field(default_factory=dict)

    def cell(self, setting: Setting, variant: str) -> Cell:
        """The cell in a column and a row."""
        published = dict(zip(self.variants, self.published.get(setting, ()), strict=False))
        return Cell(setting, variant, published.get(variant))

    @property
    def cells(self) -> list[Cell]:
        """All cells, column by column."""
        return [self.cell(setting, variant) for setting in self.settings for variant in self.variants]


def _published(*results: tuple[float, float]) -> tuple[Published, ...]:
    return tuple(Published(mean, deviation) for mean, deviation in results)


SWEEPING, FLIPPING = Setting("sweeping", 1000), Setting("flipping", 1000)
SWEEPING_MISCALIBRATED = Setting("sweeping-miscalibrated", 1000)
INSERTION_100, INSERTION_1000 = Setting("insertion", 100), Setting("insertion", 1000)

TABLES: dict[str, Table] = {
    "table1": Table(
        "Table I: one action space or both",
        f"{PAPER}, Table I",
        (SWEEPING, FLIPPING),
        ("implicit-cartesian", "implicit-joint", "ikp"),
        {
            SWEEPING: _published((79.4, 2.1), (44.3, 3.2), (85.9, 1.5)),
            FLIPPING: _published((38.6, 5.2), (98.4, 1.4), (97.5, 1.2)),
        },
    ),
    "table2": Table(
        "Table II: miscalibrated joint encoders",
        f"{PAPER}, Table II",
        (SWEEPING_MISCALIBRATED, INSERTION_100, INSERTION_1000),
        PAPER_METHODS,
        {
            SWEEPING_MISCALIBRATED: _published(
                (38.2, 3.4), (40.3, 4.6), (3.1, 2.2), (46.3, 1.8), (84.5, 1.2)
            ),
            INSERTION_100: _published((73.8, 4.3), (72.4, 3.8), (0.0, 0.0), (82.3, 2.9), (88.8, 3.4)),
            INSERTION_1000: _published((74.2, 2.5), (75.4, 2.8), (0.0, 0.0), (85.2, 3.1), (92.4, 2.6)),
        },
    ),
    "state": Table(
        "Insertion from object poses: equal steps and equal time",
        "",
        (
            Setting("insertion", 100, "state", steps=2000),
            Setting("insertion", 1000, "state", steps=2000),
            Setting("insertion", 1000, "state", steps=100_000, minutes=2),
        ),
        (*PAPER_METHODS, *(f"{method}-still" for method in PAPER_METHODS)),
    ),
    "sweeping": Table(
        "Sweeping after 20 minutes of training",
        "",
        (Setting("sweeping", 1000, steps=100_000, minutes=20),),
        (
            "implicit-cartesian",
            "implicit-joint",
            "ikp",
            "implicit-cartesian-damped-gradient",
            "implicit-joint-damped-gradient",
            "ikp-damped-gradient",
        ),
    ),
    "two-elbows": Table(
        "Two elbows: a goal pose with two answers",
        "",
        (Setting("two-elbows", 5000, "state", steps=2000),),
        ("explicit", "implicit-joint", "ikp", "explicit-one-elbow"),
    ),
    "recipe": Table(
        "The choices of the recipe one at a time: insertion from pixels after 750 steps",
        "",
        (Setting("insertion", 1000, steps=750),),
        (
            "ikp",
            "ikp-coarse-gripper",
            "ikp-adamw",
            "ikp-half-rates",
            "ikp-double-rates",
            "ikp-no-average",
            "ikp-uniform-negatives",
            "ikp-damped-gradient",
            "ikp-exact-prefix",
            "ikp-wide",
            "ikp-beam",
            "ikp-two-frames",
            "ikp-fine-stem",
            "ikp-coarse-stem",
            "ikp-fine-layer",
            "ikp-coordinates",
            "ikp-few-keypoints",
            "ikp-slim-encoder",
            "ikp-pool-encoder",
            "ikp-plain-features",
            "ikp-shifts",
            "ikp-bang-bang",
            "implicit-joint",
            "implicit-joint-coarse-gripper",
            "explicit",
            "explicit-coarse-gripper",
            "explicit-adamw",
            "explicit-bang-bang",
            "ikp-image",
            "ikp-image-coarse-gripper",
        ),
    ),
    "rates": Table(
        "Learning rates and the budget: insertion after 400, 750 and 1500 steps",
        "",
        tuple(Setting("insertion", 1000, steps=steps) for steps in (400, 750, 1500)),
        (
            "explicit",
            "explicit-double-rates",
            "implicit-joint",
            "implicit-joint-double-rates",
            "ikp",
            "ikp-double-rates",
            "ikp-image",
            "ikp-image-double-rates",
        ),
    ),
    "budget": Table(
        "Steps of training: insertion with 100 demonstrations",
        "",
        (Setting("insertion", 100, steps=750), INSERTION_100, Setting("insertion", 100, steps=16_000)),
        PAPER_METHODS,
    ),
    "image": Table(
        "The image plane as a further action space: insertion after 750 steps",
        "",
        (Setting("insertion", 100, steps=750), Setting("insertion", 1000, steps=750)),
        (
            "explicit",
            "implicit-joint",
            "ikp",
            "explicit-image",
            "implicit-joint-image",
            "ikp-image",
            "ikp-image-labels-only",
            "ikp-image-no-labels",
            "ikp-image-goal-only",
            "ikp-image-rough",
            "ikp-image-rough-learned",
        ),
    ),
    "time": Table(
        "Success against training time: insertion after 1, 2 and 4 minutes, each with its own schedule",
        "",
        tuple(Setting("insertion", 1000, steps=100_000, minutes=minutes) for minutes in (1, 2, 4)),
        ("explicit", "implicit-joint", "ikp", "ikp-image"),
    ),
    "decision": Table(
        "The decision: energies alone, and pooled with the regression inside the policy",
        "",
        (Setting("insertion", 100, steps=750), Setting("flipping", 300, steps=2500)),
        ("explicit", "implicit-joint-energies-alone", "implicit-joint", "ikp-energies-alone", "ikp"),
    ),
    "noise": Table(
        "Noise on the measured joints in training: flipping",
        "",
        (Setting("flipping", 300, steps=2500),),
        (
            "explicit-exact-state",
            "explicit",
            "implicit-joint-exact-state",
            "implicit-joint",
            "ikp-exact-state",
            "ikp",
        ),
    ),
    "heads": Table(
        "What link poses are worth to each head: insertion after 750 steps",
        "",
        (Setting("insertion", 100, steps=750), Setting("insertion", 25, steps=750)),
        (
            "explicit",
            "explicit-fk-tip-only",
            "explicit-fk",
            "two-step-joint",
            "two-step-tip-only",
            "two-step",
            "flow-joint",
            "flow-tip-only",
            "flow",
            "implicit-joint",
            "ikp-tip-only",
            "ikp",
        ),
    ),
    "moved": Table(
        "Moved scenes as further demonstrations: insertion after 750 steps",
        "",
        (Setting("insertion", 100, steps=750),),
        (
            "explicit-still",
            "explicit",
            "implicit-joint-still",
            "implicit-joint",
            "ikp-still",
            "ikp-turned",
            "ikp",
            "ikp-image-still",
            "ikp-image",
        ),
    ),
    "ablations": Table(
        "Ablations after 750 steps: the residual, the observed poses and whose poses",
        "",
        (Setting("insertion", 100, steps=750), Setting("insertion", 1000, steps=750)),
        (
            "ikp",
            "ikp-residual-none",
            "ikp-residual-offset",
            "ikp-residual-dense",
            "ikp-no-observed-poses",
            "ikp-tip-only",
        ),
    ),
    "demonstrations": Table(
        "Number of demonstrations, after 750 steps",
        "",
        tuple(Setting("insertion", count, steps=750) for count in (25, 50, 100, 250, 1000)),
        ("explicit", "implicit-joint", "ikp"),
    ),
}

FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "figure4": ("Figure 4: the expert's motion in joint and in Cartesian space", ("sweeping", "flipping")),
    "figure5": (
        "Figure 5: constant joint offsets become non-linear Cartesian errors",
        ("sweeping-miscalibrated", "insertion"),
    ),
}
"""Title and tasks of the figures that are drawn from demonstrations."""

TARGETS = (*TABLES, *FIGURES)
"""Arguments of `ikp-paper`."""


def check_target(name: str) -> str:
    """Return the name; raise ValueError with all targets for an unknown one."""
    if name not in TARGETS:
        raise ValueError(f"target is {name!r}: choose one of {', '.join(TARGETS)}")
    return name
