"""Policies that denoise the action: two-step regression, and flow matching.

Both train one network D(o, x, t) that recovers the demonstrated action a from x = t a + (1 - t) z, with noise z and a
share t of the action between 0 and 1. The action is an input, so with a robot the network also sees x as the pose of
every link and its change from the measured pose, like the energies of IKP.

- `two-step` ("Much Ado About Noising", arXiv 2512.01809): D(o, 0, 0) regresses the action, and D(o, t a, t) with
  t = 0.9 refines that. It is deterministic, and averages where an action has two answers.
- `flow` (Lipman et al., arXiv 2210.02747): t is uniform in training. A decision follows dx/dt = (D - x) / (1 - t) from
  x = 0, the most likely noise, so that it is deterministic too.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ikp.kinematics import Robot
from ikp.nets import DenseResNet
from ikp.policies.config import PolicyConfig
from ikp.policies.policy import Context, Policy
from ikp.spec import Batch, DataSpec

REFINED_SHARE = 0.9
"""Share t of the action in the input of the second step (arXiv 2512.01809)."""
FLOW_STEPS = 10
"""Euler steps of a decision by flow matching."""


class DenoisingPolicy(Policy):
    """One network recovers the action from a noisy action, which it sees as joints and as link poses.

    `Policy` describes arguments and errors, and `PolicyConfig.kind` the two ways to train and decide.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__(robot, spec, config)
        inputs = self.context_size + self.dims + 1
        if self.poses is not None and config.has_kinematics:
            inputs += config.timing.way_points * self.poses.candidate_size
        self.network = DenseResNet(inputs, self.dims, width=config.width, blocks=config.blocks)

    def _loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Mean squared error of the standardised encoded action that the network recovers."""
        context, action = self.encode(batch), batch["action"]
        encoded = self.actions.encode(context.state, action)
        demonstrated = self.scale(encoded)
        noise = torch.randn_like(demonstrated)
        if self.config.kind == "flow":
            parts = {"denoising": self._error(context, demonstrated, noise, torch.rand_like(noise[:, :1]))}
        else:
            share = torch.zeros_like(noise[:, :1])
            parts = {
                "regression": self._error(context, demonstrated, torch.zeros_like(noise), share),
                "refinement": self._error(context, demonstrated, noise, share + REFINED_SHARE),
            }
        parts |= self._head_losses(context, encoded, action) | self._goal_losses(context, batch)
        total = sum(parts.values(), demonstrated.new_zeros(()))
        return total, {name: value.detach() for name, value in parts.items()}

    def choose(self, context: Context) -> Float[Tensor, "batch dims"]:
        """The recovered encoded action, within the range of the demonstrations."""
        x = context.features.new_zeros(len(context.features), self.dims)
        if self.config.kind == "flow":
            for k in range(FLOW_STEPS):  # the last step arrives at D
                x = x + (self.denoised(context, x, k / FLOW_STEPS) - x) / (FLOW_STEPS - k)
        else:
            x = self.denoised(context, REFINED_SHARE * self.denoised(context, x, 0.0), REFINED_SHARE)
        return self.scale.undo(x).clamp(self.bounds.low, self.bounds.high)

    def denoised(
        self, context: Context, x: Float[Tensor, "batch dims"], share: float | Float[Tensor, "batch 1"]
    ) -> Float[Tensor, "batch dims"]:
        """D(o, x, t): the standardised encoded action, recovered from noisy ones.

        Args:
            context: `encode` of the observations.
            x: noisy standardised encoded actions.
            share: share t of the action in them.
        """
        inputs = [context.features, x, x.new_zeros(len(x), 1) + share]
        if context.far_ends is not None and self.config.has_kinematics:
            inputs.append(self._link_features(context, x))
        return self.network(torch.cat(inputs, -1))

    def _error(self, context: Context, demonstrated: Tensor, noise: Tensor, share: Tensor) -> Tensor:
        x = share * demonstrated + (1 - share) * noise
        return F.mse_loss(self.denoised(context, x, share), demonstrated)

    def _link_features(self, context: Context, x: Tensor) -> Float[Tensor, "batch features"]:
        """Every link's pose at the noisy way-points, and its change from the measured pose."""
        assert self.poses is not None
        assert context.far_ends is not None
        targets = self.actions.shift(context.state) + self.scale.undo(x)
        count = self.config.timing.way_points
        q = self.poses.residual(targets.reshape(len(x) * count, -1))
        features = self.poses.candidate_features(context.far_ends)
        return features.at(self.poses.far_ends(q).unflatten(0, (-1, count)))[
            ..., self.poses.shown, :
        ].flatten(1)
