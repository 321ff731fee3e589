"""Recordings of any loop: names and sizes from the first frame, nothing that is lost without a word."""

import os
import signal
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch

import ikp
from ikp.data import DatasetError, Recorder, load_dataset
from ikp.data.recovery import finished_files
from ikp.joint_map import MapHints
from ikp.kinematics import Camera

SO101 = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


def image(level=0, shape=(8, 12, 3)):
    return np.full(shape, level, np.uint8)


def record(root, frames, actions=None, **options):
    """One episode of some frames; the data set in memory."""
    with Recorder(root, **{"fps": 10, **options}) as recorder:
        for i, frame in enumerate(frames):
            recorder.add(frame, np.full(2, 0.1 * i) if actions is None else actions[i])
        recorder.save_episode(success=True)
    return load_dataset(root)


def test_a_robot_of_lerobot(tmp_path):
    """One number per name, images under the cameras' names, actions by name in another order."""
    robot = ikp.load_robot("so101")
    middle = (0.5 * (robot.lower + robot.upper)).numpy()
    with Recorder(tmp_path, fps=30, task="pick", robot_type="so101_follower", units="deg") as recorder:
        for i in range(5):
            q = dict(zip(SO101, [*np.rad2deg(middle[:5] + 0.01 * i), 40.0 + i], strict=True))
            frame = {f"{name}.pos": value for name, value in q.items()}
            action = {f"{name}.pos": q[name] + 0.1 for name in reversed(SO101)}
            recorder.add({**frame, "front": image(i), "wrist": image(i, (6, 6, 3))}, action)
        recorder.save_episode()
    data = load_dataset(tmp_path, robot=robot)
    assert data.spec.camera_names == ("front", "wrist")
    assert data.spec.fps == 30
    assert data.spec.joint_map.joints == SO101
    np.testing.assert_allclose(data.state[:, :5], middle[:5] + 0.01 * np.arange(5)[:, None], atol=1e-6)
    low, high = robot.lower[5], robot.upper[5]
    torch.testing.assert_close(data.state[0, 5], (low + 0.4 * (high - low)).float())
    assert data.images["front"][3].unique().tolist() == [3]


def of_lerobot(i):
    image_chw = torch.full((3, 8, 12), i / 255)
    return {"observation.state": torch.tensor([i, 1.0]), "observation.images.top": image_chw}


NUMBERED = ("state_0", "state_1")
KINDS = {
    "vector": (lambda i: np.array([i, 1.0]), {}, NUMBERED, ()),
    "gym": (lambda i: {"agent_pos": [i, 1], "pixels": {"top": image(i)}}, {}, NUMBERED, ("top",)),
    "single image": (lambda i: {"state": [i, 1], "pixels": image(i)}, {}, NUMBERED, ("pixels",)),
    "channels first": (of_lerobot, {"state_names": ("a", "b")}, ("a", "b"), ("top",)),
    "own keys": (
        lambda i: {"qpos": [i, 1], "cams": {"eye": image(i)}, "goal": [1, 2, 3]},
        {"frame": {"state": "qpos", "eye": "cams/eye", "environment_state": "goal"}},
        NUMBERED,
        ("eye",),
    ),
    "image alone": (image, {}, (), ("image",)),
}


@pytest.mark.filterwarnings("ignore:recorded are")
@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_any_loop(kind, tmp_path):
    frame, options, names, cameras = KINDS[kind]
    data = record(tmp_path, [frame(i) for i in range(3)], **options)
    assert data.spec.state_names == names
    assert data.spec.camera_names == cameras
    assert data.spec.action_names == ("action_0", "action_1")
    torch.testing.assert_close(data.action, torch.tensor([[0.0, 0], [0.1, 0.1], [0.2, 0.2]]))
    if names:
        assert data.state[:, 0].tolist() == [0, 1, 2]
    for name in cameras:
        assert data.images[name].shape == (3, 8, 12, 3)
        assert data.images[name][:, 0, 0, 0].tolist() == [0, 1, 2]
    if kind == "own keys":
        assert data.environment_state[0].tolist() == [1, 2, 3]


