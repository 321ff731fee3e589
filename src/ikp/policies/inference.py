"""How the implicit policy finds the action of least energy.

`search` is derivative-free: dimension by dimension an even grid and finer ones around its best cell, exact in
one dimension up to its last resolution; with a beam, prefixes compete by their normalised log-density.
With a `window` the most probable neighbourhood wins instead of the highest point: demonstrations hold many
actions that are almost exactly zero, a narrow peak by which a merely possible "stay" would otherwise win. The
answer is then a mean and not a candidate: a parabola through the smoothed grid and one finer grid around its vertex
come closer to an exhaustive search than two finer grids without the parabola.

`langevin` follows the gradient of the joint log-density in joint space, where the chain rule
through the kinematics keeps both action spaces consistent (the paper's footnote 2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikp.policies.config import PolicyConfig
from ikp.policies.features import LinkWalk
from ikp.policies.image_plane import TipWalk

if TYPE_CHECKING:
    from ikp.policies.implicit import ImplicitPolicy

LANGEVIN_STEPS = 100
LANGEVIN_STEP_SIZES = (0.1, 1e-5)
"""First and last step in units of the half range, polynomial of power 2 (Implicit BC, appendix)."""
LANGEVIN_LARGEST_STEP = 0.1
PARTITION_POINTS = 32


class Walk:
    """Energies of one action variable after another: the form of `ImplicitPolicy.given` for a search.

    The observation's share is computed once for all variables, and a variable that is committed costs its own link
    and its own row of the first layer, no more. Rows are observations, or their prefixes in a beam search.

    Args:
        policy, context, joints: as in `ImplicitPolicy.given`.
    """

    def __init__(
        self, policy: ImplicitPolicy, context: Float[Tensor, "rows context"], joints: Tensor | None
    ) -> None:
        self.first, self.scale, self.singles = policy.first, policy.scale, policy.energies.unstacked()
        self.observed = policy.first.observe(context)
        self.chosen = context.new_zeros(len(context), policy.dims)
        self.shift = policy.shift(joints).expand_as(self.chosen)
        self.poses, self.links = None, None
        if policy.poses is not None and policy.config.has_kinematics and joints is not None:
            self.poses, self.links = policy.poses, LinkWalk(policy.poses, joints)
            if policy.plane is not None and policy.config.sees_candidates_from_goal:
                self.links = TipWalk(policy.plane, policy.poses, joints, context)
        self.history = context.new_zeros(len(context), policy.dims, 1 + self.first.links)

    def energies(self, j: int) -> Callable[[Tensor], Tensor]:
        """E_j of candidates (rows, n), in the variables' units, given the variables committed so far."""
        link = None if self.links is None else self.links.terms(j)
        base, slopes = self.first.single(j, self.observed[j], self.history[:, :j], link)
        energy, mean, std = self.singles[j], self.scale.mean[j], self.scale.std[j]

        def of(candidates: Tensor) -> Tensor:
            basis = ((candidates - mean) / std)[..., None]
            if self.poses is not None and self.links is not None:
                q, corrected = self.links.q[:, j : j + 1], self._corrected(j, candidates)
                turns = self.poses.basis(q, corrected[:, None], slice(j, j + 1))[:, 0]
                basis = torch.cat([basis, turns], -1)
            return energy(base, basis, slopes)

        return of

    def commit(self, j: int, values: Float[Tensor, "rows"]) -> None:
        """Fix variable j; those before it are fixed already."""
        self.chosen[:, j] = values
        self.history[:, j, 0] = (values - self.scale.mean[j]) / self.scale.std[j]
        if self.links is not None:
            self.history[:, j, 1:] = self.links.commit(j, self._corrected(j, values[:, None])[:, 0])

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows; a row may be repeated."""
        self.observed = self.observed[:, rows]
        self.chosen, self.shift, self.history = self.chosen[rows], self.shift[rows], self.history[rows]
        if self.links is not None:
            self.links.keep(rows)

    def _corrected(self, j: int, candidates: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
        """Joint targets of candidates, with the residual."""
        assert self.poses is not None
        targets, prefix = candidates + self.shift[:, j, None], self.chosen + self.shift
        return self.poses.residual.candidates(prefix, targets[:, None], slice(j, j + 1))[:, 0]


@torch.no_grad()
def search(
    policy: ImplicitPolicy,
    context: Float[Tensor, "batch context"],
    joints: Float[Tensor, "batch joints"] | None,
) -> Float[Tensor, "batch dims"]:
    """Autoregressive coarse-to-fine argmin, with `config.beam` prefixes kept."""
    batch, beam = len(context), policy.config.beam
    walk = policy.walk(context, joints)
    score = context.new_zeros(batch, 1)
    bounds = zip(policy.bounds.low.tolist(), policy.bounds.high.tolist(), strict=True)
    first = torch.arange(batch, device=context.device)[:, None]
    for j, (low, high) in enumerate(bounds):
        values, log_density = _best_of_dimension(
            policy.config, walk.energies(j), low, high, len(walk.chosen), score
        )
        if beam == 1:
            walk.commit(j, values[:, 0])
            continue
        kept, width = score.shape[1], values.shape[1]
        total = (score[:, :, None] + log_density.reshape(batch, kept, width)).flatten(1)
        score, order = total.topk(min(beam, total.shape[1]), dim=1)
        walk.keep((first * kept + order // width).flatten())
        walk.commit(j, values.reshape(batch, -1).gather(1, order).flatten())
    return walk.chosen.reshape(batch, -1, policy.dims)[:, 0]


def _best_of_dimension(
    config: PolicyConfig,
    energies: Callable[[Tensor], Tensor],
    low: float,
    high: float,
    rows: int,
    like: Tensor,
) -> tuple[Float[Tensor, "rows kept"], Float[Tensor, "rows kept"]]:
    """The best values between two bounds and their log-densities -E - log Z, best first; `beam` of them."""
    grid = torch.linspace(low, high, config.grid, device=like.device, dtype=like.dtype).expand(rows, -1)
    energy = energies(grid)
    log_partition = torch.logsumexp(-energy, 1, keepdim=True)
    cell = (high - low) / (config.grid - 1)
    if config.window:
        refine, reach = _weighted_mean, 2 * config.window * (high - low)
        smooth = _smoothed(energy, config.window * (config.grid - 1))
        index, exists = _local_minima(smooth, config.beam)
        best, least = grid.gather(1, index) + cell * _vertex(smooth, index), smooth.gather(1, index)
    else:
        refine, reach = _lowest, cell
        index, exists = _local_minima(energy, config.beam)
        best, least = grid.gather(1, index), energy.gather(1, index)
    for _ in range(config.refinements):
        offsets = torch.linspace(-reach, reach, config.fine_points, device=like.device, dtype=like.dtype)
        fine = (best[..., None] + offsets).clamp(low, high)
        fine_energy = energies(fine.flatten(1)).reshape(fine.shape)
        best, least = refine(fine, fine_energy, offsets)
        reach = reach if config.window else 2 * reach / (len(offsets) - 1)
    return best, torch.where(exists, -least - log_partition, -torch.inf)


def _vertex(energy: Float[Tensor, "rows n"], index: Int[Tensor, "rows k"]) -> Float[Tensor, "rows k"]:
    """Where the parabola through a minimum and its neighbours is least, in cells from the minimum; 0 at the ends."""
    last = energy.shape[1] - 1
    before, at, after = (energy.gather(1, (index + k).clamp(0, last)) for k in (-1, 0, 1))
    curvature = (before - 2 * at + after).clamp_min(1e-6)
    inside = (index > 0) & (index < last)
    return torch.where(inside, 0.5 * (before - after) / curvature, 0.0).clamp(-0.5, 0.5)


def _smoothed(energy: Float[Tensor, "rows n"], cells: float) -> Float[Tensor, "rows n"]:
    """-log of the probability near each grid point: the density under a Gaussian of `cells` grid cells."""
    reach = max(1, round(3 * cells))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=energy.device) / cells) ** 2).to(
        energy.dtype
    )
    density = torch.softmax(-energy, 1)[:, None]
    near = torch.nn.functional.conv1d(density, (kernel / kernel.sum())[None, None], padding=reach)[:, 0]
    return -near.clamp_min(1e-30).log() - torch.logsumexp(-energy, 1, keepdim=True)


def _lowest(values: Tensor, energy: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The candidate of least energy, and that energy."""
    least, at = energy.min(-1)
    return values.gather(-1, at[..., None])[..., 0], least


