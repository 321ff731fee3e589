"""A session on a bench: first motion, lag, slow moves, and the frames that a recording or a policy sees."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ikp.interrupts import reason_of
from ikp.robots.commands import Confirm, JointVelocity, SetLag, Status, Stop, TipVelocity, Waypoints
from ikp.robots.config import ControllerConfig
from ikp.robots.images import reduced
from ikp.robots.interfaces import Motion, RobotStopped
from ikp.robots.limits import MotionLimits
from ikp.robots.link import MESSAGE
from ikp.robots.silence import Silence
from ikp.robots.station import Station
from ikp.spec import DataSpec

LOOK = 0.01
"""Time between two looks at the cameras while a session waits [s]."""
WIGGLE, WIGGLE_TIME = 0.04, 0.4
"""Amplitude [rad] and duration of each half [s] of the motion by which the lag is measured."""
MOVE_SPEED, MOVE_SHARE = 0.5, 0.8
"""Largest speed of moves between episodes [rad/s], and their share of what the settings allow."""
LONG = 0.1
"""Way of a joint from which on a move is announced [rad]."""
ARRIVED = 0.02
"""Distance of each joint from its target at which a move has arrived [rad]."""
PATIENCE = 2.0
"""Time by which the arm may arrive late, on a busy machine [s]."""
SETTLE, REST = 0.3, 0.1
"""Time for the arm to come to rest after a move, and time without a new command after which it rests [s]."""
AHEAD, OVERLAP = 20.0, 0.5
"""Time that one way-point of a move takes at most, and by which the next one is sent ahead [s]."""
AT_ONCE = 16
"""Way-points of one message to the controller, which reads it without waiting."""
LIMIT = 10.0
"""Time that the controller may take to react [s]."""


@dataclass(frozen=True)
class Frame:
    """An observation of the bench at a time [s], as policies and recordings take it."""

    time: float
    observation: dict[str, Any]


class Session:
    """A session of record, replay or deploy on a bench.

    Args:
        station: the bench.
        config: settings of its controller.
        fps: frames per second.
        image_size: height and width of the images in frames [pixel].
    """

    def __init__(
        self, station: Station, config: ControllerConfig, fps: float, image_size: tuple[int, int] = (96, 96)
    ) -> None:
        self.station, self.config, self.fps, self.image_size = station, config, fps, image_size
        self.link = station.link
        self.lag = config.lag or 0.0
        self.home = self.link.telemetry().q
        limits = MotionLimits(station.robot, config)
        self._speed = np.minimum(MOVE_SHARE * limits.speed, MOVE_SPEED)
        self._acceleration = limits.acceleration
        self._confirm: Callable[[str], bool] | None = None
        self._announce: Callable[[str], None] | None = None
        self._closed = 0.0
        self._silences = {name: Silence(config.image_age) for name in station.cameras}

    @property
    def spec(self) -> DataSpec:
        """Names, sizes and roles of the frames' values."""
        robot = self.station.robot
        joints = tuple(f"{name}.pos" for name in robot.joint_names)
        command, measured = self.station.gripper_names
        hand = self.station.gripper is not None
        return DataSpec(
            action_names=(*joints, command) if hand else joints,
            state_names=(*joints, measured) if hand else joints,
            image_shapes=dict.fromkeys(self.station.cameras, (*self.image_size, 3)),
            fps=self.fps,
            joint_dims=tuple(range(robot.dof)),
            discrete_dims=(robot.dof,) if hand else (),
        )

    def start(self, confirm: Callable[[str], bool], announce: Callable[[str], None] | None = None) -> None:
        """Ask for the first motion and, unless the settings give the lag, measure it by that motion.

        Episodes start where the arm is then; the first long move there is asked for, too.

        Args:
            confirm: shows a text to a person and returns whether they agree.
            announce: receives a line before each further long move (`LONG`).

        Raises:
            RobotStopped: the person does not agree, or the robot was stopped.
        """
        last = self.station.robot.joint_names[-1]
        text = (
            f"The arm is about to make its first motion: {last!r} turns by {np.degrees(WIGGLE):.0f} degrees and back. "
            "Keep the emergency stop within reach and everybody out of the arm's way."
        )
        if not confirm(text):
            raise RobotStopped("the first motion was not confirmed, so the arm does not move")
        self._confirm, self._announce = confirm, announce
        self.link.send(Confirm())
        self._wait_for(lambda: self.link.telemetry().status is not Status.WAITING)
        self.home = self.link.telemetry().q  # a person may have moved the arm before
        if self.config.lag is None and not self.config.dry_run:
            self.lag = self._measured_lag()
        self.link.send(SetLag(self.lag))

    def _measured_lag(self) -> float:
        q = self.link.telemetry().q_command
        turned = q.copy()
        turned[-1] += WIGGLE if q[-1] < 0 else -WIGGLE  # away from the nearer limit
        times = self.link.now() + 0.1 + WIGGLE_TIME * np.array([1.0, 2.0])
        self.follow(times, np.stack([turned, q]))
        self.link.sleep_until(times[-1] + SETTLE)
        return float(np.clip(self.link.telemetry().lag, 0.0, 0.3))

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        limit = self.link.now() + LIMIT
        while not condition():
            if self.link.now() > limit:
                raise RobotStopped(f"the controller did not react within {LIMIT:.0f} s: start again")
            self.link.sleep_until(self.link.now() + 0.005)

    def move_to(self, q: Float[np.ndarray, "dof"], where: str = "") -> None:
        """Move to joints along a straight line in joint space, at most at `MOVE_SPEED` and within the limits, and wait
        until the arm is there.

        Args:
            q: the joints [rad].
            where: what is there, for the announcement of a long move.

        Raises:
            RobotStopped: the robot was stopped, the first long move was not confirmed, or the arm does not arrive.
        """
        if self.config.dry_run:
            return
        start = self.link.telemetry().q_command
        duration = float(
            (np.abs(q - start) / self._speed).max() + 2 * (self._speed / self._acceleration).max()
        )
        self._tell(q - start, duration, where)
        count = int(np.ceil(duration / AHEAD))
        times = self.link.now() + duration * np.arange(1, count + 1) / count
        for k, time in enumerate(times):
            self.follow(times[k : k + 1], (start + (q - start) * (k + 1) / count)[None])
            self.link.sleep_until(time - OVERLAP if k + 1 < count else time + SETTLE)
        limit = self.link.now() + PATIENCE
        while (apart := np.abs(self.link.telemetry().q - q)).max() > ARRIVED:
            if self.link.now() < limit:
                self.link.sleep_until(self.link.now() + LOOK)
                continue
            worst = int(apart.argmax())
            raise RobotStopped(
                f"joint {self.station.robot.joint_names[worst]!r} is {apart[worst]:.3f} rad from where it was sent: "
                "look for an obstacle, and for a limit of the settings on the way (joint_margin, workspace)"
            )

    def _tell(self, way: Float[np.ndarray, "dof"], seconds: float, where: str) -> None:
        """Announce a move if it is long, and ask for the first one."""
        joints = [i for i in np.argsort(-np.abs(way)) if abs(way[i]) > LONG]
        if not joints or (self._confirm is None and self._announce is None):
            return
        names, kinds = self.station.robot.joint_names, self.station.robot.joint_types
        ways = [
            f"{names[i]!r} by {way[i]:.2f} m"
            if kinds[i] == "prismatic"
            else f"{names[i]!r} by {np.degrees(way[i]):.0f} deg"
            for i in joints
        ]
        text = f"The arm moves{where and f' to {where}'}: {', '.join(ways)}, in {seconds:.1f} s."
        confirm, self._confirm = self._confirm, None
        if confirm is not None:
            if not confirm(f"{text} Further moves like this are announced, and begin at once."):
                raise RobotStopped("the move was not confirmed, so the arm does not move")
        elif self._announce is not None:
            self._announce(text)

    def follow(self, times: Float[np.ndarray, " n"], q: Float[np.ndarray, "n dof"]) -> None:
        """Send way-points: joints (n, dof) [rad] and increasing times (n,) [s], in place of all from the first one on.

        Raises:
            RobotStopped: the controller has ended.
        """
        for first in range(0, len(times), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            self.link.send(Waypoints(times[part], q[part]))

    def begin_episode(self, scene: int) -> None:
        """Open the gripper, move home, lay out a simulated scene, and move to where its episode starts."""
        self.grip(0.0)
        # first, so that the arm does not run into the new scene
        self.move_to(self.home, "the start of an episode")
        start = self.station.lay_out(scene)
        if start is not None:
            self.move_to(start, "the start of an episode")

    def grip(self, closed: float) -> None:
        """Command the gripper, if there is one and the command is new."""
        if self.station.gripper is not None and closed != self._closed and not self.config.dry_run:
            self.station.gripper.set(closed)
        self._closed = closed

    def push(self, motion: Motion) -> None:
        """Pass on what a person does with a device."""
        now, config = self.link.now(), self.config
        self.grip(motion.closed)
        if motion.in_joint_space:
            speeds = np.zeros(self.station.robot.dof)
            count = min(len(speeds), len(motion.axes))
            speeds[:count] = motion.axes[:count] * config.joint_speed
            self.link.send(JointVelocity(speeds, now))
        else:
            scales = np.repeat([config.linear_speed, config.angular_speed], 3)
            self.link.send(TipVelocity(motion.axes * scales, now))

    def frame(self) -> Frame:
        """The bench now.

        Raises:
            RobotStopped: the robot was stopped, or a camera is frozen.
            OSError: a device is lost.
        """
        self.check_cameras()
        telemetry = self.link.telemetry()
        images = {
            name: reduced(camera.read().image, self.image_size)
            for name, camera in self.station.cameras.items()
        }
        state = telemetry.q
        if self.station.gripper is not None:
            state = np.append(state, self.station.gripper.read())
        return Frame(self.link.now(), {"state": state.astype(np.float32), "images": images})

    def check_cameras(self) -> None:
        """Look whether the cameras go on.

        Raises:
            RobotStopped: one has sent no new image for the settings' `image_age`.
            OSError: one is lost.
        """
        for name, camera in self.station.cameras.items():
            silence = self._silences[name]
            if silence.look(self.link.now(), camera.taken_at()):
                raise RobotStopped(
                    f"camera {name!r} has sent no image for {silence.seconds:.2f} s: check its cable, and start again; "
                    "for a camera with few images per second raise image_age"
                )

    def wait_until(self, time: float) -> None:
        """Wait until a time [s], with an eye on the cameras; raises as `check_cameras`."""
        looks = np.arange(self.link.now() + LOOK, time, LOOK)
        for each in (*looks, time):
            self.check_cameras()
            self.link.sleep_until(each)

    def rest(self) -> None:
        """Bring the arm to rest, as a hand does that lets go of its device, and wait until it is.

        Raises:
            RobotStopped: the robot was stopped, or does not come to rest.
        """
        self.link.send(TipVelocity(np.zeros(6), self.link.now()))
        q, since = self.link.telemetry().q_command, self.link.now()

        def rests() -> bool:
            nonlocal q, since
            newest = self.link.telemetry().q_command
            if not np.array_equal(newest, q):
                q, since = newest, self.link.now()
            return self.link.now() - since > REST

        self._wait_for(rests)

    @contextlib.contextmanager
    def stops_at_errors(self) -> Iterator[None]:
        """Stop the robot at once where the block raises: what follows, such as closing files, may take its time."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(RobotStopped, OSError):
                self.link.send(Stop(reason_of(error)[:MESSAGE]))
            raise

    def action_at(self, time: float) -> Float[np.ndarray, " action"]:
        """The command at a time [s]: joints, then the gripper as it is now. This is what a recording stores for
        the frame before; the arm gets there a lag later.
        """
        q = self.link.motion().commanded(time)
        return np.append(q, self._closed) if self.station.gripper is not None else q


def always(_: str) -> bool:
    """Agree to the first motion where nothing real moves."""
    return True
