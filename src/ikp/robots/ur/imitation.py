"""A controller of Universal Robots, imitated on this machine: RTDE, program and dashboard ports, for a simulated arm.

It accepts the real ur-rtde client. Only loopback addresses are served.
"""

from __future__ import annotations

import contextlib
import ipaddress
import multiprocessing
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
import torch

from ikp.kinematics import Robot, forward_kinematics
from ikp.kinematics.rotations import log_rotation
from ikp.robots.priority import keep_from_pausing
from ikp.robots.shared import Flag, SharedNumbers
from ikp.robots.starting import start
from ikp.robots.twin.devices import TwinArm
from ikp.robots.twin.world import WorldLink
from ikp.robots.ur.packages import VERSION, Kind, Recipe, package, received, type_of
from ikp.robots.ur.program import PLAYING, STOPPED, Program

RTDE_PORT, DASHBOARD_PORT, PROGRAM_PORTS = 30004, 29999, (30001, 30002, 30003)
TICK = 0.005
"""Time between two looks at watchdog and faults [s]."""
POSE_EVERY = 0.02
"""Time between two computations of the TCP's pose [s]."""
POWER_ON, PROGRAM_RUNNING = 1, 2
NORMAL, PROTECTIVE, EMERGENCY = 1 << 0, 1 << 2, 1 << 6 | 1 << 7
ANSWERS = {
    "polyscopeversion": "URSoftware 5.11.1.108318 (Apr 12 2022)",
    "is in remote control": "true",
    "robotmode": "Robotmode: RUNNING",
    "stop": "Stopped",
    "play": "Starting program",
    "unlock protective stop": "Protective stop releasing",
    "close safety popup": "closing safety popup",
    "get robot model": "UR5",
    "get serial number": "00000000",
}


class Fault(IntEnum):
    """A fault that the imitated controller can have."""

    NONE = 0
    PROTECTIVE_STOP = 1
    EMERGENCY_STOP = 2
    LOST = 3  # all connections are closed, new ones are refused
    FROZEN = 4  # the newest state is sent again and again
    SILENT = 5  # nothing is sent


