"""MJCF files, compiled by MuJoCo after removing everything but bodies, joints and sites."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

import torch
from torch import Tensor

from ikp.kinematics.links import Joint, Link, Mimic, resolve_mimics
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import compose, quat_wxyz_to_matrix

SITE, BODY = "site:", "body:"
"""Prefixes that tell a site from a body of the same name, which MuJoCo allows."""

# Elements that may need a mesh or texture file, and elements that refer to them.
_REMOVED = (
    *("keys", "sensors", "actuators", "tendons", "excludes", "pairs", "skins", "flexes", "tuples", "texts"),
    *("numerics", "plugins", "geoms", "cameras", "lights", "meshes", "hfields", "materials", "textures"),
)


_COPYING = ("replicate", "composite", "flexcomp")
_MOST_COPIES = 1000
"""Largest number of elements that a file may make by repetition. MuJoCo needs minutes for ten thousand."""


def check_copies(root: Element, included: Callable[[Element], Element | None]) -> None:
    """Raise ValueError where <replicate>, <composite> and <flexcomp> would make too many elements.

    Args:
        root: the file.
        included: the root of the file that an <include> or <model> names, None for other elements.
    """
    made = 0
    pending = [(root, 1)]
    while pending:
        element, copies = pending.pop()
        if element.tag in _COPYING:
            counts = (int(word) for word in element.get("count", "1").split() if word.isdecimal())
            copies *= math.prod(counts)
            made += copies
        elif copies > 1:
            made += copies
        if made > _MOST_COPIES:
            raise ValueError(
                f"its {', '.join(f'<{tag}>' for tag in _COPYING)} make more than {_MOST_COPIES} elements; lower "
                "the count, or leave them out: kinematics needs the robot alone"
            )
        pending += [(child, copies) for child in element]
        inner = included(element)
        if inner is not None:
            pending.append((inner, copies))


_SPLICED = {
    "frame": ("name", "childclass", "pos", "quat", "axisangle", "xyaxes", "zaxis", "euler"),
    "replicate": ("count", "sep", "offset", "euler", "childclass"),
}
"""Elements whose contents MuJoCo takes without a check of the attributes' names, and their own attributes."""


def check_spliced(root: Element) -> None:
    """Check the names of attributes inside <frame> and <replicate> with MuJoCo, by leaving these elements out.

    Raises:
        ValueError: a name is unknown to MuJoCo, a misspelt one for example.
    """
    import mujoco

    for element in root.iter():
        known = _SPLICED.get(element.tag, element.keys())
        unknown = [key for key in element.keys() if key not in known]  # noqa: SIM118 - an element is no mapping
        if unknown:
            raise ValueError(f"<{element.tag}> has {', '.join(unknown)}; known: {', '.join(known)}")
    if not any(element.tag in _SPLICED for element in root.iter()):
        return
    flat = Element("mujoco")
    flat.extend(_spliced(world) for world in root.findall("worldbody"))
    try:
        mujoco.MjSpec.from_string(tostring(flat, encoding="unicode"))
    except ValueError as error:
        if "Schema violation" in str(error):  # all else may refer to what was left out
            raise ValueError(f"inside of a <frame> or <replicate>: {error}") from error


def _spliced(element: Element) -> Element:
    """A copy of an element with the contents of <frame> and <replicate> in the place of these."""
    copy = Element(element.tag, element.attrib)
    for child in element:
        if child.tag == "include":
            continue
        inner = _spliced(child)
        copy.extend(inner if child.tag in _SPLICED else [inner])
    return copy


