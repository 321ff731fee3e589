"""The log of a run: `metrics.jsonl`, and its curves as TensorBoard events.

The events are written here and not by torch's `SummaryWriter`, whose thread prints a traceback when the disk is full.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]
from tensorboard.summary.writer.record_writer import RecordWriter

from ikp.files import append_line, failed_writes_explained, replaced_atomically


class RunLog:
    """Appends to the log of a run.

    Args:
        folder: folder of the run.
        first_step: first step of this process; TensorBoard hides what a killed process logged from there on.

    Raises:
        OSError: a file cannot be written; so do the methods.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._metrics = folder / "metrics.jsonl"
        if first_step == 1 and self._metrics.is_file() and self._metrics.stat().st_size:
            warnings.warn(
                f"the lines in {self._metrics}, of a run that ended before it kept a state, are removed: this one "
                "begins at step 0",
                stacklevel=2,
            )
            self._metrics.unlink()
        self._forget(first_step)
        self._path = folder / "tensorboard" / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}.ikp"
        with failed_writes_explained(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        self._write(
            Event(file_version="brain.Event:2"),
            Event(step=first_step, session_log=SessionLog(status=SessionLog.START)),
        )

    def _forget(self, first_step: int) -> None:
        """Drop the lines that a killed process logged after its last state; these steps are repeated."""
        if not self._metrics.is_file():
            return
        lines = self._metrics.read_text().splitlines(keepends=True)
        kept = [line for line in lines if (step := _step_of(line)) is not None and step < first_step]
        if kept != lines:
            with replaced_atomically(self._metrics) as temporary:
                temporary.write_text("".join(kept))

    def record(self, step: int, seconds: float, values: Mapping[str, Mapping[str, float]]) -> None:
        """Add a line to `metrics.jsonl`, and a point to the curve of each number, by group and name."""
        append_line(self._metrics, json.dumps({"step": step, "seconds": round(seconds, 2), **values}))
        scalars = [
            Summary.Value(tag=f"{group}/{name}", simple_value=value)
            for group, members in values.items()
            for name, value in members.items()
        ]
        self._write(Event(step=step, summary=Summary(value=scalars)))

    def close(self) -> None:
        """Close the file of the curves."""
        self._file.close()

    def _write(self, *events: Event) -> None:
        writer = RecordWriter(self._file)
        with failed_writes_explained(self._path):
            for event in events:
                event.wall_time = time.time()
                writer.write(event.SerializeToString())
            self._file.flush()


def _step_of(line: str) -> int | None:
    """The step of a line of `metrics.jsonl`; None for one that a killed process did not finish."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None
