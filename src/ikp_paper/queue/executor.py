"""The interface of executors, and the execution of one run in a process of its own."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ikp_paper.execute import ERROR, execute
from ikp_paper.run import Places, Run


@dataclass(frozen=True)
class Outcome:
    """The end of a run's execution.

    Attributes:
        name: of the run.
        busy: whether another process works on it.
        error: last line of the error that ended it.
    """

    name: str
    busy: bool = False
    error: str | None = None


@runtime_checkable
class Executor(Protocol):
    """Starts runs and reports which of them ended."""

    def has_room(self) -> bool:
        """Whether another run can be started now."""
        ...

    def start(self, run: Run) -> None:
        """Start a run and return at once."""
        ...

    def ended(self) -> list[Outcome]:
        """Outcomes since the last call; does not wait."""
        ...

    def stop(self) -> None:
        """End all running processes; their runs continue from checkpoints another time."""
        ...


def execute_with_error_file(run: Run, places: Places, share: dict[str, Any]) -> bool:
    """Execute a run with `share["threads"]` torch threads; an error is also written to a file in its folder."""
    import torch

    torch.set_num_threads(share["threads"])
    path = places.work(run) / ERROR
    path.unlink(missing_ok=True)
    try:
        return execute(run, places, share)
    except Exception:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
        raise
