"""Works through planned runs: skips finished ones, continues interrupted ones, reports failures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ikp.locks import is_locked
from ikp_paper.execute import Standing, ensure_data, standing
from ikp_paper.queue.board import Board
from ikp_paper.queue.estimates import collecting, duration, expected
from ikp_paper.queue.executor import Executor
from ikp_paper.record import read_record
from ikp_paper.run import Places, Run, data_sets

POLL = 0.5
"""Seconds between two checks of the runs."""


def records_of(planned: Sequence[Run], places: Places) -> list[dict[str, Any]]:
    """Records of the runs that are finished."""
    found = [read_record(places.result(run)) for run in planned]
    return [record for record in found if record is not None]


def standings_of(planned: Sequence[Run], places: Places) -> dict[str, Standing]:
    """Progress of every run, by name.

    Raises:
        ValueError: a finished run was made with other settings.
    """
    return {run.name: standing(run, places) for run in planned}


class Runner:
    """One pass over planned runs.

    Several runners, in several processes, may share the folders. Each run is executed by one of them; a runner that
    has nothing left to start waits for the runs of the others and takes over those that they give up.

    Args:
        planned: the runs, in the order in which they are started.
        places: their folders.
        executor: executes them.
        workers: processes that collect demonstrations; all cores if not given.
    """

    def __init__(
        self, planned: Sequence[Run], places: Places, executor: Executor, workers: int | None = None
    ) -> None:
        self.planned, self.places, self.executor, self.workers = planned, places, executor, workers
        self.failed: dict[str, str] = {}
        self._running: dict[str, Run] = {}

    def run(self) -> dict[str, str]:
        """Work until every run is finished or has failed.

        Returns:
            Errors of failed runs by name.

        Raises:
            ValueError: a finished run was made with other settings; nothing is started then.
            KeyboardInterrupt: Ctrl-C; another call continues.
        """
        standings = standings_of(self.planned, self.places)
        pending = [run for run in self.planned if not standings[run.name].finished]
        pending = self._with_data(pending)
        total, done, _ = self._progress(standings)
        try:
            with Board(total, done) as board:
                self._work(pending, board)
        finally:
            self.executor.stop()
        return self.failed

    def _with_data(self, pending: Sequence[Run]) -> list[Run]:
        """Collect missing demonstrations; return the runs that have theirs."""
        for name, largest in data_sets(pending).items():
            print(f"demonstrations {name}: {largest.demonstrations}", flush=True)
            try:
                ensure_data(largest, self.places, self.workers)
            except (RuntimeError, ValueError) as error:
                users = [run.name for run in pending if run.data_name == name]
                self.failed |= dict.fromkeys(users, f"no demonstrations: {error}")
                print(f"demonstrations {name} failed: {error}", flush=True)
        return [run for run in pending if run.name not in self.failed]

    def _work(self, pending: list[Run], board: Board) -> None:
        shown = 0.0
        while pending or self._running:
            for outcome in self.executor.ended():
                run = self._running.pop(outcome.name)
                if outcome.busy:
                    pending.append(run)
                    continue
                if outcome.error is not None:
                    self.failed[run.name] = outcome.error
                board.say(f"{run.name}: {outcome.error or standing(run, self.places).words}")
                shown = 0.0
            self._start(pending)
            if time.monotonic() - shown > board.every:
                self._show(board, waiting=bool(pending) and not self._running)
                shown = time.monotonic()
            time.sleep(POLL)
        self._show(board, waiting=False)

    def _start(self, pending: list[Run]) -> None:
        for run in list(pending):
            if self.places.result(run).exists():  # another runner finished it in the meantime
                pending.remove(run)
            elif self.executor.has_room() and not is_locked(self.places.lock(run)):
                pending.remove(run)
                self.executor.start(run)
                self._running[run.name] = run

    def _show(self, board: Board, waiting: bool) -> None:
        standings = standings_of(self.planned, self.places)
        total, done, finished = self._progress(standings)
        words = f"{finished} of {len(self.planned)} runs"
        if self.failed:
            words += f", {len(self.failed)} failed"
        states = {
            name: standings[name].words if is_locked(self.places.lock(run)) else "starting"
            for name, run in self._running.items()
        }
        if waiting:
            states["waiting"] = "another process executes the remaining runs"
        board.show(total, done, words, states)

    def _progress(self, standings: Mapping[str, Standing]) -> tuple[float, float, int]:
        """Expected seconds of all runs and of the part that is done, and the number of finished runs."""
        records = records_of(self.planned, self.places)
        times = {run.name: expected(run, records) for run in self.planned}
        total = sum(time.total for time in times.values())
        return total, sum(times[name].done(standing) for name, standing in standings.items()), len(records)


def listing(planned: Sequence[Run], places: Places, jobs: int, workers: int) -> str:
    """Every run with its expected time and progress, and the time for all; `workers` processes collect."""
    records, standings = records_of(planned, places), standings_of(planned, places)
    width = max((len(run.name) for run in planned), default=0)
    lines, left = [], 0.0
    for run in planned:
        times, now = expected(run, records), standings[run.name]
        left += times.total - times.done(now)
        lines.append(f"{run.name:{width}}  {duration(times.total):>7}  {now.words}")
    before = collecting([run for run in planned if not standings[run.name].finished], places, workers)
    demonstrations = f", {duration(before)} of it for demonstrations" if before else ""
    lines.append(
        f"{len(records)} of {len(planned)} runs finished; about {duration(before + left / jobs)} left with {jobs} at a "
        f"time{demonstrations}"
    )
    return "\n".join(lines)
