"""Data sets in both directions: LeRobot's policies train on ours, we train on LeRobot's, and after its edits."""

import json
import math
import shutil

import pytest

pytest.importorskip("lerobot", reason="LeRobot has an environment of its own: make lerobot")

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts.lerobot_edit_dataset import (
    ConvertImageToVideoConfig,
    DeleteEpisodesConfig,
    EditDatasetConfig,
    MergeConfig,
    ModifyTasksConfig,
    RecomputeStatsConfig,
    ReencodeVideosConfig,
    RemoveFeatureConfig,
    SplitConfig,
    edit_dataset,
)

import ikp
from ikp.cli import main
from ikp.data import MapHints, store_joint_map
from lerobot_policy_ikp import IKPPolicy
from lerobot_policy_ikp.exchange import pretrained_folder

from .conftest import SMALL, run, training

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
NAMES = [f"{name}.pos" for name in (*JOINTS, "gripper")]
EPISODES, FRAMES = 3, 12
ARM = ikp.load_robot("so101", locked={"gripper": 0.0})
TOLD = ("--policy.robot=so101", "--policy.lock=[gripper=0]", "--policy.units=[deg]")
HINTS = MapHints(units="deg")


def angles(episode, frame):
    """A smooth motion within the limits of the arm [rad]."""
    phase = 0.3 * frame + episode + torch.arange(len(JOINTS))
    return 0.5 * (ARM.lower + ARM.upper) + 0.2 * (ARM.upper - ARM.lower) * torch.sin(phase)


