"""Tensors on disk: safetensors with a checksum of their values; damage is named in one line."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

CHECKSUM = "checksum"
"""Key of the file's metadata; files of other writers lack it."""


def checksum(*parts: Tensor | str) -> str:
    """CRC-32 of texts and of the values of tensors, as eight hexadecimal digits."""
    value = 0
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        else:
            part = part.encode()
        value = zlib.crc32(part, value)
    return f"{value:08x}"


def packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of a safetensors file with these tensors and a checksum of them."""
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return save(stored, {**(metadata or {}), CHECKSUM: _checksum(stored)})


def unpacked(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; the checksum is verified where there is one.

    Raises:
        ValueError: the file is damaged; the message has the reason, without the file's name.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if CHECKSUM in metadata and metadata[CHECKSUM] != _checksum(tensors):
        raise ValueError("its checksum is wrong")
    return tensors, metadata


def load_weights(policy: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors of a policy's `state_dict` that were read from a file.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape or type, or holds NaN or infinity.
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
        if tensor.dtype != expected[name].dtype:
            raise ValueError(f"{name!r} is {tensor.dtype}, the policy's is {expected[name].dtype}")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name!r} holds numbers that are not finite")
    policy.load_state_dict(dict(tensors))


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    return checksum(*(part for name in sorted(tensors) for part in (name, tensors[name])))
