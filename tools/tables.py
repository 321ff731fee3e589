"""Rebuild the tables of README.md and docs/ from results/, so that no number is typed.

python tools/tables.py [--check]

A table is a named block, `<!-- table:NAME -->` to `<!-- /table:NAME -->`. README.md and every Markdown file below docs/
may hold any of the blocks. With --check nothing is written; the exit status is 1 if a block differs from the results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

from aloha_table import aloha_table
from bench_tables import headlines, speed_tables
from blocks import fill
from calibration_table import calibration_table
from change_of_robot_table import change_of_robot_table
from closed_loop_table import LIFT, PARTICLE, closed_loop_table
from energy_table import energy_table
from expert_table import expert_table
from few_images_table import few_images_table
from ikp.files import replaced_atomically
from ikp.policies.config import PAPER_METHODS
from ikp_paper.rows import reproduction_tables
from ikp_paper.tables import INSERTION_100, INSERTION_1000, TABLES
from insertion_tables import ahead_table, demo_table, insertion_table
from methods_table import methods_table
from perception_table import perception_table
from robots_table import loop_table, timing_table
from sweeping_table import sweeping_table

IMAGE_ROWS = ("explicit", "implicit-joint", "ikp", "explicit-image", "implicit-joint-image", "ikp-image")
INSERTION = (
    "recipe",
    "rates",
    "budget",
    "time",
    "moved",
    "state",
    "image",
    "heads",
    "ablations",
    "demonstrations",
)
"""Tables of `ikp_paper.tables` that are about insertion alone."""


def builders(results: Path) -> dict[str, Callable[[], str]]:
    """Functions that make the blocks, by name."""
    insertion = partial(insertion_table, results)
    equal_steps = [cell for cell in TABLES["table2"].cells if cell.setting in (INSERTION_100, INSERTION_1000)]
    image = [cell for cell in TABLES["image"].cells if cell.variant in IMAGE_ROWS]
    first = TABLES["image"].settings[:1]
    return {
        "methods": partial(methods_table, results),
        "speed": partial(headlines, results / "bench"),
        "benchmarks": partial(speed_tables, results / "bench"),
        "calibration": partial(calibration_table, results),
        "energies": partial(energy_table, results),
        "experts": partial(expert_table, results / "experts"),
        "perception": partial(perception_table, results),
        "few-images": partial(few_images_table, results),
        "sweeping": partial(sweeping_table, results),
        "demo": partial(demo_table, results),
        "equal-steps": partial(insertion, equal_steps, paper=True),
        "image-methods": partial(insertion, image),
        **{name: partial(insertion, TABLES[name].cells) for name in INSERTION},
        "ahead-table2": partial(
            ahead_table, results, TABLES["table2"], "ikp", (INSERTION_100, INSERTION_1000)
        ),
        "ahead-time": partial(ahead_table, results, TABLES["time"], "ikp"),
        "ahead-image": partial(ahead_table, results, TABLES["image"], "ikp-image", first),
        "ahead-state": partial(ahead_table, results, TABLES["state"], "ikp", rows=PAPER_METHODS),
        "ahead-ablations": partial(ahead_table, results, TABLES["ablations"], "ikp"),
        "table1": partial(reproduction_tables, results, "standard", ["table1"]),
        "table2": partial(reproduction_tables, results, "standard", ["table2"]),
        "decision": partial(reproduction_tables, results, "standard", ["decision"]),
        "noise": partial(reproduction_tables, results, "standard", ["noise"]),
        "two-elbows": partial(reproduction_tables, results, "standard", ["two-elbows"]),
        "particle": partial(closed_loop_table, results, PARTICLE),
        "aloha": partial(aloha_table, results),
        "aloha-short": partial(aloha_table, results, is_short=True),
        "change-of-robot": partial(change_of_robot_table, results),
        "change-of-robot-sweeping": partial(change_of_robot_table, results, "sweeping-miscalibrated"),
        "robot-loop": partial(loop_table, results),
        "robot-timing": partial(timing_table, results),
        "lift": partial(closed_loop_table, results, LIFT),
        "quick": partial(reproduction_tables, results, "quick", ["table2"]),
    }


def pages(root: Path) -> list[Path]:
    """Files that may hold blocks."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def behind(root: Path, tables: Mapping[str, Callable[[], str]]) -> dict[Path, str]:
    """New texts of the pages whose blocks differ from the results.

    Raises:
        ValueError: a page holds an unknown block or one without an end.
    """
    made = cache(lambda name: tables[name]())
    found = {}
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        fresh = fill(text, {name: partial(made, name) for name in tables}, page.name)
        if fresh != text:
            found[page] = fresh
    return found


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    root = Path(__file__).parents[1]
    check = parser.parse_args().check
    changed = behind(root, builders(root / "results"))
    for page, text in changed.items():
        print(f"{page.relative_to(root)}: tables {'differ from results/' if check else 'rebuilt'}")
        if not check:
            with replaced_atomically(page) as path:
                path.write_text(text, encoding="utf-8")
    if check and changed:
        print("run python tools/tables.py and commit the pages", file=sys.stderr)
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
