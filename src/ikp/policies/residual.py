"""Learned corrections of a robot's kinematics, FK(q + Delta(q)) (paper, Sec. IV-C, Eq. 3)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.kinematics import Robot
from ikp.nets.dense import check_width

ANGLE_PRIOR = math.radians(5.0)
LENGTH_PRIOR = 0.01
DRIFT_PRIOR = math.radians(2.0)
"""Standard deviations of a correction before any data are seen [rad, m, rad]."""


class KinematicResidual(nn.Module):
    """Any combination of an offset and a drift per joint, the paper's dense residual, and corrections of the links.

    All corrections start at zero. The same correction applies to the measured joints, the prefix and the candidates,
    so that observation and action are in the same frame.

    Args:
        robot: the kinematic model.
        kinds: any of `offset`, `drift`, `dense` and `link`; without any, the kinematics are nominal.
    """

    zero: Tensor
    joint_prior: Tensor
    link_prior: Tensor

    def __init__(self, robot: Robot, kinds: tuple[str, ...]) -> None:
        super().__init__()
        self.offset = JointOffset(robot.dof) if "offset" in kinds else None
        self.drift = JointDrift(robot) if "drift" in kinds else None
        self.dense = DenseJointResidual(robot.dof) if "dense" in kinds else None
        self.link = LinkResidual(robot) if "link" in kinds else None
        self.register_buffer("zero", torch.zeros(robot.dof), persistent=False)
        priors = [LENGTH_PRIOR if kind == "prismatic" else ANGLE_PRIOR for kind in robot.joint_types]
        self.register_buffer("joint_prior", torch.tensor(priors), persistent=False)
        link = torch.tensor([LENGTH_PRIOR] * 3 + [ANGLE_PRIOR] * 3)
        self.register_buffer("link_prior", link, persistent=False)

    @property
    def link_residual(self) -> Tensor | None:
        """Corrections (link, 6) [m, rad] of the fixed link transforms (see forward_kinematics), or None."""
        return None if self.link is None else self.link.value

    def forward(self, q: Float[Tensor, "batch dof"]) -> Float[Tensor, "batch dof"]:
        """Corrected joints q + Delta(q) [rad or m]."""
        corrected = q if self.dense is None else self.dense(q)
        if self.drift is not None:
            corrected = corrected + self.drift.delta(q)
        return corrected if self.offset is None else self.offset(corrected)

    @property
    def constant_offset(self) -> Tensor | None:
        """Constant (dof,) added to every candidate [rad or m]; None if the correction depends on the joints."""
        if self.dense is not None or self.drift is not None:
            return None
        return self.zero if self.offset is None else self.offset.value

    def candidates(
        self, prefix: Float[Tensor, "batch dof"], candidates: Float[Tensor, "batch dims n"], dims: slice
    ) -> Float[Tensor, "batch dims n"]:
        """Corrected candidates [rad or m] of the joints `dims`, given the joints before each in `prefix`."""
        corrected = candidates
        if self.dense is not None:
            joints = range(*dims.indices(prefix.shape[-1]))
            columns = [self.dense.at(j, candidates[:, i], prefix) for i, j in enumerate(joints)]
            corrected = torch.stack(columns, 1)
        if self.drift is not None:
            corrected = corrected + self.drift.delta(candidates.mT, dims).mT
        return corrected if self.offset is None else corrected + self.offset.value[dims, None]


class JointOffset(nn.Module):
    """A constant per joint: ``q + value``; `value` (dof,) estimates q_true - q_measured [rad or m]."""

    def __init__(self, dof: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(dof))

    def forward(self, q: Float[Tensor, "... dof"]) -> Float[Tensor, "... dof"]:
        """Corrected joints."""
        return q + self.value.to(q.dtype)


class JointDrift(nn.Module):
    """A correction once per turn of each joint, a sin q + b cos q, as of an encoder disc that is off its centre.

    `value` (dof, 2) holds a and b [rad]. Joints that slide have none. It is the term `drift` of `ikp.calibration`.
    """

    turning: Tensor

    def __init__(self, robot: Robot) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(robot.dof, 2))
        turning = torch.tensor([[float(kind != "prismatic")] for kind in robot.joint_types])
        self.register_buffer("turning", turning, persistent=False)

    def delta(self, q: Float[Tensor, "... dims"], dims: slice = slice(None)) -> Float[Tensor, "... dims"]:
        """Corrections [rad] of the joints `dims` at the positions q."""
        sine, cosine = (self.value * self.turning)[dims].to(q.dtype).unbind(-1)
        return sine * q.sin() + cosine * q.cos()


class LinkResidual(nn.Module):
    """Corrections of the links' fixed transforms: `value` (link, 6), translation [m] and rotation vector [rad]."""

    def __init__(self, robot: Robot) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(len(robot.links), 6))


