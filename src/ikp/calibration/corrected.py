"""Estimated corrections as a joint map and as a robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from ikp.calibration.identifiability import Parameter
from ikp.joint_map import JOINT, Dimension, JointMap
from ikp.kinematics import Robot
from ikp.kinematics.forward import residual_origins
from ikp.kinematics.links import Joint, Link


def corrected_map(nominal: JointMap, found: Sequence[Parameter]) -> JointMap:
    """A joint map whose joints are corrected by offsets and scales.

    With q the joint of the nominal map, the corrected one is (1 + scale) q + offset, for states and commands alike.
    """
    offsets = {one.joint: one.value for one in found if one.name == "offset"}
    unseen = {one.joint for one in found if one.name in ("offset", "scale") and not one.identified}
    scales = {one.joint: one.value for one in found if one.name == "scale"}

    def corrected(one: Dimension) -> Dimension:
        if one.role != JOINT or one.joint not in {*offsets, *scales}:
            return one
        factor = 1 + scales.get(one.joint, 0.0)
        offset = factor * one.offset + offsets.get(one.joint, 0.0)
        reason = "not identified" if one.joint in unseen else "calibrated"
        return replace(one, scale=factor * one.scale, offset=offset, reason=reason)

    return JointMap(
        nominal.joints, tuple(map(corrected, nominal.action)), tuple(map(corrected, nominal.state))
    )


def corrected_robot(
    robot: Robot, q_offset: Float[np.ndarray, "dof"], link_residual: Float[np.ndarray, "link 6"]
) -> Robot:
    """A robot whose fixed transforms hold offsets and link corrections: readings that are off give the true poses.

    The limits of the joints move with their offsets, so that they hold for the readings. A joint that mimics another
    follows its reading, with the other's offset in its own transform.
    """
    origins = residual_origins(robot, torch.from_numpy(link_residual))
    links = []
    for link, origin, dof in zip(robot.links, origins, robot.link_dofs, strict=True):
        shift = 0.0 if dof < 0 else float(q_offset[dof])
        if link.joint is not None and link.joint.mimic:
            shift *= link.joint.mimic.multiplier
        links.append(_shifted(link, origin, link.joint, shift))
    return Robot(robot.name, tuple(links), robot.tip_names, dict(robot.locked))


def _shifted(link: Link, origin: torch.Tensor, joint: Joint | None, shift: float) -> Link:
    if joint is None:
        return replace(link, T_parent_joint=origin)
    moved = replace(joint, lower=joint.lower - shift, upper=joint.upper - shift)
    return replace(link, T_parent_joint=origin @ joint.motion(shift), joint=moved)
