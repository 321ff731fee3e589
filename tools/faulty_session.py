"""A session of `ikp deploy` or `ikp record` that moves a simulated arm, in a process of its own, and can be spoiled.

Its controller, camera driver and data set are the real ones; the camera's library, the policy and the hand are
stand-ins that fail when they are told to.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from ikp.cli.main import run_command
from ikp.policies.execution import Execution
from ikp.policies.frames import FrameHistory
from ikp.policies.timing import TimingConfig
from ikp.robots.config import ControllerConfig
from ikp.robots.deployment import deploy
from ikp.robots.interfaces import Motion
from ikp.robots.process import ControllerProcess
from ikp.robots.realsense import RealSense
from ikp.robots.recording import Recorded, Verdict, keep_all, record
from ikp.robots.session import Session, always
from ikp.robots.shared import SharedNumbers
from ikp.robots.station import Station
from ikp.robots.twin.devices import TwinArm, TwinGripper
from ikp.robots.twin.world import WorldLink
from ikp.tasks.suction import suction_robot

TURN = 0.06
"""Motion of the last joint per frame [rad], at 10 frames per second."""
SHORT, LONG = 1.0, 60.0
"""Length of the episode that is finished and of the one that is spoiled [s]."""
SMALL = 4096
"""Largest file where a full disk cannot be mounted [byte]."""
PATIENCE = 300.0
"""Time that a busy machine may take to start a session [s]."""


class FaultySession:
    """A running session: its first episode is finished, in the second one the arm moves.

    Args:
        link: the simulated world.
        kind: "deploy" or "record".
        root: folder of its data set.
        errors: file for what it says on the standard error output.
    """

    def __init__(self, link: WorldLink, kind: str, root: Path, errors: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._switches = SharedNumbers(context, dict.fromkeys(("frozen", "not_finite", "done", "full"), 1))
        self._receiver, sender = context.Pipe(duplex=False)
        arguments = (link, kind, root, errors, self._switches, sender)
        self._process = context.Process(target=_run, args=arguments, name="faulty-session")
        self._process.start()
        sender.close()
        self._errors = errors
        for _ in range(2):  # the second episode has begun
            self.told()

    @property
    def process_id(self) -> int:
        """The session's process, which is also its group's."""
        assert self._process.pid is not None
        return self._process.pid

    def spoil(self, **switches: float) -> None:
        """Turn switches on: `frozen` (camera), `not_finite` (policy), `done` (episode), `full` (disk)."""
        self._switches.write(**switches)

    def told(self) -> float:
        """Wait for the session's next word: when an episode began, or the second recorded one is to be saved [s]."""
        if not self._receiver.poll(PATIENCE):
            raise RuntimeError(f"the session says nothing: {self.said()}")
        try:
            return self._receiver.recv()
        except EOFError:
            raise RuntimeError(f"the session has ended: {self.said()}") from None

    def said(self) -> str:
        """The standard error output of it and its controller so far."""
        return " ".join(self._errors.read_text().split()) if self._errors.exists() else ""

    def close(self) -> None:
        """End it."""
        self._process.join(10.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of a few hundred kilobytes at a folder; whether the system allows one."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Fill the file system of a folder."""
    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _run(link: WorldLink, kind: str, root: Path, errors: Path, switches: SharedNumbers, sender: Any) -> None:
    os.setpgrp()  # a terminal sends Ctrl-C to the whole group
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where this tool runs in the background
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.modules["pyrealsense2"] = camera_library(switches)
    body = {"deploy": _deploy, "record": _record}[kind]
    sys.exit(run_command(lambda: body(link, root, switches, sender), "ikp", "finished episodes are kept"))


def _open(link: WorldLink) -> Session:
    robot, config = suction_robot(), ControllerConfig(realtime=True)
    camera = RealSense()
    controller = ControllerProcess(functools.partial(TwinArm, robot, link), robot.dof, config)
    station = Station(robot, controller, TwinGripper(link), {"front": camera}, task="insertion", world=link)
    station.opened.callback(camera.close)
    station.opened.callback(controller.close)
    return Session(station, config, 10.0)


def _deploy(link: WorldLink, root: Path, switches: SharedNumbers, sender: Any) -> None:
    session = _open(link)
    with session.station:
        session.start(always)
        policy = TurningPolicy(session, switches, sender)
        deploy(session, policy, root, 1, keep_all, seconds=SHORT)
        deploy(session, policy, root, 2, keep_all, seconds=LONG)


def _record(link: WorldLink, root: Path, switches: SharedNumbers, sender: Any) -> None:
    def last(_: Recorded) -> Verdict:
        sender.send(time.monotonic())
        if switches.read()["full"][0]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))
        return Verdict.SUCCESS

    session = _open(link)
    with session.station:
        session.start(always)
        hand = TurningHand(switches, sender)
        record(session, hand, root, 1, lambda _: Verdict.SUCCESS, seconds=SHORT)
        record(session, hand, root, 2, last, seconds=LONG)


