"""The implicit policy: the action of least energy (paper, Sec. III-B and IV-B).

Training is InfoNCE with teacher forcing: all candidates of dimension j share the expert's values of the
dimensions before it and only dimension j varies, so that -E_j is a conditional log-density up to a constant.
Inference therefore commits dimension by dimension, or keeps a beam.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from ikp.kinematics import Robot
from ikp.nets import DenseResNet, StackedEnergies
from ikp.policies.config import PolicyConfig
from ikp.policies.features import LINK_FEATURES, CandidateLayer
from ikp.policies.inference import langevin, search
from ikp.policies.observation import Observation
from ikp.policies.policy import Policy
from ikp.policies.spec import DataSpec
from ikp.policies.variables import JointTargets

Energies = Callable[[Tensor], Tensor]

LOG_STD_RANGE = (-5.0, 0.5)
"""Of the learned proposal, in standardised units; it starts near the data's own spread."""
PROPOSAL_WEIGHT = 2.0
ENERGY_GRADIENT = 0.1
"""Share of the energies' gradient that reaches the observation's features beside a learned proposal. Sharp energies
send gradients a hundred times those of the regression, and their noise drowns what few frames teach."""


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """The same values; gradients through them are multiplied by `factor`."""
    return x * factor + x.detach() * (1 - factor)


def proposal_loss(proposed: Normal, target: Float[Tensor, "batch dims"]) -> Float[Tensor, ""]:
    """Squared error of the means, and the likelihood of the spreads around them.

    The likelihood of both together would let a wide spread excuse a mean that is hard to learn (a turn that
    only few frames need), and the image encoder would not learn it either.
    """
    error = (proposed.mean - target).square().sum(-1).mean()
    spread = Normal(proposed.mean.detach(), proposed.stddev).log_prob(target).sum(-1).mean()
    return PROPOSAL_WEIGHT * error - spread


class ProposalHead(nn.Module):
    """A normal distribution per standardised action variable, from the observation alone.

    It decides where negatives are looked for, not what is chosen: its spread shrinks as training goes on, and
    the negatives with it. Its regression also teaches the image encoder early.
    """

    def __init__(self, inputs: int, dims: int, *, width: int) -> None:
        super().__init__()
        self.network = DenseResNet(inputs, 2 * dims, width=width, blocks=1)

    def forward(self, context: Float[Tensor, "batch context"]) -> Normal:
        mean, log_std = self.network(context).chunk(2, -1)
        low, high = LOG_STD_RANGE
        return Normal(mean, (low + (high - low) * torch.sigmoid(log_std + 2)).exp())


