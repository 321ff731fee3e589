"""DI-engine as a contender: a process of its own, asked over a pipe, so that its rounds alternate with ours."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from common import Contender
from ikp.policies import ImplicitPolicy
from policy_cases import candidates

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-diengine" / "bin" / "python"
WORKER = ROOT / "benchmarks" / "peers" / "diengine.py"
NAME = "DI-engine"
LAYERS = 1
"""Hidden layers width x width, after the first: 89 % of the multiply-adds of two bottleneck blocks of ours."""
ITERATIONS = 3
"""Settings of its search, as in its own configurations."""


@contextmanager
def diengine(command: str, policy: ImplicitPolicy, *, batch: int = 1, rows: int = 1) -> Iterator[Contender]:
    """The contender for `train` or `infer` at the sizes of a policy, or why there is none; ends its process.

    Args:
        command: `train`, one step on `batch` examples, or `infer`, one decision for `rows` observations.
        policy: its context, width, dimensions, negatives and candidates per dimension are the peer's too.
        batch: examples per step.
        rows: observations per decision.
    """
    if not PYTHON.exists():
        yield "it needs an environment of its own; benchmarks/peers/diengine.sh builds it"
        return
    config = policy.config
    sizes = {
        "obs": policy.context_size,
        "dims": policy.dims,
        "width": config.width,
        "layers": LAYERS,
        "batch": batch,
        "negatives": config.negatives,
        "candidates": round(candidates(config.search) / ITERATIONS),
        "iterations": ITERATIONS,
        "rows": rows,
        "threads": torch.get_num_threads(),
    }
    with tempfile.TemporaryFile("w+") as messages:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": messages, "text": True}
        with subprocess.Popen([str(PYTHON), str(WORKER), json.dumps(sizes)], **pipes) as process:
            to, back = process.stdin, process.stdout
            assert to is not None
            assert back is not None
            _wait_for_answer(back, messages)

            def ask() -> None:
                to.write(f"{command}\n")
                to.flush()
                _wait_for_answer(back, messages)

            yield ask


def _wait_for_answer(pipe: IO[str], messages: IO[str]) -> None:
    if not pipe.readline():
        messages.seek(0)
        raise RuntimeError(f"{WORKER.name} ended early: {messages.read()[-2000:]}")
