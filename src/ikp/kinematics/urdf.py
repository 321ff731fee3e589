"""Kinematics of URDF files (ROS wiki, "urdf/XML/joint").

MuJoCo's URDF import is not used, because it drops mimic joints and requires masses; the tests compare with it.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Collection
from xml.etree.ElementTree import Element

import torch
from torch import Tensor

from ikp.kinematics.links import Joint, Link, Mimic, resolve_mimics
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import quat_wxyz_to_matrix, rpy_to_matrix

_MOVING = ("revolute", "continuous", "prismatic")
_DEGREES_SUSPECTED = 7.0  # rad, a little more than a turn
_UNIT_TOLERANCE = 0.01
_ATTRIBUTES = {
    "origin": ("xyz", "rpy", "quat_xyzw"),
    "axis": ("xyz",),
    "limit": ("lower", "upper", "velocity", "effort", "acceleration", "deceleration", "jerk"),
    "mimic": ("joint", "multiplier", "offset"),
}
"""Known attributes of the elements of a joint; others, such as a misspelt one, get a warning."""
_OF_JOINTS = {*_ATTRIBUTES, "parent", "child"}
_IN_JOINTS = {*_OF_JOINTS, "calibration", "dynamics", "safety_controller"}
"""Elements that are read in joints, and all that URDF has there."""


def robot_from_urdf(root: Element, name: str) -> Robot:
    """Read a <robot> element; `name` is used if it has none. Raises ValueError as `load_robot` describes."""
    _check_expanded(root)
    link_names = [_attribute(link, "name") for link in root.findall("link")]
    if not link_names:
        raise ValueError("there is no <link>; if this is a xacro file, expand it first")
    repeated = sorted(name for name, count in Counter(link_names).items() if count > 1)
    if repeated:
        raise ValueError(
            f"there are several links named {', '.join(repeated)}; names must be unique, rename them"
        )
    _check_places(root)
    below: dict[str, list[Element]] = {link: [] for link in link_names}
    parent_of: dict[str, str] = {}
    for joint in root.findall("joint"):
        parent, child = (_linked(joint, end, below) for end in ("parent", "child"))
        if child in parent_of:
            raise ValueError(f"link {child!r} is the child of two joints; a link has one parent")
        parent_of[child] = parent
        below[parent].append(joint)
    roots = [link for link in link_names if link not in parent_of]
    if len(roots) != 1:
        which = ", ".join(roots) or "the joints form a ring"
        raise ValueError(
            f"{len(roots)} links have no parent joint ({which}); a robot has exactly one root link"
        )
    links = _depth_first(roots[0], below)
    moving = {link.joint.name for link in links if link.joint}
    fixed = {joint.get("name", ""): 0.0 for joint in root.findall("joint") if joint.get("name") not in moving}
    resolved = resolve_mimics(links, fixed)
    for link, new in zip(links, resolved, strict=True):
        if link.joint and link.joint.mimic and new.joint is None:
            warnings.warn(
                f"joint {link.joint.name!r} mimics {link.joint.mimic.joint!r}, which is fixed; it is fixed at its "
                "offset, make its type fixed to say so",
                stacklevel=2,
            )
    robot = Robot(root.get("name") or name, resolved)
    stuck = [joint.name for joint in robot.joints if joint.lower == joint.upper]
    if stuck:
        warnings.warn(
            f"joints {', '.join(stuck)} cannot move: their lower and upper limits are equal, which some exporters "
            "write where they know none; give real limits, or make them continuous or fixed",
            stacklevel=2,
        )
    return robot


def _check_expanded(root: Element) -> None:
    """Raise ValueError where xacro has left elements or expressions to be expanded."""
    prefixes = [
        key.removeprefix("xmlns:") for key, uri in root.items() if key.startswith("xmlns:") and "xacro" in uri
    ]
    marks = tuple(f"{prefix}:" for prefix in ("xacro", *prefixes))
    found = [f"<{element.tag}>" for element in root.iter() if element.tag.startswith(marks)]
    for element in (
        root,
        *root.findall("link"),
        *(part for joint in root.findall("joint") for part in joint.iter()),
    ):
        found += [value for value in element.attrib.values() if "${" in value or "$(" in value]
    if found:
        raise ValueError(
            f"there is xacro left to be expanded ({', '.join(dict.fromkeys(found))}); this is no finished URDF: run "
            "xacro FILE > robot.urdf and load that"
        )


def _check_places(root: Element) -> None:
    """Warn of unknown elements in joints, such as a misspelt one, and of a joint's elements in other places."""
    joints = root.findall("joint")
    inner = [part for joint in joints for child in joint for part in child.iter() if part is not child]
    inner += [child for link in root.findall("link") for child in link]
    unknown = [
        child for joint in joints for child in joint if child.tag not in _IN_JOINTS and ":" not in child.tag
    ]
    unknown += [part for part in inner if part.tag in _OF_JOINTS]
    if unknown:
        tags = ", ".join(dict.fromkeys(f"<{element.tag}>" for element in unknown))
        warnings.warn(
            f"{tags} in joints or links, where URDF has no such element, is ignored; a joint has "
            f"{', '.join(sorted(_IN_JOINTS))}",
            stacklevel=2,
        )


