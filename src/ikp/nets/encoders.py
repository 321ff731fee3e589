"""Image encoders: uint8 camera frames to one feature vector at unit scale.

`resnet26` is the paper's (26 convolutions, spatial softmax), `pool` the light one of Implicit BC, and
`keypoint` ours for processors without a GPU: two scales, keypoints, and the local features at each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn


@dataclass(frozen=True)
class EncoderConfig:
    """How images become features.

    Attributes:
        kind: `keypoint`, `pool` or `resnet26`.
        channels: width of the convolutions.
        stem: side of the blocks of pixels that the first convolution joins; the maps have this part of the image's
            resolution (`keypoint` only).
        coordinates: give every pixel its row and column as two more channels (`keypoint` only; `resnet26` has them).
        fine_layers: further 3x3 convolutions at the stem's resolution (`keypoint` only).
        layers: 3x3 convolutions at half of it (`keypoint` only).
        heads: keypoints (`keypoint` only).
        seen: local features read at each keypoint (`keypoint` only).
        features: size of the feature vector after the last linear layer.
        normalize: LayerNorm on the features, so that they arrive at unit scale beside the joints. Without
            it a spatial softmax starts at a standard deviation of about 0.03 and is hardly used.
        bfloat16: run the convolutions in bfloat16.
    """

    kind: str = "keypoint"
    channels: int = 64
    stem: int = 4
    coordinates: bool = False
    fine_layers: int = 0
    layers: int = 2
    heads: int = 32
    seen: int = 16
    features: int = 128
    normalize: bool = True
    bfloat16: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ENCODERS:
            raise ValueError(f"encoder kind is {self.kind!r}: choose one of {sorted(ENCODERS)}")
        for name in ("channels", "stem", "heads", "features"):
            if getattr(self, name) < 1:
                raise ValueError(f"encoder {name} is {getattr(self, name)}: it must be at least 1")
        for name in ("fine_layers", "layers", "seen"):
            if getattr(self, name) < 0:
                raise ValueError(f"encoder {name} is {getattr(self, name)}: it must be 0 or more")


class SpatialSoftmax(nn.Module):
    """Expected (row, column) in [-1, 1] of each channel's softmax over the image, one trained temperature."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())

    def forward(self, maps: Float[Tensor, "batch heads rows columns"]) -> Float[Tensor, "batch two_heads"]:
        return self.weigh(maps * self.sharpness)[0]

    @property
    def sharpness(self) -> Float[Tensor, ""]:
        """The inverse temperature, which multiplies the maps to give logits."""
        return torch.exp(-self.log_temperature)

    @staticmethod
    def weigh(logits: Float[Tensor, "batch heads rows columns"]) -> tuple[Tensor, Tensor]:
        """Expected positions (batch, 2 * heads) and the softmax weights (batch, heads, rows * columns)."""
        rows, columns = logits.shape[-2:]
        weights = logits.flatten(2).softmax(-1, dtype=torch.float32)
        row, column = _grid(rows, columns, logits.device)
        grid = torch.stack([row.flatten(), column.flatten()], -1)
        return (weights @ grid).flatten(1), weights


