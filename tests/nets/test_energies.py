"""Stacked energies against one network per dimension."""

from __future__ import annotations

import pytest
import torch

from ikp.nets import DenseResNet, StackedEnergies
from ikp.nets.energies import ROWS_IN_CACHE
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


def test_candidates_are_evaluated_in_parts_and_each_gets_its_own_energy():
    torch.manual_seed(0)
    width, batch, count = 8, 7, ROWS_IN_CACHE // 3
    stack = StackedEnergies(1, width=width, blocks=1).requires_grad_(False)
    inputs = torch.randn(1, batch, width), torch.randn(1, batch, count, 2), torch.randn(1, batch, 2, width)
    (alone,) = stack.unstacked()
    found = alone(*(each[0] for each in inputs))
    assert batch % (ROWS_IN_CACHE // count), "the last part is smaller"
    torch.testing.assert_close(found, stack(*inputs)[0], atol=1e-6, rtol=1e-6)


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


@pytest.mark.parametrize("grad", [True, False])
def test_forward_mode_equals_backward(grad):
    stack = StackedEnergies(2, width=8, blocks=2).double()
    inputs = [torch.randn(2, 3, 8), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 4, 8)]
    inputs = tuple(x.double() for x in inputs)
    directions = tuple(torch.randn_like(x) for x in inputs)
    expected = sum(
        (J * v).flatten(3).sum(-1)
        for J, v in zip(torch.autograd.functional.jacobian(stack, inputs), directions, strict=True)
    )
    with torch.set_grad_enabled(grad):
        values, tangents = torch.func.jvp(stack, inputs, directions)
        torch.testing.assert_close(values, stack(*inputs))
        torch.testing.assert_close(tangents, expected)
        batch = torch.randn(4, 2, 3, 5, 4).double()
        one_by_one = torch.stack([stack(inputs[0], basis, inputs[2]) for basis in batch])
        vmapped = torch.vmap(lambda basis: stack(inputs[0], basis, inputs[2]))(batch)
        torch.testing.assert_close(vmapped, one_by_one)


def test_a_second_backward_is_refused():
    stack = StackedEnergies(2, width=8, blocks=1)
    basis = torch.randn(2, 3, 5, 4, requires_grad=True)
    energies = stack(torch.randn(2, 3, 8), basis, torch.randn(2, 3, 4, 8))
    (gradient,) = torch.autograd.grad(energies.square().sum(), basis, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()
