"""A controller over the simulated twin of the insertion task, in lock-step, and an arm that can misbehave."""

from __future__ import annotations

import functools
import time
from dataclasses import replace

import numpy as np

from ikp.robots.commands import Confirm, Waypoints
from ikp.robots.config import ControllerConfig
from ikp.robots.interfaces import ArmState, Mode
from ikp.robots.lockstep import LockstepController
from ikp.robots.process import ControllerProcess
from ikp.robots.twin.devices import TwinArm, TwinGripper, TwinView
from ikp.robots.twin.process import WorldProcess
from ikp.robots.twin.world import World
from ikp.tasks.suction import suction_robot

PATIENCE = 120.0
"""Time that a loaded machine may take for what an idle one does in milliseconds [s]."""


class FaultyArm(TwinArm):
    """A twin whose measurements a test can spoil."""

    mode, frozen, lost, tip_shift, tip_turn = Mode.RUNNING, False, False, 0.0, 0.0
    stops = sent = 0
    _last: ArmState | None = None

    def state(self):
        if self.lost:
            raise ConnectionResetError("the connection to the arm is lost")
        if self._last is None or not self.frozen:
            self._last = replace(super().state(), mode=self.mode)
        return self._last

    def tip_pose(self):
        T = super().tip_pose()
        T[0, 3] += self.tip_shift
        c, s = np.cos(self.tip_turn), np.sin(self.tip_turn)
        T[:3, :3] = T[:3, :3] @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return T

    def servo(self, *args):
        self.sent += 1
        super().servo(*args)

    def stop(self):
        self.stops += 1
        super().stop()


class Bench:
    """World, controller and devices; `arm` is the one that the controller uses."""

    def __init__(
        self,
        task: str = "insertion",
        confirm: bool = True,
        tip_shift: float = 0.0,
        turned: float = 0.0,
        **settings,
    ):
        self.config = ControllerConfig(**settings)
        self.world = World(task, {}, seed=1)
        self.robot = self.world.env.robot

        def make(clock):
            self.arm = FaultyArm(self.robot, self.world.link, clock)
            self.arm.tip_shift, self.arm.tip_turn = tip_shift, turned
            return self.arm

        self.controller = LockstepController(make, self.world, self.config)
        self.gripper = TwinGripper(self.world.link)
        self.view = TwinView(task, {}, self.world.link, self.world.env)
        if confirm:
            self.controller.send(Confirm())
            self.wait(0.02)

    def wait(self, seconds: float):
        self.controller.sleep_until(self.controller.now() + seconds)

    def go(self, q, seconds: float, wait: float | None = None):
        """Send one way-point and wait."""
        self.controller.send(Waypoints(np.array([self.controller.now() + seconds]), np.asarray(q)[None]))
        self.wait(seconds if wait is None else wait)

    @property
    def telemetry(self):
        return self.controller.telemetry()


class RealBench:
    """The same with processes, in real time."""

    def __init__(self, world: WorldProcess, **settings):
        self.world, self.robot = world, suction_robot()
        make = functools.partial(TwinArm, self.robot, self.world.link)
        self.controller = ControllerProcess(make, self.robot.dof, ControllerConfig(**settings))
        self.controller.send(Confirm())
        wait_for(lambda: self.controller.telemetry().status != 0)


def wait_for(condition):
    """Wait until a condition holds, which it must within `PATIENCE`."""
    limit = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < limit:
        time.sleep(0.005)
    assert condition()
