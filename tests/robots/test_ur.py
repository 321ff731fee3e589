"""The imitated UR controller: RTDE by our own small client, and the real ur-rtde client where it is installed."""

from __future__ import annotations

import functools
import importlib.util
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ikp.robots import station
from ikp.robots.interfaces import Mode
from ikp.robots.shared import SharedNumbers
from ikp.robots.twin.devices import TwinArm
from ikp.robots.twin.world import World
from ikp.robots.ur.arm import URArm
from ikp.robots.ur.imitation import Fault, ImitatedController
from ikp.robots.ur.packages import Kind, Recipe, package, received
from ikp.tasks.suction import suction_robot

from .bench import PATIENCE, wait_for
from .real_client import INJECTED, STOPPED

HOST, REAL_HOST, REFUSING_HOST = "127.0.0.41", "127.0.0.42", "127.0.0.46"
ROBOT = suction_robot()
HAS_CLIENT = importlib.util.find_spec("rtde_control") is not None


def test_packages_are_packed_and_unpacked():
    recipe = Recipe(3, ("timestamp", "actual_q", "output_int_register_0", "robot_status_bits"), inputs=False)
    values = {
        "timestamp": 1.5,
        "actual_q": (1.0, 2, 3, 4, 5, 6),
        "output_int_register_0": -7,
        "robot_status_bits": 3,
    }
    body = recipe.pack(values)
    assert body[0] == 3
    assert struct.unpack(">d", body[1:9])[0] == 1.5
    assert recipe.unpack(body) == values
    with pytest.raises(ValueError, match="recipe 3 has 4 bytes"):
        recipe.unpack(body[:4])


class Client:
    """The least of an RTDE client."""

    def __init__(self, host):
        self.socket = socket.create_connection((host, 30004), PATIENCE)

    def ask(self, kind, body=b""):
        self.socket.sendall(package(kind, body))
        while True:
            answered, answer = received(self.socket)
            if answered == kind:
                return answer

    def set_up(self, outputs, inputs):
        assert self.ask(Kind.PROTOCOL_VERSION, b"\0\2") == b"\1"
        assert struct.unpack(">4I", self.ask(Kind.CONTROLLER_VERSION))[0] == 5
        answer = self.ask(Kind.SETUP_OUTPUTS, struct.pack(">d", 125.0) + ",".join(outputs).encode())
        self.outputs = Recipe(answer[0], outputs, inputs=False)
        answer = self.ask(Kind.SETUP_INPUTS, ",".join(inputs).encode())
        self.inputs = Recipe(answer[0], inputs, inputs=True)
        assert self.ask(Kind.START) == b"\1"

    def newest(self):
        while True:
            kind, body = received(self.socket)
            if kind == Kind.DATA:
                return self.outputs.unpack(body)

    def everything(self):
        while True:
            self.newest()

    def send(self, **values):
        self.socket.sendall(package(Kind.DATA, self.inputs.pack(values)))


INPUTS = ("input_int_register_0", *(f"input_double_register_{i}" for i in range(11)))
OUTPUTS = (
    "timestamp",
    "actual_q",
    "actual_TCP_pose",
    "safety_status_bits",
    "robot_status_bits",
    "output_int_register_0",
)


@pytest.fixture
def controller(monkeypatch):
    monkeypatch.setattr("ikp.robots.twin.devices.WORLD_LIMIT", np.inf)  # nobody steps it all the time
    world = World("insertion", {}, seed=1)
    faults = SharedNumbers(None, {"fault": 1, "delay": 1})
    controller = ImitatedController(world.env.robot, world.link, HOST, faults)
    client = Client(HOST)
    client.set_up(OUTPUTS, INPUTS)
    yield world, controller, faults, client
    controller.close()


def upload_program():
    with socket.create_connection((HOST, 30002), PATIENCE) as connection:
        connection.sendall(b"def program():\n  sync()\nend\n")
        time.sleep(0.2)