def closed(frame):
    return float(frame >= FRAMES // 2)


@pytest.fixture(scope="module")
def degrees(tmp_path_factory):
    """A recording as LeRobot makes it with an SO-101: degrees, a gripper from 0 to 100, two cameras."""
    root = tmp_path_factory.mktemp("recorded") / "so101"
    vector = {"dtype": "float32", "shape": (6,), "names": NAMES}
    cameras = {"front": (96, 128, 3), "wrist": (64, 64, 3)}
    features = {"observation.state": vector, "action": vector}
    features |= {
        f"observation.images.{name}": {
            "dtype": "image",
            "shape": shape,
            "names": ["height", "width", "channels"],
        }
        for name, shape in cameras.items()
    }
    recording = LeRobotDataset.create(
        "local/so101", 10, features, root=root, robot_type="so101", use_videos=False
    )
    rng = np.random.default_rng(0)
    for episode in range(EPISODES):
        for frame in range(FRAMES):
            state, action = (np.degrees(angles(episode, frame + ahead).numpy()) for ahead in (0, 1))
            images = {
                f"observation.images.{name}": np.kron(
                    rng.integers(0, 255, (shape[0] // 16, shape[1] // 16, 3), np.uint8),
                    np.ones((16, 16, 1), np.uint8),
                )
                for name, shape in cameras.items()
            }
            recording.add_frame(
                {
                    "observation.state": np.append(state, 100.0 * (1 - closed(frame))).astype(np.float32),
                    "action": np.append(action, 100.0 * (1 - closed(frame + 1))).astype(np.float32),
                    **images,
                    "task": "close the gripper",
                }
            )
        recording.save_episode()
    recording.finalize()
    return root


def radians():
    """The same states, as a policy sees them: joints [rad], and a gripper that is 0 or 1."""
    rows = [
        torch.cat([angles(episode, frame), torch.tensor([closed(frame)])])
        for episode in range(EPISODES)
        for frame in range(FRAMES)
    ]
    return torch.stack(rows).float()


@pytest.fixture(scope="module")
def mapped(degrees, tmp_path_factory):
    """The recording with its joint map in info.json, as `ikp data check --store` writes it."""
    root = tmp_path_factory.mktemp("mapped") / "so101"
    shutil.copytree(degrees, root)
    joint_map = ikp.load_dataset(root, robot=ARM, hints=HINTS, images=False).spec.joint_map
    store_joint_map(root, joint_map)
    return root


def test_a_recording_in_degrees_is_understood(degrees):
    data = ikp.load_dataset(degrees, robot=ARM, hints=HINTS, progress=False)
    torch.testing.assert_close(data.state, radians(), atol=1e-5, rtol=0)
    assert {name: images.shape for name, images in data.images.items()} == {
        "front": (EPISODES * FRAMES, 96, 128, 3),
        "wrist": (EPISODES * FRAMES, 64, 64, 3),
    }
    theirs = LeRobotDataset("local/so101", root=degrees)
    for camera, images in data.images.items():
        levels = (theirs[7][f"observation.images.{camera}"] * 255).round().to(torch.uint8)
        assert torch.equal(images[7], levels.movedim(0, -1))


def test_actions_have_the_units_of_the_recording(degrees, tmp_path):
    """Trained by LeRobot on degrees: the targets are degrees near the measured joints, and the gripper 0 or 100."""
    out = tmp_path / "run"
    run("lerobot-train", *training(degrees, out, *TOLD, *SMALL))
    folder = pretrained_folder(out)
    policy = IKPPolicy.from_pretrained(folder)
    frame = {
        key: value[None]
        for key, value in LeRobotDataset("local/so101", root=degrees)[5].items()
        if key.startswith("observation")
    }
    action = policy.select_action(frame)[0]
    assert (action[:5] - frame["observation.state"][0, :5]).abs().max() < 30
    assert float(action[5]) in (0.0, 100.0)
    batch = {**frame, "action": frame["observation.state"]}
    seen = policy._demonstrated(batch)
    torch.testing.assert_close(seen["state"][0, 0], radians()[5], atol=1e-5, rtol=0)
    torch.testing.assert_close(seen["action"][0], radians()[5], atol=1e-5, rtol=0)

    stored = policy.policy.spec.joint_map.to_json()
    for entry in (stored["action"][0], stored["state"][0]):
        entry["offset"] += math.radians(10)
    (tmp_path / "second.json").write_text(json.dumps(stored))
    override = [f"--joint_map={tmp_path / 'second.json'}"]
    config = PreTrainedConfig.from_pretrained(folder, cli_overrides=override)
    second = IKPPolicy.from_pretrained(folder, config=config)
    moved = {**frame, "observation.state": frame["observation.state"] - torch.tensor([10.0, 0, 0, 0, 0, 0])}
    expected = action - torch.tensor([10.0, 0, 0, 0, 0, 0])
    torch.testing.assert_close(second.select_action(moved)[0], expected, atol=2e-2, rtol=0)
    second.save_pretrained(tmp_path / "saved")
    (tmp_path / "second.json").unlink()
    again = IKPPolicy.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.select_action(moved), second.select_action(moved)), (
        "the map is in the checkpoint"
    )


def test_act_trains_on_our_demonstrations(pixel_demonstrations, tmp_path):
    small = [
        f"--policy.{name}=16" for name in ("dim_model", "dim_feedforward", "chunk_size", "n_action_steps")
    ]
    small += ["--policy.n_heads=2", "--policy.pretrained_backbone_weights=null", "--policy.latent_dim=8"]
    options = ("--batch_size=4", "--num_workers=0", *small)
    run("lerobot-train", *training(pixel_demonstrations, tmp_path / "act", *options, policy="act", steps=3))
    assert (pretrained_folder(tmp_path / "act") / "model.safetensors").stat().st_size > 10_000


def edited(operation, root, out, **options):
    """Run an operation of lerobot-edit-dataset."""
    name = f"local/{root.name}" if root is not None else None
    edit_dataset(EditDatasetConfig(operation, repo_id=name, root=str(root), new_root=str(out), **options))
    return out


EPISODE_OF = {
    "delete": [0, 2],
    "split": [0, 1],
    "merge": [0, 1, 2, 0, 1, 2],
    "remove feature": [0, 1, 2],
    "modify tasks": [0, 1, 2],
    "images to video": [0, 1, 2],
    "re-encode": [0, 1, 2],
    "recompute statistics": [0, 1, 2],
}
"""The indices that the episodes of the result had before."""


def after(name, root, tmp_path):
    """The folder that an operation leaves."""
    out, new = tmp_path / "out", {"new_repo_id": "local/out"}
    if name == "delete":
        return edited(DeleteEpisodesConfig([1]), root, out, **new)
    if name == "split":
        return edited(SplitConfig({"first": [0, 1], "rest": [2]}), root, out) / "first"
    if name == "merge":
        config = MergeConfig([f"local/{root.name}"] * 2, [str(root)] * 2, concatenate_data=False)
        edit_dataset(EditDatasetConfig(config, new_repo_id="local/out", new_root=str(out)))
        return out
    if name == "remove feature":
        return edited(RemoveFeatureConfig(["observation.images.front"]), root, out, **new)
    if name == "modify tasks":
        shutil.copytree(root, out)  # it changes the data set in place
        return edited(ModifyTasksConfig(new_task="another"), out, out)
    if name == "images to video":
        return edited(ConvertImageToVideoConfig(num_workers=1), root, out, **new)
    if name == "re-encode":
        video = edited(ConvertImageToVideoConfig(num_workers=1), root, tmp_path / "video", **new)
        return edited(ReencodeVideosConfig(), video, out, **new)
    return edited(RecomputeStatsConfig(), root, out, **new)


@pytest.mark.parametrize("name", EPISODE_OF)
def test_edited_recordings_are_still_understood(name, mapped, tmp_path):
    """The joint map stays in info.json, and with it the meaning of every number; images stay what they were."""
    before = ikp.load_dataset(mapped, robot=ARM, progress=False)
    assert before.spec.joint_map is not None
    data = ikp.load_dataset(after(name, mapped, tmp_path), robot=ARM, progress=False)
    assert data.spec.joint_map == before.spec.joint_map
    frames = torch.cat([torch.arange(e * FRAMES, (e + 1) * FRAMES) for e in EPISODE_OF[name]])
    assert torch.equal(data.state, before.state[frames])
    assert torch.equal(data.action, before.action[frames])
    cameras = ["wrist"] if name == "remove feature" else ["front", "wrist"]
    assert sorted(data.images) == cameras
    for camera in cameras:
        error = (data.images[camera].float() - before.images[camera][frames].float()).abs().mean()
        assert error < (8 if name in ("images to video", "re-encode") else 1e-9), "levels of 255"


@pytest.mark.parametrize("name", ["delete", "merge", "images to video"])
def test_edited_demonstrations_of_a_task_keep_their_roles_and_cameras(name, pixel_demonstrations, tmp_path):
    """LeRobot drops meta/ikp.json; roles and camera models are in info.json."""
    before = ikp.load_dataset(pixel_demonstrations, images=False)
    folder = after(name, pixel_demonstrations, tmp_path)
    assert not (folder / "meta/ikp.json").exists()
    data = ikp.load_dataset(folder, progress=False)
    assert data.spec == before.spec
    assert data.spec.cameras
    options = ["--steps", "2", "--batch-size", "4", "--width", "16", "--threads", "1", "--task", "insertion"]
    assert main(["train", "--data", str(folder), "--out", str(tmp_path / "run"), *options]) == 0
