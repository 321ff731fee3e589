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
from functools import lru_cache
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
        self.first, self.singles = policy.first, policy.energies.unstacked()
        self.mean, self.std = policy.scale.mean.tolist(), policy.scale.std.tolist()
        self.observed = policy.first.observe(context)
        self.chosen = context.new_zeros(len(context), policy.dims)
        self.shift = policy.shift(joints).expand_as(self.chosen)
        self.poses, self.links, self.constant = None, None, None
        if policy.poses is not None and policy.config.has_kinematics and joints is not None:
            self.poses, self.links = policy.poses, LinkWalk(policy.poses, joints)
            if policy.plane is not None and policy.config.sees_candidates_from_goal:
                self.links = TipWalk(policy.plane, policy.poses, joints, context)
            self.constant = policy.poses.residual.constant
        self.history = context.new_zeros(len(context), policy.dims, 1 + self.first.links)

    def energies(self, j: int) -> Callable[[Tensor], Tensor]:
        """E_j of candidates (rows, n), in the variables' units, given the variables committed so far."""
        link = None if self.links is None else self.links.terms(j)
        base, slopes = self.first.single(j, self.observed[j], self.history[:, :j], link)
        energy, turn = self.singles[j], None
        if self.links is not None and self.constant is not None:  # from a candidate to its turn, once for all
            turn = (self.shift[:, j] + self.constant[j] - self.links.q[:, j])[:, None]

        def of(candidates: Tensor) -> Tensor:
            standard = (candidates - self.mean[j]) / self.std[j]
            if self.poses is None or self.links is None:
                return energy(base, standard[..., None], slopes)
            r = self._turn(j, candidates) if turn is None else candidates + turn
            return energy(base, self.poses.basis(standard, r, slice(j, j + 1)), slopes)

        return of

    def commit(self, j: int, values: Float[Tensor, "rows"]) -> None:
        """Fix variable j; those before it are fixed already."""
        self.chosen[:, j] = values
        self.history[:, j, 0] = (values - self.mean[j]) / self.std[j]
        if self.links is not None:
            self.history[:, j, 1:] = self.links.commit(j, self._corrected(j, values[:, None])[:, 0])

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows; a row may be repeated."""
        self.observed = self.observed[:, rows]
        self.chosen, self.shift, self.history = self.chosen[rows], self.shift[rows], self.history[rows]
        if self.links is not None:
            self.links.keep(rows)

    def _turn(self, j: int, candidates: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
        """Rotations from the corrected measured joint."""
        assert self.links is not None
        return self._corrected(j, candidates) - self.links.q[:, j, None]

    def _corrected(self, j: int, candidates: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
        """Joint targets of candidates, with the residual."""
        assert self.poses is not None
        targets = candidates + self.shift[:, j, None]
        if self.constant is not None:
            return targets + self.constant[j]
        prefix = self.chosen + self.shift
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
        if log_density is None:
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
) -> tuple[Float[Tensor, "rows kept"], Float[Tensor, "rows kept"] | None]:
    """The best values between two bounds, best first; with a beam as many as it keeps, and their log-densities."""
    unit = _unit_grid(config.grid, like.dtype, like.device)
    grid = 0.5 * (low + high) + 0.5 * (high - low) * unit
    cell = (high - low) / (config.grid - 1)
    energy = energies(grid.expand(rows, -1))
    lowest = _smoothed(energy, config.window * (config.grid - 1)) if config.window else energy
    index, exists = _local_minima(lowest, config.beam)
    best, reach = grid[index], cell
    if config.window:
        best, reach = best + cell * _vertex(lowest, index), 2 * config.window * (high - low)
    unit, fine = _unit_grid(config.fine_points, like.dtype, like.device), None
    for _ in range(config.refinements):
        values = (best[..., None] + reach * unit).clamp(low, high)
        fine = energies(values.flatten(1)).reshape(values.shape)
        best = _weighted_mean(values, fine, unit) if config.window else _lowest(values, fine)
        reach = reach if config.window else 2 * reach / (config.fine_points - 1)
    if exists is None:
        return best, None
    partition = torch.logsumexp(-energy, 1, keepdim=True)
    if fine is None:
        found = -lowest.gather(1, index) - (0.0 if config.window else partition)
    else:
        found = (torch.logsumexp(_near(fine, unit), -1) if config.window else -fine.amin(-1)) - partition
    return best, torch.where(exists, found, -torch.inf)


@lru_cache(maxsize=8)
def _unit_grid(points: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " n"]:
    return torch.linspace(-1, 1, points, dtype=dtype, device=device)


def _vertex(energy: Float[Tensor, "rows n"], index: Int[Tensor, "rows k"]) -> Float[Tensor, "rows k"]:
    """Where the parabola through a minimum and its neighbours is least, in cells from the minimum; 0 at the ends."""
    last = energy.shape[1] - 1
    if last < 2:
        return torch.zeros_like(index, dtype=energy.dtype)
    inner = index.clamp(1, last - 1)
    before, at, after = (energy.gather(1, place) for place in (inner - 1, inner, inner + 1))
    curvature = (before - 2 * at + after).clamp_min(1e-6)
    return torch.where(inner == index, (before - after) / (2 * curvature), 0.0).clamp(-0.5, 0.5)


def _smoothed(energy: Float[Tensor, "rows n"], cells: float) -> Float[Tensor, "rows n"]:
    """-log of the probability near each grid point: the density under a Gaussian of `cells` grid cells."""
    kernel = _gaussian(cells, energy.dtype, energy.device)
    density = torch.softmax(-energy, 1)[:, None]
    near = torch.nn.functional.conv1d(density, kernel, padding=kernel.shape[-1] // 2)[:, 0]
    return -near.clamp_min(1e-30).log()


@lru_cache(maxsize=64)
def _gaussian(cells: float, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "1 1 n"]:
    """A Gaussian of `cells` grid cells out to three of them, of sum 1."""
    reach = max(1, round(3 * cells))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / cells) ** 2)
    return (kernel / kernel.sum()).to(device, dtype)[None, None]


def _lowest(values: Float[Tensor, "rows k n"], energy: Tensor) -> Float[Tensor, "rows k"]:
    """The candidates of least energy."""
    return values.gather(-1, energy.argmin(-1, keepdim=True))[..., 0]


def _weighted_mean(
    values: Float[Tensor, "rows k n"], energy: Tensor, unit: Tensor
) -> Float[Tensor, "rows k"]:
    """One mean-shift step: the mean under the density times a Gaussian of half the reach."""
    return (torch.softmax(_near(energy, unit), -1) * values).sum(-1)


def _near(energy: Float[Tensor, "rows k n"], unit: Float[Tensor, " n"]) -> Float[Tensor, "rows k n"]:
    """The log-density, up to a constant, times that Gaussian."""
    return -energy - 2 * unit**2


def _local_minima(energy: Float[Tensor, "rows n"], count: int) -> tuple[Tensor, Tensor | None]:
    """Indices of the `count` lowest grid points that no neighbour undercuts, lowest first, and which of them exist.

    A single one always exists.
    """
    if count == 1:
        return energy.argmin(1, keepdim=True), None
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
