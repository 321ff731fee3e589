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
from ikp.nets import StackedEnergies
from ikp.policies.config import PolicyConfig
from ikp.policies.features import LINK_FEATURES, CandidateLayer
from ikp.policies.inference import langevin, search
from ikp.policies.observation import Observation
from ikp.policies.policy import Policy
from ikp.policies.spec import DataSpec
from ikp.policies.variables import JointTargets


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

    def loss(self, batch: Observation) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """InfoNCE at every scale, summed over dimensions and scales."""
        context = self.context(batch)
        state, action = batch["state"][:, -1], batch["action"]
        expert = self.variables.encode(state, action)
        candidates = torch.cat([expert[..., None], self.sample_negatives(expert)], -1)
        gripper = self._gripper_loss(context, action)
        conditioned = self.condition(context, action)
        energy = self.conditional_energies(conditioned, self._joints(batch), expert, candidates)
        per_dim = self.info_nce(energy).mean(0)
        total = per_dim.sum() + gripper
        parts = {f"info_nce/{name}": value.detach() for name, value in zip(self.variables.names, per_dim, strict=True)}
        return total, {"info_nce": per_dim.sum().detach(), "gripper": gripper.detach(), **parts}

    def sample_negatives(self, expert: Float[Tensor, "batch dims"]) -> Float[Tensor, "batch dims negatives"]:
        """Stratified uniform draws, `negatives` from a window of each scale.

        The window of scale 1 is the dimension's bounds. A smaller one is placed uniformly at random among
        those that contain the expert's value; every value in it is then equally likely to have led to it, so
        plain logits -E stay unbiased (no log q correction) and small windows teach the fine shape.
        """
        count, scales = self.config.negatives, self.config.scales
        span = (self.bounds.high - self.bounds.low)[:, None]
        strata = torch.arange(count, device=expert.device)
        groups = []
        for scale in scales:
            low = self.bounds.low[:, None].expand(len(expert), -1, -1)
            if scale < 1:
                low = expert[..., None] - torch.rand_like(expert)[..., None] * scale * span
            jitter = torch.rand(*expert.shape, count, device=expert.device)
            groups.append(low + (strata + jitter) / count * (scale * span))
        return torch.cat(groups, -1)

    def info_nce(self, energy: Float[Tensor, "batch dims candidates"]) -> Float[Tensor, "batch dims"]:
        """-log softmax of the positive (first candidate) against the negatives of each scale, summed over scales."""
        positive = energy[..., :1]
        negatives = energy[..., 1:].unflatten(-1, (len(self.config.scales), self.config.negatives))
        contrast = torch.cat([torch.zeros_like(negatives[..., :1]), positive[..., None] - negatives], -1)
        return torch.logsumexp(contrast, -1).sum(-1)

    def condition(self, context: Tensor, action: Tensor) -> Tensor:
        """The context with the discrete dimensions (-1 or 1), which are chosen before the continuous ones."""
        discrete = action[:, list(self.spec.discrete_dims)]
        return torch.cat([context, discrete.to(context.dtype) * 2 - 1], -1)

    def conditional_energies(
        self,
        context: Float[Tensor, "batch context"],
        joints: Float[Tensor, "batch joints"] | None,
        prefix: Float[Tensor, "batch dims"],
        candidates: Float[Tensor, "batch some n"],
        dims: slice = slice(None),
    ) -> Float[Tensor, "batch some n"]:
        """E_j of candidates of dimension j given the prefix's dimensions before j; low is good.

        Args:
            context: observation features with the discrete dimensions (`condition`).
            joints: measured joints [rad or m]; used with kinematics only.
            prefix: action variables; dimension j uses 0..j-1 of them.
            candidates: values of the dimensions `dims`, in the variables' units.
            dims: which dimensions the candidates are for.
        """
        terms = basis = None
        if self.poses is not None and self.config.has_kinematics and joints is not None:
            shift = self._shift(joints)
            terms = self.poses.terms(joints, prefix + shift)
            basis = self.poses.basis(joints, prefix + shift, candidates + shift[:, dims, None], dims)
        standard = (candidates - self.scale.mean[dims, None]) / self.scale.std[dims, None]
        inputs = self.first(context, self.scale(prefix), standard, terms, basis, dims)
        low = self.config.bfloat16 and self.training
        dtype = torch.bfloat16 if low else None
        return self.energies(*inputs, dims=dims, dtype=dtype).transpose(0, 1)

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
        return values, self.conditional_energies(context, joints, chosen, values), chosen

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
