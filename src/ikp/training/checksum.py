"""Checksums of tensors and texts."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor


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
