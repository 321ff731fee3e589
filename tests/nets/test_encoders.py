"""Image encoders: sizes, scales, what they can tell apart, errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ikp.nets import ENCODERS, EncoderConfig, ImageEncoder
from ikp.nets.encoders import HEADS, POSITION_GAIN, KeypointTrunk, SpaceToDepth, SpatialSoftmax


def images(batch: int = 4, frames: int = 1, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (batch, frames, size, size, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("kind", ENCODERS)
def test_features_arrive_at_unit_scale_with_gradients_everywhere(kind, frames):
    torch.manual_seed(0)
    encoder = ImageEncoder(frames, EncoderConfig(kind=kind, channels=16))
    features = encoder(images(frames=frames))
    assert features.shape == (4, encoder.size)
    if kind != "resnet26":  # the paper's spatial softmax is taken as it comes
        assert 0.5 < float(features.detach().std()) < 2
    (features * torch.randn_like(features)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_the_papers_encoder_has_26_convolutions():
    encoder = ImageEncoder(2, EncoderConfig(kind="resnet26", channels=64))
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 26
    assert convolutions[0].in_channels == 2 * 3 + 2
    assert encoder(images(frames=2)).shape == (4, 128)
    assert not isinstance(encoder.head, nn.Linear)


def test_spatial_softmax_points_at_the_peak():
    maps = torch.full((1, 2, 9, 9), -20.0)
    maps[0, 0, 0, 8] = 20
    maps[0, 1, 4, 4] = 20
    expected = torch.tensor([[-1.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(SpatialSoftmax()(maps), expected, atol=1e-4, rtol=0)


def test_frames_are_stacked_as_channels_and_not_shuffled():
    encoder = ImageEncoder(2, EncoderConfig(channels=8)).eval()
    seen = []
    encoder.trunk.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    frames = images(frames=2)
    encoder(frames)
    first = frames[:, 0].permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(seen[0][:, :3], first)


def test_space_to_depth_keeps_each_block_together():
    x = torch.arange(2 * 3 * 4 * 4).float().reshape(2, 3, 4, 4)
    y = SpaceToDepth(2)(x)
    assert y.shape == (2, 12, 2, 2)
    block = x[1, :, 2:4, 0:2].permute(1, 2, 0).flatten()
    torch.testing.assert_close(y[1, :, 1, 0], block)
    with pytest.raises(ValueError, match="multiples of 4"):
        SpaceToDepth(4)(torch.zeros(1, 3, 10, 10))


def test_maps_have_a_quarter_of_the_resolution():
    features, maps = ImageEncoder(1, EncoderConfig(channels=8)).with_map(images())
    assert features.shape == (4, 128)
    assert maps.shape == (4, 8, 8, 8)


def test_maps_of_keypoints_move_with_what_they_show():
    def square(row: int) -> torch.Tensor:
        image = torch.ones(1, 3, 64, 64)
        image[..., row : row + 7, 24:31] = -1
        return image

    torch.manual_seed(0)
    trunk = KeypointTrunk(3, 16).requires_grad_(False)
    here, moved, empty = (trunk.map(x)[..., 3:13] for x in (square(24), square(28), torch.ones(1, 3, 64, 64)))
    # four pixels are one cell, and half a cell of the coarse map
    difference = moved[:, :, 4:13] - here[:, :, 3:12]
    # 0.02; 0.08 where the coarse map is made of blocks of cells
    assert difference.norm() < 0.04 * (here - empty)[:, :, 3:12].norm()


def test_positions_of_keypoints_are_features_as_they_are():
    encoder = ImageEncoder(1, EncoderConfig(channels=8)).eval()
    with torch.no_grad():
        features, maps = encoder.with_map(images())
        found = encoder.trunk.read(maps)
    torch.testing.assert_close(features[:, : 2 * HEADS], POSITION_GAIN * found[..., :2].flatten(1))


def test_heights_and_widths_are_multiples_of_four():
    encoder = ImageEncoder(1, EncoderConfig(channels=8))
    assert encoder(images(size=36)).shape == (4, 128)
    with pytest.raises(ValueError, match="multiples of 4"):
        encoder(images(size=34))


def test_unknown_encoders_are_refused():
    with pytest.raises(ValueError, match="keypoint, pool, resnet26|choose one of"):
        EncoderConfig(kind="resnet")
    with pytest.raises(ValueError, match="channels is 0"):
        EncoderConfig(channels=0)


def test_the_images_of_the_caller_stay_as_they_are():
    encoder = ImageEncoder(1, EncoderConfig(channels=8)).eval()
    for dtype in (torch.uint8, torch.float32):
        images = torch.randint(0, 256, (2, 1, 16, 16, 3)).to(dtype)
        before = images.clone()
        encoder._stack(images)
        assert torch.equal(images, before)


def test_an_image_of_one_cell_has_its_position_in_the_middle():
    maps = torch.rand(1, 3, 1, 5)
    assert torch.equal(SpatialSoftmax.weigh(maps)[..., 0], torch.zeros(1, 3))
