"""Replay of recorded actions on a bench."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ikp.data import load_dataset
from ikp.robots.session import Session


@dataclass(frozen=True)
class ReplayReport:
    """How well the arm followed a recording.

    Attributes:
        frames: number of frames.
        mean_error, largest_error: of the measured joints against the recorded ones [rad].
        success: of the simulated task; None on a real bench.
    """

    frames: int
    mean_error: float
    largest_error: float
    success: bool | None


def replay(session: Session, root: Path | str, episode: int, scene: int | None = None) -> ReplayReport:
    """Send the recorded actions of an episode to the arm, at the recording's rate.

    Args:
        session: a started session.
        root: folder of the data set.
        episode: its index.
        scene: seed of the simulated scene to lay out; by default the one of the recording, if it is known.

    Raises:
        DatasetError: there is no such data set or episode.
        ValueError: its dimensions are not the bench's.
        RobotStopped: the robot was stopped.
    """
    data = load_dataset(root, episodes=[episode], images=False, progress=False)
    spec, ours = data.spec, session.spec
    if spec.action_names != ours.action_names or abs(spec.fps - session.fps) > 1e-6:
        raise ValueError(
            f"{root} has the actions {', '.join(spec.action_names)} at {spec.fps:g} Hz, the bench "
            f"{', '.join(ours.action_names)} at {session.fps:g}: choose the robot and the rate of the recording"
        )
    link, dof, period = session.link, session.station.robot.dof, 1.0 / session.fps
    states, actions = data.state.double().numpy(), data.action.double().numpy()
    session.grip(0.0)
    if session.station.is_simulated:
        session.station.lay_out(0 if scene is None else scene)
    session.move_to(states[0, :dof])
    start, errors = link.now(), []
    success = None
    for k, action in enumerate(actions):
        errors.append(np.abs(link.telemetry().q - states[k, :dof]))
        # as in a deployment: the command is there a period after its frame
        at = start + (k + 1) * period + session.lag
        session.follow(np.array([at]), action[None, :dof])
        if len(action) > dof:
            session.grip(float(action[dof] > 0.5))
        link.sleep_until(start + (k + 1) * period)
        outcome = session.station.outcome()
        success = success or (outcome[1] if outcome is not None else None)
    apart = np.stack(errors)
    return ReplayReport(len(actions), float(apart.mean()), float(apart.max()), success)