def _weighted_mean(values: Tensor, energy: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """One mean-shift step: the mean under the density times a Gaussian of half the reach, and -log of its mass."""
    logits = -energy - 2 * (offsets / offsets.abs().amax()) ** 2
    weights = torch.softmax(logits, -1)
    return (weights * values).sum(-1), -torch.logsumexp(logits, -1)


def _local_minima(energy: Float[Tensor, "rows n"], count: int) -> tuple[Tensor, Tensor]:
    """Indices of the `count` lowest grid points that no neighbour undercuts, lowest first, and which of them exist."""
    if count == 1:
        index = energy.argmin(1, keepdim=True)
        return index, torch.ones_like(index, dtype=torch.bool)
    padded = torch.nn.functional.pad(energy, (1, 1), value=torch.inf)
    is_minimum = (energy <= padded[:, :-2]) & (energy <= padded[:, 2:])
    ranked = torch.where(is_minimum, energy, torch.inf)
    values, index = ranked.topk(min(count, energy.shape[1]), dim=1, largest=False)
    return index, values.isfinite()


def joint_log_density(
    policy: ImplicitPolicy, context: Tensor, joints: Tensor | None, variables: Float[Tensor, "batch dims"]
) -> Float[Tensor, "batch"]:
    """log p(a | o) = sum_j (-E_j - log Z_j), Z_j from a grid; differentiable in the variables.

    The constant log of the grid's cell is left out.
    """
    low, high = policy.bounds.low, policy.bounds.high
    unit = torch.linspace(0, 1, PARTITION_POINTS, device=low.device)
    grid = (low[:, None] + unit * (high - low)[:, None]).expand(len(variables), -1, -1)
    candidates = torch.cat([variables[..., None], grid], -1)
    energy = policy.given(context, joints, variables)(candidates)
    return (-energy[..., 0] - torch.logsumexp(-energy[..., 1:], -1)).sum(-1)


def langevin(
    policy: ImplicitPolicy,
    context: Tensor,
    joints: Tensor | None,
    *,
    chains: int = 8,
    steps: int = LANGEVIN_STEPS,
) -> Float[Tensor, "batch dims"]:
    """Stochastic gradient ascent of the joint log-density from uniform starts; the best chain's end.

    The noise falls with the step size, which decays polynomially, and the last quarter of the steps has none
    (Implicit BC, appendix). The autoregressive search's answer is one of the starts.
    """
    batch = len(context)
    low, half = policy.bounds.low, (policy.bounds.high - policy.bounds.low) / 2
    tiled_context = context.detach().repeat_interleave(chains, 0)
    tiled_joints = None if joints is None else joints.repeat_interleave(chains, 0)
    unit = torch.rand(batch, chains, policy.dims, device=context.device) * 2 - 1
    unit[:, 0] = policy.bounds.to_unit(search(policy, context, joints))
    unit = unit.flatten(0, 1)
    first, last = LANGEVIN_STEP_SIZES
    for k in range(steps):
        step = last + (first - last) * (1 - k / steps) ** 2
        gradient, _ = _density_gradient(policy, tiled_context, tiled_joints, unit, low, half)
        noise = torch.randn_like(unit) * step * (k < 0.75 * steps)
        move = (0.5 * step * gradient + 0.5 * noise).clamp(-LANGEVIN_LARGEST_STEP, LANGEVIN_LARGEST_STEP)
        unit = (unit + move).clamp(-1, 1)
    _, density = _density_gradient(policy, tiled_context, tiled_joints, unit, low, half)
    best = density.reshape(batch, chains).argmax(1)
    rows = torch.arange(batch, device=unit.device)
    return policy.bounds.from_unit(unit.reshape(batch, chains, -1)[rows, best])


def _density_gradient(
    policy: ImplicitPolicy, context: Tensor, joints: Tensor | None, unit: Tensor, low: Tensor, half: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = unit.detach().requires_grad_(True)
        density = joint_log_density(policy, context, joints, low + (leaf + 1) * half)
        (gradient,) = torch.autograd.grad(density.sum(), leaf)
    return gradient, density.detach()
