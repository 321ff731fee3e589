"""How candidate actions enter the energies: the pose of each link as one affine map of its far-end pose.

Paper, Eq. 2 and 3 and Sec. IV-B: the energy of dimension j sees the joints and link poses of dimensions 0..j, the poses
by forward kinematics of the (residually corrected) joints. A far-end pose is linear in (cos, sin) of the link's own
joint, and every input of a candidate is affine in that pose: `AffineFeatures` fixes the map once per observation, and
training and both searches apply it to the constant, cosine and sine parts of the arc. Nothing is approximated.
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
"""Metres per unit: link positions of a table-top arm arrive at about unit scale."""
CHANGE_SCALE = 8.0
"""Gain on the change from the measured pose: one 10 Hz step arrives at about unit scale."""
LINK_GAIN = 0.3
"""Gain on all features of a link as an action: together they weigh about as much as the joint's own value. They all
move with that one joint, so at full size the first layer would learn many times faster along it than is stable."""
POSE_ENTRIES = 12
"""Entries of the upper rows of a pose, row by row."""
POSE_FEATURES = 9
LINK_FEATURES = 2 * POSE_FEATURES


@lru_cache(maxsize=8)
def pose_matrix(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "12 9"]:
    """Maps a pose's entries to its features: position / 0.3 m and the first two columns of the rotation (6D form)."""
    matrix = torch.zeros(3, 4, POSE_FEATURES, dtype=dtype, device=device)
    for row in range(3):
        matrix[row, 3, row] = 1 / POSITION_SCALE
        matrix[row, 0, 3 + row] = matrix[row, 1, 6 + row] = 1.0
    return matrix.flatten(0, 1)


