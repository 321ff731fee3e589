"""Rotations and rigid transforms as tensors.

A rotation is a matrix (..., 3, 3), a unit quaternion `quat_wxyz` (..., 4), a rotation vector (..., 3) (axis times
angle, rad), a 6D rotation (..., 6) (the first two columns of the matrix; Zhou et al. 2019, arXiv 1812.07035) or roll,
pitch and yaw (..., 3) (about the fixed x, then y, then z, as in URDF). A pose `T_a_b` is (..., 4, 4) or its upper rows
(..., 3, 4). Everything is differentiable, with finite gradients at the identity and at half turns. Small products are
written as sums, because the caller's autocast or TF32 settings could round a matrix product too coarsely for absolute
angles.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL_ANGLE_SQUARED = 1e-4
_TINY = 1e-12


def product(A: Float[Tensor, "... i k"], B: Float[Tensor, "... k j"]) -> Float[Tensor, "... i j"]:
    """A @ B for small matrices, in full precision under any autocast or TF32 setting."""
    return (A[..., :, :, None] * B[..., None, :, :]).sum(-2)


def compose(A: Float[Tensor, "... rows 4"], B: Float[Tensor, "... rows 4"]) -> Float[Tensor, "... rows 4"]:
    """T_a_c = T_a_b @ T_b_c for poses of 3 or 4 rows, leading dimensions broadcast."""
    unit = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=A.dtype, device=A.device)
    return product(A[..., :3], B[..., :3, :]) + A[..., :, 3:] * unit


def inverse_pose(T: Float[Tensor, "... rows 4"]) -> Float[Tensor, "... rows 4"]:
    """T_b_a from T_a_b, for poses of 3 or 4 rows."""
    R_inverse = T[..., :3, :3].transpose(-1, -2)
    p = -product(R_inverse, T[..., :3, 3:])
    return torch.cat([torch.cat([R_inverse, p], dim=-1), T[..., 3:, :]], dim=-2)


def exp_rotation(w: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Exponential map, by Rodrigues' formula."""
    squared = (w * w).sum(-1)[..., None, None]
    a, b = _sinc(squared), 0.5 * _sinc(squared / 4) ** 2  # sin(t) / t and (1 - cos(t)) / t^2
    outer = w[..., :, None] * w[..., None, :]
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    return eye + a * skew(w) + b * (outer - squared * eye)


def log_rotation(R: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3"]:
    """Logarithm, the angle in [0, pi]."""
    q = matrix_to_quat_wxyz(R)
    w, v = q[..., :1], q[..., 1:]
    squared = (v * v).sum(-1, keepdim=True)
    small = squared < _SMALL_ANGLE_SQUARED
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    x = torch.where(small, squared / (w * w).clamp_min(0.5), torch.zeros_like(squared))  # tan(angle / 2)^2
    series = 2 * (1 + x * (-1 / 3 + x * (1 / 5 - x / 7))) / w.clamp_min(0.5)
    return v * torch.where(small, series, 2 * torch.atan2(sine, w) / sine)


def quat_wxyz_to_matrix(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 3 3"]:
    """Rotation matrix of a quaternion of any non-zero length."""
    w, x, y, z = q.unbind(-1)
    s = 2 / (q * q).sum(-1)
    rows = (
        (1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        (s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)),
        (s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quat_wxyz(R: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 4"]:
    """Unit quaternion with w >= 0 (Shepperd 1978: read from the largest component)."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in R.unbind(-2))
    # rows of 4 q q^T: each is a multiple of the quaternion, and the one with the largest diagonal is best conditioned
    rows = (
        (1 + a + e + i, h - f, c - g, d - b),
        (h - f, 1 + a - e - i, b + d, c + g),
        (c - g, b + d, 1 - a + e - i, f + h),
        (d - b, c + g, f + h, 1 - a - e + i),
    )
    products = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    best = products.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*R.shape[:-2], 1, 4)
    q = products.gather(-2, best).squeeze(-2)
    q = q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def matrix_to_rotation_6d(R: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 6"]:
    """The first two columns of the matrix, one after the other."""
    return torch.cat([R[..., :, 0], R[..., :, 1]], dim=-1)


def rotation_6d_to_matrix(columns: Float[Tensor, "... 6"]) -> Float[Tensor, "... 3 3"]:
    """Rotation matrix by Gram-Schmidt: the first three numbers give the x axis, the others the xy plane."""
    x = _unit(columns[..., :3])
    y = columns[..., 3:]
    y = _unit(y - (x * y).sum(-1, keepdim=True) * x)
    return torch.stack([x, y, cross(x, y)], dim=-1)


def rpy_to_matrix(rpy: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Rot_z(yaw) @ Rot_y(pitch) @ Rot_x(roll)."""
    (sr, sp, sy), (cr, cp, cy) = rpy.sin().unbind(-1), rpy.cos().unbind(-1)
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_rpy(R: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3"]:
    """Roll, pitch in [-pi/2, pi/2] and yaw, rad; at a pitch of +-pi/2, where they are not unique, yaw is 0."""
    (a, b, c), (d, e, f), (g, _, _) = (row.unbind(-1) for row in R.unbind(-2))
    locked = a * a + d * d < _TINY**2
    yaw = torch.atan2(torch.where(locked, torch.zeros_like(d), d), torch.where(locked, torch.ones_like(a), a))
    sy, cy = yaw.sin(), yaw.cos()
    # computed after removing the yaw, so that the roll compensates the error of the yaw near a pitch of +-pi/2
    pitch = torch.atan2(-g, cy * a + sy * d)
    roll = torch.atan2(sy * c - cy * f, cy * e - sy * b)
    return torch.stack([roll, pitch, yaw], dim=-1)


def skew(v: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Matrix [v]x with [v]x u = v x u."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def cross(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Cross product along `dim` (torch.linalg.cross is ten times slower on any dimension but the last)."""
    (ax, ay, az), (bx, by, bz) = a.unbind(dim), b.unbind(dim)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=dim)


def _sinc(squared: Tensor) -> Tensor:
    """sin(t) / t from t^2, smooth at zero."""
    small = squared < _SMALL_ANGLE_SQUARED
    t = torch.where(small, torch.ones_like(squared), squared).sqrt()
    x = torch.where(small, squared, torch.zeros_like(squared))
    return torch.where(small, 1 - x / 6 * (1 - x / 20 * (1 - x / 42)), t.sin() / t)


def _unit(v: Tensor) -> Tensor:
    return v / torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(_TINY)
