"""Held-out joint error of a policy trained on an SO-101 recording of the real LeRobot, in degrees and in radians.

LeRobot writes the same demonstrations twice: with joints in degrees and a gripper from 0 to 100, as its SO-101 records
them, and in radians throughout. `ikp train` trains one policy on each, with one command and the same seed, and acts on
episodes that neither has seen. It runs in LeRobot's environment (docs/lerobot.md):

    .venv-lerobot/bin/python tools/so101_units.py OUT [--steps 300]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
from pathlib import Path

import numpy as np
import torch

import ikp
from ikp.cli import main as ikp_command

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = {"front": (96, 128), "wrist": (64, 64)}
FRAMES, FPS = 30, 10
HOME, OPEN, CLOSED = (0.0, -0.9, 0.9, 0.6, 0.0), 1.2, 0.1
DEGREE = math.pi / 180


def demonstration(seed: int) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """One episode: the arm moves to a cube that only the cameras show, and closes the gripper around it.

    Returns:
        (FRAMES + 1, 6) joints with the gripper [rad], and the images of each frame by camera.
    """
    rng = np.random.default_rng(seed)
    place = rng.uniform(-1, 1, 2)
    goal = np.add(HOME, [0.7 * place[0], 0.5 * place[1], -0.6 * place[1], 0.2 * place[1], 0.5 * place[0]])
    start = np.add(HOME, rng.uniform(-0.2, 0.2, 5))
    share = np.clip(np.arange(FRAMES + 1) / 20, 0, 1)[:, None]
    arm = start + (goal - start) * (3 - 2 * share) * share**2
    closing = np.clip((np.arange(FRAMES + 1) - 20) / 5, 0, 1)
    joints = np.column_stack([arm, OPEN + (CLOSED - OPEN) * closing])
    images = [
        {
            "front": picture(CAMERAS["front"], place),
            "wrist": picture(CAMERAS["wrist"], 2 * (goal - q)[[0, 1]]),
        }
        for q in arm[:-1]
    ]
    return joints, images


def picture(size: tuple[int, int], place: np.ndarray) -> np.ndarray:
    """A red cube on a grey table, its centre at (-1, -1) to (1, 1) of the image."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    at = (0.5 + 0.4 * place[::-1]) * size
    image = np.full((*size, 3), 96, np.uint8)
    image[(abs(rows - at[0]) < 6) & (abs(columns - at[1]) < 6)] = (220, 40, 30)
    return image


def record(root: Path, episodes: int, *, in_degrees: bool) -> Path:
    """Let LeRobot write the recording."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    vector = {"dtype": "float32", "shape": (6,), "names": [f"{joint}.pos" for joint in JOINTS]}
    axes = ["height", "width", "channels"]
    features: dict = {"observation.state": vector, "action": vector}
    for camera, size in CAMERAS.items():
        features[f"observation.images.{camera}"] = {"dtype": "image", "shape": (*size, 3), "names": axes}
    recording = LeRobotDataset.create(
        "local/so101", FPS, features, root=root, robot_type="so101_follower", use_videos=False
    )
    for episode in range(episodes):
        joints, images = demonstration(episode)
        numbers = recorded(joints, in_degrees).astype(np.float32)
        for frame, shown in enumerate(images):
            parts = {f"observation.images.{camera}": image for camera, image in shown.items()}
            parts |= {"observation.state": numbers[frame], "action": numbers[frame + 1]}
            recording.add_frame({**parts, "task": "grasp the cube"})
        recording.save_episode()
    recording.finalize()
    return root


def recorded(joints: np.ndarray, in_degrees: bool) -> np.ndarray:
    """Joints (..., 6) [rad] as the recording has them."""
    if not in_degrees:
        return joints
    robot = ikp.load_robot("so101")
    low, high = float(robot.lower[-1]), float(robot.upper[-1])
    percent = 100 * (joints[..., 5:] - low) / (high - low)
    return np.concatenate([joints[..., :5] / DEGREE, percent], -1)


def radians(numbers: np.ndarray, in_degrees: bool) -> np.ndarray:
    """The inverse of `recorded`."""
    if not in_degrees:
        return numbers
    robot = ikp.load_robot("so101")
    low, high = float(robot.lower[-1]), float(robot.upper[-1])
    return np.concatenate([numbers[..., :5] * DEGREE, low + numbers[..., 5:] / 100 * (high - low)], -1)


def train(data: Path, out: Path, steps: int, *options: str) -> str:
    """Run `ikp train` and return what it printed, its error included."""
    words = ["train", "--data", str(data), "--out", str(out), "--robot", "so101", *options]
    words += ["--recipe", "quick", "--steps", str(steps), "--threads", "1"]
    print("ikp", *words)
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        ikp_command(words)
    return text.getvalue()


def errors(policy: ikp.Policy, episodes: range, *, in_degrees: bool) -> np.ndarray:
    """(frame, 6) error of the actions on unseen episodes [deg], the policy given and giving recorded numbers."""
    found = []
    for seed in episodes:
        joints, images = demonstration(seed)
        numbers = recorded(joints, in_degrees).astype(np.float32)
        policy.reset()
        for frame, shown in enumerate(images):
            action = policy.select_action({"observation.state": torch.from_numpy(numbers[frame]), **shown})
            found.append(radians(action.double().numpy(), in_degrees) - joints[frame + 1])
    return np.abs(found) / DEGREE


def compare(out: Path, *, episodes: int, held_out: int, steps: int) -> dict[str, np.ndarray]:
    """Record, train and act in both units; returns the errors of each [deg], and of an arm that does not move."""
    made: dict[str, np.ndarray] = {}
    unseen = range(episodes, episodes + held_out)
    for name, options in (("degrees", ("--units", "deg")), ("radians", ())):
        in_degrees = name == "degrees"
        data = record(out / name, episodes, in_degrees=in_degrees)
        if in_degrees:
            print(train(data, out / "refused", steps).strip().splitlines()[-1])
        train(data, out / f"{name}-run", steps, *options)
        policy = ikp.load_policy(out / f"{name}-run")
        made[name] = errors(policy, unseen, in_degrees=in_degrees)
    still = [np.diff(demonstration(seed)[0], axis=0) for seed in unseen]
    return made | {"no motion": np.abs(np.concatenate(still)) / DEGREE}


def table(made: dict[str, np.ndarray]) -> str:
    """The errors side by side, per joint."""
    rows = [f"{'error on unseen episodes [deg]':32s}{''.join(f'{name:>12s}' for name in made)}"]
    for joint, name in enumerate(JOINTS):
        rows.append(
            f"{name + ', median':32s}" + "".join(f"{np.median(e[:, joint]):12.3f}" for e in made.values())
        )
    for text, of in (("median", 50), ("90 %", 90)):
        worst = (np.percentile(e.max(1), of) for e in made.values())
        rows.append(f"{'largest joint, ' + text:32s}" + "".join(f"{value:12.3f}" for value in worst))
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for recordings and runs; it must not exist")
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--held-out", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    chosen = parser.parse_args()
    print(table(compare(chosen.out, episodes=chosen.episodes, held_out=chosen.held_out, steps=chosen.steps)))
