"""Camera images to the size that policies see."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def reduced(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """The middle of an image in the shape of `size` (height, width), averaged down or scaled up to it."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    scale = min(height / size[0], width / size[1])
    h, w = scale * size[0], scale * size[1]
    box = ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)
    picture = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BOX, box=box)
    return np.asarray(picture)
