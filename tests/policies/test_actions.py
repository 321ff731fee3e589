"""How actions are encoded: joints that turn for ever, and tips with too few joints for every pose."""

import math

import pytest
import torch

from ikp.kinematics import Joint, Link, Robot, forward_kinematics, load_robot
from ikp.kinematics.rotations import exp_rotation, log_rotation
from ikp.policies import DataSpec
from ikp.policies.actions import JointTargets, TipPoses

AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


def arm(kinds, axes="zyyyx"):
    links = [Link("base", -1)]
    T = torch.eye(4, dtype=torch.float64)
    T[2, 3] = 0.15
    for i, (kind, axis) in enumerate(zip(kinds, axes, strict=False)):
        limit = math.inf if kind == "continuous" else 2 * math.pi
        links.append(Link(f"l{i}", i, T, Joint(f"j{i}", kind, AXES[axis], -limit, limit)))
    return Robot("arm", (*links, Link("tip", len(links) - 1, T)))


def spec(robot):
    names = tuple(robot.joint_names)
    return DataSpec(state_names=names, action_names=names, joint_dims=tuple(range(robot.dof)), fps=10)


@pytest.mark.parametrize("seam", [1.0, -1.0])
def test_a_continuous_joint_crosses_the_seam_by_the_short_way(seam):
    robot = arm(["continuous", "revolute"])
    state = torch.tensor([[seam * (math.pi - 0.01)] * 2, [0.3, 0.2]])
    action = torch.tensor([[seam * (0.01 - math.pi)] * 2, [0.5, -0.1]])
    far = seam * (0.02 - 2 * math.pi)
    expected = torch.tensor([[seam * 0.02, far], [0.2, -0.3]])
    for delta in (True, False):
        targets = JointTargets(spec(robot), robot, delta=delta)
        encoded = targets.encode(state, action)
        torch.testing.assert_close(targets.motions(state, encoded), expected)
        commanded = targets.decode(state, encoded)
        same = forward_kinematics(robot, action)
        torch.testing.assert_close(forward_kinematics(robot, commanded), same, atol=1e-6, rtol=0)


def test_several_turns_count_for_nothing_and_limits_for_all():
    robot = arm(["continuous", "revolute", "prismatic"])
    difference = torch.tensor([[4 * math.pi + 0.1, 2 * math.pi - 0.1, 7.0], [-0.1, -0.1, -0.1]])
    torch.testing.assert_close(
        robot.shortest(difference), torch.tensor([[0.1, 2 * math.pi - 0.1, 7.0], [-0.1, -0.1, -0.1]])
    )
    assert load_robot("ur5e").shortest(difference) is difference


@pytest.mark.parametrize("joints", [5, 6])
def test_tips_with_fewer_than_six_joints_keep_to_the_point(joints):
    robot = arm(["revolute"] * joints, "zyyyxz")
    generator = torch.Generator().manual_seed(0)
    q = torch.tensor([0.1, 0.4, 0.5, 0.6, 0.2, 0.1])[:joints] + 0.3 * torch.randn(
        50, joints, generator=generator
    )
    poses = TipPoses(spec(robot), robot, delta=False, seconds=0.1)
    T = forward_kinematics(robot, q + 0.05)[:, -1]
    target = poses.encode(q, q + 0.05)
    # a prediction whose rotation is off by a degree or two, which five joints cannot follow
    noise = 0.03 * torch.randn(50, 3, generator=generator)
    R = exp_rotation(target[:, 3:]) @ exp_rotation(noise)
    reached = forward_kinematics(robot, poses.decode(q, torch.cat([target[:, :3], log_rotation(R)], -1)))[
        :, -1
    ]
    assert (reached - T)[:, :3, 3].norm(dim=-1).quantile(0.8) < 5e-4
