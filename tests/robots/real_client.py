"""The real ur-rtde client against the imitated controller, as a program, because the client can crash with its process.

cd tests && python -m robots.real_client FAULT MESSAGE
"""

from __future__ import annotations

import multiprocessing
import sys
import time

import numpy as np
import pytest

from ikp.robots.commands import Confirm, Waypoints
from ikp.robots.config import ControllerConfig
from ikp.robots.controller import ControlLoop
from ikp.robots.interfaces import RobotStopped
from ikp.robots.twin.world import World, WorldLink, make_task
from ikp.robots.ur.arm import URArm
from ikp.robots.ur.imitation import Fault, ImitationProcess
from ikp.tasks.suction import suction_robot

from .bench import PATIENCE, wait_for

REAL_HOST = "127.0.0.42"
ROBOT = suction_robot()
INJECTED, STOPPED = "injected", "stopped with the message that was expected"


def drive(loop, world, condition, commands=()):
    """Run control loop and world about as fast as the clock; a loaded machine only makes both slower."""
    limit, behind = time.monotonic() + PATIENCE, time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < limit
        loop.tick(now, commands)
        commands = ()
        for _ in range(min(int((now - behind) / world.sim_dt), 20)):
            world.step()
            behind += world.sim_dt
        behind = max(behind, now - 0.1)
        time.sleep(0.002)


def follow_until(fault, message):
    """Follow way-points through the real client until the fault stops it; runs in a process of its own."""
    context = multiprocessing.get_context("spawn")
    world = World("insertion", {}, seed=1, link=WorldLink.of(make_task("insertion", {}), context))
    # in another process, since the client holds Python's lock
    imitation = ImitationProcess(ROBOT, world.link, REAL_HOST)
    # Generous limits: this process or the other one may have to wait for a processor.
    arm = URArm(ROBOT, REAL_HOST, 125.0, watchdog=0.5)
    try:
        arm.open()
        loop = ControlLoop(arm, ControllerConfig(rate=125.0, state_age=1.0), time.monotonic())
        drive(loop, world, lambda: loop.status != 0, [Confirm()])
        q = loop.state.q
        turned = q + np.array([0, 0, 0, 0, 0, 0.2])
        times = time.monotonic() + np.array([0.5])
        drive(
            loop,
            world,
            lambda: np.allclose(loop.state.q, turned, atol=5e-3),
            [Waypoints(times, turned[None])],
        )
        times = time.monotonic() + np.array([50.0])
        imitation.inject(fault)
        print(INJECTED, flush=True)
        with pytest.raises((RobotStopped, OSError), match=message):
            drive(loop, world, lambda: False, [Waypoints(times, (turned + 10 * (turned - q))[None])])
        print(STOPPED, flush=True)
        imitation.inject(Fault.NONE)  # the client waits for minutes for the answer of a frozen controller
        arm.close()
        wait_for(
            lambda: world.link.motion.read()["servo"][0] == 0.0
        )  # by the client's stop, or by the watchdog
    finally:
        imitation.inject(Fault.NONE)
        imitation.close()


if __name__ == "__main__":
    follow_until(Fault[sys.argv[1]], sys.argv[2])
