"""The implicit policy: the action of least energy (paper, Sec. III-B and IV-B).

Training is InfoNCE with teacher forcing: all candidates of dimension j share the expert's values of the
dimensions before it and only dimension j varies, so that -E_j is a conditional log-density up to a constant.
Inference therefore commits dimension by dimension, or keeps a beam.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.kinematics import Robot
from ikp.policies._numpy_walk import NumpyWalk, is_quick
from ikp.policies.config import PolicyConfig
from ikp.policies.energy import ActionEnergies, Energies, Conditioning
from ikp.policies.image_plane import TIP_FEATURES
from ikp.policies.langevin import CHAINS, langevin
from ikp.policies.link_features import LINK_FEATURES, LinkInputs
from ikp.policies.policy import Context, Policy
from ikp.policies.proposal import LearnedProposal, uniform_negatives
from ikp.policies.search import search
from ikp.spec import Batch, DataSpec, Observation


class ImplicitPolicy(Policy):
    """Energies E_j(o, a_0..a_j), one per action variable; with a robot, a_j also as the pose of link j.

    See `Policy` for arguments and errors, and `PolicyConfig` for the choices.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__(robot, spec, config)
        link_features = LINK_FEATURES if config.has_kinematics else 0
        link_features += TIP_FEATURES if config.sees_candidates_from_goal else 0
        self.energies = ActionEnergies(
            self.dims, self.context_size, link_features=link_features, width=config.width, blocks=config.blocks
        )
        self.proposal = None
        if config.proposal == "learned":
            self.proposal = LearnedProposal(self.context_size, self.dims, width=config.width)

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """InfoNCE summed over dimensions, plus the losses of the gripper and of a learned proposal."""
        context = self.encode(batch)
        expert = self.actions.encode(context.state, batch["action"])
        prefix = self._disturbed(expert)
        hindsight = self._goal_losses(context, batch)
        gripper = self._gripper_loss(context, expert, batch)
        low, high = self.scale(self.bounds.low), self.scale(self.bounds.high)
        positive, count = self.scale(expert), self.config.negatives
        near, regression = None, expert.new_zeros(())
        if self.proposal is None:
            negatives = uniform_negatives(low, high, len(expert), count)
        else:
            near = self.proposal(context.features)
            negatives = self.proposal.sample(near, count, low, high)
            regression = self.proposal.loss(near, positive)
        standard = torch.cat([positive[..., None], negatives], -1)
        candidates = standard * self.scale.std[:, None] + self.scale.mean[:, None]
        logits = -self.conditional_energies(context, prefix)(candidates)
        if self.proposal is not None and near is not None:
            logits = logits - self.proposal.log_density(near, standard, count, low, high)
        per_dim = (torch.logsumexp(logits, -1) - logits[..., 0]).mean(0)
        names = [f"info_nce/{name}" for name in self.actions.names]
        parts = dict(zip(names, per_dim.detach(), strict=True))
        parts |= {"info_nce": per_dim.sum(), "gripper": gripper, "proposal": regression, **hindsight}
        total = sum(hindsight.values(), per_dim.sum() + gripper + regression)
        return total, {name: value.detach() for name, value in parts.items()}

    def conditional_energies(self, context: Context, prefix: Float[Tensor, "batch dims"]) -> Energies:
        """E_j of any candidates given the prefix's dimensions before j; the shared part is computed here, once.

        Args:
            context: `encode` of the observations.
            prefix: action variables; dimension j uses 0..j-1 of them.

        Returns:
            A function from candidates (batch, dims, n), in the variables' units, to energies of that shape; low
            is good.
        """
        low = torch.bfloat16 if self.config.bfloat16 and self.training else None
        return self.energies.conditional(self.conditioning(context), prefix, dtype=low)

    def conditioning(self, context: Context) -> Conditioning:
        """The part of the energies' input that all candidates share."""
        return Conditioning(
            context.features, self.scale, self.actions.shift(context.state), self._link_inputs(context)
        )

    def _link_inputs(self, context: Context) -> LinkInputs | None:
        if self.poses is None or not self.config.has_kinematics:
            return None
        assert context.q is not None
        assert context.far_ends is not None
        features = self.poses.candidate_features(context.far_ends)
        if self.plane is not None and context.goal is not None:
            features = features.appended(self.plane.candidate_features(context.far_ends, context.goal))
        return LinkInputs(self.poses, context.q, features)

    @torch.no_grad()
    def choose(self, context: Context) -> Float[Tensor, "batch dims"]:
        """The variables of least energy, by grid search or by Langevin dynamics."""
        conditioning, settings = self.conditioning(context), self.config.search
        walk = NumpyWalk(self.energies, conditioning) if is_quick(conditioning) else self.energies.walk(conditioning)
        found = search(walk, self.bounds.low.tolist(), self.bounds.high.tolist(), settings)
        chosen = torch.as_tensor(found, dtype=context.features.dtype, device=context.features.device)
        if settings.method == "grid":
            return chosen
        tiled = context.rows(torch.arange(len(chosen), device=chosen.device).repeat_interleave(CHAINS))
        return langevin(lambda prefix: self.conditional_energies(tiled, prefix), self.bounds, chosen)

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
        context = self.encode(observation)
        chosen = self.choose(context)
        unit = torch.linspace(0, 1, points, device=chosen.device)
        values = self.bounds.low[:, None] + unit * (self.bounds.high - self.bounds.low)[:, None]
        values = values.expand(len(chosen), -1, -1)
        return values, self.conditional_energies(context, chosen)(values), chosen
