"""Recording of teleoperated episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ikp.data import DatasetWriter
from ikp.robots.dataset import open_dataset
from ikp.robots.interfaces import RobotStopped, Teleoperator
from ikp.robots.session import Frame, Session

DEVICE_RATE = 100.0
"""Rate at which the device is read [Hz]."""
ATTEMPTS = 10
"""Discarded episodes in a row after which an automatic recording ends."""


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
    """

    frames: int
    seconds: float
    success: bool | None


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
    facts = {"recording": {"device": type(device).__name__, "seed": seed}}
    with (
        open_dataset(session, root, task or session.station.task or "", facts) as writer,
        session.stops_at_errors(),
    ):
        while writer.episodes < episodes:
            # A repeated attempt gets a scene that belongs to no other episode.
            session.begin_episode(seed + writer.episodes + 1_000_000 * in_a_row)
            recorded = _episode(session, device, writer, seconds, show)
            verdict = judge(recorded)
            if end_episode(writer, verdict, {"seconds": recorded.seconds}):
                kept, in_a_row = kept + 1, 0
            else:
                discarded, in_a_row = discarded + 1, in_a_row + 1
            if report is not None:
                report(
                    f"episode {writer.episodes} of {episodes}: {verdict.value}, {recorded.seconds:.1f} s, "
                    f"{recorded.frames} frames"
                )
            if verdict is Verdict.QUIT:
                break
            if in_a_row >= ATTEMPTS and session.station.is_simulated:
                raise RobotStopped(
                    f"{ATTEMPTS} episodes in a row were discarded: check the task and the device"
                )
        return RecordingReport(writer.root, writer.episodes, writer.frames, kept, discarded)


def _episode(
    session: Session,
    device: Teleoperator,
    writer: DatasetWriter,
    seconds: float,
    show: Callable[[Frame], None] | None,
) -> Recorded:
    """Record until the person or the simulated task says that it is over."""
    link, period, step = session.link, 1.0 / session.fps, 1.0 / DEVICE_RATE
    device.reset()
    start = link.now()
    pending: Frame | None = None  # its action is what will have been commanded a frame later
    ticks, frames, success, over = 0, 0, None, False
    while True:
        due = start + frames * period
        if link.now() >= due - step / 2:
            frame = session.frame()
            if pending is not None:
                writer.add_frame(pending.observation, session.action_at(link.now()))
            if show is not None:
                show(frame)
            pending, frames = frame, frames + 1
            over = over or link.now() - start >= seconds
            if over:
                break
        motion = device.read(link.now())
        session.push(motion)
        session.check_cameras()
        ticks += 1
        link.sleep_until(start + ticks * step)
        outcome = session.station.outcome()
        if outcome is not None and outcome[0]:
            over, success = True, outcome[1]
        over = over or motion.done
    session.rest()
    if session.station.is_simulated and success is None:
        success = False
    return Recorded(frames - 1, link.now() - start, success)


def end_episode(writer: DatasetWriter, verdict: Verdict, info: Mapping[str, Any]) -> bool:
    """Save the open episode with its success, or discard it; whether it was kept."""
    kept = verdict in (Verdict.SUCCESS, Verdict.FAILURE)
    if kept:
        writer.save_episode(success=verdict is Verdict.SUCCESS, info=dict(info))
    else:
        writer.discard_episode()
    return kept


def keep_successes(recorded: Recorded) -> Verdict:
    """Keep the episodes that a simulated task calls a success, as demonstrations."""
    return Verdict.SUCCESS if recorded.success else Verdict.DISCARD


def keep_all(recorded: Recorded) -> Verdict:
    """Keep every episode with the success that a simulated task sees, as an evaluation does."""
    return Verdict.SUCCESS if recorded.success else Verdict.FAILURE
