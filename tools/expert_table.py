"""The table of the scripted experts, from `results/experts/*.json`, which `tools/expert_report.py` writes."""

from __future__ import annotations

from pathlib import Path

from ikp.files import read_json
from ikp.rollouts.summary import percent
from ikp.tasks import registered_tasks
from ikp_paper.rows import NOT_RUN, markdown

WHO = {
    "expert": "expert",
    "replayed_demonstrations": "replayed",
    "random": "random",
    "do_nothing": "nothing",
}
"""Columns: key in the results and heading."""
HEAD = (
    "task",
    *WHO.values(),
    "balance",
    "steps",
    "core seconds per episode, with images",
    "physics, × real time",
)


def expert_table(root: Path) -> str:
    """A row per task with a result in the folder `root`."""
    rows = []
    for entry in registered_tasks():
        path = root / f"{entry.name}.json"
        if path.exists():
            rows.append([entry.name, *_cells(read_json(path))])
    return markdown([HEAD, *rows]) if rows else NOT_RUN


def _cells(result: dict) -> list[str]:
    summaries = [result[who]["summary"] for who in WHO]
    scores = [summary.get("scores", {}).get("score", summary["success"]) for summary in summaries]
    balance = summaries[0].get("scores", {}).get("balance")
    speed = result["speed"]
    return [
        *(
            f"{percent(score)}, {summary['episodes']} episodes"
            for score, summary in zip(scores, summaries, strict=True)
        ),
        f"{balance['mean']:.2f}" if balance else "",
        f"{result['expert']['steps']['mean']:.0f}",
        f"{speed['core_seconds_per_episode_with_images']:.1f}",
        f"{speed['physics_times_real_time']:.0f}",
    ]
