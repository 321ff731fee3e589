"""Image augmentation on whole batches."""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from torch import Tensor


def shift_images(
    images: UInt8[Tensor, "batch frames rows columns 3"], most: int
) -> UInt8[Tensor, "batch frames rows columns 3"]:
    """Each example shifted by a random whole number of pixels up to `most`, edges repeated; frames alike.

    Draws from torch's global random state.
    """
    batch, _, rows, columns, _ = images.shape
    shift = torch.randint(-most, most + 1, (2, batch, 1), device=images.device)
    row = (torch.arange(rows, device=images.device) + shift[0]).clamp(0, rows - 1)
    column = (torch.arange(columns, device=images.device) + shift[1]).clamp(0, columns - 1)
    example = torch.arange(batch, device=images.device)
    shifted = images[example[:, None, None], :, row[:, :, None], column[:, None, :]]
    return shifted.permute(0, 3, 1, 2, 4)
