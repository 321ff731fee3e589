"""Image encoders: uint8 camera frames to one feature vector at unit scale.

`resnet26` is the paper's encoder (26 convolutions, spatial softmax), `pool` the small one of Implicit BC, and
`keypoint` ours for machines without a GPU: feature maps at two scales, keypoints, and local features at each keypoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ikp.checks import in_range, plain_types

STEM = 4
"""Side of the pixel blocks that the keypoint encoder's first convolution takes: its maps have a quarter of the image's
resolution."""
COARSE_LAYERS = 2
"""3x3 convolutions of the keypoint encoder at half of that resolution."""
HEADS = 32
"""Number of keypoints."""
SEEN = 16
"""Local features per keypoint."""
FEATURES = 128
"""Size of the feature vector of `keypoint` and `pool`."""
POSITION_GAIN = 10.0
"""Factor of the keypoints' positions in the feature vector: at first they differ between images by a few hundredths."""


@dataclass(frozen=True)
class EncoderConfig:
    """Options of the image encoder.

    Attributes:
        kind: `keypoint` (ours, for machines without a GPU), `pool` (the small one of Implicit BC) or `resnet26` (the
            paper's, whose feature vector is the output of its spatial softmax).
        channels: width of the convolutions.

    Raises:
        ValueError: the kind is unknown, or the channels are too few or too many.
    """

    kind: str = "keypoint"
    channels: int = 64

    def __post_init__(self) -> None:
        plain_types(self)
        if self.kind not in ENCODERS:
            raise ValueError(f"encoder kind is {self.kind!r}: choose one of {sorted(ENCODERS)}")
        in_range(self, channels=(2, 4096))


