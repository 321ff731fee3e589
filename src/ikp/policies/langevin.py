"""Langevin dynamics: choose an action by following the gradient of its log-density in joint space.

The chain rule through the kinematics keeps both action spaces consistent (paper, footnote 2).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ikp.policies.energy import Energies
from ikp.policies.normalizer import Bounds

CHAINS, STEPS = 8, 100
STEP_SIZES = (0.1, 1e-5)
"""First and last step size, in units of half the bounds; the decay is polynomial of power 2 (Implicit BC, appendix)."""
LARGEST_STEP = 0.1
PARTITION_POINTS = 32


def joint_log_density(
    energies: Energies, bounds: Bounds, encoded: Float[Tensor, "batch dims"]
) -> Float[Tensor, "batch"]:
    """log p(a | o) = sum_j (-E_j - log Z_j) up to a constant, with Z_j from a grid; differentiable in `encoded`.

    Args:
        energies: E_j of candidates (batch, dims, n), given `encoded` as the prefix.
        bounds: range over which Z_j is summed.
        encoded: encoded actions.
    """
    unit = torch.linspace(0, 1, PARTITION_POINTS, device=encoded.device)
    grid = bounds.low[:, None] + unit * (bounds.high - bounds.low)[:, None]
    candidates = torch.cat([encoded[..., None], grid.expand(len(encoded), -1, -1)], -1)
    energy = energies(candidates)
    return (-energy[..., 0] - torch.logsumexp(-energy[..., 1:], -1)).sum(-1)


def langevin(
    energies: Callable[[Tensor], Energies],
    bounds: Bounds,
    start: Float[Tensor, "batch dims"],
    *,
    chains: int = CHAINS,
    steps: int = STEPS,
) -> Float[Tensor, "batch dims"]:
    """Stochastic gradient ascent of the log-density; returns the end of the best chain of each example.

    The noise is proportional to the step size, which decays polynomially; the last quarter of the steps has no noise
    (Implicit BC, appendix).

    Args:
        energies: maps encoded actions (batch * chains, dims), the chains of an example one after another, to the
            energies conditioned on them as the prefix.
        bounds: range of the encoded actions.
        start: encoded actions at which the first chain of each example starts; the others start uniformly.
        chains: chains per example.
        steps: steps of each chain.
    """
    batch, dims = start.shape
    low, half = bounds.low, (bounds.high - bounds.low) / 2
    unit = torch.rand(batch, chains, dims, device=start.device) * 2 - 1
    unit[:, 0] = bounds.to_unit(start)
    unit = unit.flatten(0, 1)

    def density_gradient(unit: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = unit.detach().requires_grad_(True)
            encoded = low + (leaf + 1) * half
            density = joint_log_density(energies(encoded), bounds, encoded)
            (gradient,) = torch.autograd.grad(density.sum(), leaf)
        return gradient, density.detach()

    first, last = STEP_SIZES
    for k in range(steps):
        step = last + (first - last) * (1 - k / steps) ** 2
        gradient, _ = density_gradient(unit)
        noise = torch.randn_like(unit) * step * (k < 0.75 * steps)
        move = (0.5 * step * gradient + 0.5 * noise).clamp(-LARGEST_STEP, LARGEST_STEP)
        unit = (unit + move).clamp(-1, 1)
    _, density = density_gradient(unit)
    best = density.reshape(batch, chains).argmax(1)
    rows = torch.arange(batch, device=unit.device)
    return bounds.from_unit(unit.reshape(batch, chains, -1)[rows, best])
