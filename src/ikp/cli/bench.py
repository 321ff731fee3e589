"""Options of the commands that move an arm: the bench, its devices and its controller."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from ikp.checks import whole_number
from ikp.cli.data import _image_size
from ikp.cli.words import named_options
from ikp.tasks.registry import task_entry

if TYPE_CHECKING:
    from ikp.robots.config import ControllerConfig
    from ikp.robots.recording import Recorded, Verdict
    from ikp.robots.session import Frame
    from ikp.robots.station import Station

NONE = "(default: none)"
MOST_EPISODES, LONGEST, LARGEST_IMAGE = 1_000_000, 86_400.0, 4096
"""Largest numbers of episodes, of seconds of one, and of pixels along a side of an image."""
BENCHES = "twin:TASK|lockstep:TASK|imitation:TASK|ur5e:ADDRESS"


@dataclass(frozen=True)
class BenchOptions:
    """The bench that the command works with.

    Attributes:
        bench: ur5e:ADDRESS for a UR5e; twin:TASK for the simulated twin of a task in real time (insertion, alignment,
            sorting), lockstep:TASK for the same as fast as it goes, imitation:TASK for the twin behind an imitated UR
            controller. ur5e and imitation need the package ur-rtde (pip install 'ikp[real]').
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

    @property
    def is_real(self) -> bool:
        """Whether it is hardware."""
        return self.bench.startswith("ur5e:")

    def settings(self, clips: bool) -> ControllerConfig:
        """Settings of the controller; where a file does not say, ways beyond the limits are clipped or refused."""
        from ikp.robots.config import ControllerConfig

        on_limit = "clip" if clips else "refuse"
        if self.config is None:
            config = ControllerConfig(on_limit=on_limit)
        else:
            config = ControllerConfig.load(self.config, on_limit=on_limit)
        return replace(config, dry_run=True) if self.dry_run else config

    def open(self, config: ControllerConfig, image_size: tuple[int, int], scene: int = 0) -> Station:
        """Open the bench."""
        from ikp.kinematics import load_robot
        from ikp.robots.station import open_station

        if self.robot is None and self.tips:
            raise ValueError("--tips chooses a link of a robot that is given: add --robot")
        robot = None if self.robot is None else load_robot(self.robot, tips=self.tips or None)
        kind, _, what = self.bench.partition(":")
        print(f"connecting to {what} ..." if self.is_real else f"starting {kind}:{what} ...", flush=True)
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
    if max(size) > LARGEST_IMAGE:
        raise ValueError(f"--image-size {text!r}: a side has at most {LARGEST_IMAGE} pixels")
    return size


def check_options(
    *,
    episodes: int = 1,
    seconds: float = 1.0,
    seed: int | None = 0,
    fps: float = 1.0,
    most_fps: float = 100.0,
) -> None:
    """Refuse numbers that make no sense, before a bench is opened and anything moves.

    Raises:
        ValueError: a number is out of range; the message names its option.
    """
    whole_number("--episodes", episodes, 1, MOST_EPISODES)
    whole_number("--seed", 0 if seed is None else seed, 0, 2**31)
    for name, value, most in (("--seconds", seconds, LONGEST), ("--fps", fps, most_fps)):
        if not 0.1 <= value <= most:
            raise ValueError(f"{name} is {value:g}: it must be from 0.1 to {most:g}")


def warn_of_another_task(made: str, env_id: str | None, station: Station) -> None:
    """Warn where a policy or a recording belongs to another simulated task than the bench's.

    Args:
        made: its name in the message.
        env_id: its task; None if it is unknown.
        station: the open bench.
    """
    ours = None if station.task is None else task_entry(station.task).env_id
    if env_id is not None and ours is not None and env_id != ours:
        warnings.warn(f"{made} is from the task {env_id}, the bench runs {ours}", stacklevel=2)


def confirmation(simulated: bool) -> Callable[[str], bool]:
    """How the first motion is confirmed: by a person at the terminal, or at once where nothing real moves."""
    if simulated:
        return lambda text: True

    def ask(text: str) -> bool:
        from ikp.robots.keyboard import forget_keys

        print(text)
        if not sys.stdin.isatty():
            raise ValueError(
                "the first motion of a real arm is confirmed at a terminal: start the command in one"
            )
        forget_keys()
        return input("Type yes to go on: ").strip().lower() == "yes"

    return ask


def announcement(simulated: bool) -> Callable[[str], None] | None:
    """How a long move is announced: by a line where something real moves."""
    return None if simulated else print


def judgement(simulated: bool, only_successes: bool) -> Callable[[Recorded], Verdict]:
    """How an episode is judged: by the simulated task, which keeps successes or all, or by a person at the terminal."""
    from ikp.robots.keyboard import forget_keys
    from ikp.robots.recording import Verdict, keep_all, keep_successes

    answers = {"s": Verdict.SUCCESS, "f": Verdict.FAILURE, "d": Verdict.DISCARD, "q": Verdict.QUIT}
    answers |= {verdict.value: verdict for verdict in Verdict}

    def ask(recorded: Recorded) -> Verdict:
        forget_keys()  # those with which the arm was moved
        text = f"{recorded}. s success, f failure, d discard, q quit, then enter: "
        while (answer := input(text).strip().lower()) not in answers:
            print(f"{answer!r} is no answer: type one of s, f, d, q alone")
        return answers[answer]

    if simulated:
        return keep_successes if only_successes else keep_all
    return ask


def live_view(wanted: bool) -> Callable[[Frame], None] | None:
    """A window that shows each frame, if it is wanted."""
    if not wanted:
        return None
    from ikp.robots.live import LiveView

    return LiveView().show
