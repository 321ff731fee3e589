"""Parts that benchmarks on other people's tasks share: one training, its evaluation under each decision, its record.

A run is described by --method, --seed and --steps, and its record is one JSON file. A run whose record exists is not
repeated, and an interrupted training continues. An implicit policy is evaluated three times with the same weights:
`pooled` decides as the library does, `energies` by its energies alone, `regression` by the regression inside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import ikp
from ikp.data import Demonstrations
from ikp.files import write_json
from ikp.policies import Policy, PolicyConfig
from ikp.provenance import provenance
from ikp.rollouts.summary import count_of, percent

ALL_BUT = 0.999  # weight of the regression where it decides alone; 1 would leave nothing of the energies
Outcome = Mapping[str, Sequence[float]]
"""Results of an evaluation, one value per episode: `success`, and what else the benchmark measures."""


def parser(
    description: str | None, methods: Mapping[str, PolicyConfig], steps: int
) -> argparse.ArgumentParser:
    """Command line with the options that every benchmark has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--method", required=True, choices=methods)
    made.add_argument("--seed", type=int, default=0, help="of weights and batches")
    made.add_argument("--steps", type=int, default=steps)
    made.add_argument(
        "--results", type=Path, default=Path("results/closed_loop"), help="folder of the records"
    )
    made.add_argument("--out", type=Path, default=Path("outputs/closed_loop"), help="folder of the trainings")
    return made


def decisions(policy: Policy) -> dict[str, Callable[[], Policy]]:
    """Functions that set the policy to one of its decisions and return it, by name."""
    if policy.config.kind == "explicit":
        return {"regression": lambda: policy}
    pooled = policy.config.search.regression
    weights = {"pooled": pooled, "energies": 0.0, "regression": ALL_BUT}

    def decided_by(weight: float) -> Policy:
        policy.config = replace(policy.config, search=replace(policy.config.search, regression=weight))
        return policy

    return {name: lambda weight=weight: decided_by(weight) for name, weight in weights.items()}


def run(
    name: str,
    chosen: argparse.Namespace,
    config: PolicyConfig,
    robot: ikp.Robot | None,
    demonstrations: Callable[[], Demonstrations],
    evaluate: Callable[[Policy], Outcome],
    settings: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Train one policy, evaluate it under each decision and write the record; None if there is one already.

    Args:
        name: the benchmark and its sizes, such as `particle-8`.
        chosen: the command line of `parser`.
        config: the method's policy.
        robot: its kinematic model; None for plain vectors.
        demonstrations: makes or loads the data.
        evaluate: rolls a policy out.
        settings: what else the outcome depends on, stored with it.
    """
    full_name = f"{name}-{chosen.steps}steps-{chosen.method}-seed{chosen.seed}"
    path = chosen.results / f"{full_name}.json"
    if path.exists():
        print(f"{path} exists already; delete it to repeat the run")
        return None
    data = demonstrations()
    training = replace(
        ikp.recipe("standard").train_for(None),
        steps=chosen.steps, validate_every=max(1, chosen.steps // 4), seed=chosen.seed, threads=1,
    )  # fmt: skip
    torch.manual_seed(chosen.seed)
    policy = ikp.make_policy(robot, data.spec, config)
    trained = ikp.train(policy, data, training, out=chosen.out / full_name, resume=True)
    record = {
        "run": {"name": name, "method": chosen.method, "seed": chosen.seed},
        "decisions": {},
        "training": {"steps": trained.steps, "seconds": round(trained.seconds, 1)},
        "demonstrations": data.episodes,
        "frames": len(data),
        "settings": {**settings, "policy": config.to_json(), "train": training.to_json()},
        "provenance": provenance(),
    }
    for decision, decided in decisions(trained.policy.eval()).items():
        torch.manual_seed(chosen.seed)
        started = time.perf_counter()
        outcome = evaluate(decided())
        record["decisions"][decision] = {
            "success": count_of(round(sum(outcome["success"])), len(outcome["success"])),
            "seconds": round(time.perf_counter() - started, 1),
            "episodes": {
                key: [round(float(value), 4) for value in values] for key, values in outcome.items()
            },
        }
        print(f"{full_name}, {decision}: {percent(record['decisions'][decision]['success'])}", flush=True)
    print(f"{full_name}: trained for {trained.seconds:.0f} s")
    write_json(path, record)
    return record
