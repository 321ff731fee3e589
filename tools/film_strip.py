"""Draw one episode of a task's scripted expert, the scene above, the observed image below; or pictures of a film.

python tools/film_strip.py TASK [--seed 0] [--steps 0 14 23 ...] [--out docs/images/TASK.png]
python tools/film_strip.py FILM.mp4 --out docs/images/NAME.png [--steps 0 10 20 ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import gymnasium
import numpy as np
from PIL import Image

from ikp.tasks import registered_tasks, task_entry

SIDE, GAP, COLORS, FRAMES = 232, 4, 160, 6


def film(task: str, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Every step's picture from outside and the observed image, both SIDE pixels high and wide."""
    entry = task_entry(task)
    options = {"render_mode": "rgb_array", "render_size": (SIDE, SIDE), "render_camera": "overview"}
    env = gymnasium.make(entry.env_id, disable_env_checker=True, **options, **entry.options)
    observation, _ = env.reset(seed=seed)
    expert, scenes, seen, done = entry.expert_class()(env), [], [], False
    while not done:
        scenes.append(np.asarray(env.render()))
        image = Image.fromarray(observation["image"]).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        seen.append(np.asarray(image))
        observation, _, terminated, truncated, _ = env.step(expert.action())
        done = terminated or truncated
    return scenes, seen


def pictures(path: Path) -> list[np.ndarray]:
    """All pictures of a film, SIDE pixels high."""
    with av.open(str(path)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    width = round(frames[0].width * SIDE / frames[0].height)
    return [np.asarray(frame.resize((width, SIDE), Image.Resampling.LANCZOS)) for frame in frames]


def strip(rows: list[list[np.ndarray]], steps: list[int] | None) -> Image.Image:
    """The pictures of some steps in each row, with white gaps; of FRAMES evenly spread ones without `steps`."""
    last = len(rows[0]) - 1
    picked = (
        [min(step, last) for step in steps] if steps else np.linspace(0, last, FRAMES).round().astype(int)
    )
    width = rows[0][0].shape[1]
    picture = np.full(
        (len(rows) * (SIDE + GAP) - GAP, len(picked) * (width + GAP) - GAP, 3), 255, dtype=np.uint8
    )
    for i, row in enumerate(rows):
        for j, index in enumerate(picked):
            top, left = i * (SIDE + GAP), j * (width + GAP)
            picture[top : top + SIDE, left : left + width] = row[index]
    return Image.fromarray(picture).quantize(COLORS, dither=Image.Dither.NONE)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    tasks = [entry.name for entry in registered_tasks()]
    parser.add_argument("source", metavar="TASK|FILM.mp4", help=f"a film, or a task: {', '.join(tasks)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    source, is_film = arguments.source, arguments.source.endswith(".mp4")
    if not is_film and source not in tasks:
        parser.error(f"{source!r} is neither a film (.mp4) nor a task: {', '.join(tasks)}")
    if is_film and arguments.out is None:
        parser.error("name the picture of a film with --out")
    out = arguments.out or Path(f"docs/images/{source}.png")
    rows = [pictures(Path(source))] if is_film else list(film(source, arguments.seed))
    strip(rows, arguments.steps).save(out, optimize=True)
    print(f"wrote {out}, {out.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
