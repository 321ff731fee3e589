"""Offsets of another arm from a policy, on demonstrations of an arm that reaches towards a shown pose."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ikp import JointMap, load_dataset, load_policy, load_robot, make_policy
from ikp.calibration.from_policy import PRIOR, calibrate_from_policy
from ikp.cli.main import main
from ikp.data import Demonstrations, store_joint_map
from ikp.files import read_json
from ikp.joint_map import Dimension
from ikp.kinematics import forward_kinematics, so101
from ikp.policies.config import PolicyConfig, method_config
from ikp.spec import DataSpec
from ikp.training.config import TrainConfig
from ikp.training.trainer import train

ROBOT = so101()
OFFSET = torch.deg2rad(torch.tensor([3.0, -4.0, 2.0, -3.0, 4.0, 1.0]))


def reaching(episodes: int, seed: int) -> Demonstrations:
    """Steps of at most 0.1 rad to goals within reach, of which the observation holds the tip's pose."""
    torch.manual_seed(seed)
    names = ROBOT.joint_names
    shown = tuple(f"goal.{i}" for i in range(12))
    spec = DataSpec(names, names, shown, joint_dims=tuple(range(ROBOT.dof)))
    middle = (ROBOT.lower + ROBOT.upper) / 2
    reach = 0.25 * (ROBOT.upper - ROBOT.lower)
    q, goal = ((middle + reach * (2 * torch.rand(episodes, ROBOT.dof) - 1)).float() for _ in range(2))
    pose = forward_kinematics(ROBOT, goal)[:, ROBOT.link_names.index(ROBOT.tip_names[0]), :3].flatten(1)
    states, actions, poses = [], [], []
    for _ in range(12):
        action = q + (goal - q).clamp(-0.1, 0.1)
        states.append(q)
        actions.append(action)
        poses.append(pose)
        q = action
    frames = [torch.stack(values, 1).flatten(0, 1) for values in (states, actions, poses)]
    index = torch.arange(episodes).repeat_interleave(12)
    frame = torch.arange(12).repeat(episodes)
    return Demonstrations(spec, *frames, {}, index, frame, torch.ones(episodes, dtype=torch.bool))


def of_another_arm(demonstrations: Demonstrations) -> Demonstrations:
    """The same motions, read and commanded with encoders whose zeros differ."""
    return replace(demonstrations, state=demonstrations.state - OFFSET, action=demonstrations.action - OFFSET)


def trained(method: str, steps: int, out):
    data = reaching(400, seed=0)
    policy = make_policy(ROBOT, data.spec, method_config(method, PolicyConfig(width=64)))
    config = TrainConfig(steps=steps, batch_size=128, learning_rate=4e-3, threads=1, validate_every=steps)
    return train(policy, data, config, out=out).policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return trained("explicit", 500, tmp_path_factory.mktemp("run") / "run")


def test_offsets_of_another_arm_are_found_and_carried_by_the_joint_map(policy):
    shown = reaching(30, seed=2)
    found = calibrate_from_policy(policy, of_another_arm(shown))
    assert found.demonstrations == 30
    assert found.after < found.before
    off = found.q_offset - OFFSET
    assert (off.abs() < 3 * found.sigma).all()
    assert (found.sigma < 0.7 * PRIOR).all()
    assert off[:5].norm() < 0.7 * OFFSET[:5].norm()  # no goal shows the last joint well
    recorded = of_another_arm(shown).state
    torch.testing.assert_close(found.joint_map.states.to_model(recorded), recorded + found.q_offset)
    assert "shoulder_pan" in str(found)


def test_offsets_of_the_same_arm_are_near_zero(policy):
    found = calibrate_from_policy(policy, reaching(10, seed=2), range(5))
    assert found.demonstrations == 5
    assert (found.q_offset.abs() < 3 * found.sigma).all()


def test_the_regression_inside_ikp_serves_too(tmp_path):
    found = calibrate_from_policy(trained("ikp", 40, tmp_path / "run"), of_another_arm(reaching(3, seed=4)))
    assert found.after < found.before


def test_what_cannot_be_used_is_refused(policy):
    data = reaching(2, seed=3)
    with pytest.raises(ValueError, match="choose from 0 to 1"):
        calibrate_from_policy(policy, data, [2])
    with pytest.raises(ValueError, match="no demonstration"):
        calibrate_from_policy(policy, data, [])
    with pytest.raises(ValueError, match="prior is 0"):
        calibrate_from_policy(policy, data, prior=0.0)
    for method in ("raw", "implicit-cartesian", "flow"):
        other = make_policy(
            None if method == "raw" else ROBOT, data.spec, method_config(method, PolicyConfig(width=64))
        )
        with pytest.raises(ValueError, match="use ikp|that chooses joints"):
            calibrate_from_policy(other, data)


