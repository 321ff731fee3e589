"""Kinematics of URDF files (ROS wiki, "urdf/XML/joint").

MuJoCo's URDF import is not used, because it drops mimic joints and requires masses; the tests compare with it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import torch

from ikp.kinematics.links import Joint, Link, Mimic, resolve_mimics
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import rpy_to_matrix

_MOVING = ("revolute", "continuous", "prismatic")


def robot_from_urdf(root: Element, name: str) -> Robot:
    """Read a <robot> element; `name` is used if it has none. Raises ValueError as `load_robot` describes."""
    link_names = [_attribute(link, "name") for link in root.findall("link")]
    if not link_names:
        raise ValueError("there is no <link>; if this is a xacro file, expand it first")
    below: dict[str, list[Element]] = {link: [] for link in link_names}
    parent_of: dict[str, str] = {}
    for joint in root.findall("joint"):
        parent, child = (_linked(joint, end, link_names) for end in ("parent", "child"))
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
    return Robot(root.get("name") or name, resolve_mimics(_depth_first(roots[0], below)))


def _depth_first(root: str, below: dict[str, list[Element]]) -> list[Link]:
    """The links in depth-first order, the joints below each link in the order of the file."""
    links = [Link(root, -1)]
    stack = [(joint, 0) for joint in reversed(below[root])]
    while stack:
        joint, parent = stack.pop()
        child = _linked(joint, "child", tuple(below))
        links.append(_link(joint, child, parent))
        stack += [(deeper, len(links) - 1) for deeper in reversed(below[child])]
    if len(links) < len(below):
        unreached = sorted(set(below) - {link.name for link in links})
        raise ValueError(f"the joints of the links {', '.join(unreached)} form a ring; a robot is a tree")
    return links


def _link(element: Element, name: str, parent: int) -> Link:
    where = f"joint {element.get('name')!r}"
    T = torch.eye(4, dtype=torch.float64)
    origin = element.find("origin")
    if origin is not None:
        rpy = _numbers(origin.get("rpy", "0 0 0"), 3, f"the rpy of {where}")
        xyz = _numbers(origin.get("xyz", "0 0 0"), 3, f"the xyz of {where}")
        T[:3, :3] = rpy_to_matrix(torch.tensor(rpy, dtype=torch.float64))
        T[:3, 3] = torch.tensor(xyz, dtype=torch.float64)
    kind = element.get("type")
    if kind == "fixed":
        return Link(name, parent, T)
    if kind not in _MOVING:
        raise ValueError(f"{where} has the type {kind!r}; kinematics knows fixed, {', '.join(_MOVING)}")
    return Link(name, parent, T, _joint(element, kind, where))


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


def _linked(joint: Element, end: str, link_names: Sequence[str]) -> str:
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
    hint = "; expand the file with xacro first" if "${" in text else ""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    if len(values) != count or any(math.isnan(value) for value in values):
        raise ValueError(f"{what} is {text!r}; needed: {count} number(s){hint}")
    return values
