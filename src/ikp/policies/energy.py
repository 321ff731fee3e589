"""Energies E_j(o, a_0..a_j) of action dimensions: all at once for training, or one after another for a search.

The first layer is split into a part that all candidates of an example share, computed once, and the part that each
candidate adds (`ikp.nets.energies`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ikp.nets import StackedEnergies
from ikp.policies.link_features import LinkInputs, LinkTerms, LinkWalk
from ikp.policies.normalizer import Scaling, Standardizer

Energies = Callable[[Tensor], Tensor]
"""Function from candidates, in the units of encoded actions, to their energies of the same shape; lower is better."""


@dataclass(frozen=True)
class Conditioning:
    """Conditioning of the energies on a batch of observations.

    Attributes:
        features: features of the observation.
        scale: mean and standard deviation of encoded actions.
        shift: the term that turns encoded actions into joint targets (`ActionSpace.shift`).
        link_inputs: inputs from link poses; None without kinematics.
    """

    features: Float[Tensor, "batch context"]
    scale: Standardizer | Scaling
    shift: Float[Tensor, "batch dims"]
    link_inputs: LinkInputs | None


class FirstLayer(nn.Module):
    """First layer of the energies.

    Args:
        dims: number of action dimensions.
        context: size of the observation's features.
        width: outputs per dimension.
        link_features: features of a candidate's link pose, 0 without kinematics.
    """

    before: Tensor

    def __init__(self, dims: int, context: int, width: int, *, link_features: int = 0) -> None:
        super().__init__()
        self.dims, self.width, self.link_features = dims, width, link_features
        own = 1 + link_features
        bound = 1 / math.sqrt(context + dims * own)
        self.context = nn.Parameter(torch.empty(dims, context, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(dims, 1, width))
        self.own = nn.Parameter(torch.empty(dims, own, width).uniform_(-bound, bound))
        self.prefix = nn.Parameter(torch.empty(dims, dims * own, width).uniform_(-bound, bound))
        before = torch.ones(dims, dims).tril(-1).repeat_interleave(own, 1)[..., None]
        self.register_buffer("before", before, persistent=False)  # dimension j sees only those before it

    def observation_term(self, context: Float[Tensor, "batch context"]) -> Float[Tensor, "dims batch width"]:
        """The term of the observation, including the bias."""
        return torch.matmul(context, self.context) + self.bias

    def forward(
        self,
        context: Float[Tensor, "batch context"],
        prefix: Float[Tensor, "batch dims"],
        terms: LinkTerms | None,
    ) -> tuple[Float[Tensor, "dims batch width"], Float[Tensor, "dims batch k width"]]:
        """`base` and `slopes` of `StackedEnergies.forward`, the part that all candidates of an example share.

        Args:
            context: features of the observation.
            prefix: standardised encoded actions; each dimension uses those before it.
            terms: link inputs; None without kinematics.
        """
        batch = len(context)
        history = prefix[..., None] if terms is None else torch.cat([prefix[..., None], terms.prefix], -1)
        base = self.observation_term(context) + torch.matmul(history.flatten(1), self.prefix * self.before)
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
        observation_term: Float[Tensor, "batch width"],
        history: Float[Tensor, "batch before own"],
        link: tuple[Float[Tensor, "batch links"], Float[Tensor, "batch 2 links"]] | None,
    ) -> tuple[Float[Tensor, "batch width"], Float[Tensor, "batch k width"]]:
        """`forward` for dimension j alone.

        Args:
            j: the dimension.
            observation_term: row j of `observation_term`.
            history: inputs of the dimensions before j.
            link: `base` and `slopes` of the link inputs of joint j; None without kinematics.
        """
        own, before = self.own[j], history.flatten(1)
        base = torch.addmm(observation_term, before, self.prefix[j, : before.shape[1]])
        slopes = own[:1].expand(len(base), -1, -1)
        if link is None:
            return base, slopes
        (at_measured, per_turn), weight = link, own[1:]
        return torch.addmm(base, at_measured, weight), torch.cat([slopes, per_turn @ weight], 1)


class ActionEnergies(nn.Module):
    """One energy per action dimension (paper, Sec. IV-B), evaluated all at once or one after another.

    Args:
        dims: number of action dimensions.
        context: size of the observation's features.
        link_features: features of a candidate's link pose, 0 without kinematics.
        width, blocks: size of the dense residual networks.
    """

    def __init__(self, dims: int, context: int, *, link_features: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first_layer = FirstLayer(dims, context, width, link_features=link_features)
        self.stack = StackedEnergies(dims, width=width, blocks=blocks)

    def conditional(
        self,
        conditioning: Conditioning,
        prefix: Float[Tensor, "batch dims"],
        dtype: torch.dtype | None = None,
    ) -> Energies:
        """Energies E_j of any candidates, given the dimensions of the prefix before j.

        Args:
            conditioning: the observations.
            prefix: encoded actions; dimension j depends on their dimensions 0..j-1.
            dtype: precision of the inner layers; by default that of the inputs.

        Returns:
            A function from candidates (batch, dims, n) to energies of that shape.
        """
        links, scale, shift = conditioning.link_inputs, conditioning.scale, conditioning.shift
        targets = prefix + shift
        terms = None if links is None else links.terms(targets)
        base, slopes = self.first_layer(conditioning.features, scale(prefix), terms)

        def energies(candidates: Tensor) -> Tensor:
            standard = (candidates - scale.mean[..., None]) / scale.std[..., None]
            if links is None:
                basis = standard[..., None]
            else:
                absolute = candidates + shift[..., None]
                corrected = links.poses.residual.candidates(targets, absolute, slice(None))
                basis = links.poses.basis(standard, corrected - links.q[..., None])
            return self.stack(base, basis.transpose(0, 1), slopes, dtype=dtype).transpose(0, 1)

        return energies


class EnergyWalk:
    """`ActionEnergies.conditional` for a search that commits one dimension after another (`ikp.policies.search.Walk`).

    The term of the observation is computed once for all dimensions. Committing a dimension costs one link and one row
    of the first layer. The rows are observations, or their prefixes in a beam search.
    """

    xp = torch

    def __init__(self, energies: ActionEnergies, conditioning: Conditioning) -> None:
        self.first_layer, self.singles = energies.first_layer, energies.stack.unstacked()
        self.mean, self.std = conditioning.scale.mean.tolist(), conditioning.scale.std.tolist()
        self.observation_term = self.first_layer.observation_term(conditioning.features)
        self.shift = conditioning.shift
        self.chosen = torch.zeros_like(conditioning.shift)
        self.link_walk, self.poses, self.constant_offset = None, None, None
        if conditioning.link_inputs is not None:
            self.link_walk, self.poses = LinkWalk(conditioning.link_inputs), conditioning.link_inputs.poses
            self.constant_offset = self.poses.residual.constant_offset
        self.history = self.chosen.new_zeros(*self.chosen.shape, 1 + self.first_layer.link_features)

    def energies(self, j: int) -> Energies:
        """Energies (rows, n) of candidates (rows or 1, n) for dimension j, given the committed dimensions."""
        link = None if self.link_walk is None else self.link_walk.terms(j)
        base, slopes = self.first_layer.single(j, self.observation_term[j], self.history[:, :j], link)
        energy, turn = self.singles[j], None
        if self.link_walk is not None and self.constant_offset is not None:  # the same for all candidates
            turn = (self.shift[:, j] + self.constant_offset[j] - self.link_walk.q[:, j])[:, None]

        def energies(candidates: Tensor) -> Tensor:
            candidates = candidates.expand(len(base), -1)
            standard = (candidates - self.mean[j]) / self.std[j]
            if self.poses is None or self.link_walk is None:
                return energy(base, standard[..., None], slopes)
            measured = self.link_walk.q[:, j, None]
            r = self._corrected(j, candidates) - measured if turn is None else candidates + turn
            return energy(base, self.poses.basis(standard, r, slice(j, j + 1)), slopes)

        return energies

    def commit(self, j: int, values: Float[Tensor, "rows"]) -> None:
        """Fix dimension j at `values`, after the dimensions before it."""
        self.chosen[:, j] = values
        self.history[:, j, 0] = (values - self.mean[j]) / self.std[j]
        if self.link_walk is not None:
            self.history[:, j, 1:] = self.link_walk.commit(j, self._corrected(j, values[:, None])[:, 0])

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Select rows by index; an index may repeat."""
        self.observation_term = self.observation_term[:, rows]
        self.chosen, self.shift, self.history = self.chosen[rows], self.shift[rows], self.history[rows]
        if self.link_walk is not None:
            self.link_walk.keep(rows)

    def _corrected(self, j: int, candidates: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
        """Joint targets of candidates of joint j, corrected by the residual [rad or m]."""
        assert self.poses is not None
        targets = candidates + self.shift[:, j, None]
        if self.constant_offset is not None:
            return targets + self.constant_offset[j]
        prefix = self.chosen + self.shift
        return self.poses.residual.candidates(prefix, targets[:, None], slice(j, j + 1))[:, 0]
