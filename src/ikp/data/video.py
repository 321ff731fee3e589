"""Frames of episodes from video files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ikp.data.damage import damaged
from ikp.data.layout import DatasetError


def decode_video(
    path: Path, spans: Sequence[tuple[float, int]], fps: float, size: tuple[int, int]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Decode the frames of some episodes in one pass over a video file.

    Args:
        path: the video.
        spans: for each episode its start in the video [s] and its number of frames, in ascending order.
        fps: frames per second of the data set and of the video.
        size: (height, width) to resize to.

    Yields:
        Position in `spans`, frame in that episode, image (height, width, 3) uint8.

    Raises:
        DatasetError: the file is missing or damaged, or lacks frames.
    """
    import av

    firsts = [round(start * fps) for start, _ in spans]
    ends = [first + length for first, (_, length) in zip(firsts, spans, strict=True)]
    span, expected = 0, firsts[0]
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            # Half a frame early, so that rounding cannot skip the first frame; the seek ends on a key frame.
            start = max(0.0, spans[0][0] - 0.5 / fps)
            container.seek(int(start / (stream.time_base or 1)), stream=stream)
            for picture in container.decode(stream):
                if picture.time is None or round(picture.time * fps) != expected:
                    continue
                image = picture.to_ndarray(format="rgb24", height=size[0], width=size[1])
                yield span, expected - firsts[span], image
                expected += 1
                if expected == ends[span]:
                    span += 1
                    if span == len(spans):
                        return
                    expected = firsts[span]
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: copy the data set again, with its videos") from None
    except (av.FFmpegError, IndexError) as error:
        raise damaged(path, error) from error
    raise DatasetError(
        f"{path} has no frame at {expected / fps:.3f} s (frame {expected - firsts[span]} of an episode of "
        f"{spans[span][1]} frames): the video is cut short or has another rate than {fps:g} per second"
    )


def frame_count(path: Path) -> int:
    """Number of frames of a video, without decoding them.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    import av

    try:
        with av.open(str(path)) as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except (av.FFmpegError, IndexError) as error:
        raise damaged(path, error) from error
