"""Indices as slices."""

from __future__ import annotations

import pytest
import torch

from ikp.indices import as_slice


@pytest.mark.parametrize("indices", [[0, 1, 2], [2, 3], [4], [0, 2, 3], [2, 1, 0], []])
@pytest.mark.parametrize("first", [0, 2])
def test_they_choose_the_same(indices, first):
    values, shifted = torch.arange(10, 16), [i - first for i in indices]
    if min(shifted, default=0) >= 0:
        assert values[as_slice(indices, first)].tolist() == values[shifted].tolist()
    assert isinstance(as_slice(indices, first), slice) == (indices in ([0, 1, 2], [2, 3], [4]))
