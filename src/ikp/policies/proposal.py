"""Negatives of InfoNCE: uniform draws, or half of them from a learned proposal near the demonstrated action.

With a learned proposal q, the logits of positives and negatives are -E - log q (ranking NCE, arXiv 2309.05803);
without log q the objective would be biased. Uniform draws need no correction, because their log q is constant.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from ikp.nets import DenseResNet

LOG_STD_RANGE = (-5.0, 0.5)
"""Range of the learned proposal's log standard deviation, for standardised actions; it starts near 0."""
REGRESSION_WEIGHT = 2.0


def uniform_negatives(
    low: Float[Tensor, "*batch dims"], high: Float[Tensor, "*batch dims"], batch: int, count: int
) -> Float[Tensor, "batch dims count"]:
    """One uniform draw from each of `count` equal strata between `low` and `high`."""
    jitter = torch.rand(batch, low.shape[-1], count, device=low.device)
    unit = (torch.arange(count, device=low.device) + jitter) / count
    return low[..., None] + unit * (high - low)[..., None]


class LearnedProposal(nn.Module):
    """Mixture of the uniform distribution over the bounds and a normal distribution per action dimension.

    The normal distribution depends on the observation. It places negatives: as training proceeds it narrows, and the
    negatives get harder. Its regression also trains the image encoder early, and has a say in decisions
    (`ikp.policies.pooling`). All values
    are standardised encoded actions; `low` and `high` (dims,) are their bounds.

    Args:
        inputs: size of the context.
        dims: action dimensions.
        width: width of the dense network.
        blocks: residual blocks of the dense network.
    """

    def __init__(self, inputs: int, dims: int, *, width: int, blocks: int) -> None:
        super().__init__()
        self.network = DenseResNet(inputs, dims, width=width, blocks=blocks)
        self.log_std = nn.Linear(width, dims)

    def forward(self, context: Float[Tensor, "batch context"]) -> Normal:
        """The normal distribution of the mixture."""
        features = self.network.features(context)
        low, high = LOG_STD_RANGE
        log_std = low + (high - low) * torch.sigmoid(self.log_std(features.detach()) + 2)
        # the checks take as long as a layer
        return Normal(self.network.last(features), log_std.exp(), validate_args=False)

    def loss(self, near: Normal, demonstrated: Float[Tensor, "batch dims"]) -> Float[Tensor, ""]:
        """Squared error of the means, minus the log-likelihood of the demonstrations under the standard deviations.

        The likelihood trains the standard deviations alone, neither the means nor the features that both are read from:
        with a joint likelihood, a wide distribution would excuse a mean that is hard to learn (a turn in a few frames).
        Its gradient on the features alone cost the particle's regression in 16 dimensions all its success
        (docs/notes/2026-11-30-regression.md).
        """
        error = (near.mean - demonstrated).square().sum(-1).mean()
        likelihood = Normal(near.mean.detach(), near.stddev).log_prob(demonstrated).sum(-1).mean()
        return REGRESSION_WEIGHT * error - likelihood

    def sample(
        self, near: Normal, count: int, low: Tensor, high: Tensor
    ) -> Float[Tensor, "batch dims count"]:
        """Draw `count` values: stratified uniform ones first, then normal ones."""
        batch, dims = near.mean.shape
        spread = uniform_negatives(low, high, batch, count // 2)
        noise = torch.randn(batch, dims, count - count // 2, device=near.mean.device)
        return torch.cat(
            [spread, near.mean.detach()[..., None] + noise * near.stddev.detach()[..., None]], -1
        )

    def log_density(
        self, near: Normal, values: Float[Tensor, "batch dims n"], count: int, low: Tensor, high: Tensor
    ) -> Float[Tensor, "batch dims n"]:
        """log q of the mixture from which `sample` draws `count` values."""
        share = (count // 2) / count
        normal = Normal(near.mean.detach()[..., None], near.stddev.detach()[..., None])
        density = (share / (high - low)).log()[..., None]
        inside = (values >= low[..., None]) & (values <= high[..., None])
        spread = torch.where(inside, density, torch.full_like(density, -torch.inf))
        return torch.logaddexp(normal.log_prob(values) + math.log(1 - share), spread)
