"""Derivatives of the exponential map of rotations, in NumPy.

With `exp` from a rotation vector w (..., 3) [rad] to a matrix, exp(w + dw) = exp(left_jacobian(w) dw) exp(w) to first
order (Chirikjian, "Stochastic Models, Information Theory, and Lie Groups", vol. 2, 2011, Sec. 10.6).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

_SMALL = 1e-4  # angle [rad] from which the series is as exact as the closed form


def skew(v: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Matrix [v]x with [v]x u = v x u."""
    made = np.zeros((*v.shape, 3))
    made[..., 0, 1], made[..., 0, 2], made[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    return made - np.swapaxes(made, -1, -2)


def exp(w: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation matrix of a rotation vector."""
    return Rotation.from_rotvec(w).as_matrix()


def log(R: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    """Rotation vectors, at most half a turn long."""
    return Rotation.from_matrix(R).as_rotvec()


def left_jacobian(w: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Rotation of the fixed frame per change of the rotation vector. That of the turned frame is of -w."""
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    safe = np.where(angle < _SMALL, 1.0, angle)
    first = np.where(angle < _SMALL, 0.5, (1 - np.cos(safe)) / safe**2)
    second = np.where(angle < _SMALL, 1 / 6, (safe - np.sin(safe)) / safe**3)
    W = skew(w)
    return np.eye(3) + first * W + second * (W @ W)