def robot_from_mjcf(path: Path, sites: Sequence[str] = ()) -> Robot:
    """Read the robot of an MJCF file; its root link is `world`. Raises ValueError as `load_robot` describes.

    Links have the frames of MuJoCo's bodies. If a body has several joints, each but the last gets a link of its own,
    named body/joint. A body with a free joint stays at the pose in the file. Equality constraints between joints
    become mimic joints; other closed loops are left open, with a warning.

    Args:
        path: the file.
        sites: names of sites that become fixed links, "site:NAME" or "NAME"; names that are not sites are ignored.
    """
    model = _compile(path)
    bound = _bound_joints(model)
    held = {_name(model, "joint", j): value for j, value in bound.items() if isinstance(value, float)}
    links = [Link("world", -1)]
    link_of_body = [0]
    for body in range(1, model.nbody):
        links += _body_links(model, body, link_of_body[model.body_parentid[body]], len(links), bound)
        link_of_body.append(len(links) - 1)
    links += _site_links(model, sites, links, link_of_body)
    return Robot(path.stem, resolve_mimics(links, held))


def _site_links(
    model: Any, asked: Sequence[str], links: Sequence[Link], link_of_body: Sequence[int]
) -> list[Link]:
    """A fixed link for each site that is asked for. Raises ValueError where a body elsewhere has the same name."""
    index = {link.name: i for i, link in enumerate(links)}
    found: dict[str, Link] = {}
    for site in range(model.nsite):
        name = model.site(site).name
        T, parent = _pose(model.site_pos[site], model.site_quat[site]), link_of_body[model.site_bodyid[site]]
        if SITE + name in asked:
            found[SITE + name] = Link(SITE + name, parent, T)
        if name not in asked:
            continue
        if name not in index:
            found[name] = Link(name, parent, T)
        elif parent != index[name] or not torch.allclose(T, torch.eye(4, dtype=T.dtype), atol=1e-9):
            raise ValueError(
                f"{name!r} is the name of a body and of a site in another place; write {SITE + name!r} or "
                f"{BODY + name!r}"
            )
    missing = [name for name in asked if name.removeprefix(BODY) not in index and name not in found]
    if missing and model.nsite:
        sites = ", ".join(model.site(site).name for site in range(model.nsite) if model.site(site).name)
        raise ValueError(
            f"{missing[0]!r} is no body and no site; allowed are the bodies {', '.join(index)} and the sites {sites}"
        )
    return list(found.values())


def _compile(path: Path) -> Any:
    import mujoco

    spec = mujoco.MjSpec.from_file(str(path))
    for kind in _REMOVED:
        for element in list(getattr(spec, kind)):
            spec.delete(element)
    for equality in list(spec.equalities):
        if equality.type != mujoco.mjtEq.mjEQ_JOINT:
            warnings.warn(
                f"{path}: constraint {equality.name!r} closes a loop; it is left open", stacklevel=2
            )
            spec.delete(equality)
    for site in spec.sites:
        site.material = ""
    for body in spec.bodies[1:]:
        _give_mass(body)
    spec.compiler.fusestatic = False
    spec.compiler.settotalmass = -1  # do not rescale the masses
    spec.memory = -1  # what the file allots may be too little for other masses
    return spec.compile()


def _give_mass(body: Any) -> None:
    """Give a body a mass: MuJoCo requires one in moving bodies, and the geoms that had it are taken out.

    The compiler options of an attached file cannot be changed, so both sources of a mass are set: the inertia, and a
    small sphere for files with inertiafromgeom="true".
    """
    import mujoco

    body.explicitinertial = True
    body.mass, body.inertia = 1.0, [1.0, 1.0, 1.0]
    body.ipos, body.iquat, body.fullinertia = [0.0] * 3, [1.0, 0.0, 0.0, 0.0], [math.nan] * 6
    sphere = mujoco.mjtGeom.mjGEOM_SPHERE
    geom = body.add_geom(type=sphere, size=[0.01, 0.0, 0.0], mass=1.0, contype=0, conaffinity=0)
    # a default class of the file may have set these
    geom.material = geom.meshname = geom.hfieldname = ""
    geom.fromto = [math.nan] * 6


