"""Stacked energies against one network per dimension."""

from __future__ import annotations

import pytest
import torch

from ikp.nets import DenseResNet, StackedEnergies


def test_the_stack_equals_separate_networks():
    torch.manual_seed(0)
    dims, batch, count, width = 3, 4, 5, 16
    stack = StackedEnergies(dims, width=width, blocks=2)
    base, basis, slopes = (
        torch.randn(dims, batch, width),
        torch.randn(dims, batch, count, 2),
        torch.randn(dims, batch, 2, width),
    )
    energies = stack(base, basis, slopes)
    assert energies.shape == (dims, batch, count)
    for d in range(dims):
        hidden = base[d, :, None] + basis[d] @ slopes[d]
        for block in stack.blocks:
            h = hidden
            for layer in block.layers:
                h = torch.relu(h) @ layer.weight[d] + layer.bias[d]
            hidden = hidden + h
        expected = (torch.relu(hidden) @ stack.head.weight[d] + stack.head.bias[d])[..., 0]
        torch.testing.assert_close(energies[d], expected, atol=1e-5, rtol=1e-5)
        alone = stack(base[d : d + 1], basis[d : d + 1], slopes[d : d + 1], dims=slice(d, d + 1))
        torch.testing.assert_close(alone[0], energies[d], atol=1e-5, rtol=1e-5)


def test_low_precision_stays_close():
    torch.manual_seed(0)
    stack = StackedEnergies(2, width=32, blocks=1)
    inputs = torch.randn(2, 8, 32), torch.randn(2, 8, 6, 3), torch.randn(2, 8, 3, 32)
    exact, low = stack(*inputs), stack(*inputs, dtype=torch.bfloat16)
    assert low.dtype == torch.float32
    assert (exact - low).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(("blocks", "layers"), [(2, 8), (4, 14), (6, 20)])
def test_blocks_make_the_papers_dense_layers(blocks, layers):
    network = DenseResNet(7, 1, width=16, blocks=blocks)
    assert sum(isinstance(m, torch.nn.Linear) for m in network.modules()) == layers
    assert sum(p.numel() for p in network.parameters() if p.grad_fn is None) > 0
    with pytest.raises(ValueError, match="multiple of 4"):
        DenseResNet(7, 1, width=18, blocks=1)
