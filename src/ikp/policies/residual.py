"""Learned corrections of the kinematics inside a policy (paper, Sec. IV-C, Eq. 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.kinematics import DenseJointResidual, JointOffset, LinkResidual, Robot


class KinematicResidual(nn.Module):
    """Any of a constant joint offset, the paper's dense joint residual and a residual on the links.

    The same correction is applied before sampling (to the measured joints) and after it (to the prefix
    and to every candidate), so that observation and action stay in one frame.

    Args:
        robot: the kinematic model.
        kinds: any of `offset`, `dense`, `link`; none is the nominal kinematics.
    """

    zero: Tensor

    def __init__(self, robot: Robot, kinds: tuple[str, ...]) -> None:
        super().__init__()
        self.offset = JointOffset(robot.dof) if "offset" in kinds else None
        self.dense = DenseJointResidual(robot.dof) if "dense" in kinds else None
        self.links = LinkResidual(robot) if "link" in kinds else None
        self.register_buffer("zero", torch.zeros(robot.dof), persistent=False)

    @property
    def link(self) -> Tensor | None:
        """Corrections of the fixed link transforms, (link, 6) [m, rad], or None."""
        return None if self.links is None else self.links.value

    def forward(self, q: Float[Tensor, "batch dof"]) -> Float[Tensor, "batch dof"]:
        """Corrected joints q + Delta(q) [rad or m]."""
        corrected = q if self.dense is None else self.dense(q)
        return corrected if self.offset is None else self.offset(corrected)

    @property
    def constant(self) -> Tensor | None:
        """What is added to every candidate, (dof,) [rad or m]; None where the other joints have a say in it."""
        if self.dense is not None:
            return None
        return self.zero if self.offset is None else self.offset.value

    def candidates(
        self, prefix: Float[Tensor, "batch dof"], candidates: Float[Tensor, "batch dims n"], dims: slice
    ) -> Float[Tensor, "batch dims n"]:
        """Corrected candidates of some joints, each given the joints before it."""
        corrected = candidates
        if self.dense is not None:
            joints = range(*dims.indices(prefix.shape[-1]))
            columns = [self.dense.at(j, candidates[:, i], prefix) for i, j in enumerate(joints)]
            corrected = torch.stack(columns, 1)
        return corrected if self.offset is None else corrected + self.offset.value[dims, None]
