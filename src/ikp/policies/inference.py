"""How the implicit policy finds the action of least energy.

`search` is derivative-free: dimension by dimension a stratified grid and finer grids around its best cell,
exact in one dimension up to its last resolution; with a beam, prefixes compete by their normalised log-density.
With a `window` the most probable neighbourhood wins instead of the highest point: demonstrations hold many
actions that are almost exactly zero, a narrow peak by which a merely possible "stay" would otherwise win.

`langevin` follows the gradient of the joint log-density in joint space, where the chain rule
through the kinematics keeps both action spaces consistent (the paper's footnote 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from ikp.policies.implicit import ImplicitPolicy

LANGEVIN_STEPS = 100
LANGEVIN_STEP_SIZES = (0.1, 1e-5)
"""First and last step in units of the half range, polynomial of power 2 (Implicit BC, appendix)."""
LANGEVIN_LARGEST_STEP = 0.1
PARTITION_POINTS = 32


@torch.no_grad()
def search(
    policy: ImplicitPolicy,
    context: Float[Tensor, "batch context"],
    joints: Float[Tensor, "batch joints"] | None,
) -> Float[Tensor, "batch dims"]:
    """Autoregressive coarse-to-fine argmin, with `config.beam` prefixes kept."""
    batch, beam = len(context), policy.config.beam
    chosen = context.new_zeros(batch, 1, policy.dims)
    score = context.new_zeros(batch, 1)
    for j in range(policy.dims):
        kept = chosen.shape[1]
        flat = chosen.flatten(0, 1)
        tiled_context = context.repeat_interleave(kept, 0)
        tiled_joints = None if joints is None else joints.repeat_interleave(kept, 0)
        values, log_density = _best_of_dimension(policy, tiled_context, tiled_joints, flat, j)
        width = values.shape[1]
        total = (score[:, :, None] + log_density.reshape(batch, kept, width)).flatten(1)
        score, order = total.topk(min(beam, total.shape[1]), dim=1)
        chosen = chosen.gather(1, (order // width)[..., None].expand(-1, -1, policy.dims)).clone()
        chosen[..., j] = values.reshape(batch, -1).gather(1, order)
    return chosen[:, 0]


def _best_of_dimension(
    policy: ImplicitPolicy, context: Tensor, joints: Tensor | None, prefix: Tensor, j: int
) -> tuple[Float[Tensor, "rows kept"], Float[Tensor, "rows kept"]]:
    """The best values of dimension j and their log-densities -E_j - log Z_j, best first; `beam` of them."""
    config, dims = policy.config, slice(j, j + 1)
    low, high = float(policy.bounds.low[j]), float(policy.bounds.high[j])
    energies = policy.given(context, joints, prefix, dims)
    grid = torch.linspace(low, high, config.grid, device=context.device).expand(len(context), -1)
    energy = energies(grid[:, None])[:, 0]
    log_partition = torch.logsumexp(-energy, 1, keepdim=True)
    if config.window:
        refine, reach = _weighted_mean, 2 * config.window * (high - low)
        energy = _smoothed(energy, config.window * (config.grid - 1))
    else:
        refine, reach = _lowest, (high - low) / (config.grid - 1)
    index = _local_minima(energy, config.beam)
    best, least = grid.gather(1, index), energy.gather(1, index)
    for _ in range(config.refinements):
        offsets = torch.linspace(-reach, reach, max(config.grid // 2, 3), device=context.device)
        fine = (best[..., None] + offsets).clamp(low, high)
        fine_energy = energies(fine.flatten(1)[:, None]).reshape(fine.shape)
        best, least = refine(fine, fine_energy, offsets)
        reach = reach if config.window else 2 * reach / (len(offsets) - 1)
    return best, -least - log_partition


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


def _local_minima(energy: Float[Tensor, "rows n"], count: int) -> Tensor:
    """Indices of the `count` lowest grid points that no neighbour undercuts; repeats the best if there are fewer."""
    if count == 1:
        return energy.argmin(1, keepdim=True)
    padded = torch.nn.functional.pad(energy, (1, 1), value=torch.inf)
    is_minimum = (energy <= padded[:, :-2]) & (energy <= padded[:, 2:])
    ranked = torch.where(is_minimum, energy, torch.inf)
    values, index = ranked.topk(min(count, energy.shape[1]), dim=1, largest=False)
    return torch.where(values.isinf(), index[:, :1], index)


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
