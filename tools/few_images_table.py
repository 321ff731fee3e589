"""The table of few images: a square's place, learned from 30 of them (`benchmarks/few_images.py`)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ikp.files import read_json
from ikp_paper.rows import NOT_RUN, markdown

HEAD = ("encoder", "policy", "images", "steps", "seeds", "within 1 px", "inside the hull", "mean error")
CASE = ("encoder", "policy", "examples", "steps")


def few_images_table(results: Path) -> str:
    """A row for each encoder, policy and number of images and steps: means over the seeds.

    Args:
        results: folder that holds `few_images/*.json`.
    """
    cases = defaultdict(list)
    for file in sorted((results / "few_images").glob("*.json")):
        for row in read_json(file)["rows"]:
            cases[tuple(row[name] for name in CASE)].append(row)
    rows = []
    for case, runs in cases.items():
        inside, hull, error = (
            sum(run[name] for run in runs) / len(runs)
            for name in ("within_1px", "within_1px_inside_hull", "mean_px")
        )
        spread = [run["within_1px"] for run in runs]
        seeds = f" ({min(spread):.0f} to {max(spread):.0f})" if len(runs) > 1 else ""
        rows.append(
            [*map(str, case), str(len(runs)), f"{inside:.0f} %{seeds}", f"{hull:.0f} %", f"{error:.2f} px"]
        )
    return markdown([HEAD, *rows]) if rows else NOT_RUN
