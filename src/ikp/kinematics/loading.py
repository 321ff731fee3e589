"""Robots by name or from a description file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from ikp.kinematics._xml import parse_xml
from ikp.kinematics.builtin import BUILTIN
from ikp.kinematics.mjcf import BODY, check_copies, check_spliced, robot_from_mjcf
from ikp.kinematics.robot import LARGEST_ROBOT, Robot
from ikp.kinematics.urdf import robot_from_urdf

_TIPS_LISTED = 8


def load_robot(
    name_or_path: str | Path,
    *,
    tips: Sequence[str] | None = None,
    locked: Mapping[str, float] | None = None,
) -> Robot:
    """Load a built-in robot or a URDF or MJCF file.

    Meshes are not read and may be missing. Links and joints are in depth-first order, children in the order of the
    file.

    Args:
        name_or_path: a built-in robot ("ur5e", "iiwa14", "iiwa14_dual", "panda", "so100", "so101", "vx300s", "aloha"),
            or the path of a .urdf, .xml or .mjcf file.
        tips: names of the tip links, or the name of one; in MJCF also of sites, "site:NAME" or "body:NAME" where a name
            has both. By default every leaf that a joint moves, with a warning if there are several.
        locked: positions of joints that are no actions, such as fingers [rad or m]; see :meth:`Robot.with_locked`.

    Raises:
        FileNotFoundError: there is neither a built-in robot nor a file of this name.
        ValueError: the file is malformed, a joint type is not supported, a tip or locked joint is unknown, or no joint
            moves a tip; the message names the file, the element and the fix.
    """
    tips = [tips] if isinstance(tips, str) else tips
    if str(name_or_path) in BUILTIN:
        robot = BUILTIN[str(name_or_path)]().with_locked(locked or {})
        return robot if tips is None else _with_tips(robot, tips)
    path = Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no robot file {str(name_or_path)!r}; give the path of a URDF or MJCF file, or one of "
            f"the built-in robots: {', '.join(BUILTIN)}"
        )
    try:
        robot = _load_file(path, tips, locked or {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if tips is None and len(robot.tip_names) > 1:
        first, more = robot.tip_names[0], len(robot.tip_names) - _TIPS_LISTED
        names = ", ".join(robot.tip_names[:_TIPS_LISTED]) + (f" and {more} more" if more > 0 else "")
        warnings.warn(
            f"{path}: no tips were chosen, so every leaf that a joint moves is one: {names}; "
            f"choose with load_robot(..., tips=[{first!r}]) or --tips {first}",
            stacklevel=2,
        )
    if robot.reach > LARGEST_ROBOT:
        warnings.warn(
            f"{path}: the robot is {robot.reach:.0f} m long; lengths are in m, if these are mm multiply them by 0.001",
            stacklevel=2,
        )
    return robot


def _load_file(path: Path, tips: Sequence[str] | None, locked: Mapping[str, float]) -> Robot:
    root = parse_xml(path.read_bytes())
    if root.tag == "mujoco":
        _check_size(root, path.parent)
        check_spliced(root)
    if root.tag == "robot":
        robot = robot_from_urdf(root, path.stem)
    elif root.tag == "mujoco":
        robot = robot_from_mjcf(path, sites=tips or ())
    else:
        raise ValueError(f"the root element is <{root.tag}>; a URDF has <robot>, an MJCF <mujoco>")
    robot = replace(robot.with_locked(locked), tip_names=())
    if tips is None:
        return robot
    return _with_tips(robot, [tip if tip in robot.link_names else tip.removeprefix(BODY) for tip in tips])


def _with_tips(robot: Robot, tips: Sequence[str]) -> Robot:
    """The robot with tips that its joints move."""
    chosen = robot.with_tips(tips)
    resting = [tip for tip in chosen.tip_names if not chosen.is_moved(tip)]
    if resting:
        leaves = robot.with_tips(()).tip_names
        names = ", ".join(leaves[:_TIPS_LISTED])
        raise ValueError(
            f"no joint moves the tip {resting[0]!r}: choose a link that one moves, such as {names}"
        )
    return chosen


def _check_size(root: Element, folder: Path) -> None:
    """Check how many elements an MJCF makes, with the files that it includes: MuJoCo has no bound of its own."""
    seen: set[Path] = set()

    def included(element: Element) -> Element | None:
        path = folder / element.get("file", "")
        if element.tag not in ("include", "model") or path in seen or not path.is_file():
            return None
        seen.add(path)
        try:
            return parse_xml(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"in the included {path.name}: {error}") from error

    check_copies(root, included)
