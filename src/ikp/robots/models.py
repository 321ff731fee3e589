"""Comparison of two kinematic models of what should be the same arm."""

from __future__ import annotations

import numpy as np
import torch

from ikp.kinematics import Robot, forward_kinematics

SAME = 1e-3
"""Distance of the tips up to which two models count as the same [m]."""
POSTURES = 64
"""Number of postures in which the tips are compared."""


def model_difference(theirs: Robot, ours: Robot) -> str | None:
    """In what two models differ, in words; None where they place the first tip the same in all joints.

    Args:
        theirs: the model that a policy or a recording was made with.
        ours: the bench's.
    """
    if theirs.joint_names != ours.joint_names:
        return f"its joints are {', '.join(theirs.joint_names)}, the bench has {', '.join(ours.joint_names)}"
    low = np.maximum(np.maximum(theirs.lower.numpy(), ours.lower.numpy()), -np.pi)
    high = np.minimum(np.minimum(theirs.upper.numpy(), ours.upper.numpy()), np.pi)
    if (low > high).any():
        return "their joint limits have no posture in common"
    share = np.random.default_rng(0).random((POSTURES, len(low)))
    q = torch.from_numpy(low + share * (high - low))
    tips = [forward_kinematics(robot, q)[:, robot.tip_indices[0], :3, 3] for robot in (theirs, ours)]
    apart = float((tips[0] - tips[1]).norm(dim=-1).max())
    if apart <= SAME:
        return None
    return f"its tip {theirs.tip_names[0]!r} is up to {1000 * apart:.0f} mm from the bench's {ours.tip_names[0]!r}"
