import numpy as np
import pytest

from ikp.data import DatasetWriter
from ikp.spec import DataSpec

SPEC = DataSpec(
    action_names=("shoulder.pos", "elbow.pos", "gripper.command"),
    state_names=("shoulder.pos", "elbow.pos", "gripper.state"),
    environment_state_names=("block.x", "block.y"),
    image_shapes={"top": (12, 16, 3), "wrist": (8, 8, 3)},
    fps=10.0,
    joint_dims=(0, 1),
    discrete_dims=(2,),
)


def make_frames(seed: int, length: int, spec: DataSpec = SPEC) -> list[tuple[dict, np.ndarray]]:
    """Observations and actions of one episode, all values random; a discrete action is 0 or 1."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(length):
        observation = {
            "state": rng.normal(size=spec.state_dim).astype(np.float32),
            "environment_state": rng.normal(size=spec.environment_state_dim).astype(np.float32),
            "images": {
                camera: rng.integers(0, 256, shape).astype(np.uint8)
                for camera, shape in spec.image_shapes.items()
            },
        }
        action = rng.normal(size=spec.action_dim).astype(np.float32)
        action[list(spec.discrete_dims)] = action[list(spec.discrete_dims)] > 0
        frames.append((observation, action))
    return frames


def add_episode(
    writer: DatasetWriter, seed: int, length: int, success: bool = True
) -> list[tuple[dict, np.ndarray]]:
    """Write an episode of random frames and return them."""
    frames = make_frames(seed, length, writer.spec)
    for observation, action in frames:
        writer.add_frame(observation, action, reward=0.5)
    writer.save_episode(success=success, info={"seed": seed})
    return frames


@pytest.fixture
def dataset(tmp_path):
    """Folder of a finished data set and the frames of its four episodes."""
    root = tmp_path / "demonstrations"
    with DatasetWriter(root, SPEC, robot_type="arm", task="lift", extra={"robot": {"name": "arm"}}) as writer:
        episodes = [add_episode(writer, seed, length) for seed, length in enumerate((5, 1, 7, 3))]
    return root, episodes


@pytest.fixture
def helpers():
    """The helpers above for test modules, which cannot import this file."""

    class Helpers:
        spec = SPEC
        add_episode = staticmethod(add_episode)
        make_frames = staticmethod(make_frames)

    return Helpers
