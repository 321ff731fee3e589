"""The controller in its own process: it ends in a stop whatever happens to it or to the session."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from ikp.robots import process
from ikp.robots.commands import (
    Confirm,
    JointVelocity,
    SetLag,
    Stop,
    TipVelocity,
    Waypoints,
    from_bytes,
    to_bytes,
)
from ikp.robots.config import ControllerConfig
from ikp.robots.interfaces import RobotStopped
from ikp.robots.link import Blackboard
from ikp.robots.priority import keep_from_pausing
from ikp.robots.shared import Flag, SharedNumbers, SharedTable
from ikp.robots.starting import start
from ikp.robots.twin.process import WorldProcess
from ikp.robots.twin.world import World

from .bench import PATIENCE, FaultyArm, RealBench, wait_for

TURN = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.5])


@pytest.fixture(scope="module")
def still_world():
    """A world that no process steps: the arm has a state, and follows nothing."""
    return World("insertion", {}, seed=1)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A world that nobody steps does not count as dead."""
    monkeypatch.setattr("ikp.robots.twin.devices.WORLD_LIMIT", np.inf)


@pytest.fixture
def handlers():
    """The body of the process takes signals and garbage collection of this one; they are given back."""
    before = {number: signal.getsignal(number) for number in process.STOPPING}
    yield
    gc.enable()
    gc.unfreeze()
    for number, handler in before.items():
        signal.signal(number, handler)


def run_body(world, happens, *, commands=(), arm_class=FaultyArm, **settings):
    """The body of the controller's process in this one; `happens` is called with the arm in the fifth period."""

    class Arm(arm_class):
        periods = 0

        def state(self):
            self.periods += 1
            if self.periods == 5:
                happens(self)
            assert self.periods < 1000
            return super().state()

        def close(self):
            self.closed = True

    arm = Arm(world.env.robot, world.link)
    receiver, sender = Pipe(duplex=False)
    for command in (Confirm(), *commands):
        sender.send_bytes(command if isinstance(command, bytes) else to_bytes(command))
    board = Blackboard(world.env.robot.dof, None)
    arm.sender = sender
    ready = Flag(multiprocessing.get_context())
    process._run(lambda: arm, ControllerConfig(rate=500.0, **settings), receiver, board, ready)
    assert ready.is_set()
    assert arm.stops == 1
    assert arm.closed
    return board.read()[1], arm


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGINT, "stopped by Ctrl-C"),
        (signal.SIGTERM, "stopped by SIGTERM"),
        (signal.SIGHUP, "stopped by SIGHUP"),
        (signal.SIGQUIT, "stopped by SIGQUIT"),
    ],
)
def test_signals_stop_the_arm(still_world, handlers, number, message):
    assert run_body(still_world, lambda _: os.kill(os.getpid(), number))[0] == message


def raise_error(error):
    def happens(_):
        raise error

    return happens


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("the cable is out"), "the cable is out"),
        (RuntimeError("what"), "the controller failed (RuntimeError: what)"),
        (SystemExit(3), "the controller failed (SystemExit"),
        (MemoryError(), "the controller failed (MemoryError"),
    ],
)
def test_every_error_stops_the_arm(still_world, handlers, error, message):
    said, _ = run_body(still_world, raise_error(error))
    assert said.startswith(message)


@pytest.mark.parametrize("nonsense", [b"nonsense", b"", b"\0half"])
def test_what_is_no_command_stops_the_arm(still_world, handlers, nonsense):
    said, _ = run_body(still_world, lambda arm: None, commands=[nonsense])
    assert said.startswith("no command starts with")


@pytest.mark.parametrize(
    "command",
    [
        Waypoints(np.array([1.5, np.inf]), np.arange(12.0).reshape(2, 6) / 7),
        Waypoints(np.empty(0), np.empty((0, 6))),
        TipVelocity(np.arange(6.0), 0.1),
        JointVelocity(np.array([0.1, np.nan]), 1e9),
        Confirm(),
        SetLag(0.03),
        Stop("größer als erlaubt"),
    ],
)
def test_commands_arrive_as_they_were_sent(command):
    arrived = from_bytes(to_bytes(command))
    assert type(arrived) is type(command)
    for name, value in vars(command).items():
        np.testing.assert_array_equal(getattr(arrived, name), value)


