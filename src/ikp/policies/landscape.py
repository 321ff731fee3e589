"""One decision of an implicit policy: the energy along every joint, and the poses of the candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from ikp.kinematics import forward_kinematics
from ikp.policies.implicit import ImplicitPolicy
from ikp.spec import Observation


@torch.no_grad()
def energies_and_poses(
    policy: ImplicitPolicy, observation: Observation | Mapping[str, Any], points: int = 200
) -> dict[str, np.ndarray]:
    """Pooled energies along each joint, and the poses of the candidates by the policy's own (corrected) kinematics.

    Args:
        policy: an implicit policy whose energies see link poses.
        observation: one row, in the model's units.
        points: candidates of each joint.

    Returns:
        q_measured, q_chosen (dof,) [rad]; targets, energies (dof, points); far_ends (dof, points, 3, 4), the pose of
        the far end of each joint's link at the candidates in the base frame; far_end_measured, far_end_chosen
        (dof, 3, 4); axes, anchors (dof, 3), direction and a point of each joint's axis; links (links, 3), the origins
        of all links at the chosen target.

    Raises:
        ValueError: the policy has no link poses.
    """
    if policy.poses is None or policy.robot is None:
        raise ValueError("the policy has no link poses: energies over poses are shown for the method ikp")
    observation = cast(Observation, observation)
    values, energies, chosen = policy.decision_slices(observation, points)
    measured = policy.measured_joints(observation)
    target = policy.actions.decode(observation["state"][:, -1], chosen)
    shift = target - chosen
    candidates = values + shift[..., None]
    corrected = policy.poses.residual.candidates(target, candidates, slice(None))
    q, q_target = policy.poses.residual(measured), policy.poses.residual(target)
    arcs = policy.poses.arcs(q_target)
    joint_frames = forward_kinematics(
        policy.robot, q_target, link_residual=policy.poses.residual.link_residual
    )[0]
    axes, anchors = [], []
    for link, joint in zip(policy.robot.joint_links, policy.robot.joints, strict=True):
        T = joint_frames[link]
        axes.append(T[:3, :3] @ T.new_tensor(joint.axis))
        anchors.append(T[:3, :3] @ T.new_tensor(joint.anchor) + T[:3, 3])
    arrays = {
        "q_measured": measured[0],
        "q_chosen": target[0],
        "targets": candidates[0],
        "energies": energies[0],
        "far_ends": arcs.at(corrected)[0],
        "far_end_measured": arcs.at(q)[0],
        "far_end_chosen": arcs.at(q_target)[0],
        "axes": torch.stack(axes),
        "anchors": torch.stack(anchors),
        "links": joint_frames[:, :3, 3],
    }
    return {name: value.numpy() for name, value in arrays.items()}
