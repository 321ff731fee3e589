"""A square's place in an image from 30 examples: how far a policy's image encoder generalises from few images.

.venv/bin/python benchmarks/few_images.py   writes results/few_images/keypoint.json; --encoder NAME another's

The task is the coordinate regression of Implicit Behavioral Cloning (Florence et al., 2021, Sec. 3) in the sizes of its
PyTorch re-implementation (github.com/kevinzakka/ibc): a green square of 7 x 7 pixels on a white 96 x 96 image, whose
row and column, uniform over the image, are the action. The test has 500 squares at places that were not shown; a
decision is right if its distance from the true place is below one pixel. A row also has the share among the places
inside the convex hull of the examples.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.spatial import Delaunay
from torch import Tensor

from ikp.data import Demonstrations
from ikp.files import write_json
from ikp.policies import Policy, PolicyConfig, make_policy
from ikp.provenance import provenance
from ikp.spec import DataSpec
from ikp.training.config import TrainConfig
from ikp.training.trainer import train

SIDE, SQUARE = 96, 7
TESTED = 500
POLICIES = {
    "explicit": PolicyConfig(kind="explicit", action_space="raw"),
    "implicit": PolicyConfig(kind="implicit", action_space="raw"),
}
SPEC = DataSpec(action_names=("row", "column"), image_shapes={"camera": (SIDE, SIDE, 3)})


def places(count: int, rng: np.random.Generator) -> np.ndarray:
    """Places (count, 2) [pixel], uniform, moved inwards where the square would leave the image."""
    return rng.integers(0, SIDE, (count, 2)).clip(SQUARE // 2, SIDE - 1 - SQUARE // 2)


def unseen_places(count: int, shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of which none is among those shown."""
    found = places(4 * count, rng)
    return found[~(found[:, None] == shown).all(-1).any(1)][:count]


def squares(centers: np.ndarray) -> Demonstrations:
    """One demonstration of one frame per place."""
    images = np.full((len(centers), SIDE, SIDE, 3), 255, np.uint8)
    for image, (row, column) in zip(images, centers - SQUARE // 2, strict=True):
        image[row : row + SQUARE, column : column + SQUARE] = (0, 255, 0)
    count = len(centers)
    return Demonstrations(
        spec=SPEC,
        state=torch.zeros(count, 0),
        action=torch.as_tensor(centers / (SIDE - 1) * 2 - 1, dtype=torch.float32),
        environment_state=torch.zeros(count, 0),
        images={"camera": torch.from_numpy(images)},
        episode_index=torch.arange(count),
        frame_index=torch.zeros(count, dtype=torch.long),
        success=torch.ones(count, dtype=torch.bool),
    )


def errors(policy: Policy, data: Demonstrations) -> Tensor:
    """Distance of the chosen place from the true one [pixel], per frame."""
    frames = torch.arange(len(data)).split(100)
    chosen = torch.cat([policy.act(data.batch(chunk, policy.config.history)) for chunk in frames])
    return (chosen - data.action).norm(dim=-1) * (SIDE - 1) / 2


def run(name: str, examples: int, steps: int, seed: int, encoder: str) -> dict[str, Any]:
    """Train one policy and test it; the row of the table."""
    rng = np.random.default_rng(seed)
    # the trainer holds one example out
    shown = places(examples + 1, rng)
    tested = unseen_places(TESTED, shown, rng)
    torch.manual_seed(seed)
    base = POLICIES[name]
    policy = make_policy(None, SPEC, replace(base, encoder=replace(base.encoder, kind=encoder)))
    config = TrainConfig(steps=steps, held_out=1 / (examples + 1), validate_every=steps, seed=seed)
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        trained = train(policy, squares(shown), config, out=out).policy
        seconds = time.perf_counter() - started
    error = errors(trained, squares(tested))
    inside = torch.from_numpy(Delaunay(shown).find_simplex(tested) >= 0)
    return {
        "policy": name,
        "encoder": encoder,
        "examples": examples,
        "steps": steps,
        "seed": seed,
        "seconds": round(seconds),
        "within_1px": share_within(error),
        "within_1px_inside_hull": share_within(error[inside]),
        "mean_px": round(float(error.mean()), 2),
        "median_px": round(float(error.median()), 2),
    }


def share_within(error: Tensor, pixels: float = 1.0) -> float:
    """Share of errors below a number of pixels [%]."""
    return round(100 * float((error < pixels).float().mean()), 1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--examples", nargs="+", type=int, default=[10, 30])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--encoder", default="keypoint")
    parser.add_argument("--out", help="results/few_images/ENCODER.json if it is not given")
    chosen = parser.parse_args(arguments)
    rows = []
    for name in chosen.policies:
        for examples in chosen.examples:
            for seed in range(chosen.seeds):
                rows.append(run(name, examples, chosen.steps, seed, chosen.encoder))
                print(rows[-1], flush=True)
    write_json(
        chosen.out or f"results/few_images/{chosen.encoder}.json", {"rows": rows, "provenance": provenance()}
    )


if __name__ == "__main__":
    main()
