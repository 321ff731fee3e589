"""The controller in its own process: it ends in a stop whatever happens to it or to the session."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ikp.robots.commands import Waypoints
from ikp.robots.interfaces import RobotStopped
from ikp.robots.shared import SharedNumbers, SharedTable
from ikp.robots.twin.process import WorldProcess

from .bench import RealBench

TURN = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
PATIENCE = 5.0
"""Time that a loaded machine may take for what an idle one does in milliseconds [s]."""


@pytest.fixture(scope="module")
def world():
    world = WorldProcess("insertion", {}, seed=1)
    yield world
    world.close()


@pytest.fixture
def bench(world):
    bench = RealBench(world)
    yield bench
    bench.controller.close()


def wait_for(condition):
    limit = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < limit:
        time.sleep(0.01)
    assert condition()


def rests(world):
    return np.abs(world.link.state.read()["qd"]).max() < 0.02


def set_in_motion(bench):
    q = bench.controller.telemetry().q
    times = bench.controller.now() + np.array([30.0])
    bench.controller.send(Waypoints(times, (q + 20 * TURN / 3)[None]))
    wait_for(lambda: not rests(bench.world))


def test_waypoints_are_followed_in_real_time(bench):
    q = bench.controller.telemetry().q
    bench.controller.send(
        Waypoints(bench.controller.now() + np.array([0.2, 0.4]), np.stack([q, q + TURN / 5]))
    )
    wait_for(lambda: np.allclose(bench.controller.telemetry().q, q + TURN / 5, atol=5e-3))
    telemetry = bench.controller.telemetry()
    assert telemetry.ticks > 10
    assert telemetry.period_errors.sum() >= telemetry.ticks - 1
    history = bench.controller.motion()
    np.testing.assert_allclose(history.measured(telemetry.time), telemetry.q, atol=0.05)


@pytest.mark.parametrize(
    ("number", "message"), [(signal.SIGINT, "stopped by Ctrl-C"), (signal.SIGTERM, "stopped by SIGTERM")]
)
def test_signals_stop_the_arm(bench, number, message):
    set_in_motion(bench)
    os.kill(bench.controller.process_id, number)
    wait_for(lambda: rests(bench.world))
    with pytest.raises(RobotStopped, match=message):
        bench.controller.telemetry()
    bench.controller._process.join(PATIENCE)
    with pytest.raises(RobotStopped, match=message):
        bench.controller.send(Waypoints(np.array([1.0]), np.zeros((1, 6))))


def test_an_error_in_the_controller_stops_the_arm(bench):
    set_in_motion(bench)
    bench.controller._sender.send("not a command")
    wait_for(lambda: rests(bench.world))
    with pytest.raises(RobotStopped, match="the controller failed .AttributeError"):
        bench.controller.telemetry()


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
        "    time.sleep(60)\n"
    )
    script = tmp_path / "session.py"
    script.write_text(code)
    session = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert session.stdout is not None
    controller = int(session.stdout.readline())
    session.kill()
    session.wait()
    session.stdout.close()
    wait_for(lambda: not Path(f"/proc/{controller}").exists() or _is_zombie(controller))


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
    table = SharedTable(None, 4, 2)
    assert table.read().shape == (0, 2)
    for k in range(7):
        table.add(np.array([k, -k], dtype=float))
    np.testing.assert_array_equal(table.read()[:, 0], [4, 5, 6])  # the oldest slot may be being written