class TurningPolicy:
    """Turns the last joint, or decides on what is not finite."""

    def __init__(self, session: Session, switches: SharedNumbers, sender: Any) -> None:
        self.spec, self._session, self._switches, self._sender = session.spec, session, switches, sender
        self.robot = session.station.robot

    def new_history(self) -> FrameHistory:
        """One frame per observation."""
        self._target = np.append(self._session.link.telemetry().q_command, 0.0)
        return FrameHistory(self.spec, 1)

    def new_execution(self) -> Execution:
        """A command per frame; this is also the beginning of an episode."""
        self._sender.send(time.monotonic())
        return Execution(TimingConfig(), self.spec.fps, self.spec.discrete_dims)

    def plan(self, observation: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The next command."""
        self._target[-2] += TURN
        action = torch.as_tensor(self._target.copy())[None]
        if self._switches.read()["not_finite"][0]:
            action = torch.full_like(action, torch.nan)
        return action, action


class TurningHand:
    """A device whose last joint is turned until its person says that the episode is over."""

    def __init__(self, switches: SharedNumbers, sender: Any) -> None:
        self._switches, self._sender = switches, sender

    def reset(self) -> None:
        """The beginning of an episode."""
        self._sender.send(time.monotonic())

    def read(self, now: float) -> Motion:
        """Full deflection."""
        done = bool(self._switches.read()["done"][0])
        return Motion(np.array([0, 0, 0, 0, 0, 1.0]), in_joint_space=True, done=done)

    def close(self) -> None:
        """Nothing to disconnect."""


def camera_library(switches: SharedNumbers) -> ModuleType:
    """A stand-in for pyrealsense2 with a camera of 30 images per second, which can freeze, or be `late` [s]."""

    class Pipeline:
        def start(self, config: Any) -> None:
            self._due = time.monotonic()

        def wait_for_frames(self, timeout_ms: int) -> Any:
            self._due = max(self._due + 1 / 30, time.monotonic() - 1 / 30)
            time.sleep(max(self._due - time.monotonic(), 0.0))
            if switches.read()["frozen"][0]:
                time.sleep(timeout_ms / 1000)
                raise RuntimeError(f"Frame didn't arrive within {timeout_ms}")
            image = np.zeros((480, 640, 3), np.uint8)
            taken = 1000 * (time.time() - float(switches.read().get("late", [0.0])[0]))
            frame = SimpleNamespace(
                get_data=lambda: image,
                get_timestamp=lambda: taken,
                get_frame_timestamp_domain=lambda: library.timestamp_domain.global_time,
            )
            return SimpleNamespace(get_color_frame=lambda: frame)

        def stop(self) -> None:
            pass

    library: Any = ModuleType("pyrealsense2")
    library.pipeline, library.config = Pipeline, lambda: SimpleNamespace(enable_stream=lambda *_: None)
    library.stream, library.format = SimpleNamespace(color=0), SimpleNamespace(rgb8=0)
    library.timestamp_domain = SimpleNamespace(hardware_clock=0, system_time=1, global_time=2)
    return library
