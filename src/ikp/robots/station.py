"""A bench by name: the arm with its controller, the gripper and the cameras."""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from ikp.kinematics import Robot
from ikp.robots.config import ControllerConfig
from ikp.robots.extras import load
from ikp.robots.interfaces import CameraStream, Gripper
from ikp.robots.link import ControllerLink
from ikp.robots.lockstep import LockstepController
from ikp.robots.process import ControllerProcess
from ikp.robots.twin.devices import TwinArm, TwinCamera, TwinGripper, TwinView
from ikp.robots.twin.process import WorldProcess
from ikp.robots.twin.world import World, WorldLink
from ikp.robots.ur.packages import HEADER, Kind, package
from ikp.tasks.registry import task_entry

KINDS = {
    "twin:TASK": "the simulated twin of a task, in real time",
    "lockstep:TASK": "the same without waiting for the clock",
    "imitation:TASK": "the same behind an imitated UR controller, with the real client: needs the package ur-rtde",
    "ur5e:ADDRESS": "a UR5e: needs the package ur-rtde",
}
CAMERAS = "realsense or realsense:SERIAL"
GRIPPERS = "robotiq, or output:NUMBER for a digital output"
OWN_OPTIONS = {"observation", "image_size", "render_mode", "render_size", "render_camera"}
"""Options of a task's environment that say what is observed, which a bench does itself."""
LAY_OUT = 30.0
"""Time that the simulated world may take to lay out a scene [s]."""
IMITATION_HOST = "127.0.0.1"
CONTROL_PORT, CONNECTING = 30004, 3.0
"""Port of the real-time data of a UR controller, and time that it may take to accept a connection [s]."""


@dataclass
class Station:
    """An open bench.

    Attributes:
        robot: kinematic model with its tool.
        link: the running controller.
        gripper: None without one.
        cameras: by name.
        gripper_names: names of the gripper's command and measurement in data.
        task: name of the simulated task; None for real hardware.
        options: arguments of its environment.
        view: the simulated scene.
        world: numbers of the simulated world.
        opened: closes what was opened, last first.
    """

    robot: Robot
    link: ControllerLink
    gripper: Gripper | None
    cameras: dict[str, CameraStream]
    gripper_names: tuple[str, str] = ("gripper.command", "gripper.position")
    task: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    view: TwinView | None = None
    world: WorldLink | None = None
    opened: ExitStack = field(default_factory=ExitStack)

    @property
    def is_simulated(self) -> bool:
        """Whether nothing real moves."""
        return self.task is not None

    def lay_out(self, scene: int) -> Float[np.ndarray, "dof"] | None:
        """Lay out the simulated scene of a seed; returns the joints at which its episode starts. None on a real bench,
        where a person does this.
        """
        if self.world is None:
            return None
        self.world.bench.write(closed=0.0, scene=float(scene))
        limit = self.link.now() + LAY_OUT
        while self.link.now() < limit:
            self.link.sleep_until(self.link.now() + 0.02)
            state = self.world.state.read()
            if int(state["scene"][0]) == scene:
                return state["start"]
        raise RuntimeError("the simulated world does not answer: start again")

    def outcome(self) -> tuple[bool, bool] | None:
        """Whether the simulated episode has ended, and with success; None on a real bench."""
        if self.world is None:
            return None
        state = self.world.state.read()
        return bool(state["ended"][0]), bool(state["success"][0])

    def score(self) -> float | None:
        """How much of a graded simulated task is done (0 to 1); None where there are no grades."""
        if self.world is None or self.task is None or task_entry(self.task).metric != "score":
            return None
        return float(self.world.state.read()["score"][0])

    def close(self) -> None:
        """Stop the arm and close everything."""
        self.opened.close()

    def __enter__(self) -> Station:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_station(
    name: str,
    config: ControllerConfig,
    *,
    robot: Robot | None = None,
    cameras: Mapping[str, str] | None = None,
    gripper: str | None = None,
    options: Mapping[str, Any] | None = None,
    image_size: tuple[int, int] = (96, 96),
    scene: int = 0,
) -> Station:
    """Open a bench; its arm does not move before a `Confirm`.

    Args:
        name: one of `KINDS`.
        config: settings of the controller.
        robot: kinematic model of a real arm with its tool; by default the built-in one without a tool.
        cameras: name to kind (`CAMERAS`), for a real bench.
        gripper: kind (`GRIPPERS`), for a real bench.
        options: arguments of a simulated task's environment.
        image_size: of a simulated camera [pixel].
        scene: seed of the first simulated scene.

    Raises:
        ValueError: the name or a kind is unknown.
        RobotStopped: the controller did not start.
        OSError: a device or a package is missing.
    """
    kind, _, what = name.partition(":")
    if kind not in {each.partition(":")[0] for each in KINDS} or not what:
        raise ValueError(f"bench is {name!r}: choose one of {', '.join(KINDS)}")
    if kind == "ur5e":
        return _real(what, config, robot, cameras or {}, gripper)
    if cameras or gripper or robot is not None:
        raise ValueError(f"{name} brings its own robot, camera and gripper: leave those options out")
    for option in sorted(OWN_OPTIONS & set(options or {})):
        raise ValueError(
            f"the task's option {option!r} has no effect on a bench, whose frames are joints and its camera's images: "
            "leave it out; the size of images has an option of its own"
        )
    if kind == "imitation":
        load("rtde_control", f"the bench {name}")  # before the simulation is started
    return _simulated(kind, what, config, dict(options or {}), image_size, scene)


