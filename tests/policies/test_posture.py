"""The elbow of a redundant arm that executes poses of its tip stays where the demonstrations have it."""

import torch

import ikp
from ikp.kinematics import ur5e
from ikp.policies.actions import TipPoses
from ikp.policies.way_points import WayPoints
from ikp.spec import DataSpec


def demonstrated(robot, count):
    """Joints (count, 7) of a motion in three parameters, as demonstrations of one task are."""
    generator = torch.Generator().manual_seed(0)
    u = torch.rand((count, 3), generator=generator) - 0.5
    spread = 0.4 * torch.randn((3, robot.dof), generator=generator)
    return torch.tensor([0.3, 0.6, -0.2, -1.4, 0.1, 0.9, 0.2]) + u @ spread


def tip_poses(robot, seconds=100.0):
    names = tuple(f"{name}.pos" for name in robot.joint_names)
    spec = DataSpec(action_names=names, state_names=names, joint_dims=tuple(range(robot.dof)))
    return TipPoses(spec, robot, delta=True, seconds=seconds)


def swung(robot, q, angle):
    """Joints with the same pose of the tip, and the elbow swung along the null space."""
    for _ in range(20):
        J = ikp.kinematics.jacobian(robot, q)[..., 0, :, :]
        q = q + angle / 20 * torch.linalg.svd(J).Vh[..., -1, :]
    return q


def test_the_elbow_returns_to_the_demonstrated_posture():
    robot = ikp.load_robot("iiwa14")
    space, (q, goal) = tip_poses(robot), demonstrated(robot, 2100).split([2000, 100])
    space.fit(q)
    measured = swung(robot, goal, 0.4)
    assert (measured - goal).abs().amax(1).median() > 0.2
    reached = space.decode(measured, space.encode(measured, goal))
    assert (reached - goal).abs().amax(1).median() < 0.02
    torch.testing.assert_close(space.poses(reached), space.poses(goal), atol=2e-4, rtol=0)


def test_a_step_of_redundant_joints_keeps_their_speed():
    robot = ikp.load_robot("iiwa14")
    space, q = tip_poses(robot, seconds=0.01), demonstrated(robot, 2000)
    space.fit(q)
    measured = swung(robot, q[:50], 0.4)
    step = space.decode(measured, space.encode(measured, q[:50])) - measured
    assert (step.abs() <= 1.5 * 0.01 * robot.velocity + 1e-6).all()


def test_way_points_share_the_posture_and_arms_without_redundancy_have_none():
    robot = ikp.load_robot("iiwa14")
    one, several = tip_poses(robot), WayPoints(tip_poses(robot), 2)
    q = demonstrated(robot, 2000)
    one.fit(q)
    several.fit(q.reshape(1000, 2, -1))
    torch.testing.assert_close(several.space.posture.weight, one.posture.weight)
    assert tip_poses(ur5e()).posture is None
