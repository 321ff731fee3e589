"""Where the negatives of InfoNCE come from: uniform draws, or half of them near a regression of the action.

With a learned proposal q the logits are -E - log q for positive and negatives alike (ranking NCE, arXiv
2309.05803), otherwise the objective is biased. Uniform draws need no correction: log q is a constant.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from ikp.nets import DenseResNet

LOG_STD_RANGE = (-5.0, 0.5)
"""Of the learned proposal, in standardised units; it starts near the data's own spread."""
REGRESSION_WEIGHT = 2.0


def uniform_negatives(
    low: Float[Tensor, " dims"], high: Float[Tensor, " dims"], batch: int, count: int
) -> Float[Tensor, "batch dims count"]:
    """One uniform draw from each of `count` equal strata between `low` and `high`."""
    jitter = torch.rand(batch, len(low), count, device=low.device)
    unit = (torch.arange(count, device=low.device) + jitter) / count
    return low[:, None] + unit * (high - low)[:, None]


class LearnedProposal(nn.Module):
    """Half uniform over the bounds, half a normal distribution per action variable, from the observation alone.

    It decides where negatives are looked for, not what is chosen: its spread shrinks as training goes on, and
    the negatives with it. Its regression also teaches the image encoder early. All values are standardised
    action variables; `low` and `high` are their bounds, (dims,).

    Args:
        inputs: size of the context.
        dims: action variables.
        width: of its dense network.
    """

    def __init__(self, inputs: int, dims: int, *, width: int) -> None:
        super().__init__()
        self.network = DenseResNet(inputs, 2 * dims, width=width, blocks=1)

    def forward(self, context: Float[Tensor, "batch context"]) -> Normal:
        """The normal part."""
        mean, log_std = self.network(context).chunk(2, -1)
        low, high = LOG_STD_RANGE
        return Normal(mean, (low + (high - low) * torch.sigmoid(log_std + 2)).exp())

    def loss(self, near: Normal, expert: Float[Tensor, "batch dims"]) -> Float[Tensor, ""]:
        """Squared error of the means, and the likelihood of the spreads around them.

        The likelihood of both together would let a wide spread excuse a mean that is hard to learn (a turn that
        only few frames need), and the image encoder would not learn it either.
        """
        error = (near.mean - expert).square().sum(-1).mean()
        likelihood = Normal(near.mean.detach(), near.stddev).log_prob(expert).sum(-1).mean()
        return REGRESSION_WEIGHT * error - likelihood

    def sample(
        self, near: Normal, count: int, low: Tensor, high: Tensor
    ) -> Float[Tensor, "batch dims count"]:
        """`count` draws: stratified uniform ones first, then normal ones."""
        batch, dims = near.mean.shape
        spread = uniform_negatives(low, high, batch, count // 2)
        noise = torch.randn(batch, dims, count - count // 2, device=near.mean.device)
        return torch.cat(
            [spread, near.mean.detach()[..., None] + noise * near.stddev.detach()[..., None]], -1
        )

    def log_density(
        self, near: Normal, values: Float[Tensor, "batch dims n"], count: int, low: Tensor, high: Tensor
    ) -> Float[Tensor, "batch dims n"]:
        """log q of the mixture that `sample` draws `count` values from."""
        share = (count // 2) / count
        normal = Normal(near.mean.detach()[..., None], near.stddev.detach()[..., None])
        density = (share / (high - low)).log()[:, None]
        inside = (values >= low[:, None]) & (values <= high[:, None])
        spread = torch.where(inside, density, torch.full_like(density, -torch.inf))
        return torch.logaddexp(normal.log_prob(values) + math.log(1 - share), spread)
