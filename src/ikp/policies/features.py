"""How candidate actions enter the energies: as joint values and as the poses of the links they move.

Paper, Eq. 2 and 3 and Sec. IV-B: the energy of dimension j sees the joints and link poses of dimensions
0..j, the poses by forward kinematics of the (residually corrected) joints. Everything here is exact: the pose
of a link is linear in (cos, sin) of its own joint, so a candidate needs three scalars, and the rest of the
first layer is computed once per example (`ikp.nets.energies`).
"""

from __future__ import annotations

import math
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
POSE_FEATURES = 9
LINK_FEATURES = 2 * POSE_FEATURES


def pose_features(T: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch 9"]:
    """Position / 0.3 m and the first two columns of the rotation (6D form); linear in the pose."""
    return T.flatten(-2) @ _feature_matrix(T.dtype, T.device)


@lru_cache(maxsize=8)
def _feature_matrix(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "12 9"]:
    """A pose's entries, row by row, to its features: one product where slices would need a gradient each."""
    matrix = torch.zeros(3, 4, POSE_FEATURES, dtype=dtype, device=device)
    for row in range(3):
        matrix[row, 3, row] = 1 / POSITION_SCALE
        matrix[row, 0, 3 + row] = matrix[row, 1, 6 + row] = 1.0
    return matrix.flatten(0, 1)


@dataclass(frozen=True)
class FeatureArcs:
    """Pose features of joints' far ends as functions of the joint: constant + cos cos(q) + sin sin(q) + slope q.

    Tensors (..., features); `slope` is None where no joint is prismatic.
    """

    constant: Tensor
    cos: Tensor
    sin: Tensor
    slope: Tensor | None

    @staticmethod
    def of(arcs: JointArcs) -> FeatureArcs:
        """Those of poses (..., 3, 4); features are linear in the pose."""
        parts = [arcs.constant, arcs.cos, arcs.sin, *([arcs.slope] if arcs.any_prismatic else [])]
        constant, cos, sin, *slope = pose_features(torch.stack(parts)).unbind(0)
        return FeatureArcs(constant, cos, sin, slope[0] if slope else None)

    def rows(self, rows: slice) -> FeatureArcs:
        """Some of the examples."""
        slope = None if self.slope is None else self.slope[rows]
        return FeatureArcs(self.constant[rows], self.cos[rows], self.sin[rows], slope)

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
class LinkTerms:
    """Link-pose inputs of the first layer, for teacher-forced candidates around an example's measured joints.

    Attributes:
        q: corrected measured joints, from which candidates turn.
        base: features of each joint's far end at the measured value of the joint itself, given the prefix.
        slopes: features per unit of (cos r - 1, sin r), r the rotation from the measured joint (the
            displacement itself in the second place for a prismatic joint).
        prefix: features at the prefix's own value of the joint.
        observed: centred pose features at the measured joints that the observation shows (paper, FK(o)).
    """

    q: Float[Tensor, "batch dof"]
    base: Float[Tensor, "batch dof seen"]
    slopes: Float[Tensor, "batch dof 2 seen"]
    prefix: Float[Tensor, "batch dof seen"]
    observed: Float[Tensor, "batch features"]


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
        self.shown = slice(None) if links == "all" else list(robot.tip_joints)
        self.observed_size = POSE_FEATURES * (robot.dof if links == "all" else len(robot.tip_joints))
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
        q = self.residual(q_measured)
        self.center.copy_(self.features(q).mean(0))

    def arcs(self, q: Float[Tensor, "batch dof"]) -> JointArcs:
        """Arcs of all joints at corrected joints `q`."""
        return joint_arcs(self.robot, q, link_residual=self.residual.link)

    def features(self, q: Float[Tensor, "batch dof"]) -> Float[Tensor, "batch dof 9"]:
        """Pose features of every joint's far end at corrected joints `q`."""
        return pose_features(far_end_poses(self.robot, q, link_residual=self.residual.link))

    def observe(self, q_measured: Float[Tensor, "batch dof"]) -> Float[Tensor, "batch features"]:
        """Centred pose features that are shown of the measured joints, residual applied (paper, FK(o))."""
        return self._observed(self.features(self.residual(q_measured)))

    def _observed(self, measured: Float[Tensor, "batch dof 9"]) -> Float[Tensor, "batch features"]:
        return (measured - self.center)[:, self.shown].flatten(1)

    @property
    def gain(self) -> Float[Tensor, " dof"]:
        """`LINK_GAIN`, and 0 for joints whose far end is not shown."""
        return LINK_GAIN * self.mask

    def terms(
        self, q_measured: Float[Tensor, "batch dof"], q_prefix: Float[Tensor, "batch dof"]
    ) -> LinkTerms:
        """First-layer inputs of all joints, each with the prefix's values for the joints before it.

        Args:
            q_measured: measured joints [rad or m].
            q_prefix: commanded joints; row j of the result uses joints 0..j-1 of it.
        """
        batch = len(q_measured)
        both = self.residual(
            torch.cat([q_measured, q_prefix])
        )  # once for both: small batches cost by the call
        arcs = FeatureArcs.of(self.arcs(both))
        measured, target = arcs.at(both).split(batch)
        q, arcs = both[:batch], arcs.rows(slice(batch, None))
        gain = self.gain[:, None]
        still, turns = arcs.around(q)
        return LinkTerms(
            q=q,
            base=_seen(still, measured, self.center, gain),
            slopes=_both(turns, gain[..., None]),
            prefix=_seen(target, measured, self.center, gain),
            observed=self._observed(measured),
        )

    def basis(
        self,
        standard: Float[Tensor, "*batch n"],
        r: Float[Tensor, "*batch n"],
        dims: slice = slice(None),
    ) -> Float[Tensor, "*batch n 3"]:
        """What multiplies the first layer's slopes: the standardised value, cos r - 1 and sin r.

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


class LinkWalk:
    """`LinkPoses.terms` for a search that commits one joint after another, each at the cost of one link.

    Args:
        poses: the kinematics.
        q_measured: measured joints [rad or m].
    """

    def __init__(self, poses: LinkPoses, q_measured: Float[Tensor, "rows dof"]) -> None:
        self.residual, self.center, self.gains = poses.residual, poses.center.unbind(), poses.gain.unbind()
        self.q = poses.residual(q_measured)
        self.measured = poses.features(self.q)
        self.reached: tuple[int, FeatureArcs] | None = None
        link = poses.residual.link
        self.prefix = PrefixPose(poses.robot, (len(self.q),), self.q.dtype, self.q.device, link)

    def terms(self, j: int) -> tuple[Float[Tensor, "rows seen"], Float[Tensor, "rows 2 seen"]]:
        """`base` and `slopes` of joint j, given the committed joints."""
        arcs = self._arcs(j)
        still, turns = arcs.around(self.q[:, j])
        gain = self.gains[j]
        return _seen(still, self.measured[:, j], self.center[j], gain), _both(turns, gain)

    def commit(self, j: int, q_j: Float[Tensor, "rows"]) -> Float[Tensor, "rows seen"]:
        """Fix joint j at corrected `q_j`; its features as a prefix."""
        arcs = self._arcs(j)
        self.prefix.commit(j, q_j)
        return _seen(arcs.at(q_j), self.measured[:, j], self.center[j], self.gains[j])

    def _arcs(self, j: int) -> FeatureArcs:
        if self.reached is None or self.reached[0] != j:
            self.reached = (j, FeatureArcs.of(self.prefix.arc(j)))
        return self.reached[1]

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows, as a beam search does."""
        self.q, self.measured, self.reached = self.q[rows], self.measured[rows], None
        self.prefix.select(rows)


class CandidateLayer(nn.Module):
    """The energies' first layer, split into what an example shares and what a candidate adds.

    Args:
        dims: action variables D.
        context: size of the observation's features.
        width: outputs per dimension.
        links: features per dimension of the link poses, 0 without kinematics.
    """

    before: Tensor

    def __init__(self, dims: int, context: int, width: int, *, links: int = 0) -> None:
        super().__init__()
        self.dims, self.width, self.links = dims, width, links
        own = 1 + links
        bound = 1 / math.sqrt(context + dims * own)
        self.context = nn.Parameter(torch.empty(dims, context, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(dims, 1, width))
        self.own = nn.Parameter(torch.empty(dims, own, width).uniform_(-bound, bound))
        self.prefix = nn.Parameter(torch.empty(dims, dims * own, width).uniform_(-bound, bound))
        before = torch.ones(dims, dims).tril(-1).repeat_interleave(own, 1)[..., None]
        self.register_buffer("before", before, persistent=False)  # dimension j sees those before it only

    def observe(self, context: Float[Tensor, "batch context"]) -> Float[Tensor, "dims batch width"]:
        """The observation's share of the layer, with the bias."""
        return torch.matmul(context, self.context) + self.bias

    def forward(
        self,
        context: Float[Tensor, "batch context"],
        prefix: Float[Tensor, "batch dims"],
        terms: LinkTerms | None,
    ) -> tuple[Float[Tensor, "dims batch width"], Float[Tensor, "dims batch k width"]]:
        """What all candidates of an example share: `base` and `slopes` of `StackedEnergies.forward`.

        Args:
            context: the observation's features.
            prefix: standardised action variables; a dimension uses those before it.
            terms: link-pose inputs, None without kinematics.
        """
        batch = len(context)
        history = prefix[..., None] if terms is None else torch.cat([prefix[..., None], terms.prefix], -1)
        base = self.observe(context) + torch.matmul(history.flatten(1), self.prefix * self.before)
        slopes = self.own[:, None, :1].expand(-1, batch, -1, -1)
        if terms is None:
            return base, slopes
        base = base + torch.bmm(terms.base.transpose(0, 1), self.own[:, 1:])
        turns = terms.slopes.transpose(0, 1).flatten(1, 2)  # (dims, batch * 2, links)
        turns = torch.bmm(turns, self.own[:, 1:]).reshape(self.dims, batch, 2, self.width)
        return base, torch.cat([slopes, turns], 2)

    def single(
        self,
        j: int,
        observed: Float[Tensor, "batch width"],
        history: Float[Tensor, "batch before own"],
        link: tuple[Float[Tensor, "batch links"], Float[Tensor, "batch 2 links"]] | None,
    ) -> tuple[Float[Tensor, "batch width"], Float[Tensor, "batch k width"]]:
        """`forward` of dimension j alone: its `observe`, the inputs of the dimensions before it, its link's terms."""
        own, before = self.own[j], history.flatten(1)
        base = torch.addmm(observed, before, self.prefix[j, : before.shape[1]])
        slopes = own[:1].expand(len(base), -1, -1)
        if link is None:
            return base, slopes
        (of_base, of_turns), of_links = link, own[1:]
        return torch.addmm(base, of_base, of_links), torch.cat([slopes, of_turns @ of_links], 1)


def _seen(
    pose: Float[Tensor, "*batch 9"], measured: Float[Tensor, "*batch 9"], center: Tensor, gain: Tensor
) -> Float[Tensor, "*batch 18"]:
    """A pose's features against the demonstrations' mean, and its change from the measured one."""
    return gain * torch.cat([pose - center, CHANGE_SCALE * (pose - measured)], -1)


def _both(features: Tensor, gain: Tensor) -> Tensor:
    return gain * torch.cat([features, CHANGE_SCALE * features], -1)
