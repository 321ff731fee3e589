"""A UR's factory calibration makes the exact robot; other files and robots are refused."""

import re
from pathlib import Path

import pytest
import torch

import ikp
from ikp import cli
from ikp.calibration.factory import factory_robot
from ikp.kinematics import forward_kinematics, load_robot

NOMINAL = {  # UR5e, as in ur_description
    "shoulder": (0, 0, 0.1625, 0, 0, 0),
    "upper_arm": (0, 0, 0, 1.570796327, 0, 0),
    "forearm": (-0.425, 0, 0, 0, 0, 0),
    "wrist_1": (-0.3922, 0, 0.1333, 0, 0, 0),
    "wrist_2": (0, -0.0997, -2.044881182297852e-11, 1.570796327, 0, 0),
    "wrist_3": (0, 0.0996, -2.042830148012698e-11, 1.570796326589793, 3.141592653589793, 3.141592653589793),
}


def yaml(**changed):
    lines = ["# made by ur_calibration", "kinematics:"]
    for link, numbers in (NOMINAL | changed).items():
        lines.append(f"  {link}:")
        names = ("x", "y", "z", "roll", "pitch", "yaw")
        lines += [f"    {name}: {number!r}" for name, number in zip(names, numbers, strict=True)]
    Path("factory.yaml").write_text("\n".join([*lines, "  hash: calib_1", ""]))
    return "factory.yaml"


def test_the_nominal_file_gives_the_built_in_robot():
    robot = load_robot("ur5e")
    q = robot.random_q((20,))
    made = factory_robot(robot, yaml())
    torch.testing.assert_close(forward_kinematics(made, q), forward_kinematics(robot, q), rtol=0, atol=1e-8)


def test_a_calibrated_arm_is_where_its_transforms_say(capsys):
    path = yaml(
        forearm=(-0.4251, 0.0, 0.002, 0.001, -0.002, 0.003),
        wrist_1=(-0.3925, 0.0001, 0.1312, 0.0, 0.0, 0.004),
    )
    assert cli.main(["calibrate", "--robot", "ur5e", "--factory", path, "--urdf", "ur.urdf"]) == 0
    made, nominal = ikp.load_robot("ur.urdf"), load_robot("ur5e")
    T = forward_kinematics(made, torch.zeros(6, dtype=torch.float64))
    index = made.link_index("forearm")
    in_parent = T[made.parents[index]].inverse() @ T[index]
    torch.testing.assert_close(in_parent[:3, 3], torch.tensor([-0.4251, 0.0, 0.002], dtype=torch.float64))
    away = T[-1, :3, 3] - forward_kinematics(nominal, torch.zeros(6, dtype=torch.float64))[-1, :3, 3]
    assert 1e-4 < away.norm() < 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((r"forearm", "foream"), "it lacks forearm"),
        ((r"roll: 0\b", "rol: 0"), "lacks roll"),
        ((r"-0.425", "minus"), "x of forearm is 'minus'"),
        ((r"-0.425", "-425"), "no metres"),
        (
            (r"-0.425", "-0.612"),
            "has elbow_joint 187 mm and 0 deg from where 'ur5e' has it: it is of another model",
        ),
        ((r"kinematics:", "[1, 2]"), "no line of it"),
    ],
)
def test_other_files_are_refused(change, message):
    path = Path(yaml())
    path.write_text(re.sub(*change, path.read_text()))
    with pytest.raises(ValueError, match=re.escape(message)):
        factory_robot(load_robot("ur5e"), path)


def test_other_robots_and_missing_files_are_refused(capsys):
    with pytest.raises(ValueError, match="robot 'iiwa14' has the joints joint_1"):
        factory_robot(load_robot("iiwa14"), yaml())
    with pytest.raises(FileNotFoundError, match="ur_calibration reads it from the robot"):
        factory_robot(load_robot("ur5e"), "none.yaml")
    assert cli.main(["calibrate", "--robot", "ur5e", "--factory", "factory.yaml", "--out", "a.json"]) == 1
    assert "give --urdf FILE" in capsys.readouterr().err
