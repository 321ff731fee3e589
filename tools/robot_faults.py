"""Injects 100 faults into a moving simulated robot and measures how fast each ends at rest.

    python tools/robot_faults.py --out results/robots/faults.json

Every fault meets the real processes: the world, the controller and, for some, the imitated UR controller with the real
ur-rtde client (extra `real`), or a whole session of `ikp deploy` or `ikp record` (`faulty_session.py`). A fault passes
when the arm rests within 0.2 s of it, the message names the cause, and a data set that was being recorded loads with
the episodes that were finished. For the full disk a small file system is mounted; where the system does not allow that,
the session's files are limited in size.

The robot's side, its simulation and the imitated controller, is on a computer of its own in a lab. Here it has
real-time priority, if the system grants it, and so have the controller (the setting `realtime`) and the stop-watch.

A bench that does not get the arm into motion is set up again, and the record says how often and why (`repeated`).
After three such attempts the fault counts as missed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import itertools
import multiprocessing
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from faulty_session import FaultySession, fill, small_disk
from ikp.data import load_dataset
from ikp.data.layout import RECORDING
from ikp.files import write_json
from ikp.provenance import provenance
from ikp.robots.commands import Confirm, Status, TipVelocity, Waypoints
from ikp.robots.config import ControllerConfig
from ikp.robots.dataset import open_dataset
from ikp.robots.interfaces import RobotStopped
from ikp.robots.priority import PRIORITY
from ikp.robots.process import ControllerProcess
from ikp.robots.session import Session
from ikp.robots.station import Station
from ikp.robots.twin.devices import TwinArm, TwinGripper, TwinView
from ikp.robots.twin.process import WorldProcess
from ikp.robots.ur.arm import URArm
from ikp.robots.ur.imitation import Fault, ImitationProcess
from ikp.tasks.suction import suction_robot

HOSTS = "127.0.6."
"""Addresses of the imitated controllers; each bench has its own."""
REST, LIMIT, PATIENCE = 0.02, 0.2, 10.0
"""Speed of an arm at rest [rad/s], time allowed [s], and after which a fault counts as missed [s]."""
ATTEMPTS = 3
"""How often a bench is set up for a fault."""


class NotInMotionError(Exception):
    """A bench did not get the arm into motion: the fault has not happened yet."""


class Bench:
    """World, controller and a data set that is being recorded."""

    def __init__(self, world: WorldProcess, imitation: ImitationProcess | None, folder: Path) -> None:
        self.view = TwinView("insertion", {}, world.link)
        robot = self.view.env.robot
        self.world, self.imitation = world, imitation
        config = ControllerConfig(realtime=True)
        make: Callable[[], Any] = functools.partial(TwinArm, robot, world.link)
        if imitation is not None:
            make = functools.partial(URArm, robot, imitation.host, config.rate)
        self.link = ControllerProcess(make, robot.dof, config)
        self.station = Station(robot, self.link, TwinGripper(world.link), {}, task="insertion")
        self.station.opened.callback(self.link.close)
        self.session = Session(self.station, config, 10.0)
        self.root = folder
        self.writer = open_dataset(self.session, folder, RECORDING, task="faults")
        try:
            self._record_an_episode()
            self._set_in_motion()
        except BaseException:
            self.writer.close()
            self.station.close()
            raise

    def _record_an_episode(self) -> None:
        self.link.send(Confirm())
        _until(lambda: self.link.telemetry().status is not Status.WAITING)
        for _ in range(2):
            self._frame()
        self.writer.save_episode(success=True)

    def _frame(self) -> None:
        frame = self.session.frame()
        self.writer.add_frame(frame.observation, self.session.action_at(self.link.now()))

    def _set_in_motion(self) -> None:
        q = self.link.telemetry().q
        direction = -1.0 if q[0] > 0 else 1.0
        away = q + direction * np.array([3.0, 0, 0, 0, 0, 3.0])
        self.link.send(Waypoints(self.link.now() + np.array([3.0]), away[None]))
        _until(lambda: speed_of(self.world) > 0.6)
        self._frame()

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
        return _intact(self.root)


def hurry(process_id: int | None, policy: int = os.SCHED_FIFO) -> None:
    """Give all threads of a process real-time priority, if the system grants it, or take it away again."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process_id}/task").iterdir():
            os.sched_setscheduler(
                int(thread.name), policy, os.sched_param(PRIORITY * (policy == os.SCHED_FIFO))
            )