class ImplicitPolicy(Policy):
    """Energies E_j(o, a_0..a_j), one per action variable; with a robot, a_j also as the pose of link j.

    See `Policy` for arguments and errors, and `PolicyConfig` for the choices.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__(robot, spec, config)
        links = LINK_FEATURES if config.has_kinematics else 0
        context = self.context_size + len(spec.discrete_dims)
        self.first = CandidateLayer(self.dims, context, config.width, links=links)
        self.energies = StackedEnergies(self.dims, width=config.width, blocks=config.blocks)
        self.proposal = None
        if config.proposal == "learned":
            self.proposal = ProposalHead(context, self.dims, width=config.width)

    def loss(self, batch: Observation) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """InfoNCE summed over dimensions, plus the learned proposal's own negative log-likelihood."""
        context = self.context(batch)
        state, action = batch["state"][:, -1], batch["action"]
        expert = self.variables.encode(state, action)
        conditioned = self.condition(context, action)
        proposed = None if self.proposal is None else self.proposal(conditioned)
        negatives = self.sample_negatives(len(expert), proposed)
        candidates = torch.cat([expert[..., None], negatives], -1)
        features = conditioned if proposed is None else scale_gradient(conditioned, ENERGY_GRADIENT)
        energy = self.given(features, self._joints(batch), expert)(candidates)
        logits = -energy if proposed is None else -energy - self.log_proposal(candidates, proposed)
        per_dim = (torch.logsumexp(logits, -1) - logits[..., 0]).mean(0)
        gripper = self._gripper_loss(context, action)
        total = per_dim.sum() + gripper
        parts = {
            f"info_nce/{n}": value.detach() for n, value in zip(self.variables.names, per_dim, strict=True)
        }
        parts |= {"info_nce": per_dim.sum().detach(), "gripper": gripper.detach()}
        if proposed is not None:
            regression = proposal_loss(proposed, self.scale(expert))
            total = total + regression
            parts["proposal"] = regression.detach()
        return total, parts

    def sample_negatives(
        self, batch: int, proposed: Normal | None = None
    ) -> Float[Tensor, "batch dims negatives"]:
        """Negatives from the proposal: one uniform draw from each of equal strata of every dimension's bounds.

        With a learned proposal half of them, and the other half from its normal distributions.
        """
        count, device = self.config.negatives, self.bounds.low.device
        uniform = count if proposed is None else count // 2
        jitter = torch.rand(batch, self.dims, uniform, device=device)
        unit = (torch.arange(uniform, device=device) + jitter) / uniform
        spread = self.bounds.low[:, None] + unit * (self.bounds.high - self.bounds.low)[:, None]
        if proposed is None:
            return spread
        noise = torch.randn(batch, self.dims, count - uniform, device=device)
        near = proposed.mean.detach()[..., None] + noise * proposed.stddev.detach()[..., None]
        return torch.cat([spread, near * self.scale.std[:, None] + self.scale.mean[:, None]], -1)

    def log_proposal(
        self, candidates: Float[Tensor, "batch dims n"], proposed: Normal
    ) -> Float[Tensor, "batch dims n"]:
        """log q of the mixture that `sample_negatives` draws from, per standardised unit.

        Ranking NCE with a learned proposal (arXiv 2309.05803) needs it in the logits, else it is biased.
        """
        share = (self.config.negatives // 2) / self.config.negatives
        mean, std = proposed.mean.detach()[..., None], proposed.stddev.detach()[..., None]
        standard = (candidates - self.scale.mean[:, None]) / self.scale.std[:, None]
        near = Normal(mean, std).log_prob(standard) + math.log(1 - share)
        width = (self.bounds.high - self.bounds.low)[:, None]
        inside = (candidates >= self.bounds.low[:, None]) & (candidates <= self.bounds.high[:, None])
        density = (share * self.scale.std[:, None] / width).log()
        spread = torch.where(inside, density, torch.full_like(density, -torch.inf))
        return torch.logaddexp(near, spread)

    def condition(self, context: Tensor, action: Tensor) -> Tensor:
        """The context with the discrete dimensions (-1 or 1), which are chosen before the continuous ones."""
        discrete = action[:, list(self.spec.discrete_dims)]
        return torch.cat([context, discrete.to(context.dtype) * 2 - 1], -1)

    def given(
        self,
        context: Float[Tensor, "batch context"],
        joints: Float[Tensor, "batch joints"] | None,
        prefix: Float[Tensor, "batch dims"],
        dims: slice = slice(None),
    ) -> Energies:
        """E_j of any candidates given the prefix's dimensions before j; what they share is computed here, once.

        Args:
            context: observation features with the discrete dimensions (`condition`).
            joints: measured joints [rad or m]; used with kinematics only.
            prefix: action variables; dimension j uses 0..j-1 of them.
            dims: the dimensions wanted.

        Returns:
            A function from candidates (batch, some, n), in the variables' units, to energies of that shape;
            low is good.
        """
        poses = self.poses if self.config.has_kinematics and joints is not None else None
        shift = torch.zeros_like(prefix) if joints is None else self._shift(joints)
        terms = None if poses is None or joints is None else poses.terms(joints, prefix + shift)
        base, slopes = self.first(context, self.scale(prefix), terms, dims)
        low = torch.bfloat16 if self.config.bfloat16 and self.training else None

        def energies(candidates: Tensor) -> Tensor:
            basis = ((candidates - self.scale.mean[dims, None]) / self.scale.std[dims, None])[..., None]
            if poses is not None and joints is not None:
                turns = poses.basis(joints, prefix + shift, candidates + shift[:, dims, None], dims)
                basis = torch.cat([basis, turns], -1)
            return self.energies(base, basis.transpose(0, 1), slopes, dims=dims, dtype=low).transpose(0, 1)

        return energies

    def choose(self, observation: Observation) -> Float[Tensor, "batch dims"]:
        """The variables of least energy, by grid search or by Langevin dynamics."""
        context, joints = self._decision(observation)
        if self.config.inference == "langevin":
            return langevin(self, context, joints)
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
        context, joints = self._decision(observation)
        chosen = search(self, context, joints)
        unit = torch.linspace(0, 1, points, device=chosen.device)
        values = self.bounds.low[:, None] + unit * (self.bounds.high - self.bounds.low)[:, None]
        values = values.expand(len(chosen), -1, -1)
        return values, self.given(context, joints, chosen)(values), chosen

    def _decision(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        context = self.context(observation)
        if self.gripper is not None:
            closed = (self.gripper(context) > 0).to(context.dtype)
            context = torch.cat([context, closed * 2 - 1], -1)
        return context, self._joints(observation)

    def _joints(self, observation: Observation) -> Tensor | None:
        return self.measured_joints(observation) if self.config.has_kinematics else None

    def _shift(self, joints: Tensor) -> Tensor:
        """What turns variables into joint targets: the measured joints for differences, else nothing."""
        is_delta = isinstance(self.variables, JointTargets) and self.variables.delta
        return joints if is_delta else torch.zeros_like(joints)
