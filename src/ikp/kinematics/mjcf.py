"""MJCF files, compiled by MuJoCo after removing everything but bodies, joints and sites."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ikp.kinematics.links import Joint, Link, Mimic, resolve_mimics
from ikp.kinematics.robot import Robot
from ikp.kinematics.rotations import compose, exp_rotation, quat_wxyz_to_matrix

# Elements that may need a mesh or texture file, and elements that refer to them.
_REMOVED = (
    *("keys", "sensors", "actuators", "tendons", "excludes", "pairs", "skins", "flexes", "tuples", "texts"),
    *("numerics", "plugins", "geoms", "cameras", "lights", "meshes", "hfields", "materials", "textures"),
)


def robot_from_mjcf(path: Path, sites: Sequence[str] = ()) -> Robot:
    """Read the robot of an MJCF file; its root link is `world`. Raises ValueError as `load_robot` describes.

    Links have the frames of MuJoCo's bodies. If a body has several joints, each but the last gets a link of its own,
    named body/joint. A body with a free joint stays at the pose in the file. Equality constraints between joints
    become mimic joints; other closed loops are left open, with a warning.

    Args:
        path: the file.
        sites: names of sites that become fixed links; names that are not sites are ignored.
    """
    model = _compile(path)
    bound = _bound_joints(model)
    links = [Link("world", -1)]
    link_of_body = [0]
    for body in range(1, model.nbody):
        links += _body_links(model, body, link_of_body[model.body_parentid[body]], len(links), bound)
        link_of_body.append(len(links) - 1)
    taken = {link.name for link in links}
    for site in range(model.nsite):
        name = model.site(site).name
        if name in sites and name not in taken:
            T = _pose(model.site_pos[site], model.site_quat[site])
            links.append(Link(name, link_of_body[model.site_bodyid[site]], T))
    return Robot(path.stem, resolve_mimics(links))


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
    spec.compiler.fusestatic = False
    spec.compiler.balanceinertia = True
    # a body without geoms may have no mass, and MuJoCo requires mass in moving bodies
    spec.compiler.boundmass = spec.compiler.boundinertia = 1e-3
    spec.compiler.settotalmass = -1  # do not rescale the masses
    return spec.compile()


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
        T = compose(T, _moved(joint, -float(model.qpos0[model.jnt_qposadr[j]])))
        if isinstance(held, float):
            T = compose(T, _moved(joint, held))
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
    for e in range(model.neq):
        if not model.eq_active0[e]:
            continue
        joint, main = int(model.eq_obj1id[e]), int(model.eq_obj2id[e])
        constant, factor, *higher = model.eq_data[e, :5].tolist()
        rest = float(model.qpos0[model.jnt_qposadr[joint]])
        name = _name(model, "joint", joint)
        if joint in bound or (main >= 0 and any(higher)):
            why = "a second one" if joint in bound else "not linear"
            warnings.warn(f"an equality constraint of joint {name!r} is {why}; it is left out", stacklevel=2)
        elif main < 0:
            bound[joint] = rest + constant
        else:
            main_rest = float(model.qpos0[model.jnt_qposadr[main]])
            bound[joint] = Mimic(_name(model, "joint", main), factor, rest + constant - factor * main_rest)
    return bound


def _moved(joint: Joint, position: float) -> Tensor:
    """Motion (4, 4) of the joint by `position`, in the frame of its link."""
    T = torch.eye(4, dtype=torch.float64)
    axis = torch.tensor(joint.axis, dtype=torch.float64)
    if joint.kind == "prismatic":
        T[:3, 3] = position * axis
    else:
        anchor = torch.tensor(joint.anchor, dtype=torch.float64)
        T[:3, :3] = exp_rotation(position * axis)
        T[:3, 3] = anchor - T[:3, :3] @ anchor
    return T


def _pose(p: Any, quat_wxyz: Any) -> Tensor:
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = quat_wxyz_to_matrix(torch.tensor(quat_wxyz, dtype=torch.float64))
    T[:3, 3] = torch.tensor(p, dtype=torch.float64)
    return T


def _name(model: Any, kind: str, index: int) -> str:
    return getattr(model, kind)(index).name or f"{kind}_{index}"
