"""Recording of teleoperated episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ikp.data import DatasetWriter
from ikp.data.layout import RECORDING
from ikp.robots.dataset import open_dataset
from ikp.robots.interfaces import RobotStopped, Teleoperator
from ikp.robots.session import Frame, Session

DEVICE_RATE = 100.0
"""Rate at which the device is read [Hz]."""
ATTEMPTS = 10
"""Discarded episodes in a row after which a simulated bench's session ends."""
HELD_UP = 0.5
"""Time by which a frame may be late [s]; a recording that is held up for longer is not at its rate, and discarded."""


class Verdict(StrEnum):
    """A person's decision about an episode: kept with its label, discarded, or the end of the session."""

    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"
    QUIT = "quit"  # discard it, and end the session


@dataclass(frozen=True)
class Recorded:
    """An episode that has just been recorded.

    Attributes:
        frames: its number of frames.
        seconds: its duration [s].
        success: of the simulated task; None on a real bench.
        late_frames: frames that came half a period or more after their time, as on a busy machine.
        held_up: longest time by which one did [s].
    """

    frames: int
    seconds: float
    success: bool | None
    late_frames: int = 0
    held_up: float = 0.0

    def __str__(self) -> str:
        late = f", {self.late_frames} of them late" if self.late_frames else ""
        return f"{self.seconds:.1f} s, {self.frames} frames{late}"


@dataclass(frozen=True)
class RecordingReport:
    """Number of episodes and frames in the data set, and of episodes kept and discarded by this session."""

    root: Path
    episodes: int
    frames: int
    kept: int
    discarded: int


def record(
    session: Session,
    device: Teleoperator,
    root: Path | str,
    episodes: int,
    judge: Callable[[Recorded], Verdict],
    *,
    task: str = "",
    seconds: float = 60.0,
    seed: int = 0,
    show: Callable[[Frame], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> RecordingReport:
    """Record episodes until the data set holds as many as wanted.

    Args:
        session: a started session.
        device: what the person moves the robot with.
        root: folder of the data set; one that exists is continued.
        episodes: number of episodes in the end.
        judge: decides what becomes of an episode.
        task: description in words.
        seconds: longest episode [s].
        seed: of the simulated scenes; episode i has seed + i, and a discarded one another scene.
        show: receives each frame, for a live view.
        report: receives a line after each episode.

    Raises:
        RobotStopped: the robot was stopped; finished episodes are kept.
        OSError: the disk is full or a device is lost; finished episodes are kept.
        DatasetError: the folder holds other data.
    """
    kept = discarded = in_a_row = 0
    with (
        open_dataset(session, root, RECORDING, task=task, facts={"seed": seed}) as writer,
        session.stops_at_errors(),
    ):
        while writer.episodes < episodes:
            # A repeated attempt gets a scene that belongs to no other episode.
            scene = seed + writer.episodes + 1_000_000 * in_a_row
            session.begin_episode(scene)
            recorded = _episode(session, device, writer, seconds, show)
            is_whole = recorded.held_up <= HELD_UP
            verdict = judge(recorded) if is_whole else Verdict.DISCARD
            info = {"seed": scene, "device": type(device).__name__}
            attempted = writer.episodes + 1
            if end_episode(session, writer, verdict, recorded, info):
                kept, in_a_row = kept + 1, 0
            else:
                discarded, in_a_row = discarded + 1, in_a_row + 1
            if report is not None:
                why = _why(recorded) if verdict is Verdict.DISCARD else ""
                report(f"episode {attempted} of {episodes}: {verdict.value}, {recorded}{why}")
            if verdict is Verdict.QUIT:
                break
            check_attempts(session, in_a_row)
        return RecordingReport(writer.root, writer.episodes, writer.frames, kept, discarded)


def _why(recorded: Recorded) -> str:
    """Why an episode was discarded, where no person did it."""
    if recorded.held_up > HELD_UP:
        return f"; the recording was held up for {recorded.held_up:.1f} s, so it has a gap"
    return "" if recorded.success is None else "; the task was not solved"


def _episode(
    session: Session,
    device: Teleoperator,
    writer: DatasetWriter,
    seconds: float,
    show: Callable[[Frame], None] | None,
) -> Recorded:
    """Record until the person or the simulated task says that it is over, or the recording has been held up for long.

    Times that were missed are not made up for: a burst of frames would be of one moment.
    """
    link, period, step = session.link, 1.0 / session.fps, 1.0 / DEVICE_RATE
    device.reset()
    start = due = next_look = link.now()
    pending: Frame | None = None  # its action is what will have been commanded a frame later
    frames, late, held_up, success, over = 0, 0, 0.0, None, False
    while True:
        if (now := link.now()) >= due - step / 2:
            if now > due + period / 2:
                late, held_up = late + 1, max(held_up, now - due)
                due = now
            due += period
            frame = session.frame()
            if pending is not None:
                writer.add_frame(pending.observation, session.action_at(link.now()))
            if show is not None:
                show(frame)
            pending, frames = frame, frames + 1
            over = over or link.now() - start >= seconds
            if over or held_up > HELD_UP:
                break
        motion = device.read(link.now())
        session.push(motion)
        session.check_cameras()
        next_look = max(next_look + step, link.now())
        link.sleep_until(next_look)
        outcome = session.station.outcome()
        if outcome is not None and outcome[0]:
            over, success = True, outcome[1]
        over = over or motion.done
    session.rest()
    if session.station.is_simulated and success is None:
        success = False
    return Recorded(frames - 1, link.now() - start, success, late, held_up)


def end_episode(
    session: Session, writer: DatasetWriter, verdict: Verdict, recorded: Recorded, info: Mapping[str, Any]
) -> bool:
    """Save the open episode, with its success and with the settings of its session, which those of others need not
    have; or discard it. Returns whether it was kept.
    """
    kept = verdict in (Verdict.SUCCESS, Verdict.FAILURE)
    if kept:
        facts = {
            "seconds": recorded.seconds,
            "late_frames": recorded.late_frames,
            "lag": session.lag,
            "controller": session.config.to_json(),
            **info,
        }
        writer.save_episode(success=verdict is Verdict.SUCCESS, info=facts)
    else:
        writer.discard_episode()
    return kept


def check_attempts(session: Session, in_a_row: int) -> None:
    """Raise RobotStopped where a simulated bench's episodes are discarded for ever; a person may do so."""
    if in_a_row >= ATTEMPTS and session.station.is_simulated:
        raise RobotStopped(f"{ATTEMPTS} episodes in a row were discarded: check the task and the device")


def keep_successes(recorded: Recorded) -> Verdict:
    """Keep the episodes that a simulated task calls a success, as demonstrations."""
    return Verdict.SUCCESS if recorded.success else Verdict.DISCARD


def keep_all(recorded: Recorded) -> Verdict:
    """Keep every episode with the success that a simulated task sees, as an evaluation does."""
    return Verdict.SUCCESS if recorded.success else Verdict.FAILURE
