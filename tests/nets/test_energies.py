"""Stacked energies against one network per dimension."""

from __future__ import annotations

import pytest
import torch

from ikp.nets import DenseResNet, StackedEnergies
from ikp.nets.fused import mask_, relu


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
        alone = stack.unstacked()[d](base[d], basis[d], slopes[d])
        torch.testing.assert_close(alone, energies[d], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [5, 200])  # below and above what oneDNN is used for
def test_the_gradient_equals_autograds(count):
    torch.manual_seed(0)
    dims, batch, width = 2, 3, 8
    stack = StackedEnergies(dims, width=width, blocks=2)
    inputs = [
        torch.randn(dims, batch, width),
        torch.randn(dims, batch, count, 2),
        torch.randn(dims, batch, 2, width),
    ]
    leaves = [x.requires_grad_(True) for x in inputs]
    weights = torch.randn(dims, batch, count)
    (stack(*leaves) * weights).sum().backward()
    found = [x.grad.clone() for x in (*leaves, *stack.parameters())]
    for x in (*leaves, *stack.parameters()):
        x.grad = None
    hidden = leaves[0][:, :, None] + leaves[1] @ leaves[2]
    for block in stack.blocks:
        h = hidden
        for layer in block.layers:
            h = torch.relu(h) @ layer.weight[:, None] + layer.bias[:, None]
        hidden = hidden + h
    energies = (torch.relu(hidden) @ stack.head.weight[:, None] + stack.head.bias[:, None])[..., 0]
    (energies * weights).sum().backward()
    for x, gradient in zip((*leaves, *stack.parameters()), found, strict=True):
        torch.testing.assert_close(gradient, x.grad, atol=1e-4, rtol=1e-4)


def test_bits_of_floats_make_a_relu_and_its_mask():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.tensor([-2.0, -0.0, 0.0, 1e-30, 3.0], dtype=dtype)
        assert torch.equal(relu(x), torch.relu(x))
        gradient = torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0], dtype=dtype)
        assert torch.equal(mask_(gradient.clone(), relu(x)), torch.where(x > 0, gradient, 0.0))


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