def servo(client, q):
    client.send(
        input_int_register_0=11,
        **{f"input_double_register_{i}": v for i, v in enumerate([*q, 0, 0, 0.008, 0.05, 300])},
    )


def test_servo_commands_move_the_arm_once_the_program_runs(controller):
    world, imitated, _, client = controller
    state = client.newest()
    np.testing.assert_allclose(state["actual_q"], world.measured())
    pose = world.env.data.site("tip").xpos * (-1, -1, 1)  # in the UR base frame
    np.testing.assert_allclose(state["actual_TCP_pose"][:3], pose, atol=1e-3)
    target = world.measured() + 0.1
    servo(client, target)
    time.sleep(0.1)
    assert imitated.program.servo_commands == 0
    upload_program()
    wait_for(lambda: client.newest()["robot_status_bits"] & 2)
    servo(client, target)
    wait_for(lambda: imitated.program.servo_commands == 1)
    for _ in range(100):
        world.step()
    wait_for(lambda: np.allclose(client.newest()["actual_q"], target, atol=5e-3))


def test_a_silent_client_is_stopped_by_the_watchdog(controller):
    world, imitated, _, client = controller
    upload_program()
    servo(client, world.measured() + 0.5)
    client.send(input_int_register_0=35, input_double_register_0=20.0)
    wait_for(lambda: world.link.motion.read()["servo"][0] == 1.0)
    imitated.tick()
    wait_for(lambda: imitated.tick() or not imitated.program.running)
    assert world.link.motion.read()["servo"][0] == 0.0


def test_faults_are_seen_by_the_client(controller):
    _, imitated, faults, client = controller
    upload_program()
    faults.write(fault=int(Fault.PROTECTIVE_STOP))
    imitated.tick()
    wait_for(lambda: client.newest()["safety_status_bits"] == 4)
    assert not imitated.program.running
    faults.write(fault=int(Fault.FROZEN))
    time.sleep(0.1)
    for _ in range(100):  # what was sent before
        first = client.newest()["timestamp"]
        if first == client.newest()["timestamp"]:
            break
    assert all(client.newest()["timestamp"] == first for _ in range(5))
    faults.write(fault=int(Fault.LOST))
    imitated.tick()
    with pytest.raises(ConnectionError):
        client.everything()


def test_the_dashboard_answers(controller):
    with socket.create_connection((HOST, 29999), PATIENCE) as connection:
        assert connection.recv(100).startswith(b"Connected")
        connection.sendall(b"PolyscopeVersion\n")
        assert b"5.11" in connection.recv(100)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.DATA, b""),
        (Kind.SETUP_OUTPUTS, struct.pack(">d", 0.0) + b"timestamp"),
        (Kind.SETUP_OUTPUTS, struct.pack(">d", float("nan")) + b"timestamp"),
    ],
)
def test_a_malformed_package_ends_its_connection_alone(controller, kind, body):
    _, _, _, client = controller
    with socket.create_connection((HOST, 30004), PATIENCE) as connection:
        connection.sendall(package(kind, body))
        assert connection.recv(100) == b""
    assert client.newest()["safety_status_bits"] == 1


def test_a_world_that_died_is_not_taken_for_one_that_rests(controller, monkeypatch):
    world, _, _, client = controller
    monkeypatch.setattr("ikp.robots.twin.devices.WORLD_LIMIT", 0.2)
    arm = TwinArm(world.env.robot, world.link)
    for _ in range(3):
        world.step()
        time.sleep(0.05)
        arm.state()
    time.sleep(0.3)
    with pytest.raises(ConnectionResetError, match="the simulated world has not gone on for 0"):
        arm.state()
    client.socket.settimeout(1.0)
    with pytest.raises(TimeoutError):  # nor does the imitated controller send what is no news
        client.everything()


class Received:
    """ur-rtde's receiving end, with a clock that a test sets."""

    timestamp = 1.0

    def getTimestamp(self):
        return self.timestamp

    def isConnected(self):
        return True

    def getActualQ(self):
        return [0.0] * 6

    getActualQd = getActualQ

    def getSafetyStatusBits(self):
        return 1

    def getRobotStatus(self):
        return 1