def _body_links(
    model: Any, body: int, parent: int, next_index: int, bound: dict[int, Mimic | float]
) -> list[Link]:
    """One link per joint of a body, the last one being the body's own; the first gets the index `next_index`."""
    name = _name(model, "body", body)
    T = _pose(model.body_pos[body], model.body_quat[body])
    start = int(model.body_jntadr[body])
    moving = [j for j in range(start, start + int(model.body_jntnum[body])) if _kind(model, j) != "free"]
    links: list[Link] = []
    for j in moving:
        joint, held = _joint(model, j, bound.get(j)), bound.get(j)
        # MuJoCo's positions count from qpos0, in which the body has the pose that the file gives
        T = compose(T, joint.motion(-float(model.qpos0[model.jnt_qposadr[j]])))
        if isinstance(held, float):
            T = compose(T, joint.motion(held))
        own = name if j == moving[-1] else f"{name}/{joint.name}"
        link_parent = next_index + len(links) - 1 if links else parent
        links.append(Link(own, link_parent, T, None if isinstance(held, float) else joint))
        T = torch.eye(4, dtype=torch.float64)
    return links or [Link(name, parent, T)]


def _kind(model: Any, j: int) -> str:
    return ("free", "ball", "slide", "hinge")[model.jnt_type[j]]


def _joint(model: Any, j: int, bound: Mimic | float | None) -> Joint:
    name, kind = _name(model, "joint", j), _kind(model, j)
    if kind == "ball":
        raise ValueError(f"joint {name!r} is a ball joint; replace it by three hinge joints")
    limited = bool(model.jnt_limited[j])
    lower, upper = model.jnt_range[j].tolist() if limited else (-math.inf, math.inf)
    x, y, z = model.jnt_axis[j].tolist()
    a, b, c = model.jnt_pos[j].tolist()
    return Joint(
        name=name,
        kind="prismatic" if kind == "slide" else "revolute" if limited else "continuous",
        axis=(x, y, z),
        anchor=(a, b, c),
        lower=lower,
        upper=upper,
        mimic=bound if isinstance(bound, Mimic) else None,
    )


def _bound_joints(model: Any) -> dict[int, Mimic | float]:
    """Joints with an equality constraint: the joint that each follows, or the position at which it is held."""
    bound: dict[int, Mimic | float] = {}
    follows: dict[int, int] = {}
    for e in range(model.neq):
        if not model.eq_active0[e]:
            continue
        joint, main = int(model.eq_obj1id[e]), int(model.eq_obj2id[e])
        constant, factor, *higher = model.eq_data[e, :5].tolist()
        rest = float(model.qpos0[model.jnt_qposadr[joint]])
        name = _name(model, "joint", joint)
        if joint in bound:
            why = "a second one"
        elif main >= 0 and any(higher):
            why = "not linear"
        elif _leads_to(joint, main, follows):
            why = f"one that closes a ring: joint {_name(model, 'joint', main)!r} follows it already"
        else:
            why = None
        if why:
            warnings.warn(f"an equality constraint of joint {name!r} is {why}; it is left out", stacklevel=2)
        elif main < 0:
            bound[joint] = rest + constant
        else:
            follows[joint] = main
            main_rest = float(model.qpos0[model.jnt_qposadr[main]])
            bound[joint] = Mimic(_name(model, "joint", main), factor, rest + constant - factor * main_rest)
    return bound


def _leads_to(joint: int, start: int, follows: Mapping[int, int]) -> bool:
    """Whether `start` is `joint` or follows it, directly or through others."""
    while start != joint and start in follows:
        start = follows[start]
    return start == joint


def _pose(p: Any, quat_wxyz: Any) -> Tensor:
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = quat_wxyz_to_matrix(torch.tensor(quat_wxyz, dtype=torch.float64))
    T[:3, 3] = torch.tensor(p, dtype=torch.float64)
    return T


def _name(model: Any, kind: str, index: int) -> str:
    return getattr(model, kind)(index).name or f"{kind}_{index}"
