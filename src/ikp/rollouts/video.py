"""Videos of rollouts: an mp4 grid of episodes, each with a green or red border once it has ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ikp.files import replaced_atomically

RUNNING, SUCCESS, FAILURE = (150, 150, 150), (26, 152, 80), (215, 48, 39)
BORDER_SHARE = 0.015
GAP = 4
BACKGROUND = 255
QUALITY = "20"
"""x264's constant rate factor: 18 looks lossless, 23 is its default."""


def write_grid(
    frames: Sequence[Sequence[np.ndarray]],
    path: Path | str,
    fps: float,
    labels: Sequence[bool],
    *,
    max_width: int = 1080,
    hold: float = 1.5,
) -> Path:
    """Write episodes side by side as H.264 (yuv420p, which browsers play).

    An episode that has ended keeps its last image, with a green (success) or red border and a word in its corner.

    Args:
        frames: images (height, width, 3) uint8 of each episode, all of one size.
        path: the mp4 file; its folder is created.
        fps: images per second.
        labels: whether each episode succeeded.
        max_width: largest width of the grid [pixel]; images are scaled down to it.
        hold: duration of the last image [s].

    Raises:
        ValueError: there is no episode or an episode without an image, or sizes or numbers of labels do not match.
        OSError: the file cannot be written.
    """
    _check(frames, labels)
    height, width, _ = frames[0][0].shape
    columns = math.ceil(math.sqrt(len(frames)))
    tile = _tile_size(height, width, columns, max_width)
    count = max(len(episode) for episode in frames) + round(hold * fps)
    grids = (_grid(frames, labels, t, columns, tile) for t in range(count))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as fresh:
        _encode(grids, fresh, fps)
    return path


def _check(frames: Sequence[Sequence[np.ndarray]], labels: Sequence[bool]) -> None:
    if not frames or not all(len(episode) for episode in frames):
        raise ValueError(f"{len(frames)} episodes to show: give at least one, each with at least one picture")
    if len(labels) != len(frames):
        raise ValueError(f"{len(labels)} labels for {len(frames)} episodes: give one each")
    shapes = {picture.shape for episode in frames for picture in episode}
    if len(shapes) > 1 or len(frames[0][0].shape) != 3 or frames[0][0].shape[2] != 3:
        raise ValueError(
            f"pictures of the shapes {sorted(shapes)}: all must be (height, width, 3), of one size"
        )


def _tile_size(height: int, width: int, columns: int, max_width: int) -> tuple[int, int]:
    scale = min(1.0, (max_width - GAP * (columns - 1)) / (columns * width))
    return max(2, round(height * scale)), max(2, round(width * scale))


def _grid(
    frames: Sequence[Sequence[np.ndarray]],
    labels: Sequence[bool],
    t: int,
    columns: int,
    tile: tuple[int, int],
) -> np.ndarray:
    """The grid at time step t, with even height and width as yuv420p requires."""
    rows = math.ceil(len(frames) / columns)
    height, width = (n * size + (n - 1) * GAP for n, size in zip((rows, columns), tile, strict=True))
    grid = np.full((height + height % 2, width + width % 2, 3), BACKGROUND, np.uint8)
    for i, (episode, success) in enumerate(zip(frames, labels, strict=True)):
        row, column = divmod(i, columns)
        top, left = row * (tile[0] + GAP), column * (tile[1] + GAP)
        ended = t >= len(episode) - 1
        picture = _framed(episode[min(t, len(episode) - 1)], tile, success if ended else None)
        grid[top : top + tile[0], left : left + tile[1]] = picture
    return grid


def _framed(picture: np.ndarray, tile: tuple[int, int], success: bool | None) -> np.ndarray:
    """Resize an image to the tile and draw its border; the outcome is also a word, for the colour-blind."""
    image = Image.fromarray(picture)
    if image.size != (tile[1], tile[0]):
        image = image.resize((tile[1], tile[0]), Image.Resampling.BOX)
    color = RUNNING if success is None else SUCCESS if success else FAILURE
    thick = max(2, round(BORDER_SHARE * tile[1])) * (1 if success is None else 2)
    draw = ImageDraw.Draw(image)
    if success is not None:
        font = ImageFont.load_default(max(9.0, tile[0] / 16))
        word = " success" if success else " failed"
        box = draw.textbbox((thick, thick), word + " ", font=font)
        draw.rectangle((0, 0, box[2], box[3] + thick // 2), fill=color)
        draw.text((thick, thick), word, fill="white", font=font)
    draw.rectangle((0, 0, tile[1] - 1, tile[0] - 1), outline=color, width=thick)
    return np.asarray(image)


def _encode(pictures: Iterable[np.ndarray], path: Path, fps: float) -> None:
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": QUALITY, "preset": "medium"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