def speed_of(world: WorldProcess) -> float:
    """Largest speed of a joint in the simulation [rad/s]."""
    return float(np.abs(world.link.state.read()["qd"]).max())


def stopped_by(world: WorldProcess, cause: Callable[[], float | None]) -> tuple[float, float]:
    """Let a fault happen; the speed before it [rad/s], and the time until the arm rests and stays at rest [s].

    Args:
        world: the simulation.
        cause: lets it happen, and returns when that was, if it was not at once.
    """
    hurry(os.getpid())
    speed, begun = speed_of(world), time.monotonic()
    start = cause() or begun
    moving = time.monotonic()
    while time.monotonic() - moving < 0.15 and time.monotonic() - start < PATIENCE:
        if speed_of(world) > REST:
            moving = time.monotonic()
        time.sleep(0.001)
    hurry(os.getpid(), os.SCHED_OTHER)
    return speed, moving - start


def _waypoint(bench: Bench, value: float) -> None:
    q = np.full(bench.station.robot.dof, value)
    bench.link.send(Waypoints(bench.link.now() + np.array([0.1]), q[None]))


def _signal(bench: Bench, number: int) -> None:
    assert bench.link.process_id is not None
    os.kill(bench.link.process_id, number)


def _inject(bench: Bench, fault: Fault) -> None:
    assert bench.imitation is not None
    bench.imitation.inject(fault)


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


def _group(session: FaultySession) -> None:
    os.killpg(session.process_id, signal.SIGINT)


SESSION_FAULTS: dict[str, tuple[str, Callable[[FaultySession], None], str]] = {
    "policy process killed": (
        "deploy",
        lambda session: os.kill(session.process_id, signal.SIGKILL),
        "ended without a word",
    ),
    "policy decides on what is not finite": (
        "deploy",
        lambda session: session.spoil(not_finite=1.0),
        "not finite",
    ),
    "camera frozen": ("deploy", lambda session: session.spoil(frozen=1.0), "'front' has sent no image"),
    "Ctrl-C in the terminal": ("record", _group, "ikp: (error: )?stopped by Ctrl-C"),
    "SIGTERM to the session": (
        "deploy",
        lambda session: os.kill(session.process_id, signal.SIGTERM),
        "ikp: stopped by SIGTERM",
    ),
}
FULL_DISK = "full disk while recording", "No space left.*episodes are kept|File too large.*episodes are kept"