def test_names_of_a_robot_are_those_of_its_joints(tmp_path):
    robot = ikp.load_robot("ur5e")
    frames = [{"state": np.full(6, 0.01 * i), "depth": np.zeros((8, 8)), "words": "hold"} for i in range(20)]
    with pytest.warns(UserWarning, match="6 numbers of state.*left out: depth, words"):
        record(tmp_path, frames, [np.full(6, 0.01 * i + 0.01) for i in range(20)], robot=robot)
    data = load_dataset(tmp_path, robot=robot)
    assert data.spec.action_names == robot.joint_names
    assert data.spec.joint_dims == tuple(range(6))


def test_a_grippers_unit_is_not_that_of_the_arm(tmp_path):
    with Recorder(tmp_path, fps=10, state_names=["j", "gripper"], units="deg") as recorder:
        recorder.add({"state": [1.0, 2.0]}, {"j": 1.0, "gripper": 2.0})
        recorder.save_episode()
    features = ikp.data.metadata.read_info(tmp_path)["features"]
    assert features["action"]["units"] == features["observation.state"]["units"] == ["deg", ""]
    with pytest.raises(ValueError, match="--units degree.*choose one of rad, deg"):
        Recorder(tmp_path, fps=10, units="degree")


def test_a_camera_model_is_stored(tmp_path):
    camera = Camera.look_at((-1.1, 0.0, 0.7), (-0.5, 0.0, 0.0), fovy=45, width=12, height=8)
    data = record(tmp_path, [{"state": [1.0], "front": image()}], cameras={"front": camera})
    assert data.spec.cameras == {"front": camera}


FAULTS = (
    ({}, [0.0], "neither a state nor an image: it has the keys .*frame="),
    ({"qpos": [1.0]}, [0.0], r"neither a state nor an image: it has the keys \['qpos'\]"),
    ({"state": [np.nan]}, [0.0], "'state' holds nan"),
    ({"state": ["a"]}, [0.0], "give 1 numbers"),
    ({"state": [1.0], "a": np.full((4, 4, 3), 7.0)}, [0.0], "'a' is float64 from 7 to 7"),
    ({"state": [1.0]}, [np.inf], "action of frame 0 is not finite"),
    ({"state": [1.0]}, [[0.0, 1.0], [1.0, 2.0]], "the action has the shape"),
)


@pytest.mark.parametrize(("frame", "action", "words"), FAULTS, ids=[words for _, _, words in FAULTS])
def test_what_cannot_be_recorded_is_refused(frame, action, words, tmp_path):
    with Recorder(tmp_path / "new", fps=10) as recorder:
        with pytest.raises(ValueError, match=words):
            recorder.add(frame, action)
        assert recorder.open_frames == 0
        with pytest.raises(ValueError, match="has no frame"):
            recorder.save_episode()


def test_later_frames_are_like_the_first_one(tmp_path):
    with Recorder(tmp_path, fps=10) as recorder:
        recorder.add({"state": [1.0, 2.0], "top": image()}, {"a": 1.0, "b": 2.0})
        for frame, action, words in (
            ({"state": [1.0], "top": image()}, {"a": 1.0, "b": 2.0}, "'state' has the shape"),
            ({"state": [1.0, 2.0]}, {"a": 1.0, "b": 2.0}, "no image of camera 'top'"),
            (
                {"state": [1.0, 2.0], "top": image()},
                {"a": 1.0},
                r"names \['a'\]: needed are those of the first",
            ),
            ({"state": [1.0, 2.0], "top": image()}, [1.0], r"shape \(1,\): it must be \(2,\)"),
        ):
            with pytest.raises(ValueError, match=words):
                recorder.add(frame, action)
        recorder.save_episode()
    assert len(load_dataset(tmp_path)) == 1