class ImitatedController:
    """The ports and their threads.

    Args:
        robot: kinematic model; its first tip is the TCP.
        link: the simulated world.
        host: loopback address.
        faults: a number `fault` (`Fault`) and a `delay` of what is sent [s].

    Raises:
        ValueError: the address is not a loopback address.
        OSError: a port is in use.
    """

    def __init__(self, robot: Robot, link: WorldLink, host: str, faults: SharedNumbers) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"host is {host}: an imitated controller is for this machine, such as 127.0.0.1")
        self._robot, self._link, self._faults = robot, link, faults
        self._arm = TwinArm(robot, link)
        self.program = Program(self._arm)
        self._pose, self._pose_at = np.zeros(6), -np.inf
        self._frozen: dict[str, Any] | None = None
        self._connections: set[socket.socket] = set()
        self._listeners = [_listener(host, RTDE_PORT), _listener(host, DASHBOARD_PORT)]
        self._listeners += [_listener(host, port) for port in PROGRAM_PORTS]
        serve = [self._serve_rtde, self._serve_dashboard, *[self._serve_program] * len(PROGRAM_PORTS)]
        for listener, body in zip(self._listeners, serve, strict=True):
            threading.Thread(target=self._accept, args=(listener, body), daemon=True).start()

    def tick(self) -> None:
        """Watch over the program, and apply faults; to be called every few milliseconds."""
        self.program.check_watchdog()
        fault = self._fault
        if fault in (Fault.PROTECTIVE_STOP, Fault.EMERGENCY_STOP):
            self.program.stop()
        if fault is Fault.LOST and self._connections:
            for connection in tuple(self._connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all ports."""
        for each in (*self._listeners, *self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it and would keep the port
            each.close()

    @property
    def _fault(self) -> Fault:
        return Fault(int(self._faults.read()["fault"][0]))

    def _accept(self, listener: socket.socket, body: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            if self._fault is Fault.LOST:
                connection.close()
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(connection)
            threading.Thread(target=self._guarded, args=(connection, body), daemon=True).start()

    def _guarded(self, connection: socket.socket, body: Callable[[socket.socket], None]) -> None:
        """Serve a connection until it ends or its client sends something malformed; then it is closed."""
        try:
            with contextlib.suppress(OSError, ValueError, LookupError, struct.error):
                body(connection)
        finally:
            self._connections.discard(connection)
            connection.close()

    def _serve_program(self, connection: socket.socket) -> None:
        text = b""
        while part := connection.recv(65536):
            text += part
            if text.rstrip().endswith(b"end"):
                self.program.start()
                text = b""

    def _serve_dashboard(self, connection: socket.socket) -> None:
        connection.sendall(b"Connected: Universal Robots Dashboard Server\n")
        text = b""
        while part := connection.recv(4096):
            text += part
            *lines, text = text.split(b"\n")
            for line in lines:
                word = line.decode(errors="replace").strip().lower()
                if word == "stop":
                    self.program.stop()
                connection.sendall(f"{ANSWERS.get(word, 'could not understand: ' + word)}\n".encode())

    def _serve_rtde(self, connection: socket.socket) -> None:
        inputs: dict[int, Recipe] = {}
        outputs, period = Recipe(1, (), inputs=False), 1.0 / 125.0
        while True:
            kind, body = received(connection)
            if kind == Kind.DATA:
                if body[0] in inputs:
                    self.program.receive(inputs[body[0]].unpack(body))
            elif kind == Kind.SETUP_INPUTS:
                recipe = _agreed(connection, Kind.SETUP_INPUTS, len(inputs) + 1, body)
                inputs[recipe.number] = recipe
            elif kind == Kind.SETUP_OUTPUTS:
                period = 1.0 / _frequency(body)
                outputs = _agreed(connection, Kind.SETUP_OUTPUTS, 1, body[8:])
            elif kind == Kind.START:
                connection.sendall(package(Kind.START, b"\1"))
                sender = threading.Thread(target=self._send, args=(connection, outputs, period), daemon=True)
                sender.start()
            else:
                _greet(connection, kind, body)

    def _send(self, connection: socket.socket, recipe: Recipe, period: float) -> None:
        due = time.monotonic()
        with contextlib.suppress(OSError):
            while True:
                faults = self._faults.read()
                fault = Fault(int(faults["fault"][0]))
                if fault is not Fault.SILENT:
                    values = self._values(recipe, frozen=fault is Fault.FROZEN)
                    time.sleep(float(faults["delay"][0]))
                    connection.sendall(package(Kind.DATA, recipe.pack(values)))
                due = max(due + period, time.monotonic() - period)
                time.sleep(max(due - time.monotonic(), 0.0))

    def _values(self, recipe: Recipe, frozen: bool) -> dict[str, Any]:
        if frozen and self._frozen is not None:
            return self._frozen
        state = self._arm.state()
        if "actual_TCP_pose" in recipe.names and time.monotonic() - self._pose_at > POSE_EVERY:
            self._pose_at = time.monotonic()
            self._pose = _pose(self._robot, state.q)
        fault, running = self._fault, self.program.running
        safety = {Fault.PROTECTIVE_STOP: PROTECTIVE, Fault.EMERGENCY_STOP: EMERGENCY}.get(fault, NORMAL)
        values = {
            "timestamp": time.monotonic(),
            "robot_mode": 7,  # running
            "safety_mode": {PROTECTIVE: 3, EMERGENCY: 7}.get(safety, 1),
            "runtime_state": PLAYING if running else STOPPED,
            "robot_status_bits": POWER_ON | (PROGRAM_RUNNING if running else 0),
            "safety_status_bits": safety,
            "speed_scaling": 1.0,
            "target_speed_fraction": 1.0,
            "actual_q": tuple(state.q),
            "target_q": tuple(state.q),
            "actual_qd": tuple(state.qd),
            "actual_TCP_pose": tuple(self._pose),
            "target_TCP_pose": tuple(self._pose),
            "actual_digital_output_bits": self.program.digital,
            **self.program.outputs,
        }
        self._frozen = values
        return values


def _frequency(body: bytes) -> float:
    """The frequency of a set-up of outputs [Hz]. Raises ValueError for one that no controller has."""
    (frequency,) = struct.unpack(">d", body[:8])
    if not 0.1 <= frequency <= 500.0:
        raise ValueError(f"the client asks for {frequency} packages per second: 0.1 to 500 are possible")
    return frequency


def _greet(connection: socket.socket, kind: int, body: bytes) -> None:
    """Answer questions about versions."""
    if kind == Kind.PROTOCOL_VERSION:
        connection.sendall(package(Kind.PROTOCOL_VERSION, bytes([body[:2] == b"\0\x02"])))
    elif kind == Kind.CONTROLLER_VERSION:
        connection.sendall(package(Kind.CONTROLLER_VERSION, struct.pack(">4I", *VERSION)))


def _agreed(connection: socket.socket, kind: Kind, number: int, body: bytes) -> Recipe:
    """Answer a set-up with the types of its variables; unknown ones are named, and left out of the recipe."""
    names = [name for name in body.decode().split(",") if name]
    types = [type_of(name, kind is Kind.SETUP_INPUTS) for name in names]
    connection.sendall(package(kind, bytes([number]) + ",".join(types).encode()))
    known = [name for name, found in zip(names, types, strict=True) if found != "NOT_FOUND"]
    return Recipe(number, known, kind is Kind.SETUP_INPUTS)


def _pose(robot: Robot, q: np.ndarray) -> np.ndarray:
    """Position [m] and rotation vector [rad] of the TCP, (6,)."""
    T = forward_kinematics(robot, torch.from_numpy(q))[robot.tip_indices[0]]
    return torch.cat([T[:3, 3], log_rotation(T[:3, :3])]).numpy()


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno or 0, f"port {port} of {host} is in use: end what uses it") from error
    listener.listen()
    return listener


class ImitationProcess:
    """An imitated controller in a process of its own.

    Args:
        robot: kinematic model; its first tip is the TCP.
        link: the simulated world.
        host: loopback address.

    Raises:
        RuntimeError: it did not start; a port may be in use.
    """

    def __init__(self, robot: Robot, link: WorldLink, host: str = "127.0.0.1") -> None:
        context = multiprocessing.get_context("spawn")
        self.host, self._faults = host, SharedNumbers(context, {"fault": 1, "delay": 1})
        ready, self._ended = Flag(context), Flag(context)
        self._process = context.Process(
            target=_run,
            args=(robot, link, host, self._faults, ready, self._ended),
            daemon=True,
            name="ikp-controller-imitation",
        )
        start(self._process, ready, f"the imitated controller at {host}")

    @property
    def process_id(self) -> int | None:
        """The imitation's process."""
        return self._process.pid

    def inject(self, fault: Fault, delay: float = 0.0) -> None:
        """Let something be wrong, or nothing; what is sent is `delay` [s] late."""
        self._faults.write(fault=int(fault), delay=delay)

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._process.join(3.0)
        if self._process.is_alive():
            self._process.kill()


def _run(robot: Robot, link: WorldLink, host: str, faults: SharedNumbers, ready: Flag, ended: Flag) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_from_pausing()
    controller = ImitatedController(robot, link, host, faults)
    ready.set()
    parent = multiprocessing.parent_process()
    while not ended.is_set() and (parent is None or parent.is_alive()):
        time.sleep(TICK)
        controller.tick()
    controller.close()
