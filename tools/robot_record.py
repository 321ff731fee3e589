"""Writes the record of a loop on a simulated bench: demonstrations, training and deployment.

    python tools/robot_record.py --data data/align --run runs/align --deployed runs/deployed \
        --out results/robots/alignment.json

`ikp record`, `ikp train` and `ikp deploy` made the folders. The record says how far the failures came.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ikp.data import Demonstrations, load_dataset
from ikp.files import read_json, write_json
from ikp.rollouts.summary import count_of
from ikp.runs import policy_provenance
from ikp.tasks.registry import task_entry


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("data", "run", "deployed", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    shown = load_dataset(arguments.data, images=False, progress=False)
    made = policy_provenance(arguments.run)
    report = read_json(arguments.deployed.with_name(f"{arguments.deployed.name}.json"))
    deployed = load_dataset(arguments.deployed, images=False, progress=False)
    successes = report["successes"]
    if successes != deployed.success.tolist():
        raise ValueError(
            f"{arguments.deployed} holds other episodes than its report: deploy into a new folder"
        )
    write_json(
        arguments.out,
        {
            "task": task_entry(made["task"]["env_id"]).name,
            "success": count_of(sum(successes), len(successes)),
            "failures": dict(Counter(ends(deployed))),
            "demonstrations": {"episodes": shown.episodes, "frames": len(shown)},
            "training": {**made, "held_out": held_out(arguments.run)},
            "deployment": report,
        },
    )


def ends(data: Demonstrations) -> list[str]:
    """How each episode that failed ended, by the last dimension of the state, which is 1 while something is held."""
    states = data.state[:, -1].numpy()
    found = []
    for (low, high), success in zip(data.episode_bounds.tolist(), data.success.tolist(), strict=True):
        held = states[low:high] > 0.5
        if not success:
            changes = "nothing was held" if not held.any() else "still holding" if held[-1] else "let go"
            found.append(changes)
    return found


def held_out(run: Path) -> dict[str, Any]:
    """Errors of the last validation on held-out demonstrations."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = next(line["held_out"] for line in reversed(lines) if "held_out" in line)
    return {name: float(np.round(value, 4)) for name, value in last.items()}


if __name__ == "__main__":
    main()