def test_the_command_writes_a_joint_map_that_the_policy_takes(tmp_path, demonstrations, tiny, capsys):
    """With the policy of a tiny training, which knows little: a small shift all the same."""
    run, out = tmp_path / "run", tmp_path / "arm.json"
    data = str(demonstrations)
    assert main(["train", "--data", data, "--out", str(run), "--recipe", "tiny", "--method", "explicit"]) == 0
    assert main(["calibrate", "--policy", str(run), "--data", data, "--out", str(out)]) == 0
    assert "shoulder_pan_joint" in capsys.readouterr().out
    assert load_policy(run, joint_map=out).spec.joint_map == JointMap.load(out)
    assert set(read_json(tmp_path / "arm.report.json", fix="")) >= {"offsets", "sigma", "demonstrations"}


def test_units_and_zeros_are_those_of_the_demonstrations_not_of_the_policy(
    tmp_path, demonstrations, tiny, capsys
):
    """A policy of an arm with offsets; the same motions of another one in degrees, without a unit or a map."""
    data, run, other = tmp_path / "a", tmp_path / "run", tmp_path / "b"
    shutil.copytree(demonstrations, data)
    shutil.copytree(demonstrations, other)
    robot = load_robot("ur5e")
    store_joint_map(data, load_dataset(data, robot=robot).spec.recorded_map(robot).shifted([0.1] * 6))
    in_degrees(other)
    assert (
        main(["train", "--data", str(data), "--out", str(run), "--recipe", "tiny", "--method", "explicit"])
        == 0
    )
    out = tmp_path / "b.json"
    capsys.readouterr()
    assert main(["calibrate", "--policy", str(run), "--data", str(other), "--out", str(out)]) == 0
    written = JointMap.load(out)
    assert {d.unit for d in written.action if d.role == "joint"} == {"deg"}
    offsets = [d.offset for d in written.action if d.role == "joint"]
    assert read_json(tmp_path / "b.report.json", fix="")["offsets"] == pytest.approx(offsets)
    assert f"{math.degrees(offsets[0]):.2f} deg" in capsys.readouterr().out
    # in the model's own zeros, whatever those of the policy's arm are
    assert max(map(abs, offsets)) < 0.5


def in_degrees(folder):
    """Rewrite the joints of a data set in degrees, and take out their units."""
    info = json.loads((folder / "meta/info.json").read_text())
    columns = ("observation.state", "action")
    for column in columns:
        info["features"][column].pop("units", None)
    (folder / "meta/info.json").write_text(json.dumps(info))
    for path in (folder / "data").rglob("*.parquet"):
        table = pq.read_table(path)
        for column in columns:
            values = np.stack(table[column].to_numpy()).astype(np.float32)
            values[:, :6] = np.degrees(values[:, :6])
            place = table.schema.get_field_index(column)
            table = table.set_column(
                place, table.schema.field(column), pa.array(list(values), table.schema.field(column).type)
            )
        pq.write_table(table, path)


def test_a_map_of_joints_alone_drives_a_policy_with_a_gripper_in_the_same_units(
    tmp_path, demonstrations, tiny
):
    run = tmp_path / "run"
    assert main(["train", "--data", str(demonstrations), "--out", str(run), "--recipe", "tiny"]) == 0
    policy = load_policy(run)
    entries = tuple(Dimension(name, "joint", name, "rad", offset=0.02) for name in policy.robot.joint_names)
    told = load_policy(run, joint_map=JointMap(policy.robot.joint_names, entries, entries)).spec
    assert told.recorded_action_names == policy.spec.action_names
    recorded = torch.zeros(7)
    torch.testing.assert_close(told.joint_map.states.to_model(recorded), torch.tensor([0.02] * 6 + [0.0]))
    degrees = tuple(replace(d, unit="deg", scale=math.radians(1.0)) for d in entries)
    with pytest.raises(ValueError, match="in deg, the policy in .* in rad"):
        load_policy(run, joint_map=JointMap(policy.robot.joint_names, degrees, degrees))


def test_the_command_refuses_what_does_not_go_with_a_policy(tmp_path, capsys):
    assert main(["calibrate", "--policy", "run", "--out", "arm.json"]) != 0
    assert main(["calibrate", "--policy", "run", "--data", "d", "--robot", "ur5e"]) != 0
    assert capsys.readouterr().err.count("--policy takes the demonstrations of --data") == 2
    twice = ["calibrate", "--robot", "ur5e", "--poses", "tips.csv", "--out"]
    assert main([*twice, "tips.csv"]) != 0
    assert main([*twice, "arm.json", "--urdf", "arm.json"]) != 0
    assert capsys.readouterr().err.count("would be overwritten: choose another file") == 2
    assert main(["calibrate", "--poses", "tips.csv"]) != 0
    assert "--robot is missing" in capsys.readouterr().err
