"""Networks that estimate the goal of a motion in the image: its position, and the heading of the tool there.

A heatmap over the encoder's feature map gives the position. Around it, rings of samples on the table form a polar
patch. Rotating the object there shifts the patch along its angle, so that circular convolutions are equivariant to the
rotation: their profile over headings turns with the object, and each heading need not be learned separately.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class HeatMap(nn.Module):
    """Logits over the cells of a feature map, given the phase of the task.

    Args:
        channels: channels of the rectified feature map.
        phase: size of the vector that describes the phase (gripper states); 0 for none.
        hidden: width of the hidden layer `inner`, which the caller applies.
    """

    def __init__(self, channels: int, phase: int, hidden: int = 32) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, hidden, 1)
        self.phase = nn.Linear(phase, hidden, bias=False) if phase else None
        self.out = nn.Conv2d(hidden, 1, 1, bias=False)  # a softmax ignores a bias

    def forward(
        self, hidden: Float[Tensor, "batch rows columns hidden"], phase: Float[Tensor, "batch phase"]
    ) -> Float[Tensor, "batch rows columns"]:
        """Logits from the result of `inner`."""
        x = hidden if self.phase is None else hidden + self.phase(phase)[:, None, None]
        return F.relu(x) @ self.out.weight.flatten()


def expected_pixel(
    logits: Float[Tensor, "batch rows columns"], width: int, height: int
) -> Float[Tensor, "batch 2"]:
    """Mean (u, v) [pixel] of the softmax over the cells, in an image of `width` x `height`."""
    rows, columns = logits.shape[1:]
    weights = logits.flatten(1).softmax(-1).reshape(logits.shape)
    u = (torch.arange(columns, device=logits.device) + 0.5) * (width / columns)
    v = (torch.arange(rows, device=logits.device) + 0.5) * (height / rows)
    return torch.stack([weights.sum(1) @ u.to(weights), weights.sum(2) @ v.to(weights)], -1)


def pixel_loss(
    logits: Float[Tensor, "batch rows columns"], pixels: Float[Tensor, "batch 2"], width: int, height: int
) -> Float[Tensor, ""]:
    """Cross-entropy against the four cells around a pixel with bilinear weights, whose mean is the pixel."""
    rows, columns = logits.shape[1:]
    cell = pixels * pixels.new_tensor([columns / width, rows / height]) - 0.5
    weight = _tent(cell[:, 1], rows)[:, :, None] * _tent(cell[:, 0], columns)[:, None, :]
    return -(weight * logits.flatten(1).log_softmax(-1).reshape(logits.shape)).sum((1, 2)).mean()


def _tent(place: Float[Tensor, " batch"], cells: int) -> Float[Tensor, "batch cells"]:
    """Linear weights of the two cells around a position; outside, only of the first or last cell."""
    index = torch.arange(cells, device=place.device)
    return (1 - (place.clamp(0, cells - 1)[:, None] - index).abs()).clamp_min(0)


class PolarProfile(nn.Module):
    """Logits over the heading, and a correction of the position, from a polar patch.

    Args:
        inputs: channels per sample of the patch.
        rings: number of rings.
        phase: size of the vector that describes the phase; 0 for none.
        hidden: width of the circular convolutions.
    """

    def __init__(self, inputs: int, rings: int, phase: int, hidden: int = 48) -> None:
        super().__init__()
        sizes = [(inputs * rings, hidden), (hidden, hidden), (hidden, 3)]
        self.layers = nn.ModuleList(
            [
                nn.Conv1d(a, b, 5, dilation=2**i, padding=2 * 2**i, padding_mode="circular", bias=i < 2)
                for i, (a, b) in enumerate(sizes)
            ]
        )
        self.phase = nn.Linear(phase, hidden, bias=False) if phase else None

    def forward(
        self, patch: Float[Tensor, "batch c rings angles"], phase: Float[Tensor, "batch phase"]
    ) -> tuple[Float[Tensor, "batch angles"], Float[Tensor, "batch 2"]]:
        """Logits of the headings 2 pi k / angles, and a displacement (x, y) that rotates with the patch."""
        x = self.layers[0](patch.flatten(1, 2))
        if self.phase is not None:
            x = x + self.phase(phase)[..., None]
        x = self.layers[2](F.relu(self.layers[1](F.relu(x))))
        cos, sin = circle(x.shape[-1], x)
        radial, tangential = x[:, 1], x[:, 2]
        shift = torch.stack([radial * cos - tangential * sin, radial * sin + tangential * cos], -1)
        return x[:, 0], shift.mean(1)


def circle(angles: int, like: Tensor) -> tuple[Float[Tensor, " angles"], Float[Tensor, " angles"]]:
    """Cosine and sine of 2 pi k / angles for k from 0 to angles - 1."""
    angle = torch.arange(angles, device=like.device, dtype=like.dtype) * (2 * math.pi / angles)
    return angle.cos(), angle.sin()


def expected_heading(logits: Float[Tensor, "batch angles"]) -> Float[Tensor, "batch 2"]:
    """Mean direction (cos, sin) under the softmax, of unit length."""
    cos, sin = circle(logits.shape[-1], logits)
    weights = logits.softmax(-1)
    return F.normalize(torch.stack([weights @ cos, weights @ sin], -1), dim=-1, eps=1e-6)


def heading_loss(
    logits: Float[Tensor, "batch angles"], heading: Float[Tensor, "batch 2"]
) -> Float[Tensor, ""]:
    """Cross-entropy against the two angles next to a direction (cos, sin), with linear weights."""
    angles = logits.shape[-1]
    place = torch.atan2(heading[:, 1], heading[:, 0]) * (angles / (2 * math.pi))
    distance = place[:, None] - torch.arange(angles, device=logits.device)
    distance = (distance + angles / 2).remainder(angles) - angles / 2
    return -((1 - distance.abs()).clamp_min(0) * logits.log_softmax(-1)).sum(-1).mean()


def sample_pixels(
    maps: Float[Tensor, "batch c rows columns"], pixels: Float[Tensor, "batch n m 2"], width: int, height: int
) -> Float[Tensor, "batch c n m"]:
    """Bilinear samples of a map at pixels (u, v) of an image of `width` x `height`; zero outside."""
    grid = pixels * pixels.new_tensor([2 / width, 2 / height]) - 1
    return F.grid_sample(maps, grid, align_corners=False)