def test_a_session_that_ends_without_a_word_stops_the_arm(still_world, handlers, capsys):
    said, _ = run_body(still_world, lambda arm: arm.sender.close())
    assert said == process.GONE
    assert f"ikp: error: {process.GONE}" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system has no /proc")
def test_a_process_that_begins_to_end_is_seen(still_world, handlers, monkeypatch):
    assert not process.is_ending(os.getpid())
    assert not process.is_ending(2**30)
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: process.is_ending(child.pid))  # it stays a zombie until it is waited for
    monkeypatch.setattr(os, "getppid", lambda: child.pid)
    said, _ = run_body(still_world, lambda arm: None)
    assert said == process.GONE
    child.wait()


def test_a_stop_that_fails_is_said(still_world, handlers):
    class Stuck(FaultyArm):
        def stop(self):
            super().stop()
            raise RuntimeError("no answer")

    said, _ = run_body(still_world, lambda arm: None, commands=[Stop("enough")], arm_class=Stuck)
    assert said == "enough; the arm could not be told to stop (no answer): press the emergency stop"


def test_a_flood_of_commands_does_not_hold_up_the_loop(still_world, handlers):
    """As many commands as the pipe holds are taken over several periods."""
    flood = [TipVelocity(np.zeros(6), 0.0)] * 150
    _, arm = run_body(still_world, lambda arm: arm.sender.close(), commands=flood)
    assert arm.periods >= 1 + 150 // process.COMMANDS


def test_the_loop_sleeps_in_every_period_however_late_it_is(still_world, handlers, monkeypatch):
    slept = []
    monkeypatch.setattr(process, "sleep", slept.append)
    clock = iter(np.arange(1e6) * 0.01)  # every look at the clock is several periods after the one before
    monkeypatch.setattr(process, "monotonic", lambda: float(next(clock)))
    run_body(still_world, lambda arm: arm.sender.close(), state_age=1.0)
    assert min(slept) >= process.BREATH / 500.0


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="the system has no real-time priority")
def test_real_time_priority_is_asked_for_only_by_the_settings_and_may_be_refused(handlers, monkeypatch):
    asked = []

    def refuse(*arguments):
        asked.append(arguments)
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    keep_from_pausing()
    assert not asked
    keep_from_pausing(realtime=True)
    assert len(asked) == 1


def test_a_process_that_ends_before_it_is_ready_is_told_at_once():
    context = multiprocessing.get_context("spawn")
    with pytest.raises(RuntimeError, match="the clock did not start: its process ended with the status 3"):
        start(context.Process(target=sys.exit, args=(3,)), Flag(context), "the clock")


def starts_slowly(ready):
    print(os.getpid(), flush=True)
    time.sleep(1.0)
    ready.set()


def test_a_process_ends_whose_starter_is_killed_while_it_waits(tmp_path):
    code = (
        "import multiprocessing, sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parents[2])]!r}\n"
        "from ikp.robots.shared import Flag\n"
        "from ikp.robots.starting import start\n"
        "from tests.robots.test_process import starts_slowly\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    ready = Flag(context)\n"
        "    start(context.Process(target=starts_slowly, args=(ready,)), ready, 'it')\n"
    )
    kill_once_it_has_named_a_process(code, tmp_path)


def kill_once_it_has_named_a_process(code, tmp_path):
    """Run a session in a process of its own, kill it, and wait until the process that it has named is gone."""
    script = tmp_path / "session.py"
    script.write_text(code)
    session = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert session.stdout is not None
    named = int(session.stdout.readline())
    session.kill()
    session.wait()
    session.stdout.close()
    wait_for(lambda: not Path(f"/proc/{named}").exists() or _is_zombie(named))


