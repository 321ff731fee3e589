"""The posture of redundant arms, for policies that decide poses of the tips alone."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.kinematics import Robot

RIDGE = 1e-4
"""Share of the frames by which the regression is damped."""


class Posture(nn.Module):
    """Joints that the demonstrations have at poses of the tips: a quadratic regression.

    A redundant arm reaches a pose of its tip with many joint positions. Inverse kinematics that starts from the
    measured joints lets the elbow drift with every step; started from here, the joints are a function of the pose.

    Args:
        robot: the robot; without redundant joints there is nothing to fit.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor

    def __init__(self, robot: Robot) -> None:
        super().__init__()
        numbers = 9 * len(robot.tip_names)
        size = 1 + numbers + numbers * (numbers + 1) // 2
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("std", torch.ones(numbers))
        self.register_buffer("weight", torch.zeros(size, robot.dof))

    def fit(self, T: Float[Tensor, "frames tips 4 4"], q: Float[Tensor, "frames dof"]) -> None:
        """Fit joints `q` [rad or m] at poses `T` of the tips."""
        numbers = _numbers(T)
        self.mean.copy_(numbers.mean(0))
        self.std.copy_(numbers.std(0, unbiased=False).clamp_min(1e-3))
        x = self._features(T).double()
        damping = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        damping[0, 0] = 0.0  # the mean is free
        self.weight.copy_(torch.linalg.solve(x.T @ x + damping, x.T @ q.double()))

    def forward(self, T: Float[Tensor, "batch tips 4 4"]) -> Float[Tensor, "batch dof"]:
        """The joints [rad or m] at poses of the tips."""
        return self._features(T) @ self.weight

    def _features(self, T: Tensor) -> Tensor:
        x = (_numbers(T) - self.mean) / self.std
        rows, columns = torch.triu_indices(x.shape[1], x.shape[1], device=x.device)
        return torch.cat([torch.ones_like(x[:, :1]), x, x[:, rows] * x[:, columns]], 1)


def _numbers(T: Tensor) -> Tensor:
    """Position and two columns of the rotation of every tip, which have no jumps (batch, 9 tips)."""
    return torch.cat([T[..., :3, 3], T[..., :3, 0], T[..., :3, 1]], -1).flatten(1)
