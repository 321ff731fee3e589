"""Runs on disk: resumed with the same settings only, one process at a time, from the newest state that is whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ikp.kinematics import ur5e
from ikp.locks import locked_folder
from ikp.policies import load_policy, make_policy
from ikp.training.config import TrainConfig
from ikp.training.optimizer import MovingAverage, make_optimizers
from ikp.training.settings import FREE
from ikp.training.state import DAMAGED, Progress, load_state, save_state
from ikp.training.trainer import train

from .tiny import CONFIG, tiny_demonstrations, tiny_policy

SHORT = replace(CONFIG, steps=4, checkpoint_every=1, validate_every=4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run of four steps, for reading."""
    out = tmp_path_factory.mktemp("finished")
    data = tiny_demonstrations()
    train(tiny_policy(data), data, SHORT, out=out, provenance={"method": "ikp"})
    return out


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def resumed(out, data=None, policy=None, config=SHORT, method="ikp"):
    data = data or tiny_demonstrations()
    return train(
        policy or tiny_policy(data), data, config, out=out, resume=True, provenance={"method": method}
    )


def test_a_folder_with_a_run_is_not_overwritten(finished):
    data = tiny_demonstrations()
    with pytest.raises(FileExistsError, match=r"continue it with resume=True \(ikp train --resume\)"):
        train(tiny_policy(data), data, SHORT, out=finished)


def other_data(name):
    data = tiny_demonstrations()
    return replace(data, **{name: getattr(data, name) + 1e-3})


def rendered_again():
    data = tiny_demonstrations()
    return replace(data, images={camera: images ^ 1 for camera, images in data.images.items()})


