"""Demonstrations of the simulated insertion show an upright tool and the height of its grasps."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import ikp
from ikp import cli
from ikp.calibration.demonstrations import shown
from ikp.calibration.from_tables import Noise
from ikp.tasks.miscalibration import Miscalibration


def test_demonstrations_show_the_sum_of_the_upright_joints(demonstrations, capsys):
    command = ["calibrate", "--robot", "ur5e", "--data", str(demonstrations), "--noise", "2mm", "0.5deg"]
    assert cli.main([*command, "--shows", "upright", "closing", "lowest", "--out", "arm.json"]) == 0
    true = Miscalibration.from_seed(0, 6).q_offset
    joint_map = ikp.JointMap.load("arm.json")
    offsets = np.array([one.offset for one in joint_map.state[:6]])
    assert offsets[4] == pytest.approx(true[4], abs=math.radians(0.3))
    assert offsets[1:4].sum() == pytest.approx(true[1:4].sum(), abs=math.radians(0.5))
    assert np.abs(offsets).max() < math.radians(3)
    report = json.loads(Path("arm.report.json").read_text())
    assert not report["parameters"][0]["identified"]
    data = ikp.load_dataset(demonstrations, robot=ikp.load_robot("ur5e"), joint_map=joint_map)
    assert data.spec.joint_map == joint_map
    assert cli.main(command) == 1
    assert "choose any of upright, closing, opening, lowest" in capsys.readouterr().err
    assert cli.main([*command, "--shows", "sideways"]) == 1
    assert "choose one of upright" in capsys.readouterr().err


def test_what_demonstrations_do_not_show_is_refused():
    robot = ikp.load_robot("ur5e")
    q, episode = np.tile(np.linspace(0, 1, 20)[:, None], (1, 6)), np.zeros(20, dtype=int)
    gripper = np.zeros((20, 1), dtype=bool)

    def made(*constraints):
        return shown(robot, q, episode, gripper, "flange", constraints, Noise())

    with pytest.raises(ValueError, match="no gripper is closing"):
        made("closing")
    with pytest.raises(ValueError, match=r"no axis of 'flange' is vertical .* \d+ deg off"):
        made("upright")
    (lowest,) = made("lowest")
    assert len(lowest.q) == 1
