"""Energies E_j(o, a_0..a_j) of action variables: all dimensions at once for training, or step by step for a search.

The first layer is split into what an example shares and what a candidate adds, so that the rest of an example's input
is multiplied once and not once per candidate (`ikp.nets.energies`).
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
from ikp.policies.normalizer import Standardizer

Energies = Callable[[Tensor], Tensor]
"""From candidates, in the variables' units, to their energies of the same shape; low is good."""


@dataclass(frozen=True)
class Conditioning:
    """What the energies are given of a batch of observations.

    Attributes:
        features: of the observation.
        scale: mean and spread of the action variables.
        shift: added to the variables it gives the joint targets; zero where variables are no differences.
        link_inputs: the links' part; None without kinematics.
    """

    features: Float[Tensor, "batch context"]
    scale: Standardizer
    shift: Float[Tensor, "batch dims"]
    link_inputs: LinkInputs | None


class FirstLayer(nn.Module):
    """The first layer of the energies.

    Args:
        dims: action variables D.
        context: size of the observation's features.
        width: outputs per dimension.
        link_features: inputs per dimension from its link's pose, 0 without kinematics.
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
        self.register_buffer("before", before, persistent=False)  # dimension j sees those before it only

    def observation_term(self, context: Float[Tensor, "batch context"]) -> Float[Tensor, "dims batch width"]:
        """The observation's share of the layer, with the bias."""
        return torch.matmul(context, self.context) + self.bias

    def forward(
        self,
        context: Float[Tensor, "batch context"],
        prefix: Float[Tensor, "batch dims"],
        terms: LinkTerms | None,
    ) -> tuple[Float[Tensor, "dims batch width"], Float[Tensor, "dims batch k width"]]:
        """The part that all candidates of an example share: `base` and `slopes` of `StackedEnergies.forward`.

        Args:
            context: the observation's features.
            prefix: standardised action variables; a dimension uses those before it.
            terms: link inputs, None without kinematics.
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
        (at_measured, per_turn), weight = link, own[1:]
        return torch.addmm(base, at_measured, weight), torch.cat([slopes, per_turn @ weight], 1)


class ActionEnergies(nn.Module):
    """One energy per action variable (paper, Sec. IV-B), in two forms of the same numbers.

    Args:
        dims: action variables.
        context: size of the observation's features.
        link_features: inputs per dimension from its link's pose, 0 without kinematics.
        width, blocks: of the dense residual networks.
    """

    def __init__(self, dims: int, context: int, *, link_features: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first_layer = FirstLayer(dims, context, width, link_features=link_features)
        self.stack = StackedEnergies(dims, width=width, blocks=blocks)

    def conditional(
        self, conditioning: Conditioning, prefix: Float[Tensor, "batch dims"], *, dtype: torch.dtype | None = None
    ) -> Energies:
        """E_j of any candidates given the prefix's dimensions before j; the shared part is computed here, once.

        Args:
            conditioning: the observations.
            prefix: action variables; dimension j uses 0..j-1 of them.
            dtype: precision of the inner layers, that of the inputs if not given.

        Returns:
            A function of candidates (batch, dims, n).
        """
        links, scale, shift = conditioning.link_inputs, conditioning.scale, conditioning.shift
        targets = prefix + shift
        terms = None if links is None else links.terms(targets)
        base, slopes = self.first_layer(conditioning.features, scale(prefix), terms)

        def energies(candidates: Tensor) -> Tensor:
            standard = (candidates - scale.mean[:, None]) / scale.std[:, None]
            if links is None:
                basis = standard[..., None]
            else:
                absolute = candidates + shift[..., None]
                corrected = links.poses.residual.candidates(targets, absolute, slice(None))
                basis = links.poses.basis(standard, corrected - links.q[..., None])
            return self.stack(base, basis.transpose(0, 1), slopes, dtype=dtype).transpose(0, 1)

        return energies

    def walk(self, conditioning: Conditioning) -> EnergyWalk:
        """The energies of one variable after another, for `ikp.policies.search`."""
        return EnergyWalk(self, conditioning)


class EnergyWalk:
    """`ActionEnergies.conditional` for a search that commits one variable after another (`ikp.policies.search.Walk`).

    The observation's share is computed once for all variables, and a variable that is committed costs its own link
    and its own row of the first layer, no more. Rows are observations, or their prefixes in a beam search.
    """

    xp = torch

    def __init__(self, energies: ActionEnergies, conditioning: Conditioning) -> None:
        self.first_layer, self.singles = energies.first_layer, energies.stack.unstacked()
        self.mean, self.std = conditioning.scale.mean.tolist(), conditioning.scale.std.tolist()
        self.observation_term, self.shift = self.first_layer.observation_term(conditioning.features), conditioning.shift
        self.chosen = torch.zeros_like(conditioning.shift)
        self.link_walk, self.poses, self.constant_offset = None, None, None
        if conditioning.link_inputs is not None:
            self.link_walk, self.poses = LinkWalk(conditioning.link_inputs), conditioning.link_inputs.poses
            self.constant_offset = self.poses.residual.constant_offset
        self.history = self.chosen.new_zeros(*self.chosen.shape, 1 + self.first_layer.link_features)

    def energies(self, j: int) -> Energies:
        """E_j of candidates (rows or 1, n) given the variables committed so far."""
        link = None if self.link_walk is None else self.link_walk.terms(j)
        base, slopes = self.first_layer.single(j, self.observation_term[j], self.history[:, :j], link)
        energy, turn = self.singles[j], None
        if self.link_walk is not None and self.constant_offset is not None:  # from a candidate to its turn, once for all
            turn = (self.shift[:, j] + self.constant_offset[j] - self.link_walk.q[:, j])[:, None]

        def energies(candidates: Tensor) -> Tensor:
            candidates = candidates.expand(len(base), -1)
            standard = (candidates - self.mean[j]) / self.std[j]
            if self.poses is None or self.link_walk is None:
                return energy(base, standard[..., None], slopes)
            r = (
                self._corrected(j, candidates) - self.link_walk.q[:, j, None]
                if turn is None
                else candidates + turn
            )
            return energy(base, self.poses.basis(standard, r, slice(j, j + 1)), slopes)

        return energies

    def commit(self, j: int, values: Float[Tensor, "rows"]) -> None:
        """Fix variable j; those before it are fixed already."""
        self.chosen[:, j] = values
        self.history[:, j, 0] = (values - self.mean[j]) / self.std[j]
        if self.link_walk is not None:
            self.history[:, j, 1:] = self.link_walk.commit(j, self._corrected(j, values[:, None])[:, 0])

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows; a row may be repeated."""
        self.observation_term = self.observation_term[:, rows]
        self.chosen, self.shift, self.history = self.chosen[rows], self.shift[rows], self.history[rows]
        if self.link_walk is not None:
            self.link_walk.keep(rows)

    def _corrected(self, j: int, candidates: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
        """Joint targets of candidates, with the residual."""
        assert self.poses is not None
        targets = candidates + self.shift[:, j, None]
        if self.constant_offset is not None:
            return targets + self.constant_offset[j]
        prefix = self.chosen + self.shift
        return self.poses.residual.candidates(prefix, targets[:, None], slice(j, j + 1))[:, 0]