def split_elsewhere():
    data = tiny_demonstrations()
    return replace(data, frame_index=torch.arange(24).repeat(5), success=data.success[:10])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": replace(SHORT, seed=1)}, "train.seed was 0, is 1"),
        ({"config": replace(SHORT, learning_rate=0.1)}, "train.learning_rate was 0.002, is 0.1"),
        ({"config": replace(SHORT, steps=9, batch_size=3)}, "train.steps was 4, is 9; train.batch_size was"),
        ({"method": "explicit"}, "method was 'ikp', is 'explicit'"),
        ({"data": tiny_demonstrations(9)}, "data.episodes was 10, is 9; data.frames was 120, is 108"),
        ({"data": other_data("action")}, "data.checksum was"),
        ({"data": other_data("environment_state")}, "data.checksum was"),
        ({"data": rendered_again()}, "data.checksum was"),
        ({"data": split_elsewhere()}, "data.checksum was"),
    ],
)
def test_a_run_resumes_with_its_own_settings_only(finished, changes, message):
    before = (finished / "train.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        resumed(finished, **changes)
    assert (finished / "train.json").read_bytes() == before


def test_a_run_resumes_with_its_own_policy_and_robot_only(finished):
    data = tiny_demonstrations()
    config = tiny_policy(data).config
    wider = make_policy(ur5e(), data.spec, replace(config, width=32, targets="absolute"))
    with pytest.raises(
        ValueError, match="policy.targets was 'delta', is 'absolute'; policy.width was 16, is 32"
    ):
        resumed(finished, policy=wider)
    renamed = replace(ur5e(), name="longer")
    with pytest.raises(ValueError, match="robot.name was 'ur5e', is 'longer'"):
        resumed(finished, policy=make_policy(renamed, data.spec, config))


def test_a_run_of_another_version_of_the_policies_is_told(run):
    settings = json.loads((run / "train.json").read_text())
    for stored in ({**settings, "format": 6}, {key: settings[key] for key in settings if key != "format"}):
        (run / "train.json").write_text(json.dumps(stored))
        with pytest.raises(ValueError, match="another version of the policies .*choose another folder"):
            resumed(run)


def test_a_run_that_was_killed_before_its_first_state_keeps_its_settings_and_begins_its_metrics_anew(run):
    shutil.rmtree(run / "state")
    with pytest.raises(ValueError, match="holds a run of other settings"):
        resumed(run, tiny_demonstrations(9))
    with pytest.warns(UserWarning, match="of a run that ended before it kept a state, are removed"):
        resumed(run)
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_many_differences_are_counted(finished):
    config = replace(
        SHORT, **{name: getattr(SHORT, name) * 2 for name in ("steps", "batch_size", "held_out")}
    )
    data = tiny_demonstrations(9)
    with pytest.raises(ValueError, match=r"; and 2 more\)"):
        resumed(finished, data, config=replace(config, seed=4, validate_every=2))


def test_machine_and_intervals_may_change(run):
    free = replace(SHORT, device="cpu", log_every=1, checkpoint_every=2, threads=0)
    assert {name for name in vars(SHORT) if getattr(free, name) != getattr(SHORT, name)} == set(FREE)
    assert resumed(run, config=free).steps == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        ("{", "not valid JSON"),
        ("[]", "a list"),
        ("{}", "lacks method, train, policy, robot, data: choose another folder"),
        (
            '{"method": "ikp", "train": 1, "policy": {}, "robot": {}, "data": {}}',
            "holds a int as 'train'",
        ),
    ],
)
def test_damaged_settings_are_named(run, content, message):
    (run / "train.json").unlink() if content is None else (run / "train.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        resumed(run)


def flipped(content: bytes) -> bytes:
    middle = 2 * len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "header": lambda content: b"\xff" * 8 + content[8:],
    "no metadata": lambda content: content.replace(b"__metadata__", b"__metadatb__"),
    "bit": flipped,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_gives_way_to_the_one_before(run, damage):
    newest = run / "state" / "step-00000004.safetensors"
    newest.write_bytes(DAMAGES[damage](newest.read_bytes()))
    with pytest.warns(UserWarning, match=r"step-00000004.safetensors is damaged .* from .*step-00000003"):
        result = resumed(run)
    assert result.steps == 4
    assert newest.with_name(newest.name + DAMAGED).exists()
    assert sorted(path.name for path in (run / "state").glob("*.safetensors"))[-1] == newest.name


def test_if_every_state_is_damaged_the_run_is_refused(run):
    for path in (run / "state").glob("step-*"):
        path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"step-00000004.* is damaged .* no older state: delete .*state to train"
    ):
        resumed(run)


def test_a_state_of_other_parameters_is_refused_in_few_words(tmp_path):
    data = tiny_demonstrations(2)
    policy = tiny_policy(data)
    optimizers, average = make_optimizers(policy, CONFIG), MovingAverage(policy)
    save_state(tmp_path, policy, optimizers, average, Progress(1, 0.5))
    wider = make_policy(ur5e(), data.spec, replace(policy.config, width=32))
    with pytest.raises(ValueError, match="belongs to a policy with other parameters") as refused:
        load_state(tmp_path, wider, make_optimizers(wider, CONFIG), MovingAverage(wider))
    assert len(str(refused.value)) < 300 + len(str(tmp_path))


def test_a_state_tells_steps_and_seconds(tmp_path):
    data = tiny_demonstrations(2)
    policy = tiny_policy(data)
    rest = make_optimizers(policy, CONFIG), MovingAverage(policy)
    assert load_state(tmp_path, policy, *rest) is None
    save_state(tmp_path, policy, *rest, Progress(7, 1.5))
    assert load_state(tmp_path, policy, *rest) == Progress(7, 1.5)


def test_two_processes_do_not_train_into_one_folder(run):
    with locked_folder(run), pytest.raises(BlockingIOError, match="another process is writing to .*run"):
        resumed(run)
    assert resumed(run).steps == 4


