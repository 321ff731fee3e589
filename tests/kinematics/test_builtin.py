"""Built-in arms against poses that Pinocchio and MuJoCo computed from their published files."""

import json

import pytest
import torch

from ikp.kinematics import forward_kinematics, inverse_kinematics, load_robot
from ikp.kinematics.builtin import BUILTIN

from .reference import ASSETS

PUBLISHED = json.loads((ASSETS / "published_poses.json").read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_poses_and_limits_are_those_of_the_published_file(name):
    robot, published = load_robot(name), PUBLISHED[name]
    assert list(robot.joint_names) == published["joints"]
    limits = torch.stack([robot.lower, robot.upper], dim=1)
    expected = torch.tensor(published["limits"], dtype=torch.float64)
    torch.testing.assert_close(limits, expected, rtol=0, atol=5e-6)
    T = forward_kinematics(robot, torch.tensor(published["q"], dtype=torch.float64))
    for row, poses in enumerate(published["T_base_link"]):
        for link, values in poses.items():
            expected = torch.tensor(values, dtype=torch.float64).reshape(3, 4)
            torch.testing.assert_close(T[row, robot.link_index(link), :3], expected, rtol=0, atol=2e-7)


def test_every_arm_is_known_by_its_name_and_moves_all_its_tips():
    for name in BUILTIN:
        robot = load_robot(name)
        assert robot.name == name
        assert all(robot.joints_above(tip) for tip in robot.tip_indices)
        assert torch.isfinite(robot.velocity).all()
        assert (robot.lower < robot.upper).all()


@pytest.mark.parametrize("name", ["so100", "so101"])
def test_the_jaw_can_be_locked_and_moves_no_tip(name):
    robot = load_robot(name)
    locked = load_robot(name, locked={"gripper": 0.5})
    assert robot.joint_names == (*locked.joint_names, "gripper")
    assert len(robot.tip_names) == 1
    q = robot.random_q((20,), generator=torch.Generator().manual_seed(0))
    tip = [T[:, r.tip_indices[0]] for r, T in arms((robot, q), (locked, q[:, :5]))]
    torch.testing.assert_close(tip[0], tip[1])


def arms(*pairs):
    return [(robot, forward_kinematics(robot, q)) for robot, q in pairs]


@pytest.mark.parametrize("name", ["panda", "vx300s", "aloha"])
def test_arms_with_six_joints_or_more_reach_poses(name):
    assert share_reached(load_robot(name), rotation_weight=0.3) > 0.95


@pytest.mark.parametrize("name", ["so100", "so101"])
@pytest.mark.parametrize("locked", [{}, {"gripper": 0.3}], ids=["with_jaw", "locked"])
def test_arms_with_five_joints_reach_positions(name, locked):
    robot = load_robot(name, locked=locked)
    assert share_reached(robot, rotation_weight=0.0) > 0.95
    # the rotation of another posture is out of reach of five joints
    assert share_reached(robot, rotation_weight=0.3, turned=True) < 0.2


def share_reached(robot, rotation_weight, turned=False):
    """The share of 60 tip poses within the limits that inverse kinematics reaches from elsewhere."""
    g = torch.Generator().manual_seed(0)
    q, start = robot.random_q((2, 60), generator=g)
    target = forward_kinematics(robot, q)[:, list(robot.tip_indices)].clone()
    if turned:
        elsewhere = forward_kinematics(robot, start)[:, list(robot.tip_indices)]
        target[..., :3, :3] = elsewhere[..., :3, :3]
    restarts = 8 if len(robot.tip_names) == 1 else 32  # a random start has to suit both arms
    solution = inverse_kinematics(robot, target, start, restarts=restarts, rotation_weight=rotation_weight)
    reached = forward_kinematics(robot, solution.q)[:, list(robot.tip_indices), :3, 3]
    errors = (reached - target[..., :3, 3]).norm(dim=-1).amax(-1)
    assert (errors[solution.converged] < 1.1e-5).all()
    assert ((solution.q >= robot.lower) & (solution.q <= robot.upper)).all()
    return solution.converged.double().mean().item()
