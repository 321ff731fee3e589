"""The robot model: validation, names, tools, and a dictionary that rebuilds it."""

import json
import math

import pytest
import torch

from ikp.kinematics import (
    Joint,
    Link,
    Mimic,
    Robot,
    forward_kinematics,
    iiwa14_dual,
    load_robot,
    ur5e,
    with_tool,
)

from .reference import ASSETS

Z = (0.0, 0.0, 1.0)


def two_links(joint):
    return Robot("r", (Link("base", -1), Link("hand", 0, joint=joint)))


def test_builtin_names():
    robot = ur5e()
    assert robot.link_names[0] == "base"
    assert robot.link_names[-1] == "flange" == robot.tip_names[0]
    assert robot.joint_names[0] == "shoulder_pan_joint"
    assert robot.dof == 6
    assert robot.upper.tolist() == [2 * math.pi] * 6
    dual = iiwa14_dual()
    assert dual.dof == 14
    assert dual.tip_names == ("left_flange", "right_flange")
    assert dual.joint_names[7] == "right_joint_1"
    assert dual.upper[7:].rad2deg().tolist() == pytest.approx([170, 120, 170, 120, 170, 120, 175])


def test_every_tip_has_a_last_joint():
    assert ur5e().tip_joints == (5,)
    assert iiwa14_dual().tip_joints == (6, 13)
    assert iiwa14_dual().with_tips(["right_flange", "left_flange"]).tip_joints == (6, 13)
    assert with_tool(ur5e(), "flange", torch.eye(4, dtype=torch.float64)).tip_joints == (5,)
    assert ur5e().with_tips(["forearm", "flange"]).tip_joints == (2, 5)
    assert ur5e().with_tips(["base"]).tip_joints == ()


def test_a_mimicking_finger_counts_for_the_joint_before_it():
    follow = Joint("finger", "prismatic", Z, mimic=Mimic("wrist", 0.01))
    links = (
        Link("base", -1),
        Link("hand", 0, joint=Joint("wrist", "revolute", Z)),
        Link("pad", 1, joint=follow),
    )
    assert Robot("r", links).tip_joints == (0,)


def test_two_arms_can_be_placed():
    T = torch.eye(4, dtype=torch.float64)
    T[1, 3] = 0.2
    robot = iiwa14_dual(T, T)
    poses = forward_kinematics(robot, torch.zeros(14, dtype=torch.float64))
    torch.testing.assert_close(
        poses[list(robot.tip_indices)][:, :3, 3], torch.tensor([[0, 0.2, 1.306]] * 2).double()
    )


def test_tool_takes_the_tips_place():
    T = torch.eye(4, dtype=torch.float64)
    T[2, 3] = 0.1
    robot = with_tool(ur5e(), "flange", T)
    assert robot.tip_names == ("tool",)
    poses = forward_kinematics(robot, torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(poses[-1], poses[-2] @ T)
    assert with_tool(robot, "wrist_1", T, name="camera").tip_names == ("tool", "camera")
    with pytest.raises(ValueError, match="several links named tool"):
        with_tool(robot, "flange", T)
    with pytest.raises(ValueError, match="'hand' is no link"):
        with_tool(robot, "hand", T)
    with pytest.raises(ValueError, match="'tool' is not a rigid transform"):
        with_tool(ur5e(), "flange", 2 * T)


@pytest.mark.parametrize(
    "source", ["ur5e", "iiwa14_dual", ASSETS / "gantry.urdf", ASSETS / "tree.xml"], ids=str
)
def test_dictionary_rebuilds_the_robot_exactly(source):
    robot = load_robot(source)
    again = Robot.from_dict(json.loads(json.dumps(robot.to_dict(), allow_nan=False)))
    assert again.to_dict() == robot.to_dict()
    assert again.joints == robot.joints
    q = robot.random_q((3,))
    assert torch.equal(forward_kinematics(again, q), forward_kinematics(robot, q))


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [
        ((-0.5, 0.25), -0.5, 0.25),
        ((-math.inf, math.inf), -math.pi, math.pi),
        ((5.0, math.inf), 5.0, 5 + math.pi),
        ((-math.inf, -5.0), -5 - math.pi, -5.0),
    ],
)
def test_random_positions_fill_the_limits(bounds, low, high):
    robot = two_links(Joint("j", "revolute", Z, *bounds))
    q = robot.random_q((2000,), generator=torch.Generator().manual_seed(0))
    assert low <= q.min() < low + 0.05
    assert high - 0.05 < q.max() <= high


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ball"}, "kind 'ball'; allowed: revolute, continuous, prismatic"),
        ({"axis": (0.0, 0.0, 0.0)}, "zero axis"),
        ({"axis": (math.nan, 0.0, 0.0)}, "three finite numbers"),
        ({"anchor": (0.0, math.inf, 0.0)}, "three finite numbers"),
        ({"lower": 1.0, "upper": -1.0}, "reversed limits"),
        ({"lower": math.nan}, "limits must be numbers"),
        ({"velocity": 0.0}, "velocity positive"),
    ],
)
def test_faulty_joints_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Joint(**{"name": "j", "kind": "revolute", "axis": Z, **change})


def test_two_turns_are_no_degrees_yet(recwarn):
    Joint("j", "revolute", Z, -4 * math.pi, 4 * math.pi)
    Joint("j", "prismatic", Z, -90, 90)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="look|degrees"):
        Joint("j", "revolute", Z, -170, 170)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ((), "needs a root link"),
        ((Link("a", 0),), "needs a root link"),
        ((Link("a", -1), Link("b", 2)), "'b' has the parent 2; allowed"),
        ((Link("a", -1), Link("b", -1)), "'b' has the parent -1"),
        ((Link("a", -1), Link("a", 0, joint=Joint("j", "continuous", Z))), "several links named a"),
        ((Link("a", -1), Link("b", 0)), "no joint that moves"),
        (
            (
                Link("a", -1),
                Link("b", 0, joint=Joint("j", "continuous", Z)),
                Link("c", 1, joint=Joint("k", "continuous", Z, mimic=Mimic("x"))),
            ),
            "'k' follows 'x'; allowed: j",
        ),
    ],
)
def test_faulty_trees_are_refused(links, message):
    with pytest.raises(ValueError, match=message):
        Robot("r", links)


def test_transforms_must_be_rigid():
    mirrored = torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0]))
    for T in (torch.zeros(4, 4), mirrored, torch.eye(3), torch.full((4, 4), math.nan)):
        with pytest.raises(ValueError, match="T_parent_joint"):
            Link("a", 0, T)


def test_unknown_joint_lists_the_allowed():
    assert ur5e().joint_index("elbow_joint") == 2
    with pytest.raises(
        ValueError, match="'elbow' is no actuated joint of 'ur5e'; allowed: shoulder_pan_joint"
    ):
        ur5e().joint_index("elbow")


def test_a_robot_is_shown_in_one_line():
    assert repr(ur5e()).startswith("Robot('ur5e', joints shoulder_pan_joint, ")
    assert repr(ur5e()).endswith(", tips flange)")
    locked = ur5e().with_locked({"elbow_joint": 0.5})
    assert "elbow" not in repr(locked).partition("locked")[0]
    assert repr(locked).endswith("locked {'elbow_joint': 0.5})")
