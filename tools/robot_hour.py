"""Deploys a policy on a simulated twin for an hour and logs rate, period error and memory of every minute.

    python tools/robot_hour.py --policy runs/align --bench twin:alignment --out results/robots/hour.json

Every episode is recorded, as in `ikp deploy`. Memory is the resident set of the session's process and of those that it
has started, the controller and the simulated world.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ikp.files import write_json
from ikp.policies import load_policy
from ikp.policies.checkpoint import policy_folder
from ikp.provenance import provenance
from ikp.robots.config import ControllerConfig
from ikp.robots.deployment import deploy
from ikp.robots.recording import Recorded, Verdict, keep_all
from ikp.robots.session import Frame, Session, always
from ikp.robots.station import open_station

PAGE = os.sysconf("SC_PAGE_SIZE") / 2**20
"""A page of memory [MiB]."""


@dataclass
class Minutes:
    """What is measured while a policy acts, minute by minute.

    Args:
        session: of the deployment.
        minutes: length of the deployment [min].
        length: of a minute [s].
    """

    session: Session
    minutes: int
    length: float = 60.0

    def __post_init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._periods: list[float] = []
        self._before: float | None = None
        self._start = self._since = self.session.link.now()
        self._ticks = self.session.link.telemetry().ticks

    def show(self, frame: Frame) -> None:
        """Take a frame of the deployment."""
        if self._before is not None:
            self._periods.append(frame.time - self._before)
        self._before = frame.time
        if frame.time - self._since >= self.length:
            self._end_minute(frame.time)

    def judge(self, recorded: Recorded) -> Verdict:
        """Take an episode; the deployment quits when the time is over."""
        self._before = None
        over = self.session.link.now() - self._start > self.minutes * self.length
        return Verdict.QUIT if over else keep_all(recorded)

    def _end_minute(self, now: float) -> None:
        periods, telemetry = np.array(self._periods), self.session.link.telemetry()
        row = {
            "minute": len(self.rows) + 1,
            "frames": len(periods),
            "rate": float(1.0 / periods.mean()),
            "period_error": float(np.quantile(np.abs(periods - 1.0 / self.session.fps), 0.99)),
            "controller_rate": (telemetry.ticks - self._ticks) / (now - self._since),
            "memory": memory(),
        }
        self.rows.append(row)
        print(row, flush=True)
        self._periods, self._since, self._ticks = [], now, telemetry.ticks


def memory() -> dict[str, float]:
    """Resident memory [MiB] of this process and of those it has started, by name."""
    processes = {"session": os.getpid()}
    processes |= {
        child.name: child.pid for child in multiprocessing.active_children() if child.pid is not None
    }
    return {name: round(_resident(pid), 1) for name, pid in processes.items()}


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def drift(values: list[float]) -> float:
    """Slope of a straight line through values of consecutive minutes, per hour."""
    return 60.0 * float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 1 else 0.0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--bench", default="twin:alignment")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    policy = load_policy(policy_folder(arguments.policy))
    config = ControllerConfig(on_limit="clip")
    size = next((h, w) for h, w, _ in policy.spec.image_shapes.values())
    with (
        tempfile.TemporaryDirectory() as folder,
        open_station(arguments.bench, config, image_size=size, scene=1) as station,
    ):
        session = Session(station, config, policy.spec.fps, size)
        session.start(always)
        minutes = Minutes(session, arguments.minutes)
        report = deploy(
            session, policy, Path(folder) / "data", sys.maxsize, minutes.judge, seed=1, show=minutes.show
        )
    rows = minutes.rows
    later = rows[len(rows) // 6 :]  # the first minutes fill caches
    summary = {
        "minutes": len(rows),
        "episodes": len(report.successes),
        "success": sum(report.successes),
        "rate_first": rows[0]["rate"],
        "rate_last": rows[-1]["rate"],
        "rate_drift": drift([row["rate"] for row in later]),
        "memory_growth": {name: drift([row["memory"][name] for row in later]) for name in rows[0]["memory"]},
    }
    write_json(
        arguments.out,
        {
            **summary,
            "bench": arguments.bench,
            "report": {**report.to_json(), "successes": None, "seconds": None},
            "by_minute": rows,
            "provenance": provenance(),
        },
    )
    print(summary)


if __name__ == "__main__":
    main()