class SpatialSoftmax(nn.Module):
    """Expected (row, column) in [-1, 1] of the softmax of each channel over the image, with one learned temperature."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())

    def forward(self, maps: Float[Tensor, "batch heads rows columns"]) -> Float[Tensor, "batch two_heads"]:
        return self.weigh(maps * self.sharpness).flatten(1)

    @property
    def sharpness(self) -> Float[Tensor, ""]:
        """The inverse temperature; logits are the maps times it."""
        return torch.exp(-self.log_temperature)

    @staticmethod
    def weigh(
        logits: Float[Tensor, "batch heads rows columns"],
        values: Float[Tensor, "batch features rows columns"] | None = None,
    ) -> Float[Tensor, "batch heads two_and_features"]:
        """Expected position, and expected values, of each head.

        Args:
            logits: logits of the softmax over the cells.
            values: features of the cells, for which the same weights count.
        """
        rows, columns = logits.shape[-2:]
        # channels-last maps are read in the order in which they lie: cells by heads
        weights = logits.flatten(2).transpose(1, 2).softmax(1, dtype=torch.float32)
        grid = torch.stack(_grid(rows, columns, logits.device), -1).flatten(0, 1).expand(len(logits), -1, -1)
        if values is not None:
            grid = torch.cat([grid, values.flatten(2).transpose(1, 2)], -1)
        return torch.bmm(weights.transpose(1, 2), grid)


class CoordinateChannels(nn.Module):
    """Appends each pixel's row and column, -1 to 1, as two channels."""

    def forward(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch c2 rows columns"]:
        row, column = _grid(x.shape[-2], x.shape[-1], x.device)
        grid = torch.stack([row, column]).to(x.dtype).expand(x.shape[0], -1, -1, -1)
        return torch.cat([x, grid], 1).contiguous(memory_format=torch.channels_last)


class ConvBottleneck(nn.Module):
    """Bottleneck with a skip connection: ReLU, 1x1 to a quarter; ReLU, 3x3; ReLU, 1x1 back; no normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // 4, 1)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, narrow, 1),
            nn.ReLU(),
            nn.Conv2d(narrow, narrow, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(narrow, channels, 1),
        )

    def forward(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch c rows columns"]:
        return x + self.layers(x)


def _resnet26(inputs: int, channels: int) -> tuple[nn.Module, nn.Module, int]:
    """The 26-layer conv ResNet of Implicit BC's pixel policies: 1 + 8 x 3 + 1 convolutions."""
    layers: list[nn.Module] = [CoordinateChannels(), nn.Conv2d(inputs + 2, channels, 3, padding=1)]
    layers += [ConvBottleneck(channels) for _ in range(8)]
    layers += [nn.Conv2d(channels, channels, 1), SpatialSoftmax()]
    return nn.Sequential(*layers), nn.Identity(), 2 * channels


def _pool(inputs: int, channels: int) -> tuple[nn.Module, nn.Module, int]:
    """The small encoder of Implicit BC: 4 x [3x3 convolution, ReLU, 2x2 max-pool], global average."""
    sizes = [inputs, channels // 2, channels, 2 * channels, 4 * channels]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return trunk, nn.Sequential(nn.Linear(sizes[-1], FEATURES), nn.LayerNorm(FEATURES)), FEATURES


class SpaceToDepth(nn.Module):
    """Moves blocks of `size` x `size` pixels to channels, in channels-last layout.

    A following convolution costs as much as a strided one and its backward pass is several times faster on CPUs.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch c2 rows2 columns2"]:
        batch, channels, rows, columns = x.shape
        size = self.size
        if rows % size or columns % size:
            raise ValueError(
                f"feature maps are {rows} x {columns}: the encoder needs multiples of {size}; resize the images"
            )
        blocks = x.permute(0, 2, 3, 1).reshape(batch, rows // size, size, columns // size, size, channels)
        blocks = blocks.transpose(2, 3).reshape(batch, rows // size, columns // size, size * size * channels)
        return blocks.permute(0, 3, 1, 2)


class KeypointTrunk(nn.Module):
    """Convolutions at a quarter and an eighth of the resolution, merged; keypoints with local features.

    The softmax of each head over the merged map gives an expected position and, with the same weights, expected local
    features: the position of something and, for example, its orientation. The coarse map is averaged down and
    interpolated up, so that it moves with what it shows: with blocks of cells in their place, each position of a thing
    within a block has to be learned (docs/notes/2026-11-30-few-images.md).

    Args:
        inputs: image channels.
        channels: width of the maps.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            SpaceToDepth(STEM), nn.Conv2d(STEM**2 * inputs, channels, 3, padding=1), nn.ReLU()
        )
        coarse: list[nn.Module] = [nn.AvgPool2d(3, 2, 1), nn.Conv2d(channels, channels, 1), nn.ReLU()]
        for _ in range(COARSE_LAYERS):
            coarse += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        self.coarse = nn.Sequential(*coarse, nn.Conv2d(channels, channels, 1))
        self.lateral = nn.Conv2d(channels, channels, 1)
        self.merge = nn.Conv2d(channels, HEADS + SEEN, 1)
        self.softmax = SpatialSoftmax()

    def forward(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch heads two_and_seen"]:
        return self.read(self.map(x))

    def map(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch channels rows4 columns4"]:
        """Rectified feature map of both scales, at the resolution of the finer one."""
        fine = self.fine(x)
        coarse = nn.functional.interpolate(self.coarse(fine), fine.shape[-2:], mode="bilinear")
        return torch.relu(self.lateral(fine) + coarse)

    def read(
        self, maps: Float[Tensor, "batch channels rows4 columns4"]
    ) -> Float[Tensor, "batch heads two_and_seen"]:
        """Keypoints and their local features, from the result of `map`."""
        return self.softmax.weigh(*self._merged(maps).split([HEADS, SEEN], 1))

    def _merged(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch maps rows columns"]:
        """Logits of the heads and local features; the temperature scales the weights, which are smaller than maps."""
        sharpness = self.softmax.sharpness.expand(HEADS)
        scale = torch.cat([sharpness, sharpness.new_ones(SEEN)])
        assert self.merge.bias is not None
        return nn.functional.conv2d(
            x, self.merge.weight * scale[:, None, None, None], self.merge.bias * scale
        )


class KeypointHead(nn.Module):
    """Positions of the keypoints as they are, and a summary of what is seen at them.

    Positions that went through the summary's layers would no longer change evenly with the scene: what few images teach
    about a place would say little about the place beside it.
    """

    def __init__(self) -> None:
        super().__init__()
        size = FEATURES - 2 * HEADS
        self.summary = nn.Sequential(nn.Linear(HEADS * SEEN, size), nn.LayerNorm(size))

    def forward(self, found: Float[Tensor, "batch heads two_and_seen"]) -> Float[Tensor, "batch features"]:
        positions, seen = found[..., :2].flatten(1), found[..., 2:].flatten(1)
        return torch.cat([POSITION_GAIN * positions, self.summary(seen)], 1)


def _keypoint(inputs: int, channels: int) -> tuple[nn.Module, nn.Module, int]:
    return KeypointTrunk(inputs, channels), KeypointHead(), FEATURES


ENCODERS: dict[str, Callable[[int, int], tuple[nn.Module, nn.Module, int]]] = {
    "keypoint": _keypoint,
    "pool": _pool,
    "resnet26": _resnet26,
}
"""Makers of a trunk, a head in float32 and the size of the feature vector, from input channels and width."""
SIZES = {"keypoint": (STEM, STEM), "pool": (1, 16), "resnet26": (1, 1)}
"""Heights and widths of images: what they are multiples of, and the least."""


def check_image_size(kind: str, camera: str, rows: int, columns: int) -> None:
    """Refuse images that an encoder cannot read.

    Args:
        kind: a key of `ENCODERS`.
        camera: name of the camera, for the message.
        rows, columns: height and width [pixel].

    Raises:
        ValueError: the height or the width is too small, or no multiple of what the encoder needs.
    """
    multiple, least = SIZES[kind]
    fit = [max(size // multiple * multiple, least) for size in (rows, columns)]
    if fit != [rows, columns]:
        needs = f"multiples of {multiple}" if multiple > 1 else f"at least {least}"
        raise ValueError(
            f"images of camera {camera!r} are {rows} x {columns} (height x width): the encoder {kind!r} needs heights "
            f"and widths that are {needs}; resize the images (ikp train --image-size {fit[0]}x{fit[1]})"
        )


class ImageEncoder(nn.Module):
    """Frames of one camera, stacked on channels, to a feature vector.

    Args:
        frames: history frames per observation.
        config: options of the encoder.
        bfloat16: train the convolutions in bfloat16.

    Attributes:
        size: size of the feature vector.
    """

    def __init__(self, frames: int, config: EncoderConfig, *, bfloat16: bool = True) -> None:
        super().__init__()
        self.trains_low = bfloat16
        trunk, self.head, self.size = ENCODERS[config.kind](3 * frames, config.channels)
        for parameter in trunk.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.trunk = trunk
        self.register_state_dict_post_hook(_contiguous)

    def forward(
        self, images: UInt8[Tensor, "batch frames rows columns 3"]
    ) -> Float[Tensor, "batch features"]:
        x = self._stack(images)
        with self._autocast(x):
            x = self.trunk(x)
        return self.head(x.float())

    def with_map(
        self, images: UInt8[Tensor, "batch frames rows columns 3"]
    ) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch channels rows4 columns4"]]:
        """The features, and the feature map from which they are read (`KeypointTrunk.map`); only for `keypoint`."""
        trunk = self.trunk
        assert isinstance(trunk, KeypointTrunk)
        x = self._stack(images)
        with self._autocast(x):
            maps = trunk.map(x)
            x = trunk.read(maps)
        return self.head(x.float()), maps

    def _stack(self, images: Tensor) -> Tensor:
        """Images with frames stacked on channels, scaled to [-1, 1]."""
        batch, frames, rows, columns, _ = images.shape
        stacked = images.permute(0, 1, 4, 2, 3).reshape(batch, frames * 3, rows, columns)
        low = self.trains_low and self.training
        kind = torch.bfloat16 if low else torch.float32
        x = stacked.to(
            kind, memory_format=torch.channels_last, copy=True
        )  # the caller's images stay as they are
        return x.mul_(1 / 127.5).sub_(1)

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=x.dtype == torch.bfloat16)


def _contiguous(_: nn.Module, state: dict[str, Tensor], prefix: str, __: object) -> None:
    """Copy the channels-last weights of a state dict to the usual layout, which other writers of checkpoints demand."""
    for name, value in state.items():
        if name.startswith(prefix) and not value.is_contiguous():
            state[name] = value.contiguous()


def _grid(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    row, column = (
        torch.linspace(-1, 1, count, dtype=torch.float32, device=device) * (count > 1)
        for count in (rows, columns)
    )
    return torch.meshgrid(row, column, indexing="ij")  # type: ignore[return-value]