def rests(world):
    return np.abs(world.link.state.read()["qd"]).max() < 0.02


def set_in_motion(bench):
    q = bench.controller.telemetry().q
    times = bench.controller.now() + np.array([30.0])
    bench.controller.send(Waypoints(times, (q + 20 * TURN / 3)[None]))
    wait_for(lambda: not rests(bench.world))


def test_the_processes_follow_waypoints_in_real_time_and_stop_at_a_signal():
    world = WorldProcess("insertion", {}, seed=1)
    try:
        bench = RealBench(world)
        controller = bench.controller
        q = controller.telemetry().q
        times = controller.now() + np.array([0.2, 0.4])
        controller.send(Waypoints(times, np.stack([q, q + TURN / 5])))
        wait_for(lambda: np.allclose(controller.telemetry().q, q + TURN / 5, atol=5e-3))
        telemetry = controller.telemetry()
        assert telemetry.period_errors.sum() >= telemetry.ticks - 1 > 1
        history = controller.motion()
        np.testing.assert_allclose(history.measured(telemetry.time), telemetry.q, atol=0.05)
        with pytest.raises(ValueError, match="send fewer way-points"):
            controller.send(Waypoints(controller.now() + np.arange(1.0, 200.0), np.tile(q, (199, 1))))
        set_in_motion(bench)
        os.kill(controller.process_id, signal.SIGTERM)
        wait_for(lambda: rests(world))
        controller._process.join(PATIENCE)
        for speak in (controller.telemetry, lambda: controller.send(Confirm())):
            with pytest.raises(RobotStopped, match="stopped by SIGTERM"):
                speak()
        controller.close()
    finally:
        world.close()


def test_a_crashed_controller_is_told_with_its_signal():
    """As where a driver crashes, of which Python sees nothing."""
    world = WorldProcess("insertion", {}, seed=1)
    try:
        controller = RealBench(world).controller
        os.kill(controller.process_id, signal.SIGSEGV)
        controller._process.join(PATIENCE)
        with pytest.raises(RobotStopped, match=r"has died \(SIGSEGV\).*check its cable"):
            controller.telemetry()
        controller.close()
    finally:
        world.close()


def test_a_killed_session_leaves_no_moving_arm_and_no_process(tmp_path):
    """The session runs in a process of its own, which is killed while the arm moves."""
    code = (
        "import sys, time\n"
        f"sys.path[:0] = {[str(Path(__file__).parents[2])]!r}\n"
        "from tests.robots.bench import RealBench\n"
        "from tests.robots.test_process import WorldProcess, set_in_motion\n"
        "if __name__ == '__main__':\n"
        "    bench = RealBench(WorldProcess('insertion', {}))\n"
        "    set_in_motion(bench)\n"
        "    print(bench.controller.process_id, flush=True)\n"
        "    time.sleep(600)\n"
    )
    kill_once_it_has_named_a_process(code, tmp_path)


def _is_zombie(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_shared_numbers_are_of_one_moment_and_keep_what_is_not_written():
    numbers = SharedNumbers(None, {"a": 2, "b": 1})
    numbers.write(a=[1, 2], b=3)
    for k in range(20):
        numbers.write(a=k)
        values = numbers.read()
        np.testing.assert_array_equal(values["a"], [k, k])
        assert values["b"][0] == 3
    shared = SharedNumbers(multiprocessing.get_context("spawn"), {"a": 2, "b": 1})
    other = SharedNumbers.__new__(SharedNumbers)
    other.__setstate__(shared.__getstate__())
    other.write(b=5)
    shared.write(a=[1, 2])  # the process that started the other one goes on writing
    assert shared.read()["b"][0] == other.read()["b"][0] == 5
    table = SharedTable(None, 4, 2)
    assert table.read().shape == (0, 2)
    for k in range(7):
        table.add(np.array([k, -k], dtype=float))
    np.testing.assert_array_equal(table.read()[:, 0], [4, 5, 6])  # the oldest slot may be being written
