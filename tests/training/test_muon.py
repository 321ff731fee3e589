"""Muon against torch's own on single matrices, and what it adds: stacks, filters, errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ikp.training.muon import Muon, is_matrix, orthogonalize


@pytest.mark.parametrize("shape", [(1, 16, 40), (3, 40, 16), (2, 24, 24)])
def test_singular_values_become_about_one(shape):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator) * torch.logspace(0, -1, shape[-1])
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.max() < 1.3
    assert values.median() > 0.6


def test_the_directions_are_those_of_the_polar_factor():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(1, 12, 30, generator=generator)
    u, _, vh = torch.linalg.svd(matrix[0], full_matrices=False)
    found = orthogonalize(matrix)[0]
    cosine = (found * (u @ vh)).sum() / (found.norm() * (u @ vh).norm())
    assert cosine > 0.97


def test_matrices_of_a_stack_do_not_mix_and_zero_stays_zero():
    generator = torch.Generator().manual_seed(2)
    stack = torch.randn(3, 8, 20, generator=generator)
    stack[1] = 0
    together = orthogonalize(stack)
    assert (together[1] == 0).all()
    for one, alone in zip(together, stack, strict=True):
        torch.testing.assert_close(one, orthogonalize(alone[None])[0], atol=0.02, rtol=0.02)


def test_equal_to_torchs_muon_on_a_single_matrix():
    torch.manual_seed(3)
    start, target = torch.randn(20, 12), torch.randn(20, 12)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}
    reference = torch.optim.Muon([theirs], nesterov=True, adjust_lr_fn="match_rms_adamw", **settings)
    for parameter, optimizer in ((ours, Muon([ours], **settings)), (theirs, reference)):
        for _ in range(5):
            optimizer.zero_grad()
            (parameter - target).pow(4).sum().backward()
            optimizer.step()
    assert (ours - start).norm() > 0.1
    torch.testing.assert_close(ours - start, theirs - start, atol=2e-3, rtol=0.02)


def test_filters_and_stacks_are_learned():
    torch.manual_seed(4)
    for shape in ((6, 4, 3, 3), (3, 10, 5), (7, 9)):
        parameter, target = nn.Parameter(torch.zeros(shape)), torch.randn(shape)
        optimizer = Muon([parameter], lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            (parameter - target).square().sum().backward()
            optimizer.step()
        assert (parameter - target).square().mean() < 0.1 * target.square().mean(), shape


def test_what_is_no_matrix_is_refused():
    for shape in ((5,), (1, 7), (3, 8, 1)):
        parameter = nn.Parameter(torch.zeros(shape))
        assert not is_matrix(parameter)
        with pytest.raises(ValueError, match="no matrix.*AdamW"):
            Muon([parameter], lr=0.1)