class DenseJointResidual(nn.Module):
    """The paper's dense residual blocks ``q + Delta(q)``, causal along the chain.

    The correction of joint j is a separate network over joints 0 .. j, because the energy of joint j sees no others.
    Therefore `at` corrects candidates of one joint exactly as `forward` would with that joint replaced. Each network is
    a dense layer, `blocks` times [ReLU, width/4; ReLU, width/4; ReLU, width; skip] (the dense ResNet of Implicit BC,
    arXiv 2109.00137), and a dense layer that starts at zero. It runs in full precision under autocast.

    Args:
        dof: number of joints.
        width: units of each network, a multiple of 4.
        blocks: residual blocks of each network.
    """

    causal: Tensor

    def __init__(self, dof: int, width: int = 64, blocks: int = 1) -> None:
        super().__init__()
        check_width(width, blocks)
        self.dof = dof
        self.entry = nn.Parameter(_uniform(dof, dof, width, fan_in=dof))  # (joint, input joint, width)
        self.entry_bias = nn.Parameter(_uniform(dof, 1, width, fan_in=dof))
        self.blocks = nn.ModuleList(_Block(dof, width) for _ in range(blocks))
        self.exit = nn.Parameter(torch.zeros(dof, width, 1))
        self.exit_bias = nn.Parameter(torch.zeros(dof, 1, 1))
        self.register_buffer("causal", torch.ones(dof, dof).triu().T[..., None], persistent=False)

    def forward(self, q: Float[Tensor, "... dof"]) -> Float[Tensor, "... dof"]:
        """Corrected joints [rad or m]."""
        with torch.autocast(q.device.type, enabled=False):
            x = q.reshape(-1, self.dof).to(self.entry.dtype)
            hidden = torch.einsum("ni,jiw->jnw", x, self.entry * self.causal) + self.entry_bias
            return q + self._delta(hidden, slice(None)).T.reshape(q.shape).to(q.dtype)

    def at(
        self, j: int, q_j: Float[Tensor, "*batch candidates"], prefix: Float[Tensor, "*batch dof"]
    ) -> Float[Tensor, "*batch candidates"]:
        """Corrected candidates of joint j; only the joints before j in `prefix` are used."""
        with torch.autocast(q_j.device.type, enabled=False):
            before = prefix.reshape(-1, self.dof)[:, :j].to(self.entry.dtype)
            shared = before @ self.entry[j, :j] + self.entry_bias[j]
            own = q_j.reshape(len(before), -1, 1).to(self.entry.dtype) * self.entry[j, j]
            hidden = (shared[:, None] + own).flatten(0, 1)[None]
            return q_j + self._delta(hidden, slice(j, j + 1)).reshape(q_j.shape).to(q_j.dtype)

    def _delta(self, hidden: Tensor, joints: slice) -> Tensor:
        """Corrections (joint, n) from the hidden units (joint, n, width)."""
        for block in self.blocks:
            hidden = block(hidden, joints)
        return (torch.relu(hidden) @ self.exit[joints] + self.exit_bias[joints])[..., 0]


class _Block(nn.Module):
    """One residual block of the networks of all joints."""

    def __init__(self, dof: int, width: int) -> None:
        super().__init__()
        sizes = (width, width // 4, width // 4, width)
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList(_uniform(dof, a, b, fan_in=a) for a, b in pairs)
        self.biases = nn.ParameterList(_uniform(dof, 1, b, fan_in=a) for a, b in pairs)

    def forward(self, hidden: Tensor, joints: slice) -> Tensor:
        x = hidden
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.relu(x) @ weight[joints] + bias[joints]
        return hidden + x


def _uniform(*shape: int, fan_in: int) -> Tensor:
    bound = 1 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound)
