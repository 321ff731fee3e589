"""Measurements from demonstrations alone: the constraints that they show.

Demonstrations of work on a table often keep the tool upright, and grasp or release at one height above the table, which
stands level under the arm. Both are measurements, if rough ones: which joints they show is said by the calibration.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from ikp.calibration.from_tables import Noise
from ikp.calibration.measurement import Measurement
from ikp.calibration.plane import Plane
from ikp.calibration.upright import Upright
from ikp.checks import one_of
from ikp.kinematics import Robot, forward_kinematics

UPRIGHT, CLOSING, OPENING, LOWEST = "upright", "closing", "opening", "lowest"
SHOWN = (UPRIGHT, CLOSING, OPENING, LOWEST)
EVENLY = 4
"""Frames of an episode without gripper events that show an upright tool: neighbours hold the same information."""
_NOT_UPRIGHT = 0.9  # mean cosine of the tool's best axis from which it counts as upright
_VERTICAL = np.array([0.0, 0.0, 1.0])


def shown(
    robot: Robot,
    q: Float[np.ndarray, "frame dof"],
    episode: Int[np.ndarray, "frame"],
    gripper: Bool[np.ndarray, "frame grippers"],
    link: str,
    constraints: Sequence[str],
    noise: Noise,
) -> list[Measurement]:
    """The measurements that demonstrations hold.

    Args:
        robot: the nominal arm.
        q: measured joint positions [rad or m].
        episode: number of each frame's episode.
        gripper: whether each gripper is closed.
        link: the tip.
        constraints: any of `upright` (an axis of the tip is vertical in all frames; it is found), `closing` and
            `opening` (the frames at which a gripper closes, or opens, have one height), and `lowest` (the lowest frames
            of the episodes do).
        noise: how far the demonstrations keep to it [m, rad].

    Raises:
        ValueError: the tool is not upright, or no gripper closes or opens.
    """
    made: list[Measurement] = []
    for constraint in constraints:
        one_of("--shows", constraint, SHOWN)
        if constraint == UPRIGHT:
            made.append(_upright(robot, q[_resting(episode, gripper)], link, noise))
            continue
        frames = (
            _lowest(robot, q, episode, link)
            if constraint == LOWEST
            else _events(episode, gripper, constraint)
        )
        made.append(
            Plane(q[frames], link, noise.joints, normal=_VERTICAL, noise_m=noise.length, label=constraint)
        )
    return made


def _tips(robot: Robot, q: np.ndarray, link: str) -> np.ndarray:
    return forward_kinematics(robot, torch.from_numpy(q))[:, robot.link_index(link)].numpy()


def _upright(robot: Robot, q: np.ndarray, link: str, noise: Noise) -> Upright:
    rows = _tips(robot, q, link)[:, 2, :3]  # components along the vertical of the tip's axes
    axis = int(np.abs(rows.mean(0)).argmax())
    along = float(rows[:, axis].mean())
    if abs(along) < _NOT_UPRIGHT:
        off = np.degrees(np.arccos(abs(along)))
        raise ValueError(
            f"no axis of {link!r} is vertical in these demonstrations (the best one is {off:.0f} deg off): leave out "
            "upright"
        )
    return Upright(q, link, noise.joints, np.eye(3)[axis], np.sign(along) * _VERTICAL, noise.angle)


def _resting(episode: np.ndarray, gripper: np.ndarray) -> np.ndarray:
    """Frames at gripper events, when arms are slow; without any, some of every episode."""
    events = [_switches(frames, gripper, sign) for frames in _episodes(episode) for sign in (1, -1)]
    found = np.concatenate(events)
    if len(found):
        return np.sort(found)
    chosen = [frames[np.linspace(0, len(frames) - 1, EVENLY).astype(int)] for frames in _episodes(episode)]
    return np.unique(np.concatenate(chosen))


def _lowest(robot: Robot, q: np.ndarray, episode: np.ndarray, link: str) -> np.ndarray:
    height = _tips(robot, q, link)[:, 2, 3]
    return np.array([frames[height[frames].argmin()] for frames in _episodes(episode)])


def _events(episode: np.ndarray, gripper: np.ndarray, constraint: str) -> np.ndarray:
    """Frames at which a gripper switches."""
    sign = 1 if constraint == CLOSING else -1
    found = np.concatenate([_switches(frames, gripper, sign) for frames in _episodes(episode)])
    if not len(found):
        raise ValueError(f"no gripper is {constraint} in these demonstrations: leave out {constraint}")
    return found


def _switches(frames: np.ndarray, gripper: np.ndarray, sign: int) -> np.ndarray:
    """Frames of an episode at which a gripper closes (1) or opens (-1)."""
    change = np.diff(gripper[frames].astype(int), axis=0)
    return frames[1:][(change == sign).any(1)]


def _episodes(episode: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(episode == number) for number in np.unique(episode)]
