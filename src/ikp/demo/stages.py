"""Stages of a long job that continues where it was stopped; a stage whose settings changed is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ikp.files import check_keys, read_json, write_json
from ikp.words import differences

LEDGER = "stages.json"
_ENTRY = {"settings": dict, "seconds": (int, float), "runs": int}


@dataclass(frozen=True)
class Stage:
    """A part of the job.

    Attributes:
        name: unique, kept in the ledger.
        announcement: one line for the user about what the stage does.
        settings: plain JSON values that the outcome depends on.
        run: does the work; continues an interrupted run by itself.
    """

    name: str
    announcement: str
    settings: Mapping[str, Any]
    run: Callable[[], None] = field(repr=False)


class Stages:
    """Runs stages of a folder, and remembers in `stages.json` which are done.

    Args:
        root: folder of the job.

    Raises:
        ValueError: the ledger is damaged.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / LEDGER
        fix = "delete it; finished stages then run again, and continue from what is there"
        self.done: dict[str, dict[str, Any]] = read_json(self.path, fix=fix) if self.path.exists() else {}
        for name in self.done:
            check_keys(self.done, {name: dict}, str(self.path), fix=fix)
            check_keys(self.done[name], _ENTRY, f"{self.path}: {name}", fix=fix)

    def check(self, stages: list[Stage]) -> None:
        """Raise ValueError where a stage was run, or begun, with other settings, since its results would be mixed."""
        for stage in stages:
            if stage.name not in self.done:
                continue
            given = json.loads(json.dumps(dict(stage.settings)))  # as it would be read from the ledger
            different = differences(self.done[stage.name]["settings"], given)
            if different:
                raise ValueError(
                    f"{self.path.parent} holds a run with other settings: {stage.name}: {'; '.join(different)}. "
                    "Use the same settings to continue it, another --out, or delete the folder"
                )

    def run(self, stages: list[Stage]) -> None:
        """Run the unfinished stages in order; `seconds` of a stage adds up over runs, except those that were killed."""
        self.check(stages)
        for number, stage in enumerate(stages, start=1):
            entry = self.done.setdefault(
                stage.name, {"settings": dict(stage.settings), "seconds": 0.0, "runs": 0}
            )
            place = f"[{number}/{len(stages)}] "
            if entry.get("finished"):
                print(f"{place}{stage.announcement}: done before in {entry['seconds']:.0f} s", flush=True)
                continue
            print(f"{place}{stage.announcement}", flush=True)
            entry["runs"] += 1
            self._store()
            started = time.perf_counter()
            try:
                stage.run()
                entry["finished"] = True
            finally:
                entry["seconds"] = round(entry["seconds"] + time.perf_counter() - started, 1)
                self._store()

    def _store(self) -> None:
        write_json(self.path, self.done)
