"""Replay of recorded actions on a bench."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from ikp.data import load_dataset
from ikp.robots.dataset import recorded_robot
from ikp.robots.models import model_difference
from ikp.robots.session import Session

PARTS = 5
"""Way-points per recorded frame."""
OUTCOME_LIMIT = 1.0
"""Time after the last action within which a simulated task may still end [s]."""


@dataclass(frozen=True)
class ReplayReport:
    """How well the arm followed a recording.

    Attributes:
        frames: number of frames.
        mean_error, largest_error: of the measured joints against the recorded ones [rad].
        success: of the simulated task; None on a real bench.
        scene: seed of the simulated scene; None on a real bench.
    """

    frames: int
    mean_error: float
    largest_error: float
    success: bool | None
    scene: int | None


def replay(session: Session, root: Path | str, episode: int, scene: int | None = None) -> ReplayReport:
    """Send the recorded actions of an episode to the arm, at the recording's rate.

    The arm follows a smooth curve through them: along straight lines from one to the next, the limit of acceleration
    would leave it behind at each corner, by several hundredths of a radian.

    Args:
        session: a started session.
        root: folder of the data set.
        episode: its index.
        scene: seed of the simulated scene to lay out; by default the recording's.

    Raises:
        DatasetError: there is no such data set or episode, or its joints or units are unknown.
        ValueError: its dimensions are not the bench's, or the scene is not known.
        RobotStopped: the robot was stopped, or a person did not agree to the move to the recorded start.
    """
    robot = session.station.robot
    data = load_dataset(root, episodes=[episode], robot=robot, images=False, progress=False)  # in rad and m
    spec, ours = data.spec, session.spec
    if spec.recorded_action_names != ours.action_names or abs(spec.fps - session.fps) > 1e-6:
        raise ValueError(
            f"{root} has the actions {', '.join(spec.recorded_action_names)} at {spec.fps:g} Hz, the bench "
            f"{', '.join(ours.action_names)} at {session.fps:g}: choose the robot and the rate of the recording"
        )
    recorded = recorded_robot(root)
    differs = None if recorded is None else model_difference(recorded, robot)
    if differs is not None:
        warnings.warn(f"{root} was recorded with another model of the arm: {differs}", stacklevel=2)
    link, dof, period = session.link, session.station.robot.dof, 1.0 / session.fps
    states, actions = data.state.double().numpy(), data.action.double().numpy()
    session.grip(0.0)
    if not session.station.is_simulated:
        scene = None
    else:
        scene = _scene(data.info[0], root, episode) if scene is None else scene
        session.begin_episode(scene)
    session.move_to(states[0, :dof], f"the start of episode {episode}")
    # as in a deployment: a command is there a period after its frame, so the first row is where the episode starts
    path = smooth(np.concatenate([states[:1, :dof], actions[:, :dof]]))
    start, errors = link.now(), []
    for k, action in enumerate(actions):
        errors.append(np.abs(link.telemetry().q - states[k, :dof]))
        times = start + (k + np.arange(1, PARTS + 1) / PARTS) * period + session.lag
        session.follow(times, path[k])
        link.sleep_until(start + (k + 0.5) * period)
        if len(action) > dof:  # it was switched between this frame and the next
            session.grip(float(action[dof] > 0.5))
        link.sleep_until(start + (k + 1) * period)
    apart = np.stack(errors)
    # a recording ends with its success, which a replay that is a little later has not reached yet
    limit = link.now() + OUTCOME_LIMIT
    while (outcome := session.station.outcome()) is not None and not outcome[0] and link.now() < limit:
        link.sleep_until(link.now() + period)
    success = None if outcome is None else outcome[1]
    return ReplayReport(len(actions), float(apart.mean()), float(apart.max()), success, scene)


def _scene(info: Mapping[str, Any], root: Path | str, episode: int) -> int:
    """Seed of the scene in which an episode was recorded."""
    seed = info.get("seed")
    if not isinstance(seed, int):
        raise ValueError(
            f"{root} does not say in which simulated scene episode {episode} was recorded: give its seed (--seed)"
        )
    return seed


def smooth(q: Float[np.ndarray, "n dof"]) -> Float[np.ndarray, "intervals parts dof"]:
    """Way-points of a smooth curve through joints at equal times: `PARTS` for each of the n - 1 intervals, at equal
    times too, the last one at its end. No part swings beyond the two rows around it (Fritsch and Butland's cubics).
    """
    curve = PchipInterpolator(np.arange(len(q)), q)
    return curve(np.arange(len(q) - 1)[:, None] + np.arange(1, PARTS + 1) / PARTS)
