"""Data sets in both directions: LeRobot's policies train on ours, we train on LeRobot's, and after its edits."""

import json
import math
import shutil
from dataclasses import replace

import pytest

pytest.importorskip("lerobot", reason="LeRobot has an environment of its own: make lerobot")

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy
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
from ikp.data.joint_maps import stored_joint_map
from ikp.data.metadata import read_info
from ikp.data.repair import repair_dataset
from ikp.joint_map import Dimension
from lerobot_policy_ikp import IKPConfig, IKPPolicy, export_policy
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


def record(root, unit, *, videos=False):
    """A recording as LeRobot makes it with an SO-101: a gripper from 0 to 100, two cameras; joints in `unit` [rad].

    It is not finished.
    """
    vector = {"dtype": "float32", "shape": (6,), "names": NAMES}
    cameras = {"front": (96, 128, 3), "wrist": (64, 64, 3)}
    features = {"observation.state": vector, "action": vector}
    features |= {
        f"observation.images.{name}": {
            "dtype": "video" if videos else "image",
            "shape": shape,
            "names": ["height", "width", "channels"],
        }
        for name, shape in cameras.items()
    }
    recording = LeRobotDataset.create(
        "local/so101", 10, features, root=root, robot_type="so101", use_videos=videos
    )
    rng = np.random.default_rng(0)
    for episode in range(EPISODES):
        for frame in range(FRAMES):
            state, action = (angles(episode, frame + ahead).numpy() / unit for ahead in (0, 1))
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
    return recording


@pytest.fixture(scope="module")
def degrees(tmp_path_factory):
    """The recording of an arm that says degrees, as LeRobot's does."""
    root = tmp_path_factory.mktemp("recorded") / "so101"
    record(root, math.radians(1)).finalize()
    return root


@pytest.fixture(scope="module")
def in_radians(tmp_path_factory):
    """The same motions under the same names, in radians."""
    root = tmp_path_factory.mktemp("radians") / "so101"
    record(root, 1.0).finalize()
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


@pytest.mark.parametrize("videos", [False, True])
def test_a_recording_that_was_killed_comes_back(tmp_path, videos):
    recording = record(tmp_path / "so101", math.radians(1), videos=videos)
    killed = shutil.copytree(tmp_path / "so101", tmp_path / "killed")
    recording.finalize()
    with pytest.raises(ValueError, match="damaged"):
        ikp.load_dataset(killed, progress=False)
    assert repair_dataset(killed, progress=False).recovered == {number: number for number in range(EPISODES)}
    right, back = (ikp.load_dataset(root, progress=False) for root in (tmp_path / "so101", killed))
    assert torch.equal(back.action, right.action)
    assert torch.equal(back.state, right.state)
    assert all(torch.equal(back.images[name], right.images[name]) for name in ("front", "wrist"))
    rows = LeRobotDataset("local/killed", root=killed, video_backend="pyav")
    finished = LeRobotDataset("local/so101", root=tmp_path / "so101", video_backend="pyav")
    for row in (0, FRAMES, EPISODES * FRAMES - 1):
        assert all(torch.equal(rows[row][key], finished[row][key]) for key in finished.features)
        assert rows[row]["task"] == "close the gripper"
    assert set(rows.meta.stats) == set(finished.meta.stats)


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


ARM_OPTIONS = {
    "robot": "so101",
    "lock": ["gripper=0"],
    "recipe": "tiny",
    "method": "explicit",
    "device": "cpu",
}


def metadata(root):
    return LeRobotDataset(f"local/{root.name}", root=root).meta


def started(root, **options):
    """The configuration of a policy that was made for a data set, as a checkpoint holds it."""
    config = IKPConfig(**ARM_OPTIONS, **options)
    make_policy(config, ds_meta=metadata(root))
    assert config.joint_map is None
    return config


def shifted(root, out):
    """A copy of a recording whose stored joint map has another zero of the first joint."""
    shutil.copytree(root, out)
    stored = stored_joint_map(read_info(root))
    first, *rest = stored.state
    moved = (replace(first, offset=first.offset + 0.1), *rest)
    store_joint_map(out, replace(stored, action=moved, state=moved))
    return out


