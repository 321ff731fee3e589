"""Options of the commands that move an arm: the bench, its devices and its controller."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from ikp.cli.data import _image_size
from ikp.cli.words import named_options

if TYPE_CHECKING:
    from ikp.robots.config import ControllerConfig
    from ikp.robots.recording import Recorded, Verdict
    from ikp.robots.session import Frame
    from ikp.robots.station import Station

NONE = "(default: none)"
BENCHES = "twin:TASK|lockstep:TASK|imitation:TASK|ur5e:ADDRESS"


@dataclass(frozen=True)
class BenchOptions:
    """The bench that the command works with.

    Attributes:
        bench: ur5e:ADDRESS for a UR5e; twin:TASK for the simulated twin of a task in real time (insertion, alignment,
            sorting), lockstep:TASK for the same as fast as it goes, imitation:TASK for the twin behind an imitated UR
            controller that the package ur-rtde drives.
        robot: kinematic model of a real arm with its tool: a URDF or MJCF file with the arm's own calibration.
        tips: name of the model's tip link, which is the TCP on the pendant.
        camera: cameras of a real bench, as NAME=realsense or NAME=realsense:SERIAL.
        gripper: of a real bench: robotiq, or output:NUMBER for a digital output.
        env: options of a simulated task, as name=value.
        config: a JSON file with settings of the controller, see docs/real_robot.md.
        dry_run: do everything but send targets to the arm.
    """

    bench: Annotated[str, arg(metavar=BENCHES)]
    robot: Annotated[str | None, arg(metavar="NAME|FILE", help_behavior_hint="(default: UR5e, no tool)")] = (
        None
    )
    tips: Annotated[tuple[str, ...], arg(metavar="[LINK ...]", help_behavior_hint="(default: its leaf)")] = ()
    camera: Annotated[tuple[str, ...], arg(metavar="[NAME=KIND ...]", help_behavior_hint=NONE)] = ()
    gripper: Annotated[str | None, arg(metavar="KIND", help_behavior_hint=NONE)] = None
    env: Annotated[tuple[str, ...], arg(metavar="[NAME=VALUE ...]", help_behavior_hint=NONE)] = ()
    config: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: built in)")] = None
    dry_run: bool = False

    def settings(self, clips: bool) -> ControllerConfig:
        """Settings of the controller; without a file, ways beyond the limits are clipped or refused."""
        from ikp.robots.config import ControllerConfig

        default = ControllerConfig(on_limit="clip" if clips else "refuse")
        config = default if self.config is None else ControllerConfig.load(self.config)
        return replace(config, dry_run=True) if self.dry_run else config

    def open(self, config: ControllerConfig, image_size: tuple[int, int], scene: int = 0) -> Station:
        """Open the bench."""
        from ikp.kinematics import load_robot
        from ikp.robots.station import open_station

        if self.robot is None and self.tips:
            raise ValueError("--tips chooses a link of a robot that is given: add --robot")
        robot = None if self.robot is None else load_robot(self.robot, tips=self.tips or None)
        return open_station(
            self.bench,
            config,
            robot=robot,
            cameras=named_options(self.camera, "--camera", "front=realsense"),
            gripper=self.gripper,
            options=named_options(self.env, "--env", "offset_seed=7"),
            image_size=image_size,
            scene=scene,
        )


def image_size(text: str) -> tuple[int, int]:
    """(height, width) of a text such as 96x96."""
    size = _image_size(text)
    assert size is not None
    return size


def confirmation(simulated: bool) -> Callable[[str], bool]:
    """How the first motion is confirmed: by a person at the terminal, or at once where nothing real moves."""
    if simulated:
        return lambda text: True

    def ask(text: str) -> bool:
        print(text)
        if not sys.stdin.isatty():
            raise ValueError(
                "the first motion of a real arm is confirmed at a terminal: start the command in one"
            )
        return input("Type yes to go on: ").strip().lower() == "yes"

    return ask


def judgement(simulated: bool, only_successes: bool) -> Callable[[Recorded], Verdict]:
    """How an episode is judged: by the simulated task, which keeps successes or all, or by a person at the terminal."""
    from ikp.robots.recording import Verdict, keep_all, keep_successes

    keys = {"s": Verdict.SUCCESS, "f": Verdict.FAILURE, "d": Verdict.DISCARD, "q": Verdict.QUIT}

    def ask(recorded: Recorded) -> Verdict:
        text = (
            f"{recorded.frames} frames, {recorded.seconds:.1f} s. s success, f failure, d discard, q quit: "
        )
        while (answer := input(text).strip().lower()[:1]) not in keys:
            pass
        return keys[answer]

    if simulated:
        return keep_successes if only_successes else keep_all
    return ask


def live_view(wanted: bool) -> Callable[[Frame], None] | None:
    """A window that shows each frame, if it is wanted."""
    if not wanted:
        return None
    from ikp.robots.live import LiveView

    return LiveView().show