def test_leftovers_of_a_killed_run_are_removed(run):
    left = [run / name for name in ("state/.step-00000002.safetensors.1.tmp", "policy/.config.json.1.tmp")]
    for path in left:
        path.write_bytes(b"part")
    resumed(run)
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_file_in_the_place_of_the_folder_is_told_at_once(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    data = tiny_demonstrations()
    with pytest.raises(OSError, match=rf"cannot write into the folder .*{name} \(.*\): choose another one"):
        train(tiny_policy(data), data, SHORT, out=tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


FULL_DISK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from tiny import CONFIG, tiny_demonstrations, tiny_policy
from ikp.cli import run_command
from ikp.training.trainer import train
data, policy = tiny_demonstrations(), None
policy = tiny_policy(data)
config = replace(CONFIG, log_every=1, checkpoint_every=int(sys.argv[4]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
sys.exit(run_command(lambda: train(policy, data, config, out=sys.argv[2]), "ikp", ""))
"""


@pytest.mark.parametrize(
    ("limit", "checkpoint_every", "file"),
    [(100_000, 5, "step-00000005.safetensors"), (5_000, 1000, "metrics.jsonl"), (500, 1000, "train.json")],
)
def test_a_full_disk_is_one_line(tmp_path, limit, checkpoint_every, file):
    """A limit on the size of files stands for a full disk: writing fails in the same place."""
    here = str(Path(__file__).parent)
    command = [
        sys.executable,
        "-c",
        FULL_DISK,
        here,
        str(tmp_path / "run"),
        str(limit),
        str(checkpoint_every),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ikp: error: could not write"), ended.stderr
    assert file in last


@pytest.mark.parametrize("device", ["cuda:7", "tpu", ""])
def test_a_device_that_is_not_there_is_told_at_once(tmp_path, device):
    data = tiny_demonstrations(2)
    with pytest.raises(ValueError, match=rf"device is '{device}' \(.*\): use auto or cpu"):
        train(tiny_policy(data), data, TrainConfig(device=device), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_policy_whose_weights_are_not_finite_is_refused(run):
    from safetensors.torch import load_file, save_file

    path = run / "policy" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name, value in weights.items() if value.ndim == 2)
    for value in (torch.nan, torch.inf):
        weights[name][0, 0] = value
        save_file(weights, path)
        with pytest.raises(
            ValueError, match=rf"model.safetensors is damaged .*'{name}' holds numbers .* not finite"
        ):
            load_policy(run)
    save_file({name: weights[name]}, path)
    with pytest.raises(ValueError, match="is only in the policy"):
        load_policy(run)


def test_states_are_flushed_before_they_get_their_name(tmp_path, monkeypatch):
    policy = tiny_policy(tiny_demonstrations(2))
    done: list[tuple[str, int]] = []
    flush, rename = os.fsync, Path.replace

    def flushed(descriptor):
        done.append(("flush", os.fstat(descriptor).st_ino))
        flush(descriptor)

    def renamed(path, target):
        done.append(("rename", path.stat().st_ino))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    path = save_state(tmp_path, policy, [], MovingAverage(policy), Progress())
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert done == [("flush", file), ("rename", file), ("flush", folder)]


def test_the_settings_are_readable(finished):
    stored = json.loads((finished / "train.json").read_text())
    assert stored["method"] == "ikp"
    assert stored["data"]["episodes"] == 10
    assert stored["robot"]["name"] == "ur5e"


def test_a_result_is_shown_in_one_line(run):
    shown = repr(resumed(run))
    assert shown.startswith("TrainResult(4 steps in ")
    assert "held out: discrete_wrong=" in shown
    assert len(shown) < 400


def test_a_state_is_saved_by_the_clock_too(tmp_path, monkeypatch):
    monkeypatch.setattr("ikp.training.trainer.SAVED_EVERY", 0.0)
    data, steps = tiny_demonstrations(), []
    monkeypatch.setattr(
        "ikp.training.trainer.save_state", lambda *given: steps.append(given[-1].step) or save_state(*given)
    )
    train(tiny_policy(data), data, replace(SHORT, checkpoint_every=1000), out=tmp_path / "run")
    assert steps == [1, 2, 3, 4, 4]
