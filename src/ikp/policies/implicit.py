"""The implicit policy: the action of least energy (paper, Sec. III-B and IV-B).

Training is InfoNCE with teacher forcing: all candidates of dimension j share the expert's values of the
dimensions before it and only dimension j varies, so that -E_j is a conditional log-density up to a constant.
Inference therefore commits dimension by dimension, or keeps a beam.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.kinematics import Robot
from ikp.nets import StackedEnergies
from ikp.policies.actions import JointTargets
from ikp.policies.config import PolicyConfig
from ikp.policies.features import LINK_FEATURES, CandidateLayer, LinkTerms
from ikp.policies.image_plane import TIP_FEATURES
from ikp.policies.inference import Walk, langevin, search
from ikp.policies.numpy_search import is_quick, numpy_search
from ikp.policies.observation import Batch, Observation
from ikp.policies.policy import Policy
from ikp.policies.proposal import LearnedProposal, scale_gradient, uniform_negatives
from ikp.spec import DataSpec

Energies = Callable[[Tensor], Tensor]


class ImplicitPolicy(Policy):
    """Energies E_j(o, a_0..a_j), one per action variable; with a robot, a_j also as the pose of link j.

    See `Policy` for arguments and errors, and `PolicyConfig` for the choices.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__(robot, spec, config)
        links = LINK_FEATURES if config.has_kinematics else 0
        links += TIP_FEATURES if config.sees_candidates_from_goal else 0
        self.first = CandidateLayer(self.dims, self.context_size, config.width, links=links)
        self.energies = StackedEnergies(self.dims, width=config.width, blocks=config.blocks)
        self.proposal = None
        if config.proposal == "learned":
            self.proposal = LearnedProposal(self.context_size, self.dims, width=config.width)

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """InfoNCE summed over dimensions, plus the losses of the gripper and of a learned proposal."""
        action, joints = batch["action"], self._joints(batch)
        expert = self.variables.encode(batch["state"][:, -1], action)
        prefix = self._disturbed(expert)
        terms = self._terms(joints, prefix)
        context, goal = self.observe(batch, None if terms is None else terms.observed)
        hindsight = self._goal_losses(goal, batch)
        gripper = self._gripper_loss(context, expert, prefix, batch)
        near = None if self.proposal is None else self.proposal(context)
        low, high = self.scale(self.bounds.low), self.scale(self.bounds.high)
        positive, count = self.scale(expert), self.config.negatives
        if self.proposal is None or near is None:
            negatives = uniform_negatives(low, high, len(expert), count)
        else:
            negatives = self.proposal.sample(near, count, low, high)
            context = scale_gradient(context, self.config.energy_gradient)
        standard = torch.cat([positive[..., None], negatives], -1)
        candidates = standard * self.scale.std[:, None] + self.scale.mean[:, None]
        logits = -self._energies(context, prefix, joints, terms)(candidates)
        regression = logits.new_zeros(())
        if self.proposal is not None and near is not None:
            logits = logits - self.proposal.log_density(near, standard, count, low, high)
            regression = self.proposal.loss(near, positive)
        per_dim = (torch.logsumexp(logits, -1) - logits[..., 0]).mean(0)
        names = [f"info_nce/{name}" for name in self.variables.names]
        parts = dict(zip(names, per_dim.detach(), strict=True))
        parts |= {"info_nce": per_dim.sum(), "gripper": gripper, "proposal": regression, **hindsight}
        total = sum(hindsight.values(), per_dim.sum() + gripper + regression)
        return total, {name: value.detach() for name, value in parts.items()}

    def given(
        self,
        context: Float[Tensor, "batch context"],
        joints: Float[Tensor, "batch joints"] | None,
        prefix: Float[Tensor, "batch dims"],
    ) -> Energies:
        """E_j of any candidates given the prefix's dimensions before j; what they share is computed here, once.

        Args:
            context: the observation's features (`Policy.context`).
            joints: measured joints [rad or m]; used with kinematics only.
            prefix: action variables; dimension j uses 0..j-1 of them.

        Returns:
            A function from candidates (batch, dims, n), in the variables' units, to energies of that shape; low
            is good.
        """
        return self._energies(context, prefix, joints, self._terms(joints, prefix))

    def _terms(self, joints: Tensor | None, prefix: Tensor) -> LinkTerms | None:
        if self.poses is None or joints is None:
            return None
        return self.poses.terms(joints, prefix + self.shift(joints))

    def _from_goal(
        self, terms: LinkTerms | None, context: Tensor, joints: Tensor | None, prefix: Tensor
    ) -> LinkTerms | None:
        """The terms with the tip's way from the goal in the image, where candidates are seen from there."""
        if not self.config.sees_candidates_from_goal or terms is None or joints is None:
            return terms
        assert self.plane is not None
        assert self.poses is not None
        return self.plane.extended(terms, self.poses, context, joints, prefix + self.shift(joints))

    def _energies(
        self, context: Tensor, prefix: Tensor, joints: Tensor | None, terms: LinkTerms | None
    ) -> Energies:
        poses, shift = self.poses, self.shift(joints)
        terms = self._from_goal(terms, context, joints, prefix)
        base, slopes = self.first(context, self.scale(prefix), terms)
        low = torch.bfloat16 if self.config.bfloat16 and self.training else None

        def energies(candidates: Tensor) -> Tensor:
            standard = (candidates - self.scale.mean[:, None]) / self.scale.std[:, None]
            if poses is None or terms is None:
                basis = standard[..., None]
            else:
                absolute = candidates + shift[..., None]
                corrected = poses.residual.candidates(prefix + shift, absolute, slice(None))
                basis = poses.basis(standard, corrected - terms.q[..., None])
            return self.energies(base, basis.transpose(0, 1), slopes, dtype=low).transpose(0, 1)

        return energies

    def walk(
        self, context: Float[Tensor, "batch context"], joints: Float[Tensor, "batch joints"] | None
    ) -> Walk:
        """The energies of one dimension after another, for `search`; arguments as in `given`."""
        return Walk(self, context, joints)

    def choose(
        self, observation: Observation, context: Float[Tensor, "batch context"]
    ) -> Float[Tensor, "batch dims"]:
        """The variables of least energy, by grid search or by Langevin dynamics."""
        joints = self._joints(observation)
        if self.config.inference == "langevin":
            return langevin(self, context, joints)
        if is_quick(self, context):
            return numpy_search(self, context, joints)
        return search(self, context, joints)

    @torch.no_grad()
    def energy_slices(
        self, observation: Observation, points: int = 200
    ) -> tuple[Float[Tensor, "batch dims n"], Float[Tensor, "batch dims n"], Float[Tensor, "batch dims"]]:
        """Energies along each dimension, the dimensions before it at the policy's own choice.

        Returns:
            values: the grid over the bounds, in the variables' units.
            energies: E_j at the values.
            chosen: the policy's choice.
        """
        self.encoder.check(observation)
        self.eval()
        context, joints = self.context(observation), self._joints(observation)
        chosen = search(self, context, joints)
        unit = torch.linspace(0, 1, points, device=chosen.device)
        values = self.bounds.low[:, None] + unit * (self.bounds.high - self.bounds.low)[:, None]
        values = values.expand(len(chosen), -1, -1)
        return values, self.given(context, joints, chosen)(values), chosen

    def _joints(self, observation: Observation) -> Tensor | None:
        return self.measured_joints(observation) if self.config.has_kinematics else None

    def shift(self, joints: Tensor | None) -> Tensor:
        """What turns variables into joint targets: the measured joints for differences, else nothing."""
        is_delta = isinstance(self.variables, JointTargets) and self.variables.delta
        return joints if is_delta and joints is not None else torch.zeros_like(self.scale.mean)
