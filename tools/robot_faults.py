"""Injects 100 faults into a moving simulated robot and measures how fast each ends at rest.

    python tools/robot_faults.py --out results/robots/faults.json

Every fault meets the real processes: the world, the controller and, for some, the imitated UR controller with the real
ur-rtde client (extra `real`). A fault passes when the arm rests within 0.2 s, the message names the cause, and a data
set that was being recorded loads with the episodes that were finished.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ikp.data import load_dataset
from ikp.files import write_json
from ikp.provenance import provenance
from ikp.robots.commands import Confirm, Status, TipVelocity, Waypoints
from ikp.robots.config import ControllerConfig
from ikp.robots.dataset import open_dataset
from ikp.robots.interfaces import RobotStopped
from ikp.robots.process import ControllerProcess
from ikp.robots.session import Session
from ikp.robots.station import Station
from ikp.robots.twin.devices import TwinArm, TwinGripper, TwinView
from ikp.robots.twin.process import WorldProcess
from ikp.robots.ur.arm import URArm
from ikp.robots.ur.imitation import Fault, ImitationProcess
from ikp.tasks.suction import suction_robot

HOST = "127.0.0.61"
REST, LIMIT, PATIENCE = 0.02, 0.2, 10.0
"""Speed of an arm at rest [rad/s], time allowed [s], and after which a fault counts as missed [s]."""


class Bench:
    """World, controller and a data set that is being recorded."""

    def __init__(self, world: WorldProcess, imitation: ImitationProcess | None, folder: Path) -> None:
        self.view = TwinView("insertion", {}, world.link)
        robot = self.view.env.robot
        self.world, self.imitation = world, imitation
        config = ControllerConfig()
        make: Callable[[], Any] = functools.partial(TwinArm, robot, world.link)
        if imitation is not None:
            make = functools.partial(URArm, robot, HOST, config.rate)
        self.link = ControllerProcess(make, robot.dof, config)
        self.station = Station(robot, self.link, TwinGripper(world.link), {}, task="insertion")
        self.station.opened.callback(self.link.close)
        self.session = Session(self.station, config, 10.0)
        self.root = folder
        self.writer = open_dataset(self.session, folder, "faults", {})
        self.link.send(Confirm())
        self._until(lambda: self.link.telemetry().status is not Status.WAITING)
        for _ in range(2):
            self._frame()
        self.writer.save_episode(success=True)
        self._set_in_motion()

    def _frame(self) -> None:
        frame = self.session.frame()
        self.writer.add_frame(frame.observation, self.session.action_at(self.link.now()))

    def _set_in_motion(self) -> None:
        q = self.link.telemetry().q
        direction = -1.0 if q[0] > 0 else 1.0
        away = q + direction * np.array([3.0, 0, 0, 0, 0, 3.0])
        self.link.send(Waypoints(self.link.now() + np.array([3.0]), away[None]))
        self._until(lambda: self.speed > 0.6)
        self._frame()

    def _until(self, condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > limit:
                raise RuntimeError("the bench did not get into motion: the machine is too busy")
            time.sleep(0.002)

    @property
    def speed(self) -> float:
        """Largest speed of a joint in the simulation [rad/s]."""
        return float(np.abs(self.world.link.state.read()["qd"]).max())

    def seconds_to_rest(self) -> float:
        """Time until the arm rests and stays at rest [s]."""
        start = moving = time.monotonic()
        while time.monotonic() - moving < 0.15 and time.monotonic() - start < PATIENCE:
            if self.speed > REST:
                moving = time.monotonic()
            time.sleep(0.001)
        return moving - start

    def message(self) -> str:
        """The reason of the stop, as the session is told it."""
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            try:
                self.link.telemetry()
            except RobotStopped as stopped:
                return str(stopped)
            time.sleep(0.005)
        return ""

    def close(self) -> bool:
        """End everything; whether the recording is intact."""
        self.writer.close()
        self.station.close()
        return load_dataset(self.root, images=False, progress=False).episodes == 1


def _waypoint(bench: Bench, value: float) -> None:
    q = np.full(bench.station.robot.dof, value)
    bench.link.send(Waypoints(bench.link.now() + np.array([0.1]), q[None]))


def _signal(bench: Bench, number: int) -> None:
    assert bench.link.process_id is not None
    os.kill(bench.link.process_id, number)


def _inject(bench: Bench, fault: Fault) -> None:
    assert bench.imitation is not None
    bench.imitation.inject(fault)


def _dead_session(bench: Bench) -> None:
    bench.link._sender.close()  # what the system does with the pipe of a killed process


def _full_disk(bench: Bench) -> None:
    bench.link.close()  # what `with station:` does when saving an episode raises


FAULTS: dict[str, tuple[Callable[[Bench], None], str]] = {
    "action not finite": (lambda bench: _waypoint(bench, np.nan), "not finite"),
    "target outside joint limits": (lambda bench: _waypoint(bench, 7.0), "allowed are"),
    "target outside the workspace": (lambda bench: _waypoint(bench, 1.5), "outside the workspace"),
    "velocity not finite": (
        lambda bench: bench.link.send(TipVelocity(np.full(6, np.inf), bench.link.now())),
        "not finite",
    ),
    "Ctrl-C": (lambda bench: _signal(bench, signal.SIGINT), "Ctrl-C"),
    "SIGTERM": (lambda bench: _signal(bench, signal.SIGTERM), "SIGTERM"),
    "session killed": (_dead_session, "ended without a word"),
    "session ended by an error (full disk, frozen camera)": (_full_disk, "session has ended"),
    "nonsense in the controller's pipe": (
        lambda bench: bench.link._sender.send_bytes(b"nonsense"),
        "no command starts with",
    ),
}
UR_FAULTS: dict[str, tuple[Callable[[Bench], None], str]] = {
    "protective stop": (lambda bench: _inject(bench, Fault.PROTECTIVE_STOP), "protective stop"),
    "emergency stop": (lambda bench: _inject(bench, Fault.EMERGENCY_STOP), "emergency stop"),
    "connection lost": (lambda bench: _inject(bench, Fault.LOST), "connection|no new state|no longer takes"),
    "state frozen": (lambda bench: _inject(bench, Fault.FROZEN), "no new state"),
    "state silent": (lambda bench: _inject(bench, Fault.SILENT), "no new state"),
}


def main() -> None:
    """Run the faults in turn and write what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    has_client = importlib.util.find_spec("rtde_control") is not None
    if not has_client:
        print("ur-rtde is not installed: the faults of the UR controller are left out")
    names = [*FAULTS, *(UR_FAULTS if has_client else {})]
    world = WorldProcess("insertion", {}, seed=1)
    results = []
    try:
        for number, name in zip(range(arguments.count), itertools.cycle(names), strict=False):
            results.append(_one(world, name, number))
            print(
                f"{number + 1:3d} {name:55s} {1000 * results[-1]['seconds']:6.0f} ms  {results[-1]['message'][:70]}"
            )
    finally:
        world.close()
    passed = sum(result["passed"] for result in results)
    slowest = max(result["seconds"] for result in results)
    print(f"{passed} of {len(results)} passed; slowest stop {1000 * slowest:.0f} ms")
    write_json(arguments.out, {"passed": passed, "faults": results, "provenance": provenance()})


def _one(world: WorldProcess, name: str, number: int) -> dict[str, Any]:
    imitation = None
    if name in UR_FAULTS:
        imitation = ImitationProcess(suction_robot(), world.link, HOST)
    cause, expected = {**FAULTS, **UR_FAULTS}[name]
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(world, imitation, Path(folder) / "data")
            before = bench.speed
            cause(bench)
            seconds = bench.seconds_to_rest()
            message = bench.message()
            intact = bench.close()
    finally:
        if imitation is not None:
            imitation.close()
    passed = seconds <= LIMIT and intact and before > REST and re.search(expected, message) is not None
    return {
        "number": number, "fault": name, "speed": before, "seconds": seconds, "message": message, "intact": intact,
        "passed": passed,
    }  # fmt: skip


if __name__ == "__main__":
    main()
