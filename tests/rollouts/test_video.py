"""Rollout videos play in a browser and say how each episode ended."""

from types import SimpleNamespace

import av
import numpy as np
import pytest

from ikp.rollouts.video import FAILURE, SUCCESS, write_grid


def episodes(lengths, height=60, width=80):
    return [[np.full((height, width, 3), 20 * i, np.uint8) for i in range(length)] for length in lengths]


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        codec = stream.codec_context
        # a stream tells nothing once its file is closed
        found = SimpleNamespace(
            codec=codec.name,
            pixels=codec.pix_fmt,
            rate=stream.average_rate,
            width=stream.width,
            height=stream.height,
        )
        return found, frames


def test_h264_with_even_sides_at_the_given_rate(tmp_path):
    path = write_grid(
        episodes([3, 6], 61, 81), tmp_path / "new" / "grid.mp4", fps=10, labels=[True, False], hold=0.5
    )
    stream, frames = decoded(path)
    assert (stream.codec, stream.pixels) == ("h264", "yuv420p")
    assert stream.rate == 10
    assert len(frames) == 6 + 5
    assert stream.width % 2 == 0
    assert stream.height % 2 == 0
    assert [leftover.name for leftover in path.parent.iterdir()] == ["grid.mp4"]


def test_border_turns_green_or_red_when_the_episode_has_ended(tmp_path):
    path = write_grid(episodes([3, 6], 120, 120), tmp_path / "grid.mp4", fps=10, labels=[True, False])
    _, frames = decoded(path)

    def border(frame, column):
        return frame[115:119, 40 + column * 124 : 80 + column * 124].reshape(-1, 3).mean(0)

    assert np.abs(border(frames[-1], 0) - SUCCESS).max() < 40
    assert np.abs(border(frames[-1], 1) - FAILURE).max() < 40
    assert np.ptp(border(frames[3], 1)) < 20, "an episode that runs has a grey border"
    assert np.abs(frames[-1][60, 60].astype(int) - 40).max() < 8, "the last picture stays"


def test_wide_grids_are_scaled_down(tmp_path):
    path = write_grid(
        episodes([1] * 9, 100, 200), tmp_path / "grid.mp4", fps=10, labels=[True] * 9, max_width=300
    )
    stream, _ = decoded(path)
    assert stream.width <= 300


@pytest.mark.parametrize(
    ("frames", "labels", "message"),
    [
        ([], [], "at least one"),
        ([[]], [True], "at least one"),
        (episodes([2]), [True, False], "2 labels for 1"),
        ([*episodes([1]), *episodes([1], 30, 30)], [True, True], "of one size"),
    ],
)
def test_unusable_input_is_named(tmp_path, frames, labels, message):
    with pytest.raises(ValueError, match=message):
        write_grid(frames, tmp_path / "grid.mp4", fps=10, labels=labels)