def main() -> None:
    """Run the faults in turn and write what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--benches", type=int, default=1, help="that have a share of the faults each, at once"
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    has_client = importlib.util.find_spec("rtde_control") is not None
    if not has_client:
        print("ur-rtde is not installed: the faults of the UR controller are left out")
    names = [*FAULTS, *(UR_FAULTS if has_client else {}), *SESSION_FAULTS, FULL_DISK[0]]
    faults = list(zip(range(arguments.count), itertools.cycle(names), strict=False))
    size = -(-len(faults) // arguments.benches)
    shares = [faults[first : first + size] for first in range(0, len(faults), size)]
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        results = [result for done in pool.map(_share, shares, range(len(shares))) for result in done]
    passed = sum(result["passed"] for result in results)
    slowest = max(result["seconds"] for result in results)
    print(f"{passed} of {len(results)} passed; slowest stop {1000 * slowest:.0f} ms")
    write_json(arguments.out, {"passed": passed, "faults": results, "provenance": provenance()})


def _share(faults: list[tuple[int, str]], bench: int) -> list[dict[str, Any]]:
    """Some of the faults, on a bench of their own."""
    world = WorldProcess("insertion", {}, seed=1)
    hurry(world.process_id)
    results = []
    try:
        for number, name in faults:
            result = _repeated(world, name, f"{HOSTS}{bench + 1}")
            results.append({"number": number, "fault": name, **result})
            said = result["message"].removeprefix("ikp: error: ")
            print(f"{number + 1:3d} {name:36s} {1000 * result['seconds']:6.0f} ms  {said[:90]}", flush=True)
    finally:
        world.close()
    return results


def _repeated(world: WorldProcess, name: str, host: str) -> dict[str, Any]:
    """The result of a fault, on a bench that is set up again until the arm moves."""
    errors: list[str] = []
    while len(errors) < ATTEMPTS:
        try:
            return {**_one(world, name, host), "repeated": errors}
        except NotInMotionError as error:
            errors.append(str(error))
            print(f"    {name}: set up again, {error}", flush=True)
    return {**_result(0.0, PATIENCE, errors[-1], "(?!)", False), "repeated": errors}


@contextlib.contextmanager
def _setting_up() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise NotInMotionError(f"{type(error).__name__}: {error}") from error


def _one(world: WorldProcess, name: str, host: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        if name == FULL_DISK[0]:
            return _full_disk(world, Path(folder))
        if name in SESSION_FAULTS:
            return _session_fault(world, name, Path(folder))
        return _controller_fault(world, name, Path(folder), host)


def _controller_fault(world: WorldProcess, name: str, folder: Path, host: str) -> dict[str, Any]:
    """A fault of what the controller receives, or of the controller."""
    cause, expected = {**FAULTS, **UR_FAULTS}[name]
    imitation = ImitationProcess(suction_robot(), world.link, host) if name in UR_FAULTS else None
    if imitation is not None:
        hurry(imitation.process_id)
    try:
        with _setting_up():
            bench = Bench(world, imitation, folder / "data")
        speed, seconds = stopped_by(world, lambda: cause(bench))
        message = bench.message()
        intact = bench.close()
    finally:
        if imitation is not None:
            imitation.close()
    return _result(speed, seconds, message, expected, intact)


def _session_fault(world: WorldProcess, name: str, folder: Path) -> dict[str, Any]:
    """A fault of a session that deploys or records."""
    kind, cause, expected = SESSION_FAULTS[name]
    session = FaultySession(world.link, kind, folder / "data", folder / "errors.txt")
    try:
        with _setting_up():
            _until(lambda: speed_of(world) > 0.5)
        speed, seconds = stopped_by(world, lambda: cause(session))
        message = _said(session)
    finally:
        session.close()
    return _result(speed, seconds, message, expected, _intact(folder / "data"))


def _full_disk(world: WorldProcess, folder: Path) -> dict[str, Any]:
    """An episode ends, and there is no space left for it; the arm still moves."""
    with small_disk(folder / "disk") as mounted:
        root = folder / "disk" / "data"
        session = FaultySession(world.link, "record", root, folder / "errors.txt")
        try:
            with _setting_up():
                _until(lambda: speed_of(world) > 0.5)
            if mounted:
                fill(folder / "disk")
            session.spoil(done=1.0, full=float(not mounted))
            speed, seconds = stopped_by(world, session.told)
            message = _said(session).replace(f"{folder}/", "")
        finally:
            session.close()
        return _result(speed, seconds, message, FULL_DISK[1], _intact(root))


def _said(session: FaultySession) -> str:
    limit = time.monotonic() + PATIENCE
    while not session.said() and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(0.1)  # the line may be in the middle of being written
    return session.said()


def _until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > limit:
            raise RuntimeError("the arm did not get into motion: the machine is too busy")
        time.sleep(0.002)


def _intact(root: Path) -> bool:
    """Whether a data set loads, with its images, and holds the one episode that was finished."""
    return load_dataset(root, progress=False).episodes == 1


def _result(speed: float, seconds: float, message: str, expected: str, intact: bool) -> dict[str, Any]:
    passed = seconds <= LIMIT and intact and speed > REST and re.search(expected, message) is not None
    return {"speed": speed, "seconds": seconds, "message": message, "intact": intact, "passed": passed}


if __name__ == "__main__":
    main()
