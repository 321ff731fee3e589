"""Joints that are no actions: locked at a value, named in the description, the others as before."""

import json
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ikp.kinematics import Robot, forward_kinematics, inverse_kinematics, load_robot

from .reference import ASSETS


def at(robot, positions):
    return torch.tensor([positions[name] for name in robot.joint_names], dtype=torch.float64)


@settings(max_examples=40)
@given(data=st.data(), source=st.sampled_from(["iiwa14_dual", "gantry.urdf", "tree.xml"]))
def test_locked_joints_stand_where_they_are_locked(data, source):
    """Whatever is locked: every link is where the whole robot has it, mimic joints included."""
    whole = load_robot(source if source == "iiwa14_dual" else ASSETS / source)
    names = data.draw(st.lists(st.sampled_from(whole.joint_names), unique=True, max_size=whole.dof - 1))
    q = whole.random_q(generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    positions = dict(zip(whole.joint_names, q.tolist(), strict=True))
    robot = whole.with_locked({name: positions[name] for name in names})
    assert robot.joint_names == tuple(name for name in whole.joint_names if name not in names)
    assert (robot.link_names, robot.tip_names) == (whole.link_names, whole.tip_names)
    assert set(names) <= set(robot.locked)
    T = forward_kinematics(robot, at(robot, positions))
    torch.testing.assert_close(T, forward_kinematics(whole, q), atol=1e-12, rtol=0)
    again = Robot.from_dict(json.loads(json.dumps(robot.to_dict())))
    assert again.to_dict() == robot.to_dict()
    assert again.locked == robot.locked


def test_files_are_loaded_with_locked_joints():
    robot = load_robot(
        ASSETS / "gantry.urdf", locked={"left_finger_slide": 0.01, "mast_turn": 40.0}, tips=["camera"]
    )
    assert robot.joint_names == ("bridge_slide", "trolley_slide", "wrist_turn")
    # the fingers' couplings are of the file: right = ... left, cam wheel = -22.5 left + 0.2 - 25 * 0.003
    assert robot.locked["cam_turn"] == pytest.approx(-22.5 * 0.01 + 0.2 - 25 * 0.003)
    assert set(robot.locked) > {"left_finger_slide", "mast_turn"}
    assert robot.to_dict()["locked"] == robot.locked
    assert "locked" not in load_robot("ur5e").to_dict()
    assert load_robot("ur5e", locked={"elbow_joint": 1.0}).dof == 5
    tree = load_robot(ASSETS / "tree.xml", locked={"left": 0.02}, tips=["grip"])
    assert "left" not in tree.joint_names


def test_default_tips_are_of_what_still_moves():
    robot = load_robot(ASSETS / "tree.xml", locked={"pan": 0.0, "tilt": 0.0, "lift": 0.0})
    assert robot.tip_names == ("left_jaw", "right_jaw")


def test_locking_twice_keeps_both():
    robot = load_robot("ur5e").with_locked({"elbow_joint": 1.0}).with_locked({"wrist_1_joint": -1.0})
    assert robot.locked == {"elbow_joint": 1.0, "wrist_1_joint": -1.0}
    assert robot.dof == 4


def test_inverse_kinematics_leaves_locked_joints():
    robot = load_robot("iiwa14", locked={"joint_3": 0.3})
    q = 0.6 * robot.random_q((10,))
    target = forward_kinematics(robot, q)[:, list(robot.tip_indices)]
    assert inverse_kinematics(robot, target, q + 0.1).converged.all()


@pytest.mark.parametrize(
    ("locked", "message"),
    [
        ({"jaw": 0.0}, "'jaw' is no actuated joint of 'gantry'; allowed: bridge_slide, trolley_slide"),
        (
            {"right_finger_slide": 0.0},
            "joint 'right_finger_slide' follows 'left_finger_slide'; lock that one",
        ),
        ({"left_finger_slide": 40.0}, "'left_finger_slide' cannot be locked at 40.0; allowed: 0 to 0.04 m"),
        ({"wrist_turn": math.nan}, "'wrist_turn' cannot be locked at nan; allowed: -2.5 to 1.5 rad"),
        ({"mast_turn": math.inf}, "'mast_turn' cannot be locked at inf"),
    ],
)
def test_faulty_locks_are_refused(locked, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_robot(ASSETS / "gantry.urdf", locked=locked)
    assert "gantry.urdf: " in str(caught.value)


def test_some_joint_must_be_left():
    robot = load_robot("ur5e")
    with pytest.raises(ValueError, match="no joint that moves"):
        robot.with_locked(dict.fromkeys(robot.joint_names, 0.0))


def test_default_tips_are_said_once_with_the_way_to_choose():
    with pytest.warns(
        UserWarning, match=r"every leaf.*: left_jaw, right_jaw, head; choose.*\['left_jaw'\].*--tips left_jaw"
    ):
        load_robot(ASSETS / "tree.xml")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_robot(ASSETS / "tree.xml", tips=["head"])
        load_robot("iiwa14_dual")


def test_many_default_tips_are_counted(tmp_path):
    bodies = "".join(f'<body name="finger_{i}"><joint/></body>' for i in range(11))
    (tmp_path / "hand.xml").write_text(f"<mujoco><worldbody>{bodies}</worldbody></mujoco>")
    with pytest.warns(UserWarning, match="finger_6, finger_7 and 3 more; choose"):
        load_robot(tmp_path / "hand.xml")
