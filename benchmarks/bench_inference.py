"""Latency of one decision of IKP beside its straightforward form, the explicit policy and DI-engine.

.venv/bin/python benchmarks/bench_inference.py   writes results/bench/inference.json

With the recipe standard, for 6, 7 and 14 dimensions, one environment and sixteen at once, from state features alone
and from 96x96 pixels. The straightforward form searches the same grids to the same resolution, which each row holds
in degrees, or one even grid of the resolution that a task needs; it stops at the action variables, ours goes on to
the command. DI-engine's search gets the features and
scores as many candidates per dimension as ours; its samples are random, so its resolution is not comparable.
"""

from __future__ import annotations

import copy
import math
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch

from common import Row, command_line, measure, not_run, write_rows
from diengine_peer import NAME, diengine
from ikp.kinematics import iiwa14, iiwa14_dual, ur5e
from ikp.policies import ImplicitPolicy, make_policy
from ikp.recipes import recipe
from ikp.training.memory import reuse_freed_memory
from policy_cases import NO_GPU, Case, candidates, resolution
from straightforward import Straightforward

CASES = [Case(robot, gripper, pixels) for pixels in (False, True)
         for robot, gripper in ((ur5e, True), (iiwa14, True), (iiwa14_dual, False))]  # fmt: skip
ENVIRONMENTS = (1, 16)
NEEDED_DEG = 0.05
"""Resolution that insertion within 2 mm needs: 0.4 mm at half a metre."""


def with_even_grid(policy: ImplicitPolicy) -> ImplicitPolicy:
    """The policy with a search that knows no refinement: one grid of `NEEDED_DEG` over the widest bounds."""
    count = math.ceil(resolution(policy)["bounds"] / NEEDED_DEG) + 1
    changed = copy.deepcopy(policy)
    coarse = replace(policy.config.search, grid=count, refinements=0, window=0.0)
    changed.config = replace(policy.config, search=coarse)
    return changed


def row_of(case: Case, environments: int, device: str = "cpu") -> Row:
    """One decision for some environments at once."""
    name = f"one action from {case.source}{' on a GPU' if device == 'cuda' else ''}, IKP"
    size = f"{case.joints}, {environments} environment{'s' if environments > 1 else ''}"
    if device == "cuda" and not torch.cuda.is_available():
        return not_run(name, size, NO_GPU)
    demonstrations = case.demonstrations(256)
    policy = case.policy(demonstrations).eval()
    explicit = make_policy(case.robot(), case.spec(), recipe("standard").policy_for("explicit")).eval()
    explicit.fit_scales(demonstrations.state, demonstrations.action, demonstrations.environment_state)
    plain = Straightforward(policy).eval().to(device)
    even = Straightforward(with_even_grid(policy)).eval().to(device)
    policy, explicit = policy.to(device), explicit.to(device)
    observation = demonstrations.to(device).batch(torch.arange(environments), policy.config.history)
    contenders: dict[str, Any] = {
        "IKP": lambda: policy.act(observation),
        "straightforward form": lambda: plain.choose(observation),
        f"straightforward form, one grid of {NEEDED_DEG} deg": lambda: even.choose(observation),
        "Explicit (joints)": lambda: explicit.act(observation),
    }
    with ExitStack() as stack:
        if not case.pixels and device == "cpu":
            contenders[NAME] = stack.enter_context(diengine("infer", policy, rows=environments))
        row = measure(name, size, contenders, device=device)
    return row | {"resolution_deg": resolution(policy), "candidates": candidates(policy.config.search)}


def main() -> None:
    torch.set_num_threads(command_line(__doc__).parse_args().threads)
    torch.manual_seed(0)
    reuse_freed_memory()
    rows = [row_of(case, environments) for case in CASES for environments in ENVIRONMENTS]
    rows += [row_of(case, 1, "cuda") for case in CASES]
    write_rows("inference", "Latency of one action", rows)


if __name__ == "__main__":
    main()