@dataclass(frozen=True)
class FeatureArcs:
    """Features as functions of one joint each: constant + cos cos(q) + sin sin(q) + slope q.

    Tensors (..., features); `slope` is None where no joint is prismatic.
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
        """Features at `q`, and per unit of (cos r - 1, sin r), r the turn from it; a slide in the second place."""
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
    """Every input of a candidate beside its own value, as one affine map of its link's far-end pose.

    Features are vec(T[:3]) @ weight + bias, per example and joint.

    Attributes:
        weight: (12, features) for all alike, or (batch or 1, dof, 12, features).
        bias: (batch, dof, features).
    """

    weight: Tensor
    bias: Float[Tensor, "batch dof features"]

    def appended(self, other: AffineFeatures) -> AffineFeatures:
        """These features, then those of another map of the same poses."""
        lead = other.weight.shape[:2]
        own = self.weight.expand(*lead, *self.weight.shape[-2:])
        return AffineFeatures(
            torch.cat([own, other.weight.expand(*lead, -1, -1)], -1), torch.cat([self.bias, other.bias], -1)
        )

    def along(self, arcs: JointArcs, j: int | None = None) -> FeatureArcs:
        """The features along arcs of all joints (batch, dof, 3, 4), or of joint j alone (batch, 3, 4)."""
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
        """Some of the examples; one may be repeated."""
        is_shared = self.weight.ndim == 2 or len(self.weight) == 1
        return AffineFeatures(self.weight if is_shared else self.weight[rows], self.bias[rows])


class LinkPoses(nn.Module):
    """Poses of the joints' far ends for the observation, the prefix and the candidates.

    Where only the tips are shown, the observation leaves the other joints' features out, and as actions they are zero:
    the energies of all joints keep one shape, and those of the others see joints alone.

    Absolute poses are centred on their mean over the demonstrations (`fit`): the pose of a link near the base hardly
    changes, and a constant input of size one makes the optimiser shake every unit that it feeds.

    Args:
        robot: the kinematic model.
        residual: learned corrections of joints and links.
        links: whose poses are shown, `all` joints' far ends or the last joints' (`tip`) alone.

    Raises:
        ValueError: `tip`, and no joint moves a tip of the robot.
    """

    revolute: Tensor
    center: Tensor
    mask: Tensor

    def __init__(self, robot: Robot, residual: KinematicResidual, links: str = "all") -> None:
        super().__init__()
        if links == "tip" and not robot.tip_joints:
            raise ValueError(
                f"links='tip' shows the pose of the tips, and no joint of {robot.name!r} moves its tips "
                f"{', '.join(robot.tip_names)}: name other tips, or use links='all'"
            )
        self.shows_all = links == "all"
        self.shown = slice(None) if self.shows_all else list(robot.tip_joints)
        self.observed_size = POSE_FEATURES * (robot.dof if self.shows_all else len(robot.tip_joints))
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
        """Take the mean pose features from demonstrations."""
        self.center.copy_(self.features(self.far_ends(self.residual(q_measured))).mean(0))

    def far_ends(self, q: Float[Tensor, "batch dof"]) -> Float[Tensor, "batch dof 3 4"]:
        """T_base_farend of every joint at corrected joints `q`."""
        return far_end_poses(self.robot, q, link_residual=self.residual.link_residual)

    def arcs(self, q: Float[Tensor, "batch dof"]) -> JointArcs:
        """Arcs of all joints at corrected joints `q`."""
        return joint_arcs(self.robot, q, link_residual=self.residual.link_residual)

    def features(self, far_ends: Float[Tensor, "batch dof 3 4"]) -> Float[Tensor, "batch dof 9"]:
        """Pose features of far ends, not centred."""
        return far_ends.flatten(-2) @ pose_matrix(far_ends.dtype, far_ends.device)

    def observation_features(self, far_ends: Float[Tensor, "batch dof 3 4"]) -> Float[Tensor, "batch features"]:
        """Centred pose features that are shown of the measured joints (paper, FK(o))."""
        return (self.features(far_ends) - self.center)[:, self.shown].flatten(1)

    def candidate_features(self, far_ends: Float[Tensor, "batch dof 3 4"]) -> AffineFeatures:
        """A candidate's pose against the demonstrations' mean, and its change from the measured pose.

        Args:
            far_ends: T_base_farend at the corrected measured joints.
        """
        pose, measured = pose_matrix(far_ends.dtype, far_ends.device), self.features(far_ends)
        center = self.center.expand_as(measured)
        weight = LINK_GAIN * torch.cat([pose, CHANGE_SCALE * pose], -1)
        bias = -LINK_GAIN * torch.cat([center, CHANGE_SCALE * measured], -1)
        if self.shows_all:
            return AffineFeatures(weight, bias)
        return AffineFeatures(self.mask[None, :, None, None] * weight, self.mask[:, None] * bias)

    def basis(
        self,
        standard: Float[Tensor, "*batch n"],
        r: Float[Tensor, "*batch n"],
        dims: slice = slice(None),
    ) -> Float[Tensor, "*batch n 3"]:
        """The scalars that multiply the first layer's slopes: the standardised value, cos r - 1 and sin r.

        Args:
            standard: candidates of some joints (batch, dims, n) or of one (batch, n), standardised.
            r: their rotations from the corrected measured joints; a prismatic joint's displacement is in place of
                the sine.
            dims: which joints.
        """
        cos, sin = r.cos() - 1, r.sin()
        if not self.all_revolute:
            turns = self.revolute[dims][:, None]
            cos, sin = torch.where(turns, cos, 0.0), torch.where(turns, sin, r)
        return torch.stack([standard, cos, sin], -1)


@dataclass(frozen=True)
class LinkTerms:
    """Link inputs of the first layer, for teacher-forced candidates around an example's measured joints.

    Attributes:
        base: features of each joint's far end at the measured value of the joint itself, given the prefix.
        slopes: features per unit of (cos r - 1, sin r), r the rotation from the measured joint (the
            displacement itself in the second place for a prismatic joint).
        prefix: features at the prefix's own value of the joint.
    """

    base: Float[Tensor, "batch dof features"]
    slopes: Float[Tensor, "batch dof 2 features"]
    prefix: Float[Tensor, "batch dof features"]


@dataclass(frozen=True)
class LinkInputs:
    """The links' part of one batch of observations, for any candidates.

    Attributes:
        poses: the kinematics.
        q: corrected measured joints, from which candidates turn.
        features: inputs of a candidate as a map of its link's far-end pose.
    """

    poses: LinkPoses
    q: Float[Tensor, "batch dof"]
    features: AffineFeatures

    def terms(self, targets: Float[Tensor, "batch dof"]) -> LinkTerms:
        """Inputs of all joints, each with the targets of the joints before it as the prefix.

        Args:
            targets: commanded joints [rad or m], not corrected; row j of the result uses joints 0..j-1 of them.
        """
        q_prefix = self.poses.residual(targets)
        arcs = self.features.along(self.poses.arcs(q_prefix))
        base, slopes = arcs.around(self.q)
        return LinkTerms(base, slopes, arcs.at(q_prefix))


class LinkWalk:
    """`LinkInputs.terms` for a search that commits one joint after another, each at the cost of one link."""

    def __init__(self, inputs: LinkInputs) -> None:
        self.q, self.features = inputs.q, inputs.features
        link = inputs.poses.residual.link_residual
        self.prefix = PrefixPose(inputs.poses.robot, (len(self.q),), self.q.dtype, self.q.device, link)
        self.reached: tuple[int, FeatureArcs] | None = None

    def terms(self, j: int) -> tuple[Float[Tensor, "rows features"], Float[Tensor, "rows 2 features"]]:
        """`base` and `slopes` of joint j, given the committed joints."""
        return self._arcs(j).around(self.q[:, j])

    def commit(self, j: int, q_j: Float[Tensor, "rows"]) -> Float[Tensor, "rows features"]:
        """Fix joint j at corrected `q_j`; its features as a prefix."""
        features = self._arcs(j).at(q_j)
        self.prefix.commit(j, q_j)
        return features

    def _arcs(self, j: int) -> FeatureArcs:
        if self.reached is None or self.reached[0] != j:
            self.reached = (j, self.features.along(self.prefix.arc(j), j))
        return self.reached[1]

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows, as a beam search does."""
        self.q, self.features, self.reached = self.q[rows], self.features.keep(rows), None
        self.prefix.keep(rows)
