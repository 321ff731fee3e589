"""`ikp record`, `deploy`, `replay` and `view` from the command line, over the simulated twin in lock-step."""

import json
import os
import re
import signal
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from tests.policies.conftest import small_config

from ikp.cli import main
from ikp.data import load_dataset
from ikp.policies import load_policy, make_policy, method_config
from ikp.policies.checkpoint import save_policy
from ikp.policies.timing import TimingConfig
from ikp.robots.config import ControllerConfig
from ikp.robots.extras import PACKAGES
from ikp.robots.interfaces import RobotStopped
from ikp.robots.recording import keep_all, record
from ikp.robots.scripted import ScriptedMouse
from ikp.robots.session import Session, always
from ikp.robots.station import open_station
from ikp.tasks.registry import task_entry
from ikp.tasks.suction import suction_robot

BENCH = ["--bench", "lockstep:alignment"]
SIZE = (32, 32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data set of one episode that ends before it succeeds."""
    root = tmp_path_factory.mktemp("commands") / "data"
    config = ControllerConfig(on_limit="clip", rate=100.0)
    with open_station("lockstep:alignment", config, image_size=SIZE) as station:
        session = Session(station, config, 10.0, SIZE)
        session.start(always)
        mouse = ScriptedMouse(station.view.update, task_entry("alignment").expert_class(), config)
        record(session, mouse, root, 1, keep_all, seconds=1.5)
    return root


def saved_policy(root, **changes):
    """An untrained policy that fits the data."""
    torch.manual_seed(0)
    data = load_dataset(root, robot=suction_robot(), progress=False)
    policy = make_policy(suction_robot(), data.spec, method_config("ikp", small_config(**changes)))
    policy.fit_scales(data.state, data.way_points(policy.due))
    return save_policy(policy, root.parent / f"policy{len(changes)}")


def test_a_policy_is_deployed_viewed_and_its_episode_replayed(root, tmp_path, capsys):
    policy = str(saved_policy(root))
    (tmp_path / "bench.json").write_text('{"rate": 100, "on_limit": "clip"}')
    bench = [*BENCH, "--config", "bench.json"]
    deploy = [
        "deploy",
        "--policy",
        policy,
        *bench,
        "--out",
        "deployed",
        "--episodes",
        "1",
        "--seconds",
        "0.5",
    ]
    assert main(deploy) == 0
    said = capsys.readouterr().out
    assert "success: 0 of 1 episodes, 0 % (95 % interval 0 to 79)" in said
    assert "policy: 5 frames at 10.00 Hz, 0 of them late" in said
    report = json.loads((tmp_path / "deployed.json").read_text())
    assert (report["frames"], report["decisions"], report["late_frames"]) == (5, 5, 0)
    data = load_dataset("deployed", progress=False)
    assert len(data) == 5
    assert main(["replay", "--data", "deployed", *bench, "--seed", "1000000"]) == 0
    assert "5 frames" in capsys.readouterr().out
    assert main(["view", "--policy", policy, "--data", "deployed", "--out", "view.png", "--step", "2"]) == 0
    picture = np.asarray(Image.open("view.png").convert("RGB")).astype(int)
    assert picture.shape == (720, 1280, 3)
    chosen = (
        np.abs(picture[:, 860:] - (128, 198, 128)).max(axis=2) < 8
    )  # tab:green, through which white is seen
    assert chosen.sum() > 500, "the chosen target is hidden where the recorded one is the same"
    assert main(["view", "--policy", policy, "--data", "deployed", "--out", "view.gif"]) != 0
    assert "must end in .png, .mp4, .rrd" in capsys.readouterr().err


def test_the_same_deployment_goes_on_and_a_dry_run_says_so(root, tmp_path, capsys):
    (tmp_path / "clip.json").write_text('{"on_limit": "clip", "rate": 100, "lag": 0.05}')
    deploy = [
        "deploy",
        "--policy",
        str(saved_policy(root)),
        *BENCH,
        "--config",
        "clip.json",
        "--seconds",
        "0.3",
    ]
    again = [*deploy, "--out", "again", "--episodes"]
    assert main([*again, "1"]) == 0
    assert main([*again, "1"]) != 0
    assert "again holds 1 episodes of this policy already: raise --episodes" in capsys.readouterr().err
    assert main([*again, "2"]) == 0
    assert "0 of 2 episodes" in capsys.readouterr().out
    report = json.loads((tmp_path / "again.json").read_text())
    data = load_dataset("again", images=False, progress=False)
    assert (len(report["successes"]), report["frames"]) == (2, len(data))
    assert [info["seed"] for info in data.info] == [1_000_000, 1_000_001]
    assert main([*deploy, "--out", "dry", "--episodes", "1", "--dry-run"]) == 0
    assert "no targets were sent" in capsys.readouterr().out


def test_a_signal_is_the_reason_of_a_stop(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Session, "rest", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    (tmp_path / "clip.json").write_text('{"on_limit": "clip", "lag": 0.05}')
    options = ["--config", "clip.json", "--out", "ended", "--seconds", "0.3"]
    assert main(["deploy", "--policy", str(saved_policy(root)), *BENCH, *options]) == 143
    assert "ikp: stopped by SIGTERM: the arm was stopped" in capsys.readouterr().err
    assert json.loads((tmp_path / "ended.json").read_text())["stopped"] == "stopped by SIGTERM"


def test_a_folder_without_a_policy_is_told(tmp_path, capsys):
    assert main(["deploy", "--policy", str(tmp_path), *BENCH, "--out", "none"]) != 0
    assert (
        "holds no policy: config.json is missing. Give the folder that 'ikp train' wrote"
        in capsys.readouterr().err
    )


def test_a_policy_drives_an_arm_with_another_joint_map(root, tmp_path, capsys):
    folder = saved_policy(root)
    policy = load_policy(folder)
    policy.spec.recorded_map(policy.robot).shifted([0.05] * 6).save(tmp_path / "arm.json")
    deploy = [
        "deploy",
        "--policy",
        str(folder),
        *BENCH,
        "--out",
        "other",
        "--episodes",
        "1",
        "--seconds",
        "0.5",
    ]
    assert main([*deploy, "--joint-map", "arm.json"]) == 0
    assert "policy: 5 frames" in capsys.readouterr().out
    assert main([*deploy, "--joint-map", "none.json"]) != 0
    assert "there is no joint map" in capsys.readouterr().err


def test_a_stop_ends_a_deployment_and_its_report_is_written(root, tmp_path, capsys, monkeypatch):
    begin, scenes = Session.begin_episode, []

    def begin_episode(session, scene):
        scenes.append(scene)
        if len(scenes) == 2:
            raise RobotStopped("something holds the arm")
        begin(session, scene)

    monkeypatch.setattr(Session, "begin_episode", begin_episode)
    (tmp_path / "clip.json").write_text('{"on_limit": "clip"}')
    options = ["--config", "clip.json", "--out", "stopped", "--episodes", "3", "--seconds", "0.5"]
    assert main(["deploy", "--policy", str(saved_policy(root)), *BENCH, *options]) == 1
    said = capsys.readouterr()
    assert "ikp: error: something holds the arm" in said.err
    assert "success: 0 of 1 episodes" in said.out
    report = json.loads((tmp_path / "stopped.json").read_text())
    assert (report["successes"], report["frames"]) == ([False], 5)
    assert report["stopped"] == "something holds the arm"


def test_the_guide_shows_the_built_in_settings():
    guide = (Path(__file__).parents[2] / "docs" / "real_robot.md").read_text()
    (block,) = re.findall(r"^```json\n(.*?)^```", guide, flags=re.M | re.S)
    assert json.loads(block) == ControllerConfig().to_json()


def test_a_policy_with_way_points_is_asked_when_its_decision_is_due(root, tmp_path, capsys):
    policy = saved_policy(root, timing=TimingConfig(rate=5.0, way_points=2, executed=0.5))
    assert load_policy(policy).due == (2, 4)
    deploy = [
        "deploy",
        "--policy",
        str(policy),
        *BENCH,
        "--out",
        "ahead",
        "--episodes",
        "1",
        "--seconds",
        "0.6",
    ]
    (tmp_path / "clip.json").write_text('{"on_limit": "clip"}')
    assert main([*deploy, "--config", "clip.json"]) == 0
    report = json.loads((tmp_path / "ahead.json").read_text())
    assert (report["frames"], report["decisions"]) == (6, 3)
    capsys.readouterr()
    assert main(["view", "--policy", str(policy), "--data", "ahead", "--out", "view.png"]) != 0
    assert "decides 2 way-points at once" in capsys.readouterr().err


def test_a_policy_that_reaches_a_joint_limit_keeps_the_controllers_margin(root, monkeypatch):
    """Targets between the margin and the limit would be refused, and end the deployment."""
    folder = saved_policy(root)
    policy = load_policy(folder)
    limit = float(policy.robot.upper[5])

    def at_the_limit(received):
        decided = received["state"][:, -1].clone()
        decided[:, 5] = limit
        return decided

    monkeypatch.setattr(policy, "_decided", at_the_limit)
    monkeypatch.setattr("ikp.policies.load_policy", lambda path, joint_map: policy)
    deploy = ["deploy", "--policy", str(folder), *BENCH, "--out", "limit", "--episodes", "1"]
    assert main([*deploy, "--seconds", "0.3"]) == 0
    commanded = load_dataset("limit", progress=False).action[:, 5]
    allowed = limit - ControllerConfig().joint_margin
    torch.testing.assert_close(commanded, torch.full_like(commanded, allowed))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--episodes", "0"], "--episodes is 0: it must be from 1"),
        (["--seed", "-1"], "--seed is -1: it must be from 0"),
        (["--seconds", "nan"], "--seconds is nan: it must be from 0.1"),
        (["--seconds", "0"], "--seconds is 0: it must be from 0.1"),
        (["--fps", "300"], "--fps is 300: it must be from 0.1 to 100"),
        (["--image-size", "99999x99999"], "a side has at most 4096 pixels"),
        (["--config", "nosuch.json"], "the settings nosuch.json cannot be read"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_anything_moves(options, said, capsys, monkeypatch):
    monkeypatch.setattr("ikp.robots.station.open_station", None)
    assert main(["record", "--out", "data", *BENCH, "--device", "scripted", *options]) != 0
    assert said in capsys.readouterr().err


def test_a_folder_of_other_data_is_refused_before_anything_moves(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Session, "start", None)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("not a data set")
    assert main(["record", "--out", "data", *BENCH, "--device", "scripted", "--image-size", "32x32"]) != 0
    assert "data" in capsys.readouterr().err


def test_another_task_is_said(root):
    """Dimensions and cameras of tasks with one arm are the same."""
    bench = ["--bench", "lockstep:insertion"]
    with pytest.warns(
        UserWarning, match="is from the task ikp/BlockAlignment-v0, the bench runs ikp/Insertion-v0"
    ):
        assert main(["replay", "--data", str(root), *bench]) == 0


MISSING = {
    "record": (
        ["--out", "data", "--device", "keyboard"],
        "rtde_control",
        "the bench ur5e:127.0.0.44 needs .*ur-rtde.*real",
    ),
    "record with a mouse": (
        ["--out", "data"],
        "pyspacemouse",
        "--device spacemouse needs .*pyspacemouse.*real",
    ),
    "record with a camera": (
        ["--out", "data", "--device", "keyboard", "--camera", "front=realsense"],
        "pyrealsense2",
        "a RealSense camera needs .*pyrealsense2.*real",
    ),
    "record with a view": (
        ["--out", "data", "--device", "keyboard", "--view"],
        "rerun",
        "a live view needs .*rerun-sdk.*view",
    ),
    "replay": (["--data", "{root}"], "rtde_control", "the bench ur5e:127.0.0.44 needs .*ur-rtde.*real"),
    "deploy": (
        ["--policy", "{policy}", "--out", "deployed"],
        "rtde_control",
        "the bench ur5e:127.0.0.44 needs .*ur-rtde.*real",
    ),
    "view": (
        ["--policy", "{policy}", "--data", "{root}", "--out", "view.rrd"],
        "rerun",
        "the view view.rrd needs .*rerun-sdk.*view",
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_without_an_extra_each_command_names_the_package_and_the_command_that_installs_it(
    what, root, capsys, monkeypatch
):
    options, module, said = MISSING[what]
    command = what.partition(" ")[0]
    bench = [] if command == "view" else ["--bench", "ur5e:127.0.0.44"]
    for each in PACKAGES:  # of the others there are stand-ins
        monkeypatch.setitem(sys.modules, each, None if each == module else ModuleType(each))
    policy = saved_policy(root) if "{policy}" in options else ""
    filled = [option.format(root=root, policy=policy) for option in options]
    assert main([command, *bench, *filled]) == 1
    error = capsys.readouterr().err.strip()
    assert re.fullmatch(rf"ikp: error: {said}.*pip install 'ikp\[(real|view)\]' \(.*\)", error), error


def test_the_scripted_device_needs_a_simulated_bench_and_a_real_one_its_packages(capsys):
    record = ["record", "--out", "data", "--bench", "ur5e:127.0.0.44", "--device"]
    assert main([*record, "scripted"]) != 0
    assert "the scripted device is a hand at a simulated bench" in capsys.readouterr().err
    assert main(["record", "--out", "data", *BENCH, "--device", "joystick", "--episodes", "1"]) != 0
    assert "choose one of spacemouse, keyboard, scripted" in capsys.readouterr().err
    assert main([*record, "keyboard", "--gripper", "robotiq"]) != 0
    assert "no UR controller answers at 127.0.0.44, port 30004" in capsys.readouterr().err
