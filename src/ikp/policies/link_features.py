"""Features of candidate actions: the pose of each link as one affine map of the child-frame pose of its joint.

Paper, Eq. 2 and 3 and Sec. IV-B: the energy of dimension j sees the joints and link poses of dimensions 0..j, where the
poses follow from the corrected joints by forward kinematics. The child-frame pose (far end) of a joint is linear in the
joint's cosine and sine, and every feature of a candidate is affine in that pose. `AffineFeatures` fixes this map once
per observation; training and both searches apply it to the constant, cosine and sine parts of the pose, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ikp.kinematics import JointArcs, PrefixPose, Robot, far_end_poses, joint_arcs
from ikp.policies.residual import KinematicResidual

POSITION_SCALE = 0.3
"""Metres per unit, so that link positions of a table-top arm are at about unit scale."""
CHANGE_SECONDS = 0.8
"""The change from the pose before has the gain CHANGE_SECONDS / duration, so that one step is at about unit scale."""
LINK_GAIN = 0.3
"""Gain on all features of a candidate's link, so that together they weigh about as much as the joint's own value. They
all move with that joint: without the gain the first layer would learn too fast along it to be stable."""
POSE_FEATURES = 9
LINK_FEATURES = 2 * POSE_FEATURES
"""Features of a candidate: its link pose, and the change from the measured pose."""


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a cached tensor must serve training too
def pose_matrix(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "12 9"]:
    """Map from the entries of a pose, row by row, to its features: scaled position and 6D rotation."""
    matrix = torch.zeros(3, 4, POSE_FEATURES, dtype=dtype, device=device)
    for row in range(3):
        matrix[row, 3, row] = 1 / POSITION_SCALE
        matrix[row, 0, 3 + row] = matrix[row, 1, 6 + row] = 1.0
    return matrix.flatten(0, 1)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a cached tensor must serve training too
def candidate_matrix(gain: float, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "12 18"]:
    """Maps a pose's entries to the features of a candidate: the pose, and `gain` times its change."""
    pose = pose_matrix(dtype, device)
    return LINK_GAIN * torch.cat([pose, gain * pose], -1)


