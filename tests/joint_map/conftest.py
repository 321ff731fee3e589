"""A small arm with a jaw, and recordings of it in other units, orders and names."""

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ikp.joint_map import Recording, Vector
from ikp.kinematics import load_robot

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
JOINT = """<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>
<origin xyz="0 0 0.1"/><axis xyz="{axis}"/>
<limit lower="{lower}" upper="{upper}" velocity="3.0" effort="9"/></joint>"""
JAW = dict(kind="revolute", axis="1 0 0", lower=-0.2, upper=1.8)


def arm_urdf(names=JOINTS, hand=None, name="arm") -> str:
    """A URDF of a chain; `hand` is the last joint as keys of `JOINT`."""
    links, joints = ["base"], []
    parts = [
        dict(name=joint, kind="revolute", axis="0 0 1" if i % 2 == 0 else "0 1 0", lower=-1.9, upper=1.9)
        for i, joint in enumerate(names)
    ]
    for part in parts + ([{"name": "gripper", **hand}] if hand else []):
        links.append(f"{part['name']}_link")
        joints.append(JOINT.format(parent=links[-2], child=links[-1], **part))
    text = "".join(f'<link name="{link}"/>' for link in links)
    return f'<robot name="{name}">{text}{"".join(joints)}</robot>'


def motion(dims, frames=200, seed=0, reach=1.2):
    """Smooth joint positions (frames, dims) [rad], and targets that they follow one frame later."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames + 1)[:, None] / 10
    phase, speed = rng.uniform(0, 6, dims), rng.uniform(0.3, 0.8, dims)
    path = reach * np.sin(speed * time + phase)
    return path[:-1], path[1:]


def recording(action_names, action, state_names=None, state=None, **changes):
    """A recording of two episodes."""
    state_names = action_names if state_names is None else state_names
    state = action if state is None else state
    units = changes.pop("units", ("",) * len(action_names))
    starts = np.zeros(len(action), bool)
    starts[[0, len(action) // 2]] = True
    values = {
        "action": Vector("action", tuple(action_names), tuple(units), np.asarray(action, float)),
        "state": Vector("state", tuple(state_names), ("",) * len(state_names), np.asarray(state, float)),
        "starts": starts,
        "fps": 10.0,
    }
    return Recording(**(values | changes))


def write_recording(root, names, action, state, lengths, images, shuffle=False):
    """A data set as LeRobot writes it: one file per episode here, images as PNG, no file of our own."""
    rng = np.random.default_rng(0)
    starts = np.cumsum([0, *lengths])
    for episode, length in enumerate(lengths):
        rows = slice(starts[episode], starts[episode + 1])
        frame = np.arange(length)
        if shuffle:
            frame[[1, 2]] = frame[[2, 1]]
        columns = {
            "observation.state": state[rows].astype(np.float32).tolist(),
            "action": action[rows].astype(np.float32).tolist(),
            "timestamp": (frame / 10).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(length, episode),
        }
        for camera, (height, width) in images.items():
            pictures = rng.integers(0, 256, (length, height, width, 3)).astype(np.uint8)
            columns[f"observation.images.{camera}"] = [
                {"bytes": png(picture), "path": None} for picture in pictures
            ]
        path = root / f"data/chunk-000/file-{episode:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
    vector = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
    whole = {"dtype": "int64", "shape": [1], "names": None}
    features = {
        "observation.state": vector,
        "action": dict(vector),
        "timestamp": whole | {"dtype": "float32"},
        "frame_index": whole,
        "episode_index": whole,
    }
    axes = ["height", "width", "channels"]
    for camera, size in images.items():
        features[f"observation.images.{camera}"] = {"dtype": "image", "shape": [*size, 3], "names": axes}
    info = {"codebase_version": "v3.0", "fps": 10, "robot_type": "so101_follower", "features": features}
    info |= {"total_episodes": len(lengths), "total_frames": len(action)}
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


def png(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def so101_like(root, *, in_degrees, shuffle=False):
    """Three episodes of the arm with a jaw, two cameras; degrees and a jaw from 0 to 100, or the robot's units."""
    state, action = motion(6, frames=60)
    both = []
    for values in (state, action):
        jaw = 0.8 + values[:, 5:] / 2
        arm = values[:, :5]
        both.append(np.hstack([arm * 180 / math.pi, (jaw + 0.2) / 2 * 100] if in_degrees else [arm, jaw]))
    names = [f"{joint}.pos" for joint in (*JOINTS, "gripper")]
    cameras = {"front": (24, 32), "wrist": (16, 16)}
    return write_recording(root, names, both[1], both[0], (25, 20, 15), cameras, shuffle)


@pytest.fixture(scope="session")
def arm(tmp_path_factory):
    """Five revolute joints."""
    path = tmp_path_factory.mktemp("arm") / "arm.urdf"
    path.write_text(arm_urdf())
    return load_robot(path)


@pytest.fixture(scope="session")
def arm_with_jaw(tmp_path_factory):
    """The arm with a revolute gripper from -0.2 to 1.8 rad."""
    path = tmp_path_factory.mktemp("jaw") / "arm.urdf"
    path.write_text(arm_urdf(hand=JAW))
    return load_robot(path)


@pytest.fixture(scope="session")
def helpers():
    """The helpers above for test modules, which cannot import this file."""
    return SimpleNamespace(
        JOINTS=JOINTS,
        JAW=JAW,
        arm_urdf=arm_urdf,
        motion=motion,
        recording=recording,
        so101_like=so101_like,
        write_recording=write_recording,
    )
