"""What `ikp reproduce` trains: the paper's tables as data, with the published figures, and tables of our own.

A table has one column per setting and one row per method; a cell of it is trained once per seed. Nothing here
depends on a recipe: `ikp_paper.run` joins a cell with a preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ikp.policies.config import METHODS

PAPER = "Ganapathi et al., Implicit Kinematic Policies, ICRA 2022"
Figure = tuple[float, float]
"""A published mean and standard deviation over three seeds [%]."""


@dataclass(frozen=True)
class Column:
    """One setting in which all methods of a table are compared.

    Attributes:
        task: name of a task (`ikp.tasks.registered_tasks`).
        demonstrations: how many a policy is trained on; a small preset may have fewer.
        observation: `pixels` or `state`.
        steps: optimiser steps; the preset's if not given.
        minutes: training time instead of steps; such a result depends on the machine.
    """

    task: str
    demonstrations: int
    observation: str = "pixels"
    steps: int | None = None
    minutes: float | None = None

    @property
    def budget(self) -> str:
        """`4000steps`, `10min`, or nothing where the preset decides."""
        if self.minutes is not None:
            return f"{self.minutes:g}min"
        return "" if self.steps is None else f"{self.steps}steps"


@dataclass(frozen=True)
class Cell:
    """One figure of a table; `variant` is a key of `ikp_paper.variants.VARIANTS`."""

    column: Column
    variant: str
    published: Figure | None = None


@dataclass(frozen=True)
class Table:
    """Columns by variants.

    Attributes:
        title: for the heading.
        source: where the published figures are from; empty for a table of our own.
        columns, variants: the settings and the rows.
        published: per column the paper's figures, in the order of `variants`.
    """

    title: str
    source: str
    columns: tuple[Column, ...]
    variants: tuple[str, ...]
    published: Mapping[Column, tuple[Figure, ...]] = field(default_factory=dict)

    def cell(self, column: Column, variant: str) -> Cell:
        """The cell at a column and a row."""
        figures = dict(zip(self.variants, self.published.get(column, ()), strict=False))
        return Cell(column, variant, figures.get(variant))

    @property
    def cells(self) -> list[Cell]:
        """All cells, column by column."""
        return [self.cell(column, variant) for column in self.columns for variant in self.variants]


SWEEPING, FLIPPING = Column("sweeping", 1000), Column("flipping", 1000)
SWEEPING_MISCALIBRATED = Column("sweeping-miscalibrated", 1000)
INSERTION_100, INSERTION_1000 = Column("insertion", 100), Column("insertion", 1000)

TABLES: dict[str, Table] = {
    "table1": Table(
        "Table I: one action space or both",
        f"{PAPER}, Table I",
        (SWEEPING, FLIPPING),
        ("implicit-cartesian", "implicit-joint", "ikp"),
        {
            SWEEPING: ((79.4, 2.1), (44.3, 3.2), (85.9, 1.5)),
            FLIPPING: ((38.6, 5.2), (98.4, 1.4), (97.5, 1.2)),
        },
    ),
    "table2": Table(
        "Table II: miscalibrated joint encoders",
        f"{PAPER}, Table II",
        (SWEEPING_MISCALIBRATED, INSERTION_100, INSERTION_1000),
        tuple(METHODS),
        {
            SWEEPING_MISCALIBRATED: ((38.2, 3.4), (40.3, 4.6), (3.1, 2.2), (46.3, 1.8), (84.5, 1.2)),
            INSERTION_100: ((73.8, 4.3), (72.4, 3.8), (0.0, 0.0), (82.3, 2.9), (88.8, 3.4)),
            INSERTION_1000: ((74.2, 2.5), (75.4, 2.8), (0.0, 0.0), (85.2, 3.1), (92.4, 2.6)),
        },
    ),
    "state": Table(
        "Insertion from object poses: equal steps and equal time",
        "",
        (
            Column("insertion", 100, "state", steps=2000),
            Column("insertion", 1000, "state", steps=2000),
            Column("insertion", 1000, "state", steps=100_000, minutes=2),
        ),
        (*METHODS, *(f"{method}-still" for method in METHODS)),
    ),
    "sweeping": Table(
        "Sweeping after 20 minutes of training",
        "",
        (Column("sweeping", 1000, steps=100_000, minutes=20),),
        (
            "implicit-cartesian",
            "implicit-joint",
            "ikp",
            "implicit-cartesian-damped-gradient",
            "implicit-joint-damped-gradient",
            "ikp-damped-gradient",
        ),
    ),
    "recipe": Table(
        "What each choice of the recipe buys: insertion from pixels after 750 steps",
        "",
        (Column("insertion", 1000, steps=750),),
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
        tuple(Column("insertion", 1000, steps=steps) for steps in (400, 750, 1500)),
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
        (Column("insertion", 100, steps=750), INSERTION_100, Column("insertion", 100, steps=16_000)),
        ("explicit", "implicit-joint", "ikp"),
    ),
    "image": Table(
        "The image plane as a further action space: insertion after 750 steps",
        "",
        (Column("insertion", 100, steps=750), Column("insertion", 1000, steps=750)),
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
        tuple(Column("insertion", 1000, steps=100_000, minutes=minutes) for minutes in (1, 2, 4)),
        ("explicit", "implicit-joint", "ikp", "ikp-image"),
    ),
    "moved": Table(
        "Moved scenes as further demonstrations: insertion after 750 steps",
        "",
        (Column("insertion", 100, steps=750),),
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
        (Column("insertion", 100, steps=750), Column("insertion", 1000, steps=750)),
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
        tuple(Column("insertion", count, steps=750) for count in (25, 50, 100, 250, 1000)),
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
"""Title and tasks of the paper's figures that are drawn from demonstrations."""

TARGETS = (*TABLES, *FIGURES)
"""What `ikp reproduce` can be asked for."""


def check_target(name: str) -> str:
    """The name itself; ValueError that lists the targets for another one."""
    if name not in TARGETS:
        raise ValueError(f"target is {name!r}: choose one of {', '.join(TARGETS)}")
    return name