@dataclass(frozen=True)
class FeatureArcs:
    """Features as functions of one joint each: constant + cos * cos(q) + sin * sin(q) + slope * q.

    The parts are tensors (..., features); `slope` is None if no joint is prismatic.
    """

    constant: Tensor
    cos: Tensor
    sin: Tensor
    slope: Tensor | None

    def at(self, q: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch features"]:
        """Features at joint positions."""
        q = q[..., None]
        features = torch.addcmul(torch.addcmul(self.constant, self.cos, q.cos()), self.sin, q.sin())
        return features if self.slope is None else torch.addcmul(features, self.slope, q)

    def around(
        self, q: Float[Tensor, "*batch"]
    ) -> tuple[Float[Tensor, "*batch features"], Float[Tensor, "*batch 2 features"]]:
        """Features at `q`, and their slopes per unit of (cos r - 1, sin r) for a rotation r from `q`.

        For a prismatic joint the second slope is per unit of displacement.
        """
        q = q[..., None]
        cos, sin = q.cos(), q.sin()
        turn_cos = torch.addcmul(self.cos * cos, self.sin, sin)
        turn_sin = torch.addcmul(self.sin * cos, self.cos, sin, value=-1)
        at = self.constant + turn_cos
        if self.slope is None:
            return at, torch.stack([turn_cos, turn_sin], -2)
        return torch.addcmul(at, self.slope, q), torch.stack([turn_cos, turn_sin + self.slope], -2)


@dataclass(frozen=True)
class AffineFeatures:
    """Features of a candidate as an affine map of its child-frame pose T: vec(T[:3]) @ weight + bias.

    Attributes:
        weight: (12, features) if shared by all joints, or (batch or 1, dof, 12, features).
        bias: (batch, dof, features).
    """

    weight: Tensor
    bias: Float[Tensor, "batch dof features"]

    def appended(self, other: AffineFeatures) -> AffineFeatures:
        """These features followed by those of another map of the same poses."""
        lead = other.weight.shape[:2]
        own = self.weight.expand(*lead, *self.weight.shape[-2:])
        return AffineFeatures(
            torch.cat([own, other.weight.expand(*lead, -1, -1)], -1), torch.cat([self.bias, other.bias], -1)
        )

    def at(self, far_ends: Float[Tensor, "batch *n dof 3 4"]) -> Float[Tensor, "batch *n dof features"]:
        """Features of child-frame poses of all joints, of several candidates per example."""
        entries, weight, bias = far_ends.flatten(-2), self.weight, self.bias
        for _ in range(entries.ndim - bias.ndim):
            bias = bias[:, None]
            weight = weight if weight.ndim == 2 else weight[:, None]
        mapped = entries @ weight if weight.ndim == 2 else (entries[..., None, :] @ weight)[..., 0, :]
        return mapped + bias

    def along(self, arcs: JointArcs, j: int | None = None) -> FeatureArcs:
        """Features along the arcs of all joints (batch, dof, 3, 4), or along the arc of joint j (batch, 3, 4)."""
        parts = [arcs.constant, arcs.cos, arcs.sin, *([arcs.slope] if arcs.any_prismatic else [])]
        entries = torch.stack(parts).flatten(-2)
        if self.weight.ndim == 2:
            mapped = entries @ self.weight
        else:
            weight = self.weight if j is None else self.weight[:, j]
            mapped = (entries[..., None, :] @ weight)[..., 0, :]
        constant, cos, sin, *slope = mapped.unbind(0)
        bias = self.bias if j is None else self.bias[:, j]
        return FeatureArcs(constant + bias, cos, sin, slope[0] if slope else None)

    def keep(self, rows: Int[Tensor, " kept"]) -> AffineFeatures:
        """The map of some examples; an index may repeat."""
        is_shared = self.weight.ndim == 2 or len(self.weight) == 1
        return AffineFeatures(self.weight if is_shared else self.weight[rows], self.bias[rows])


class LinkPoses(nn.Module):
    """Child-frame poses of all joints, as features of the observation, the prefix and the candidates.

    With `links="tip"` the observation leaves out the features of the other joints, and for candidates they are zero, so
    that the energies of all joints have the same shape.

    Absolute poses are centred on their mean over the demonstrations (`fit`): the pose of a link near the base hardly
    changes, and a nearly constant input of unit size makes the optimisation of the units behind it unstable.

    Args:
        robot: the kinematic model.
        residual: learned corrections of joints and links.
        links: links whose poses are used, `all` or only those of the last joints (`tip`).
        change_gain: gain on a candidate's change from the pose before (`CHANGE_SECONDS`).

    Raises:
        ValueError: `links` is `tip` and no joint moves a tip of the robot.
    """

    revolute: Tensor
    center: Tensor
    mask: Tensor

    def __init__(
        self, robot: Robot, residual: KinematicResidual, links: str = "all", *, change_gain: float = 8.0
    ) -> None:
        super().__init__()
        self.change_gain = change_gain
        if links == "tip" and not robot.tip_joints:
            raise ValueError(
                f"links='tip' uses the pose of the tips, and no joint of {robot.name!r} moves its tips "
                f"{', '.join(robot.tip_names)}: name other tips, or use links='all'"
            )
        self.shows_all = links == "all"
        self.shown = slice(None) if self.shows_all else list(robot.tip_joints)
        count = robot.dof if self.shows_all else len(robot.tip_joints)
        self.observed_size, self.candidate_size = POSE_FEATURES * count, LINK_FEATURES * count
        mask = torch.zeros(robot.dof)
        mask[self.shown] = 1.0
        self.register_buffer("mask", mask, persistent=False)
        self.robot, self.residual = robot, residual
        revolute = [kind != "prismatic" for kind in robot.joint_types]
        self.all_revolute = all(revolute)
        self.register_buffer("revolute", torch.tensor(revolute), persistent=False)
        self.register_buffer("center", torch.zeros(robot.dof, POSE_FEATURES))

    @torch.no_grad()
    def fit(self, q_measured: Float[Tensor, "frames dof"]) -> None:
        """Set the mean of the pose features from measured joints [rad or m] of the demonstrations."""
        self.center.copy_(self.features(self.far_ends(self.residual(q_measured))).mean(0))

    def far_ends(self, q: Float[Tensor, "batch dof"]) -> Float[Tensor, "batch dof 3 4"]:
        """T_base_farend of every joint at corrected joints `q`."""
        return far_end_poses(self.robot, q, link_residual=self.residual.link_residual)

    def arcs(self, q: Float[Tensor, "batch dof"]) -> JointArcs:
        """Arcs of all joints, with the joints before each at corrected joints `q`."""
        return joint_arcs(self.robot, q, link_residual=self.residual.link_residual)

    def features(self, far_ends: Float[Tensor, "batch dof 3 4"]) -> Float[Tensor, "batch dof 9"]:
        """Pose features of child frames, not centred."""
        return far_ends.flatten(-2) @ pose_matrix(far_ends.dtype, far_ends.device)

    def observation_features(
        self, far_ends: Float[Tensor, "batch dof 3 4"]
    ) -> Float[Tensor, "batch features"]:
        """Centred pose features at the measured joints, as part of the observation (paper, FK(o))."""
        return (self.features(far_ends) - self.center)[:, self.shown].flatten(1)

    def candidate_features(self, far_ends: Float[Tensor, "batch dof 3 4"]) -> AffineFeatures:
        """Features of a candidate: its centred pose, and the change from the pose before.

        Args:
            far_ends: T_base_farend at the corrected joints where the motion starts, the measured ones or those of the
                way-point before.
        """
        before = self.features(far_ends)
        weight = candidate_matrix(self.change_gain, far_ends.dtype, far_ends.device)
        bias = -LINK_GAIN * torch.cat([self.center.expand_as(before), self.change_gain * before], -1)
        if self.shows_all:
            return AffineFeatures(weight, bias)
        return AffineFeatures(self.mask[None, :, None, None] * weight, self.mask[:, None] * bias)

    def basis(
        self,
        standard: Float[Tensor, "*batch n"],
        r: Float[Tensor, "*batch n"],
        dims: slice = slice(None),
    ) -> Float[Tensor, "*batch n 3"]:
        """Scalars that multiply the slopes of the first layer: the standardised value, cos r - 1 and sin r.

        Args:
            standard: standardised candidates of some joints (batch, dims, n) or of one (batch, n).
            r: rotations of the candidates from the corrected measured joints [rad]; for a prismatic joint the
                displacement [m], which replaces the sine.
            dims: the joints.
        """
        cos, sin = r.cos() - 1, r.sin()
        if not self.all_revolute:
            turns = self.revolute[dims][:, None]
            cos, sin = torch.where(turns, cos, 0.0), torch.where(turns, sin, r)
        return torch.stack([standard, cos, sin], -1)


@dataclass(frozen=True)
class LinkTerms:
    """Link inputs of the first layer for teacher-forced candidates around the measured joints of an example.

    Attributes:
        base: features of each joint at its measured position, given the prefix.
        slopes: features per unit of (cos r - 1, sin r), see `FeatureArcs.around`.
        prefix: features of each joint at its position in the prefix.
    """

    base: Float[Tensor, "batch dof features"]
    slopes: Float[Tensor, "batch dof 2 features"]
    prefix: Float[Tensor, "batch dof features"]


@dataclass(frozen=True)
class LinkInputs:
    """The part of the conditioning that concerns link poses, for one batch of observations.

    Attributes:
        poses: the kinematics.
        q: corrected measured joints [rad or m], from which the rotations of candidates count.
        features: features of a candidate as a map of its child-frame pose.
    """

    poses: LinkPoses
    q: Float[Tensor, "batch dof"]
    features: AffineFeatures

    def terms(self, targets: Float[Tensor, "batch dof"]) -> LinkTerms:
        """Link inputs of all joints, conditioned on the targets of the joints before each.

        Args:
            targets: commanded joints [rad or m], not corrected; the inputs of joint j use joints 0..j-1.
        """
        q_prefix = self.poses.residual(targets)
        arcs = self.features.along(self.poses.arcs(q_prefix))
        base, slopes = arcs.around(self.q)
        return LinkTerms(base, slopes, arcs.at(q_prefix))


class LinkWalk:
    """`LinkInputs.terms` for a search that commits one joint after another; each joint costs one link."""

    def __init__(self, inputs: LinkInputs) -> None:
        self.q, self.features = inputs.q, inputs.features
        link = inputs.poses.residual.link_residual
        self.prefix = PrefixPose(inputs.poses.robot, (len(self.q),), self.q.dtype, self.q.device, link)
        self.reached: tuple[int, FeatureArcs] | None = None

    def terms(self, j: int) -> tuple[Float[Tensor, "rows features"], Float[Tensor, "rows 2 features"]]:
        """`LinkTerms.base` and `LinkTerms.slopes` of joint j, given the committed joints."""
        return self._arcs(j).around(self.q[:, j])

    def commit(self, j: int, q_j: Float[Tensor, "rows"]) -> Float[Tensor, "rows features"]:
        """Fix joint j at corrected positions `q_j` and return its features there, for the prefix."""
        features = self._arcs(j).at(q_j)
        self.prefix.commit(j, q_j)
        return features

    def _arcs(self, j: int) -> FeatureArcs:
        if self.reached is None or self.reached[0] != j:
            self.reached = (j, self.features.along(self.prefix.arc(j), j))
        return self.reached[1]

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Select rows by index, as a beam search does."""
        self.q, self.features, self.reached = self.q[rows], self.features.keep(rows), None
        self.prefix.keep(rows)
