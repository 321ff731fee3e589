"""The factory calibration of a Universal Robots arm: the exact fixed transform before each of its joints.

Every UR is measured when it is made. `ros2 launch ur_calibration calibration_correction.launch.py` reads the result
from the controller and writes it as the `kinematics:` of ur_description: for each link x, y, z [m] and roll, pitch, yaw
[rad] of its joint in the link before. Without it a UR is off by up to centimetres.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import torch

from ikp.joint_map.names import match_joints
from ikp.kinematics import Robot
from ikp.kinematics.rotations import rpy_to_matrix

LINKS = {
    "shoulder": "shoulder_pan_joint",
    "upper_arm": "shoulder_lift_joint",
    "forearm": "elbow_joint",
    "wrist_1": "wrist_1_joint",
    "wrist_2": "wrist_2_joint",
    "wrist_3": "wrist_3_joint",
}
"""The links of the file, and the joints that move them."""
_KEYS = ("x", "y", "z", "roll", "pitch", "yaw")
_LINE = re.compile(r"( *)([\w-]+):\s*(.*?)\s*(?:#.*)?")
_AWAY = 0.1  # of a calibrated joint from where the nominal robot has it [m]
_TURNED = math.radians(10)


def factory_robot(robot: Robot, path: Path | str) -> Robot:
    """A UR with the transforms of its factory calibration.

    Args:
        robot: the nominal arm: the built-in one, or a URDF made from ur_description.
        path: the YAML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no factory calibration, or one of another robot; the message says what differs.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no factory calibration {str(path)!r}: ur_calibration reads it from the robot"
        )
    try:
        origins = {link: _pose(link, values) for link, values in _kinematics(path.read_text()).items()}
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no factory calibration of a UR ({error}): make it with ur_calibration"
        ) from None
    found = match_joints(list(LINKS.values()), robot.joint_names)
    if len(found) < len(LINKS):
        raise ValueError(
            f"{path} is of a UR, robot {robot.name!r} has the joints {', '.join(robot.joint_names)}"
        )
    links = list(robot.links)
    for joint, number in found.items():
        index = robot.joint_links[robot.joint_index(joint)]
        origin = origins[list(LINKS)[number]]
        _check_near(robot, joint, links[index].T_parent_joint, origin, path)
        links[index] = replace(links[index], T_parent_joint=origin)
    return replace(robot, links=tuple(links))


def _kinematics(text: str) -> dict[str, dict[str, float]]:
    """The numbers of the links, from the two levels of YAML that these files have."""
    found: dict[str, dict[str, float]] = {}
    depths: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            if line.strip() and not line.lstrip().startswith(("#", "---")):
                raise ValueError(f"{line.strip()[:40]!r} is no line of it")
            continue
        indent, key, value = len(match[1]), match[2], match[3]
        depths = [one for one in depths if one[0] < indent]
        if not value:
            depths.append((indent, key))
        elif depths and depths[-1][1] in LINKS and key in _KEYS:
            try:
                found.setdefault(depths[-1][1], {})[key] = float(value)
            except ValueError:
                raise ValueError(f"{key} of {depths[-1][1]} is {value[:40]!r}") from None
    missing = [link for link in LINKS if link not in found]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return found


def _pose(link: str, values: dict[str, float]) -> torch.Tensor:
    """T_parent_joint (4, 4)."""
    missing = [key for key in _KEYS if key not in values]
    if missing:
        raise ValueError(f"{link} lacks {', '.join(missing)}")
    if (
        not all(math.isfinite(value) for value in values.values())
        or max(map(abs, values.values())) > 2 * math.pi
    ):
        raise ValueError(f"{link} has the numbers {values}, which are no metres and radians")
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = rpy_to_matrix(torch.tensor([values[key] for key in _KEYS[3:]], dtype=torch.float64))
    T[:3, 3] = torch.tensor([values[key] for key in _KEYS[:3]], dtype=torch.float64)
    return T


def _check_near(robot: Robot, joint: str, nominal: torch.Tensor, origin: torch.Tensor, path: Path) -> None:
    """Raise ValueError where a joint is far from where the nominal robot has it.

    A calibrated upper arm and forearm may be shifted far along their parallel axes, because only the sum of the shifts
    matters, so the distance counts across the joint's axis alone.
    """
    way = (nominal[:3, 3] - origin[:3, 3]) @ origin[:3, :3]
    across = float(way[:2].norm())
    cosine = float((nominal[:3, 2] * origin[:3, 2]).sum().clamp(-1, 1))
    if across > _AWAY or math.acos(cosine) > _TURNED:
        raise ValueError(
            f"{path} has {joint} {1000 * across:.0f} mm and {math.degrees(math.acos(cosine)):.0f} deg from where "
            f"{robot.name!r} has it: it is of another model, or the robot was not made from ur_description"
        )
