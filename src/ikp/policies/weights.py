"""Weights into a policy: names, shapes and numbers are checked first, so that damage is named in one line."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ikp.policies.policy import Policy


def load_weights(policy: Policy, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors of a policy's `state_dict` that were read from a file.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape, or holds NaN or infinity.
    """
    expected = policy.state_dict()
    for name in (*expected, *tensors):
        if name not in tensors or name not in expected:
            raise ValueError(f"{name!r} is only in the {'policy' if name in expected else 'file'}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{name!r} is {list(tensor.shape)}, the policy's is {list(expected[name].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name!r} holds numbers that are not finite")
    policy.load_state_dict(dict(tensors))
