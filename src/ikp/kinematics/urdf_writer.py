"""Write a robot's links and joints as a URDF, or its fixed transforms and limits into a given one."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import torch
from torch import Tensor

from ikp.kinematics._xml import parse_xml
from ikp.kinematics.links import Joint
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import matrix_to_rpy

_EFFORT = "0"  # URDF wants one; kinematics has none


def urdf_text(robot: Robot) -> str:
    """A URDF with the robot's links and joints: no shapes and no masses.

    A joint whose axis does not pass through the origin of its link, as in some MJCF files, gets a link of its own,
    NAME_axis, at the axis.
    """
    root = Element("robot", name=robot.name)
    for link in robot.links:
        SubElement(root, "link", name=link.name)
    for link in robot.links[1:]:
        parent = robot.links[link.parent].name
        if link.joint is None:
            _fixed(root, f"{link.name}_fixed", parent, link.name, link.T_parent_joint)
            continue
        anchor = torch.eye(4, dtype=torch.float64)
        anchor[:3, 3] = torch.tensor(link.joint.anchor, dtype=torch.float64)
        child = link.name
        if anchor[:3, 3].any():
            child = f"{link.name}_axis"
            SubElement(root, "link", name=child)
            _fixed(root, f"{link.name}_fixed", child, link.name, anchor.inverse())
        _moving(root, link.joint, parent, child, link.T_parent_joint @ anchor)
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def edited_urdf(path: Path, robot: Robot) -> str:
    """The text of a URDF file with the origins and the limits of a robot that was loaded from it and then changed.

    Everything else, such as shapes, masses and comments, stays.

    Raises:
        ValueError: a joint of the robot is not in the file, or the file is no XML.
    """
    root = parse_xml(path.read_bytes(), comments=True)
    elements = {_child(element): element for element in root.findall("joint")}
    for link in robot.links[1:]:
        element = elements.get(link.name)
        if element is None:
            raise ValueError(
                f"{path} has no joint above the link {link.name!r}: give the file that the robot is from"
            )
        _set_origin(element, link.T_parent_joint)
        limit = element.find("limit")
        if link.joint is not None and limit is not None and math.isfinite(link.joint.lower):
            limit.set("lower", _text(link.joint.lower))
            limit.set("upper", _text(link.joint.upper))
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _child(element: Element) -> str | None:
    child = element.find("child")
    return None if child is None else child.get("link")


def _fixed(root: Element, name: str, parent: str, child: str, T: Tensor) -> None:
    element = SubElement(root, "joint", name=name, type="fixed")
    _ends(element, parent, child, T)


def _moving(root: Element, joint: Joint, parent: str, child: str, T: Tensor) -> None:
    bounded = math.isfinite(joint.lower) and math.isfinite(joint.upper)
    kind = joint.kind if bounded or joint.kind == "prismatic" else "continuous"
    element = SubElement(root, "joint", name=joint.name, type=kind)
    _ends(element, parent, child, T)
    SubElement(element, "axis", xyz=" ".join(map(_text, joint.axis)))
    velocity = joint.velocity if math.isfinite(joint.velocity) else 0.0
    if bounded or velocity:
        limit = SubElement(element, "limit", effort=_EFFORT, velocity=_text(velocity))
        if bounded:
            limit.set("lower", _text(joint.lower))
            limit.set("upper", _text(joint.upper))
    if joint.mimic is not None:
        mimic = joint.mimic
        SubElement(
            element,
            "mimic",
            joint=mimic.joint,
            multiplier=_text(mimic.multiplier),
            offset=_text(mimic.offset),
        )


def _ends(element: Element, parent: str, child: str, T: Tensor) -> None:
    _set_origin(element, T)
    SubElement(element, "parent", link=parent)
    SubElement(element, "child", link=child)


def _set_origin(element: Element, T: Tensor) -> None:
    origin = element.find("origin")
    if origin is None:
        origin = SubElement(element, "origin")
    origin.attrib.clear()
    origin.set("xyz", " ".join(map(_text, T[:3, 3].tolist())))
    origin.set("rpy", " ".join(map(_text, matrix_to_rpy(T[:3, :3]).tolist())))


def _text(value: float) -> str:
    return repr(float(value))
