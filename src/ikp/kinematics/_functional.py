"""Forward kinematics from whole-tensor operations alone, for torch's function transforms and forward-mode derivatives.

:mod:`ikp.kinematics._columns` writes into buffers and :mod:`ikp.kinematics._single` reads Python numbers. Neither
can be seen by `torch.vmap`, `torch.func` or a dual tensor, so this slower form is taken while one of them is active.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ikp.kinematics._plan import Plan
from ikp.kinematics.rotations import compose


def transforms_active() -> bool:
    """Whether a function transform (`torch.vmap`, `torch.func`) or a level of forward-mode derivatives is entered."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def functional_frame_columns(theta: Tensor, frames: Tensor, plan: Plan) -> Tensor:
    """Frames of all nodes (node, 4, 4, n) from joint positions (n, dof) and constant frames (node, 4, 4)."""
    constant, cos, sin, slope = _motion_parts(theta)
    base = torch.eye(4, dtype=theta.dtype, device=theta.device).expand(theta.shape[0], 4, 4)
    poses: list[Tensor] = [base] * len(plan.nodes)
    for i in plan.order:
        node = plan.nodes[i]
        T = compose(poses[node.parent] if node.parent >= 0 else base, frames[i])
        if node.dof >= 0:
            moved = (theta[:, node.dof] * node.multiplier)[:, None, None]
            k = node.column
            if node.prismatic:
                motion = base + slope[k] * moved
            else:
                motion = constant[k] + cos[k] * moved.cos() + sin[k] * moved.sin()
            T = compose(T, motion)
        poses[i] = T
    return torch.stack(poses).permute(0, 3, 2, 1)


def _motion_parts(like: Tensor) -> Tensor:
    """(4, column, 4, 4) what is constant, times cos, times sin and times the position, for motion at each column."""
    parts = torch.zeros(4, 3, 4, 4, dtype=torch.float64)
    for k in range(3):
        a, b = (k + 1) % 3, (k + 2) % 3
        parts[0, k, k, k] = parts[0, k, 3, 3] = 1.0
        parts[1, k, a, a] = parts[1, k, b, b] = 1.0
        parts[2, k, b, a], parts[2, k, a, b] = 1.0, -1.0
        parts[3, k, k, 3] = 1.0
    return parts.to(like)
