"""The implicit policy: the action of least energy (paper, Sec. III-B and IV-B).

Training is InfoNCE with teacher forcing: all candidates of dimension j share the demonstrated values of the dimensions
before it, and only dimension j varies, so that -E_j is a conditional log-density up to a constant. Inference is
autoregressive decoding, dimension by dimension, greedily or with a beam; with a learned proposal its regression has a
say (`ikp.policies.pooling`).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.kinematics import Robot
from ikp.policies._numpy_walk import NumpyWalk, is_quick
from ikp.policies.config import PolicyConfig
from ikp.policies.energy import ActionEnergies, Conditioning, Energies, EnergyWalk
from ikp.policies.image_plane import TIP_FEATURES
from ikp.policies.langevin import CHAINS, langevin
from ikp.policies.link_features import LINK_FEATURES, LinkInputs
from ikp.policies.policy import Context, Policy
from ikp.policies.pooling import Pool, PooledWalk
from ikp.policies.proposal import LearnedProposal, uniform_negatives
from ikp.policies.search import Walk, search
from ikp.spec import Batch, DataSpec, Observation


class ImplicitPolicy(Policy):
    """Energies E_j(o, a_0..a_j), one per action dimension; with a robot, E_j also sees the pose of link j.

    `Policy` describes arguments and errors, and `PolicyConfig` the options.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__(robot, spec, config)
        link_features = LINK_FEATURES if config.has_kinematics else 0
        link_features += TIP_FEATURES if config.sees_candidates_from_goal else 0
        self.energies = ActionEnergies(
            self.dims,
            self.context_size,
            link_features=link_features,
            width=config.width,
            blocks=config.blocks,
        )
        self.proposal = None
        if config.proposal == "learned":
            self.proposal = LearnedProposal(self.context_size, self.dims, width=config.width)

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """InfoNCE summed over dimensions, plus the losses of `heads`, learned proposal and goal."""
        context = self.encode(batch)
        demonstrated = self.actions.encode(context.state, batch["action"])
        # the choices that condition later dimensions at inference are not exact either
        noise = self.config.ablation.prefix_noise * self.scale.std
        prefix = demonstrated + noise * torch.randn_like(demonstrated)
        goal_losses = self._goal_losses(context, batch)
        head_losses = self._head_losses(context, demonstrated, batch["action"])
        low, high = self.scale(self.bounds.low), self.scale(self.bounds.high)
        positive, count = self.scale(demonstrated), self.config.negatives
        near, regression = None, demonstrated.new_zeros(())
        if self.proposal is None:
            negatives = uniform_negatives(low, high, len(demonstrated), count)
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
        others = {**head_losses, "proposal": regression, **goal_losses}
        total = sum(others.values(), per_dim.sum())
        parts |= {"info_nce": per_dim.sum(), **others}
        return total, {name: value.detach() for name, value in parts.items()}

    def conditional_energies(self, context: Context, prefix: Float[Tensor, "batch dims"]) -> Energies:
        """Energies E_j of any candidates, given the dimensions of the prefix before j.

        The part that all candidates share is computed once, in this call.

        Args:
            context: `encode` of the observations.
            prefix: encoded actions; dimension j depends on their dimensions 0..j-1.

        Returns:
            A function from candidates (batch, dims, n), in the units of encoded actions, to energies of that shape;
            lower is better.
        """
        low = torch.bfloat16 if self.config.bfloat16 and self.training else None
        return self.energies.conditional(self.conditioning(context), prefix, dtype=low)

    def conditioning(self, context: Context) -> Conditioning:
        """The conditioning of the energies on the observations."""
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

    def pooled_energies(self, context: Context, prefix: Float[Tensor, "batch dims"]) -> Energies:
        """`conditional_energies`, pooled with the regression of the learned proposal: decisions minimise these."""
        energies, pool = self.conditional_energies(context, prefix), self._pool(context)
        return energies if pool is None else lambda candidates: pool(energies(candidates), candidates)

    def pooled_walk(self, context: Context, kind: type[NumpyWalk | EnergyWalk] | None = None) -> Walk:
        """`pooled_energies` of one dimension after another.

        Args:
            context: `encode` of the observations.
            kind: the class of the energies' walk; by default the faster one.
        """
        conditioning = self.conditioning(context)
        if kind is None:
            kind = NumpyWalk if is_quick(conditioning) else EnergyWalk
        walk = kind(self.energies, conditioning)
        pool = self._pool(context, walk.xp)
        return walk if pool is None else PooledWalk(walk, pool)

    def _pool(self, context: Context, xp: Any = torch) -> Pool | None:
        weight = self.config.search.regression
        if self.proposal is None or not weight:
            return None
        return Pool(self.proposal(context.features), self.scale, weight, xp)

    @torch.no_grad()
    def choose(self, context: Context) -> Float[Tensor, "batch dims"]:
        """Encoded actions of least pooled energy, by grid search or by Langevin dynamics."""
        walk, settings = self.pooled_walk(context), self.config.search
        found = search(walk, self.bounds.low.tolist(), self.bounds.high.tolist(), settings)
        chosen = torch.as_tensor(found, dtype=context.features.dtype, device=context.features.device)
        if settings.method == "grid":
            return chosen
        tiled = context.rows(torch.arange(len(chosen), device=chosen.device).repeat_interleave(CHAINS))
        return langevin(lambda prefix: self.pooled_energies(tiled, prefix), self.bounds, chosen)

    @torch.no_grad()
    def decision_slices(
        self, observation: Observation, points: int = 200
    ) -> tuple[Float[Tensor, "batch dims n"], Float[Tensor, "batch dims n"], Float[Tensor, "batch dims"]]:
        """Pooled energies along each dimension, with the dimensions before it at the policy's choice.

        Returns:
            values: a grid over the bounds, in the units of encoded actions.
            energies: `pooled_energies` at the values.
            chosen: the encoded action that the policy chooses.
        """
        self.encoder.check(observation)
        self.eval()
        context = self.encode(observation)
        chosen = self.choose(context)
        unit = torch.linspace(0, 1, points, device=chosen.device)
        values = self.bounds.low[:, None] + unit * (self.bounds.high - self.bounds.low)[:, None]
        values = values.expand(len(chosen), -1, -1)
        return values, self.pooled_energies(context, chosen)(values), chosen
