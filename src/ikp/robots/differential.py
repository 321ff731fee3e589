"""Joint speeds for a wanted motion of the tip: differential inverse kinematics."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ikp.robots.tip import TipKinematics

DAMPING = 0.02
"""Damping where the arm is nearly singular, in units of the Jacobian's singular values [m]."""
NEAR_SINGULAR = 0.08
"""Smallest singular value below which the damping sets in [m]."""
ROTATION_LENGTH = 0.25
"""Length that makes a turn comparable with a displacement [m/rad]."""


def joint_speeds(
    tip: TipKinematics, q: Float[np.ndarray, "dof"], velocity: Float[np.ndarray, "6"]
) -> Float[np.ndarray, "dof"]:
    """Joint speeds (dof,) [rad/s] that move the tip as wanted, damped near singular postures.

    Args:
        tip: the arm's tip.
        q: joints (dof,) [rad].
        velocity: (6,) linear [m/s] and angular velocity [rad/s] in the base frame.
    """
    weights = np.repeat([1.0, ROTATION_LENGTH], 3)
    J = weights[:, None] * tip.jacobian(q)
    U, values, Vt = np.linalg.svd(J, full_matrices=False)
    smallest = values[min(6, len(q)) - 1]
    nearness = max(1.0 - float(smallest) / NEAR_SINGULAR, 0.0)
    damped = values / (values**2 + nearness * DAMPING**2 + 1e-12)
    return Vt.T @ (damped * (U.T @ (weights * velocity)))
