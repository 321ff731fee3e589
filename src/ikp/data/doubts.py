"""Doubts about data that a training can use all the same: another robot, and actions that are far from the joints."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ikp.data.demonstrations import Demonstrations
from ikp.joint_map import JOINT
from ikp.joint_map.matching import MOVES
from ikp.joint_map.names import match_joints
from ikp.kinematics import Robot
from ikp.kinematics.builtin import BUILTIN
from ikp.spec import DataSpec

LARGEST_LAG = 10
"""Frames by which a measured state is compared with earlier actions."""
DROOP = 0.2
"""Constant difference between a target and its joint that a servo may leave [rad or m]."""
SHORT, STANDS = math.radians(5.0), 1e-4
"""Largest range of joints in degrees that is doubted, and the least [rad]."""
FAR = 0.5
"""Distance of actions from the measured joints, as a share of their spread, from which they are doubted."""


def doubts_of(info: Mapping[str, Any], robot: Robot, data: Demonstrations) -> list[str]:
    """Lines about what looks wrong.

    Args:
        info: content of info.json.
        robot: the robot that the data were loaded for.
        data: the data.
    """
    lines = []
    recorded = str(info.get("robot_type") or "")
    known, given = _built_in(recorded), _built_in(robot.name)
    if known and given and known != given and _fits(BUILTIN[known](), robot, data.spec):
        lines.append(
            f"the data were recorded with the robot {recorded!r}, and the robot given is {robot.name!r}, whose links "
            f"and zeros differ: check that it is theirs (--robot {known}, or correct 'robot_type' in meta/info.json)"
        )
    lines += _doubtful_degrees(data) + _doubtful_mimics(robot, data)
    found = motion_lag(robot, data)
    if found is not None:
        _, error, spread = found
        if error > FAR * spread:
            lines.append(
                f"actions lie {error:.3g} from the measured joints, whose spread is {spread:.3g}: check that they are "
                "targets of these joints, in this order and unit"
            )
    return lines


def _doubtful_degrees(data: Demonstrations) -> list[str]:
    """A line if all joints in degrees hardly move, and would move as far as arms do if they were rad."""
    if data.spec.joint_map is None or not len(data.state):
        return []
    kept = data.spec.joint_map.states.kept
    dims = [dim for dim, entry in enumerate(kept) if entry.role == JOINT and entry.unit == "deg"]
    if not dims:
        return []
    state = data.state[:, dims].numpy()
    reach = float((state.max(0) - state.min(0)).max())
    if not STANDS < reach < SHORT:
        return []
    degrees = math.degrees(reach)
    line = (
        f"the joints in degrees move by {degrees:.2g} at most in all episodes; if these numbers are rad, it is "
        f"{math.degrees(degrees):.0f} degrees: check the unit (--units rad)"
    )
    return [line]


def _doubtful_mimics(robot: Robot, data: Demonstrations) -> list[str]:
    """A line for each action dimension that is named like a joint that follows another one."""
    joint_map = data.spec.joint_map
    followers = {
        link.joint.name: link.joint.mimic.joint for link in robot.links if link.joint and link.joint.mimic
    }
    decided = [] if joint_map is None else [d.name for d in joint_map.actions.kept if d.role != JOINT]
    return [
        f"the action's dimension {decided[place]!r} follows joint {followers[joint]!r} in the robot, and a policy "
        f"would decide it apart from it: leave it out (--ignore {decided[place]}), and command it from that joint"
        for joint, place in match_joints(decided, list(followers), loose=False).items()
    ]


def motion_lag(robot: Robot, data: Demonstrations) -> tuple[int, float, float] | None:
    """Compare each action with the joints measured up to `LARGEST_LAG` frames later in its episode.

    Returns:
        The lag [frames] at which they are closest, their mean distance there and the spread of the measured joints
        [rad or m], of the joints that move and without a constant difference up to `DROOP`. None where the data are no
        joints of this robot, or do not show it: joints that stand still, episodes of one frame.
    """
    joints = list(data.spec.joint_dims)
    if len(joints) != robot.dof or max(joints) >= data.spec.state_dim:
        return None
    measured, action = data.state[:, joints].numpy(), data.action[:, joints].numpy()
    episode = data.episode_index.numpy()
    spreads = measured.std(0)
    moves = spreads > MOVES * spreads.max()
    errors = []
    for lag in range(min(LARGEST_LAG, len(measured) - 1) + 1):
        same = episode[: len(episode) - lag] == episode[lag:]
        if not same.any():
            break
        away = (action[: len(action) - lag] - measured[lag:])[same][:, moves]
        away -= np.median(away, 0).clip(-DROOP, DROOP)
        errors.append(float(np.abs(away).mean()))
    spread = float(spreads[moves].mean()) if moves.any() else 0.0
    if len(errors) < 2 or spread < 1e-3:
        return None
    return int(np.argmin(errors)), min(errors), spread


def _fits(other: Robot, robot: Robot, spec: DataSpec) -> bool:
    """Whether the data could be those of another robot by the number and the names of its joints."""
    return other.dof == robot.dof == len(match_joints(spec.recorded_action_names, other.joint_names))


def _built_in(name: str) -> str:
    """The built-in robot that a name such as `so101_follower` is one of; empty for others."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return max((robot for robot in BUILTIN if robot.replace("_", "") in plain), key=len, default="")