def test_a_trained_policy_refuses_data_in_other_units(tiny, degrees, in_radians, mapped, tmp_path):
    """The names are the same, so only the values, or the map that the data store, tell the units."""
    in_degrees, other = started(degrees, units=["deg"]), started(in_radians)
    with pytest.raises(ValueError, match=r"as the data set reads by itself.*policy.joint_map=FILE"):
        IKPPolicy(in_degrees, dataset_meta=metadata(in_radians))
    with pytest.raises(ValueError, match=r"its limits are .*policy.joint_map=FILE"):
        IKPPolicy(other, dataset_meta=metadata(degrees))
    with pytest.raises(ValueError, match=r"'shoulder_pan' of frame .*its unit or zero"):
        IKPPolicy(in_degrees, dataset_meta=metadata(shifted(mapped, tmp_path / "shifted")))
    whole = ikp.load_robot("so101")  # the gripper is a joint of it
    store_joint_map(
        (of_another := shutil.copytree(degrees, tmp_path / "another")),
        ikp.load_dataset(degrees, robot=whole, hints=HINTS, images=False).spec.joint_map,
    )
    with pytest.raises(ValueError, match=r"is one of the joints .*'gripper'"):
        IKPPolicy(in_degrees, dataset_meta=metadata(of_another))
    for same in (degrees, mapped):
        IKPPolicy(in_degrees, dataset_meta=metadata(same))
    made = stored_joint_map(read_info(mapped))
    of_radians = tuple(replace(d, unit="rad", scale=1.0) if d.role == "joint" else d for d in made.state)
    ikp.JointMap(made.joints, of_radians, of_radians).save(tmp_path / "map.json")
    in_degrees.joint_map = str(tmp_path / "map.json")
    told = IKPPolicy(in_degrees, dataset_meta=metadata(in_radians))
    assert told.policy.spec.joint_map.state[0].unit == "rad"


def test_a_map_that_is_said_is_kept_where_the_data_read_otherwise(tiny, in_radians, mapped, tmp_path):
    """A killed training resumes with the map that it began with, also against the values and a stored map."""
    made = ikp.load_dataset(in_radians, robot=ARM, images=False).spec.joint_map
    zero = tuple(replace(d, offset=0.05) if d.role == "joint" else d for d in made.state)
    ikp.JointMap(made.joints, zero, zero).save(tmp_path / "map.json")
    config = started(in_radians, joint_map=str(tmp_path / "map.json"))
    assert IKPPolicy(config, dataset_meta=metadata(in_radians)).policy.spec.joint_map.state[0].offset == 0.05
    config = started(shifted(mapped, tmp_path / "data"), units=["deg"])
    assert (
        IKPPolicy(config, dataset_meta=metadata(tmp_path / "data")).policy.spec.joint_map.state[0].offset == 0
    )


def test_an_exported_policy_expects_the_sizes_of_the_recording(tiny, degrees, tmp_path):
    """Also with a gripper that is left out, and with a state of which nothing is used."""
    extras, ignored = (tuple(Dimension(name, role) for name in NAMES) for role in ("extra", "ignored"))
    unused = ikp.JointMap((), extras, ignored)
    hints = MapHints(units="deg", ignore=["gripper.pos"])
    for name, method, robot, said in (
        ("arm", "explicit", ARM, {"hints": hints}),
        ("raw", "raw", None, {"joint_map": unused}),
    ):
        data = ikp.load_dataset(degrees, robot=robot, image_size=(32, 32), progress=False, **said)
        policy = ikp.make_policy(robot, data.spec, tiny.policy_for(method))
        policy.fit_scales(data.state, data.action)
        ikp.save_policy(policy, tmp_path / name, provenance={"method": method})
        folder = export_policy(tmp_path / name, tmp_path / f"{name}-checkpoint")
        config = PreTrainedConfig.from_pretrained(folder)
        assert config.input_features["observation.state"].shape == (6,), name
        assert config.output_features["action"].shape == (6,), name
        exported = IKPPolicy.from_pretrained(folder)
        recorded = LeRobotDataset("local/so101", root=degrees)[5].items()
        frame = {key: value[None] for key, value in recorded if key.startswith("observation")}
        assert exported.select_action(frame).shape == (1, 6), name


def test_a_new_policy_reads_the_numbers_of_its_data_once(tiny, pixel_demonstrations, monkeypatch):
    from ikp.data.reader import _Loader

    read, load = [], _Loader.load_numbers
    monkeypatch.setattr(_Loader, "load_numbers", lambda loader: read.append(1) or load(loader))
    config = IKPConfig(device="cpu", recipe="tiny", image_plane=True)
    assert make_policy(config, ds_meta=metadata(pixel_demonstrations))._goals is not None
    assert len(read) == 1


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
