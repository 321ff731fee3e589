"""Deploys a policy in real time and logs rate, period error and memory of every minute.

    python tools/robot_timing.py --policy runs/align --bench imitation:alignment --minutes 1 \
        --out results/robots/imitation.json
    python tools/robot_timing.py --policy runs/align --bench twin:alignment --minutes 60 --out results/robots/hour.json

Every episode is recorded, as in `ikp deploy`. Memory is the resident set of the session's process and of those that it
has started. Other programs on the machine disturb the times: the record has the load, the mean number of processes that
were ready to run, beside the number of cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ikp.files import write_json
from ikp.policies import load_policy
from ikp.policies.checkpoint import policy_folder
from ikp.provenance import provenance
from ikp.robots.config import ControllerConfig
from ikp.robots.deployment import deploy
from ikp.robots.recording import Recorded, Verdict, keep_all
from ikp.robots.session import Frame, Session, always
from ikp.robots.station import open_station

MINUTE = 60.0
PAGE = os.sysconf("SC_PAGE_SIZE") / 2**20
"""A page of memory [MiB]."""
WARM = 5
"""Minutes that fill caches, and do not count as growth of memory."""


class Minutes:
    """Measurements of a running deployment, minute by minute.

    Args:
        session: of the deployment.
        count: length of the deployment [min].
    """

    def __init__(self, session: Session, count: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self._session, self._count = session, count
        self._periods: list[float] = []
        self._before: float | None = None
        self._since = session.link.now()
        self._telemetry = session.link.telemetry()

    def show(self, frame: Frame) -> None:
        """Take a frame of the deployment."""
        if self._before is not None:
            self._periods.append(frame.time - self._before)
        self._before = frame.time
        if frame.time - self._since >= MINUTE:
            self._end_minute(frame.time)

    def judge(self, recorded: Recorded) -> Verdict:
        """Take an episode; the deployment quits when the time is over."""
        self._before = None  # the next frame is of another episode
        return Verdict.QUIT if len(self.rows) >= self._count else keep_all(recorded)

    def _end_minute(self, now: float) -> None:
        periods, telemetry = np.array(self._periods), self._session.link.telemetry()
        ticks = telemetry.ticks - self._telemetry.ticks
        row = {
            "minute": len(self.rows) + 1,
            "frames": len(periods),
            "rate": float(1.0 / periods.mean()),
            "period_error": float(np.quantile(np.abs(periods - 1.0 / self._session.fps), 0.99)),
            "controller_rate": ticks / (telemetry.time - self._telemetry.time),
            "load": os.getloadavg()[0],
            "memory": memory(),
        }
        self.rows.append(row)
        print(row, flush=True)
        self._periods, self._since, self._telemetry = [], now, telemetry


def memory() -> dict[str, float]:
    """Resident memory [MiB] of this process and of those it has started, by name."""
    children = {child.name: child.pid for child in multiprocessing.active_children() if child.pid is not None}
    return {name: resident(pid) for name, pid in {"session": os.getpid(), **children}.items()}


def resident(pid: int) -> float:
    """Resident memory of a process [MiB]."""
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE, 1)


def per_hour(values: list[float]) -> float | None:
    """Slope of a straight line through the values of consecutive minutes, after the first ones; None for too few."""
    values = values[WARM:]
    return 60.0 * float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 2 else None


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--bench", default="twin:alignment")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=ControllerConfig.rate, help="of the controller [Hz]")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as `ikp deploy` does
    policy = load_policy(policy_folder(arguments.policy))
    config = ControllerConfig(on_limit="clip", rate=arguments.rate)
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
        ).to_json()
    rows, successes = minutes.rows, report.pop("successes")
    write_json(
        arguments.out,
        {
            "bench": arguments.bench,
            "minutes": len(rows),
            "wanted": {"rate": policy.spec.fps, "controller_rate": config.rate},
            "episodes": len(successes),
            "successes": sum(successes),
            "rate_per_hour": per_hour([row["rate"] for row in rows]),
            "memory_per_hour": {
                name: per_hour([row["memory"][name] for row in rows]) for name in rows[0]["memory"]
            },
            "report": {name: value for name, value in report.items() if name != "seconds"},
            "by_minute": rows,
            "provenance": provenance(),
        },
    )


if __name__ == "__main__":
    main()