class CoordinateChannels(nn.Module):
    """Appends each pixel's row and column, -1 to 1, as two channels."""

    def forward(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch c2 rows columns"]:
        row, column = _grid(x.shape[-2], x.shape[-1], x.device)
        grid = torch.stack([row, column]).to(x.dtype).expand(x.shape[0], -1, -1, -1)
        return torch.cat([x, grid], 1).contiguous(memory_format=torch.channels_last)


class ConvBottleneck(nn.Module):
    """ReLU, 1x1 to a quarter; ReLU, 3x3; ReLU, 1x1 back; plus the input (no normalisation, no stride)."""

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


def _resnet26(inputs: int, config: EncoderConfig) -> tuple[nn.Module, int]:
    """The 26-layer conv ResNet of Implicit BC's pixel policies: 1 + 8 x 3 + 1 convolutions."""
    channels = config.channels
    layers = [CoordinateChannels(), nn.Conv2d(inputs + 2, channels, 3, padding=1)]
    layers += [ConvBottleneck(channels) for _ in range(8)]
    layers += [nn.Conv2d(channels, channels, 1), SpatialSoftmax()]
    return nn.Sequential(*layers), 2 * channels


def _pool(inputs: int, config: EncoderConfig) -> tuple[nn.Module, int]:
    """The light encoder of Implicit BC: 4 x [3x3 convolution, ReLU, 2x2 max-pool], global average."""
    sizes = [inputs, config.channels // 2, config.channels, 2 * config.channels, 4 * config.channels]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), sizes[-1]


class SpaceToDepth(nn.Module):
    """Blocks of `size` x `size` pixels to channels, channels-last throughout.

    A convolution after it costs as much as a strided one and is several times faster backwards on CPUs.
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
    """Convolutions at a quarter of the resolution and at half of that, merged; keypoints and what is seen there.

    Each head's softmax over the merged map gives an expected position and, by the same weights, the expected
    local features: where something is, and (for example) how it is turned.

    Args:
        inputs: image channels.
        config: `channels` is the width of the maps, `layers` the number of 3x3 convolutions at the
            coarser scale, `heads` the number of keypoints, `seen` the local features read at each; another `stem`
            than 4 changes the resolutions.
    """

    def __init__(self, inputs: int, config: EncoderConfig) -> None:
        super().__init__()
        channels, heads, seen = config.channels, config.heads, config.seen
        fine: list[nn.Module] = [CoordinateChannels()] if config.coordinates else []
        joined = config.stem**2 * (inputs + 2 * config.coordinates)
        fine += [SpaceToDepth(config.stem), nn.Conv2d(joined, channels, 3, padding=1), nn.ReLU()]
        for _ in range(config.fine_layers):
            fine += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        coarse: list[nn.Module] = [SpaceToDepth(2), nn.Conv2d(4 * channels, channels, 1), nn.ReLU()]
        for _ in range(config.layers):
            coarse += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        self.fine = nn.Sequential(*fine)
        self.coarse = nn.Sequential(*coarse, nn.Conv2d(channels, channels, 1), nn.Upsample(scale_factor=2))
        self.lateral = nn.Conv2d(channels, channels, 1)
        self.merge = nn.Conv2d(channels, heads + seen, 1)
        self.heads = heads
        self.softmax = SpatialSoftmax()
        self.size = heads * (2 + seen)

    def forward(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch features"]:
        return self.read(self.map(x))

    def map(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch channels rows4 columns4"]:
        """Both scales together, at the finer one's resolution."""
        fine = self.fine(x)
        return self.lateral(fine) + self.coarse(fine)

    def read(self, maps: Float[Tensor, "batch channels rows4 columns4"]) -> Float[Tensor, "batch features"]:
        """The keypoints and what is seen there, from `map`."""
        merged = self._merged(torch.relu(maps))
        positions, weights = self.softmax.weigh(merged[:, : self.heads])
        local = merged[:, self.heads :].float().flatten(2).transpose(1, 2)
        return torch.cat([positions, torch.bmm(weights, local).flatten(1)], 1)

    def _merged(self, x: Float[Tensor, "batch c rows columns"]) -> Float[Tensor, "batch maps rows columns"]:
        """The heads' logits and the local features; the temperature acts on weights, which are few, not on maps."""
        sharpness = self.softmax.sharpness.expand(self.heads)
        scale = torch.cat([sharpness, sharpness.new_ones(len(self.merge.weight) - self.heads)])
        assert self.merge.bias is not None
        return nn.functional.conv2d(
            x, self.merge.weight * scale[:, None, None, None], self.merge.bias * scale
        )


def _keypoint(inputs: int, config: EncoderConfig) -> tuple[nn.Module, int]:
    trunk = KeypointTrunk(inputs, config)
    return trunk, trunk.size


ENCODERS: dict[str, Callable[[int, EncoderConfig], tuple[nn.Module, int]]] = {
    "keypoint": _keypoint,
    "pool": _pool,
    "resnet26": _resnet26,
}


class ImageEncoder(nn.Module):
    """Frames of one camera, stacked on channels, to a feature vector.

    Args:
        frames: history frames per observation.
        config: the encoder's choices.
    """

    def __init__(self, frames: int, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        trunk, size = ENCODERS[config.kind](3 * frames, config)
        for parameter in trunk.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.trunk = trunk
        self.head = nn.Linear(size, config.features)
        self.norm = nn.LayerNorm(config.features) if config.normalize else nn.Identity()

    def forward(
        self, images: UInt8[Tensor, "batch frames rows columns 3"]
    ) -> Float[Tensor, "batch features"]:
        x = self._stack(images)
        with self._autocast(x):
            x = self.trunk(x)
        return self.norm(self.head(x.float()))

    def with_map(
        self, images: UInt8[Tensor, "batch frames rows columns 3"]
    ) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch channels rows4 columns4"]]:
        """`forward`, and the feature map behind it (`KeypointTrunk.map`).

        Of the kind `keypoint` only.
        """
        trunk = self.trunk
        assert isinstance(trunk, KeypointTrunk)
        x = self._stack(images)
        with self._autocast(x):
            maps = trunk.map(x)
            x = trunk.read(maps)
        return self.norm(self.head(x.float())), maps

    def _stack(self, images: Tensor) -> Tensor:
        """Frames on channels, -1 to 1."""
        batch, frames, rows, columns, _ = images.shape
        stacked = images.permute(0, 1, 4, 2, 3).reshape(batch, frames * 3, rows, columns)
        low = self.config.bfloat16 and self.training
        x = stacked.contiguous(memory_format=torch.channels_last).to(torch.bfloat16 if low else torch.float32)
        return x.mul_(1 / 127.5).sub_(1)

    def _autocast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=x.dtype == torch.bfloat16)


def _grid(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    row = torch.linspace(-1, 1, rows, device=device)
    column = torch.linspace(-1, 1, columns, device=device)
    return torch.meshgrid(row, column, indexing="ij")  # type: ignore[return-value]
