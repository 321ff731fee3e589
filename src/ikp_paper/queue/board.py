"""Progress on the terminal: one bar with the time left, and a line for each running run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType

from tqdm import tqdm

SECONDS_ON_TERMINAL, SECONDS_IN_FILE = 2.0, 60.0
LINES = 16
"""Largest number of runs with a line of their own."""


class Board:
    """A bar over expected seconds of work; if the output is not a terminal, the runs are listed on the same line.

    Args:
        total, done: expected seconds of all runs, and of the part that is done.
    """

    def __init__(self, total: float, done: float) -> None:
        self._terminal = sys.stderr.isatty()
        self.every = SECONDS_ON_TERMINAL if self._terminal else SECONDS_IN_FILE
        """Seconds between two updates."""
        form = "{desc} {percentage:3.0f}% |{bar:30}| {elapsed} gone, {remaining} left{postfix}"
        self._bar = tqdm(total=total, initial=done, bar_format=form, smoothing=0, dynamic_ncols=True)
        self._lines: list[tqdm] = []

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show_lines([])
        self._bar.close()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._bar.write(text)

    def show(self, total: float, done: float, words: str, states: Mapping[str, str]) -> None:
        """Update the expected seconds, the words before the bar, and the state of each running run."""
        self._bar.total, self._bar.n = total, done
        # better estimates of the work that was done before may be smaller: the time left must not be negative
        self._bar.initial = min(self._bar.initial, done)
        self._bar.set_description_str(words, refresh=False)
        lines = [f"{name}: {state}" for name, state in states.items()]
        if self._terminal:
            self._show_lines(lines[:LINES])
        else:
            self._bar.set_postfix_str("; ".join(lines), refresh=False)
        self._bar.refresh()

    def _show_lines(self, texts: list[str]) -> None:
        while len(self._lines) > len(texts):
            self._lines.pop().close()
        while len(self._lines) < len(texts):
            place = len(self._lines) + 1
            self._lines.append(tqdm(total=0, position=place, bar_format="  {desc}", leave=False))
        for line, text in zip(self._lines, texts, strict=True):
            line.set_description_str(text)