def test_a_time_stamp_that_is_no_number_is_no_new_state():
    arm = URArm(ROBOT, HOST, 125.0)
    arm._receive = Received()
    first = arm.state().time
    time.sleep(0.02)
    arm._receive.timestamp = float("nan")
    assert arm.state().time == first
    arm._receive.timestamp = 1.008
    assert arm.state().time > first


@pytest.mark.parametrize(("bits", "mode"), [(1, Mode.RUNNING), (2, Mode.RUNNING), (0, Mode.NOT_READY)])
def test_an_arm_runs_in_normal_and_reduced_mode_only(monkeypatch, bits, mode):
    monkeypatch.setattr(Received, "getSafetyStatusBits", lambda self: bits)
    arm = URArm(ROBOT, HOST, 125.0)
    arm._receive = Received()
    assert arm.state().mode is mode


class Failing:
    """An interface of ur-rtde whose program cannot be stopped."""

    def __init__(self):
        self.ended = False

    def isConnected(self):
        return True

    def servoStop(self, deceleration):
        raise RuntimeError

    stopScript = functools.partialmethod(servoStop, 0.0)

    def disconnect(self):
        self.ended = True


def test_both_interfaces_are_disconnected_whatever_fails():
    arm = URArm(ROBOT, HOST, 125.0)
    arm._control, arm._receive = control, receive = Failing(), Failing()
    arm.close()
    assert control.ended
    assert receive.ended
    arm.close()


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request"])
def test_what_does_not_speak_rtde_is_told_at_once(monkeypatch, answer):
    monkeypatch.setattr(station, "CONNECTING", 0.2)
    with socket.create_server((REFUSING_HOST, station.CONTROL_PORT)) as server:

        def serve():
            connection, _ = server.accept()
            if answer is not None:
                connection.sendall(answer)
                connection.close()
            else:
                opened.append(connection)

        opened = []
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(OSError, match=f"no UR controller answers at {REFUSING_HOST}"):
            station._check_answers(REFUSING_HOST)
        thread.join()
        for connection in opened:
            connection.close()


def test_a_rate_below_the_watchdog_is_refused():
    with pytest.raises(ValueError, match=r"rate is 12: a UR arm needs at least 25 targets per second"):
        URArm(ROBOT, HOST, 12.0)


def test_only_this_machine_is_served():
    world = World("insertion", {})
    with pytest.raises(ValueError, match="for this machine"):
        ImitatedController(
            world.env.robot, world.link, "0.0.0.0", SharedNumbers(None, {"fault": 1, "delay": 1})
        )


@pytest.mark.skipif(not HAS_CLIENT, reason="ur-rtde is not installed (extra real)")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault.PROTECTIVE_STOP, "protective stop"),
        (Fault.FROZEN, "no new state"),
        (Fault.LOST, "is lost: check the cable|no new state|no longer takes"),
    ],
)
def test_the_real_client_follows_waypoints_and_stops_at_a_fault(fault, message):
    command = [sys.executable, "-m", "robots.real_client", fault.name, message]
    folder = Path(__file__).parents[1]
    ended = subprocess.run(
        command, check=False, cwd=folder, timeout=3 * PATIENCE, capture_output=True, text=True
    )
    assert INJECTED in ended.stdout, ended.stderr
    if fault is Fault.LOST and ended.returncode == -signal.SIGSEGV:
        return  # servoJ of ur-rtde 1.6 may crash while its own thread connects again; the arm's watchdog stops the arm
    assert STOPPED in ended.stdout, ended.stderr
    assert ended.returncode == 0, ended.stderr


@pytest.mark.skipif(HAS_CLIENT, reason="ur-rtde is installed")
def test_a_missing_client_is_named_with_its_extra():
    arm = URArm(ROBOT, HOST, 125.0)
    with pytest.raises(OSError, match=r"needs the package ur-rtde.*pip install 'ikp\[real\]'"):
        arm.open()