def _depth_first(root: str, below: dict[str, list[Element]]) -> list[Link]:
    """The links in depth-first order, the joints below each link in the order of the file."""
    links = [Link(root, -1)]
    stack = [(joint, 0) for joint in reversed(below[root])]
    while stack:
        joint, parent = stack.pop()
        child = _linked(joint, "child", below)
        links.append(_link(joint, child, parent))
        stack += [(deeper, len(links) - 1) for deeper in reversed(below[child])]
    if len(links) < len(below):
        unreached = sorted(set(below) - {link.name for link in links})
        raise ValueError(f"the joints of the links {', '.join(unreached)} form a ring; a robot is a tree")
    return links


def _link(element: Element, name: str, parent: int) -> Link:
    where = f"joint {element.get('name')!r}"
    _check_attributes(element, where)
    T = torch.eye(4, dtype=torch.float64)
    origin = element.find("origin")
    if origin is not None:
        T[:3, :3] = _rotation(origin, where)
        xyz = _numbers(origin.get("xyz", "0 0 0"), 3, f"the xyz of {where}")
        T[:3, 3] = torch.tensor(xyz, dtype=torch.float64)
    kind = element.get("type")
    if kind == "fixed":
        return Link(name, parent, T)
    if kind not in _MOVING:
        raise ValueError(
            f"{where} has the type {kind!r}; kinematics knows fixed, {', '.join(_MOVING)}: make it fixed, remove the "
            "link above it, or replace it by joints that turn or slide about one axis"
        )
    return Link(name, parent, T, _joint(element, kind, where))


def _rotation(origin: Element, where: str) -> Tensor:
    """Rotation (3, 3) of an <origin>: roll, pitch and yaw, or since URDF 1.1 a quaternion."""
    rpy, quat_xyzw = origin.get("rpy"), origin.get("quat_xyzw")
    if quat_xyzw is None:
        angles = _numbers("0 0 0" if rpy is None else rpy, 3, f"the rpy of {where}")
        if max(abs(angle) for angle in angles) > _DEGREES_SUSPECTED:
            warnings.warn(
                f"the rpy of {where} is {rpy!r} rad, more than a turn; if it is degrees, multiply it by pi/180",
                stacklevel=2,
            )
        return rpy_to_matrix(torch.tensor(angles, dtype=torch.float64))
    if rpy is not None:
        raise ValueError(f"the origin of {where} has both rpy and quat_xyzw; remove one of them")
    x, y, z, w = _numbers(quat_xyzw, 4, f"the quat_xyzw of {where}")
    if not abs(math.hypot(x, y, z, w) - 1) < _UNIT_TOLERANCE:
        raise ValueError(
            f"the quat_xyzw of {where} is {quat_xyzw!r}; the length of a unit quaternion x y z w is 1"
        )
    return quat_wxyz_to_matrix(torch.tensor([w, x, y, z], dtype=torch.float64))


def _check_attributes(joint: Element, where: str) -> None:
    for tag, known in _ATTRIBUTES.items():
        element = joint.find(tag)
        given = {} if element is None else element.attrib
        unknown = [key for key in given if key not in known and ":" not in key]
        if unknown:
            warnings.warn(
                f"<{tag}> of {where} has {', '.join(unknown)}, which is ignored; known: {', '.join(known)}",
                stacklevel=2,
            )


def _joint(element: Element, kind: str, where: str) -> Joint:
    axis = element.find("axis")
    if axis is None:
        message = f'{where} has no axis; the URDF default is x: add <axis xyz="1 0 0"/> to confirm it'
        warnings.warn(message, stacklevel=2)
    x, y, z = _numbers("1 0 0" if axis is None else axis.get("xyz", "1 0 0"), 3, f"the axis of {where}")
    lower, upper, velocity = -math.inf, math.inf, math.inf
    limit, mimic = element.find("limit"), element.find("mimic")
    if limit is not None:
        if kind != "continuous":
            lower = _number(limit, "lower", 0.0, where)
            upper = _number(limit, "upper", 0.0, where)
        # some exporters write 0 for an unknown velocity
        velocity = _number(limit, "velocity", 0.0, where) or math.inf
    elif kind != "continuous" and mimic is None:
        warnings.warn(
            f"{where} has no <limit>, which URDF requires of {kind} joints; it counts as without limits",
            stacklevel=2,
        )
    return Joint(
        name=_attribute(element, "name"),
        kind=kind,
        axis=(x, y, z),
        lower=lower,
        upper=upper,
        velocity=velocity,
        mimic=None if mimic is None else _mimic(mimic, where),
    )


def _mimic(element: Element, where: str) -> Mimic:
    multiplier = _number(element, "multiplier", 1.0, where)
    return Mimic(_attribute(element, "joint"), multiplier, _number(element, "offset", 0.0, where))


def _linked(joint: Element, end: str, link_names: Collection[str]) -> str:
    """Name of the parent or child link of a joint."""
    where = f"joint {joint.get('name')!r}"
    element = joint.find(end)
    if element is None:
        raise ValueError(f"{where} has no <{end}>; give it one with a link")
    name = _attribute(element, "link")
    if name not in link_names:
        raise ValueError(
            f"{where} names the {end} link {name!r}, which is not there; allowed: {', '.join(link_names)}"
        )
    return name


def _attribute(element: Element, key: str) -> str:
    value = element.get(key)
    if not value:
        raise ValueError(f"a <{element.tag}> has no {key!r}; give it one")
    return value


def _number(element: Element, key: str, default: float, where: str) -> float:
    text = element.get(key)
    return default if text is None else _numbers(text, 1, f"the {key} of {where}")[0]


def _numbers(text: str, count: int, what: str) -> list[float]:
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    if len(values) != count or any(math.isnan(value) for value in values):
        raise ValueError(f"{what} is {text!r}; needed: {count} number(s)")
    return values