def test_names_must_be_as_many_as_the_dimensions(tmp_path):
    for options, words in (
        ({"state_names": ["a", "b"]}, "state_names has 2 names, and the state 1 dimensions"),
        ({"action_names": ["a"]}, "action_names has 1 names, and the action 2 dimensions"),
    ):
        with pytest.raises(ValueError, match=words):
            record(tmp_path / "data", [{"state": [1.0]}], **options)
    assert not (tmp_path / "data").exists()


def test_recording_goes_on_in_the_same_folder(tmp_path):
    record(tmp_path, [{"state": [1.0]}] * 3)
    with Recorder(tmp_path, fps=10) as recorder:
        assert (recorder.episodes, recorder.frames) == (1, 3)
        recorder.add({"state": [2.0]}, [0.0, 0.0])
        recorder.discard_episode()
        recorder.add({"state": [3.0]}, [0.0, 0.0])
        recorder.save_episode()
        assert (recorder.episodes, recorder.frames) == (2, 4)
    assert load_dataset(tmp_path).state[:, 0].tolist() == [1, 1, 1, 3]
    with (
        Recorder(tmp_path, fps=10) as recorder,
        pytest.raises(DatasetError, match="state_names was .*Use the same"),
    ):
        recorder.add({"state": [2.0, 3.0]}, [0.0, 0.0])
    with (
        Recorder(tmp_path, fps=20) as recorder,
        pytest.raises(DatasetError, match="fps was 10, is 20"),
    ):
        recorder.add({"state": [2.0]}, [0.0, 0.0])
    assert len(load_dataset(tmp_path)) == 4


def test_a_folder_is_opened_and_locked_once(tmp_path, monkeypatch):
    record(tmp_path, [{"state": [1.0]}] * 3)
    opened = []
    monkeypatch.setattr(
        "ikp.data.writer.finished_files", lambda root: opened.append(root) or finished_files(root)
    )
    with Recorder(tmp_path, fps=10) as recorder:
        recorder.add({"state": [2.0]}, [0.0, 0.0])
        recorder.save_episode()
        with pytest.raises(OSError, match="another process is writing"):
            Recorder(tmp_path, fps=10)
    assert opened == [tmp_path]
    assert len(load_dataset(tmp_path)) == 4


def test_an_episode_that_was_not_saved_is_said(tmp_path):
    recorder = Recorder(tmp_path, fps=10)
    for _ in range(2):
        recorder.add({"state": [1.0]}, [0.0])
    with pytest.warns(UserWarning, match="2 frames of an episode that was not saved are dropped"):
        recorder.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Recorder(tmp_path / "none", fps=10).close()
    assert not (tmp_path / "none").exists()


def test_a_kill_costs_the_open_episode_at_most(tmp_path):
    code = """
        import os, signal, sys
        import ikp
        recorder = ikp.Recorder(sys.argv[1], fps=10)
        for episode in range(3):
            for i in range(4):
                recorder.add({"state": [episode + 0.1 * i]}, [0.0])
            if episode == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            recorder.save_episode()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path], env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    with Recorder(tmp_path, fps=10) as recorder:
        assert recorder.episodes == 2
        recorder.add({"state": [2.0]}, [0.0])
        recorder.save_episode()
    assert load_dataset(tmp_path).state[:, 0].tolist() == pytest.approx(
        [0, 0.1, 0.2, 0.3, 1, 1.1, 1.2, 1.3, 2]
    )


def test_recorded_joints_are_understood(tmp_path):
    """A recording with a robot in degrees loads in rad, by the stored unit."""
    robot = ikp.load_robot("ur5e")
    q = np.linspace(0, 1, 30)[:, None] * np.ones(6)
    frames = [{"state": np.rad2deg(row)} for row in q]
    record(tmp_path, frames, [np.rad2deg(row + 0.01) for row in q], robot=robot, units="deg")
    data = load_dataset(tmp_path, robot=robot)
    np.testing.assert_allclose(data.state, q, atol=1e-6)
    assert load_dataset(tmp_path, robot=robot, hints=MapHints(units="deg")).spec == data.spec