def _simulated(
    kind: str, task: str, config: ControllerConfig, options: dict[str, Any], size: tuple[int, int], scene: int
) -> Station:
    with ExitStack() as opened:
        if kind == "lockstep":
            world = World(task, options, scene)
            shared, env = world.link, world.env
            view = TwinView(task, options, shared, env)
            link: ControllerLink = LockstepController(
                lambda clock: TwinArm(env.robot, shared, clock), world, config
            )
            clock = link.now
        else:
            process = WorldProcess(task, options, scene)
            opened.callback(process.close)
            shared, clock = process.link, time.monotonic
            view = TwinView(task, options, shared)
            env = view.env
            make_arm = _arm_maker(kind, env.robot, shared, config, opened)
            link = ControllerProcess(make_arm, env.robot.dof, config)
        opened.callback(link.close)
        names = (env.action_names[-1], env.state_names[-1])
        gripper = TwinGripper(shared) if env.discrete_dims else None
        cameras: dict[str, CameraStream] = {"front": TwinCamera(view, "front", size, clock)}
        entry, kept = task_entry(task), opened.pop_all()
    return Station(env.robot, link, gripper, cameras, names, entry.name, options, view, shared, kept)


def _arm_maker(
    kind: str, robot: Robot, shared: WorldLink, config: ControllerConfig, opened: ExitStack
) -> Callable[[], Any]:
    if kind == "twin":
        return functools.partial(TwinArm, robot, shared)
    from ikp.robots.ur.arm import URArm
    from ikp.robots.ur.imitation import ImitationProcess

    imitation = ImitationProcess(robot, shared, IMITATION_HOST)
    opened.callback(imitation.close)
    return functools.partial(URArm, robot, IMITATION_HOST, config.rate)


def _real(
    address: str,
    config: ControllerConfig,
    robot: Robot | None,
    cameras: Mapping[str, str],
    gripper: str | None,
) -> Station:
    from ikp.kinematics import ur5e
    from ikp.robots.ur.arm import URArm

    robot = ur5e() if robot is None else robot
    makers = {name: _camera_maker(kind) for name, kind in cameras.items()}
    make_hand = None if gripper is None else _gripper_maker(gripper, address)
    load("rtde_control", f"the bench ur5e:{address}")  # before a device is opened
    _check_answers(address)
    with ExitStack() as opened:
        streams: dict[str, CameraStream] = {}
        for name, make in makers.items():
            streams[name] = make()
            opened.callback(streams[name].close)
        hand = None if make_hand is None else make_hand()
        if hand is not None:
            opened.callback(hand.close)
        link = ControllerProcess(functools.partial(URArm, robot, address, config.rate), robot.dof, config)
        opened.callback(link.close)
        return Station(robot, link, hand, streams, opened=opened.pop_all())


def _check_answers(address: str) -> None:
    """Refuse an address at which no controller answers: the client of a UR would wait for minutes.

    Raises:
        OSError: nothing answers there, or something that does not speak RTDE.
    """
    try:
        with socket.create_connection((address, CONTROL_PORT), CONNECTING) as connection:
            connection.settimeout(CONNECTING)
            connection.sendall(package(Kind.PROTOCOL_VERSION, b"\0\x02"))
            if connection.recv(HEADER.size, socket.MSG_WAITALL) != HEADER.pack(4, Kind.PROTOCOL_VERSION):
                raise OSError("what answers there does not speak RTDE")
    except OSError as error:
        raise OSError(
            f"no UR controller answers at {address}, port {CONTROL_PORT}, within {CONNECTING:.0f} s "
            f"({error.strerror or error}): check the address (the pendant shows it under Settings, System, Network) "
            "with ping, the cable, this machine's own address in the same subnet, and that the arm is switched on"
        ) from error


def _camera_maker(kind: str) -> Callable[[], CameraStream]:
    name, _, serial = kind.partition(":")
    if name != "realsense":
        raise ValueError(f"camera is {kind!r}: choose {CAMERAS}")
    load("pyrealsense2", "a RealSense camera")  # before anything is opened
    from ikp.robots.realsense import RealSense

    return functools.partial(RealSense, serial)


def _gripper_maker(kind: str, address: str) -> Callable[[], Gripper]:
    from ikp.robots.grippers import OutputGripper, RobotiqGripper

    name, _, number = kind.partition(":")
    if name == "robotiq" and not number:
        return functools.partial(RobotiqGripper, address)
    if name == "output" and number.isdigit():
        return functools.partial(OutputGripper, address, int(number))
    raise ValueError(f"gripper is {kind!r}: choose {GRIPPERS}")
