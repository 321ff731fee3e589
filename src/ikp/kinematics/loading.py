"""Robots by name or from a description file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ikp.kinematics.builtin import BUILTIN
from ikp.kinematics.mjcf import robot_from_mjcf
from ikp.kinematics.robot import Robot
from ikp.kinematics.urdf import robot_from_urdf


def load_robot(name_or_path: str | Path, *, tips: Sequence[str] | None = None) -> Robot:
    """Load a built-in robot or a URDF or MJCF file.

    Meshes are not read and may be missing. Links and joints are in depth-first order, children in the order of the
    file.

    Args:
        name_or_path: "ur5e", "iiwa14", "iiwa14_dual", or the path of a .urdf, .xml or .mjcf file.
        tips: names of the tip links (in MJCF also of sites). By default every leaf that a joint moves.

    Raises:
        FileNotFoundError: there is neither a built-in robot nor a file of this name.
        ValueError: the file is malformed, a joint type is not supported, or a tip is unknown; the message names the
            file, the element and the fix.
    """
    if str(name_or_path) in BUILTIN:
        robot = BUILTIN[str(name_or_path)]()
        return robot if tips is None else robot.with_tips(tips)
    path = Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no robot file {str(name_or_path)!r}; give the path of a URDF or MJCF file, or one of "
            f"the built-in robots: {', '.join(BUILTIN)}"
        )
    try:
        return _load_file(path, tips)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _load_file(path: Path, tips: Sequence[str] | None) -> Robot:
    root = _parse(path.read_bytes())
    if root.tag == "robot":
        robot = robot_from_urdf(root, path.stem)
    elif root.tag == "mujoco":
        robot = robot_from_mjcf(path, sites=tips or ())
    else:
        raise ValueError(f"the root element is <{root.tag}>; a URDF has <robot>, an MJCF <mujoco>")
    return robot if tips is None else robot.with_tips(tips)


def _parse(data: bytes) -> Element:
    """Parse an XML document; ValueError if it is malformed or has a DOCTYPE, which could define entities.

    Namespace prefixes are kept as part of the names, because robot files use extensions with undeclared namespaces.
    """

    def refuse(*_: object) -> None:
        raise ValueError("there is a DOCTYPE; robot files need none and entities are not read, remove it")

    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"this is not well-formed XML: {error}") from error
    return builder.close()
