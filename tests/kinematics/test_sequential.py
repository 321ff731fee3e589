"""Far ends, arcs and the sequential form: all equal to full forward kinematics."""

import inspect

import pytest
import torch

from ikp.kinematics import (
    PrefixPose,
    far_end_poses,
    forward_kinematics,
    joint_arcs,
    load_robot,
)

from .reference import ASSETS

ROBOTS = ["ur5e", "iiwa14", "iiwa14_dual", ASSETS / "gantry.urdf", ASSETS / "tree.xml"]


@pytest.fixture(params=ROBOTS, ids=str)
def robot(request):
    return load_robot(request.param)


@pytest.fixture(params=["nominal", "residual"])
def link_residual(request, robot):
    return None if request.param == "nominal" else 0.2 * torch.randn(len(robot.links), 6, dtype=torch.float64)


def replaced(q, j, theta):
    q = q.clone()
    q[..., j] = theta
    return q


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_arcs_equal_far_ends_with_one_joint_replaced(robot, link_residual, shape):
    q, theta = robot.random_q(shape), robot.random_q(shape)
    poses = joint_arcs(robot, q, link_residual=link_residual).at(theta)
    assert poses.shape == (*shape, robot.dof, 3, 4)
    for j in range(robot.dof):
        moved = far_end_poses(robot, replaced(q, j, theta[..., j]), link_residual=link_residual)
        torch.testing.assert_close(poses[..., j, :, :], moved[..., j, :, :])


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_sequential_form_equals_arcs(robot, link_residual, shape):
    q = robot.random_q(shape)
    arcs = joint_arcs(robot, q, link_residual=link_residual)
    prefix = PrefixPose(robot, shape, torch.float64, link_residual=link_residual)
    for j in range(robot.dof):
        candidates = torch.randn(*shape, 7, dtype=torch.float64)
        torch.testing.assert_close(prefix.arc(j).at(candidates), arcs.joint(j).at(candidates))
        prefix.commit(j, q[..., j])


def test_candidates_may_have_any_dimensions(robot):
    q = robot.random_q((4,))
    candidates = torch.randn(4, robot.dof, 3, 2, dtype=torch.float64)
    arcs = joint_arcs(robot, q)
    poses = arcs.at(candidates)
    assert poses.shape == (4, robot.dof, 3, 2, 3, 4)
    torch.testing.assert_close(poses[:, :, 1, 0], arcs.at(candidates[:, :, 1, 0]))


def test_far_end_is_the_next_joints_origin_and_at_last_the_tip():
    robot = load_robot("ur5e")
    q = robot.random_q((3,))
    T, ends = forward_kinematics(robot, q), far_end_poses(robot, q)
    for j, link in enumerate(robot.joint_links[:-1]):
        torch.testing.assert_close(ends[:, j, :, 3], T[:, link + 1, :3, 3])
        torch.testing.assert_close(ends[:, j, :, :3], T[:, link, :3, :3])
    torch.testing.assert_close(ends[:, -1], T[:, -1, :3])


def test_far_end_lies_on_the_way_to_the_first_tip():
    robot = load_robot(ASSETS / "gantry.urdf", tips=["camera", "left_finger"])
    q = robot.random_q((3,))
    T, ends = forward_kinematics(robot, q), far_end_poses(robot, q)
    mast = robot.joint_index("mast_turn")
    torch.testing.assert_close(ends[:, mast], T[:, robot.link_index("camera"), :3])


def test_far_ends_of_two_arms_stay_on_their_own_arm():
    robot = load_robot("iiwa14_dual")
    q = robot.random_q((3,))
    T, ends = forward_kinematics(robot, q), far_end_poses(robot, q)
    torch.testing.assert_close(ends[:, 6], T[:, robot.link_index("left_flange"), :3])
    torch.testing.assert_close(ends[:, 13], T[:, robot.link_index("right_flange"), :3])
    moved = far_end_poses(robot, replaced(q, 2, 0.1))
    torch.testing.assert_close(moved[:, 7:], ends[:, 7:])


def test_far_end_moves_where_the_joints_own_origin_does_not():
    robot = load_robot("ur5e")
    q = robot.random_q()
    own, ends = forward_kinematics(robot, q), far_end_poses(robot, q)
    turned = replaced(q, 1, q[1] + 0.5)
    link = robot.joint_links[1]
    torch.testing.assert_close(forward_kinematics(robot, turned)[link, :3, 3], own[link, :3, 3])
    assert (far_end_poses(robot, turned)[1, :, 3] - ends[1, :, 3]).norm() > 0.2


def test_gradients(robot):
    q, theta = robot.random_q((2,)).requires_grad_(), robot.random_q((2,)).requires_grad_()
    residual = (0.1 * torch.randn(len(robot.links), 6, dtype=torch.float64)).requires_grad_()
    offset = (0.1 * torch.randn(robot.dof, dtype=torch.float64)).requires_grad_()

    def arcs(q, theta, residual):
        return joint_arcs(robot, q, link_residual=residual).at(theta)

    def ends(q, offset, residual):
        return far_end_poses(robot, q, q_offset=offset, link_residual=residual)

    assert torch.autograd.gradcheck(arcs, (q, theta, residual), fast_mode=True)
    assert torch.autograd.gradcheck(ends, (q, offset, residual), fast_mode=True)


def test_single_precision_is_kept_under_autocast():
    robot = load_robot("iiwa14")
    q = robot.random_q((20,), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        poses = joint_arcs(robot, q).at(q)
    exact = far_end_poses(robot, q.double())
    assert (poses - exact).abs().max() < 2e-6


def test_beam_keeps_and_repeats_entries():
    robot = load_robot("ur5e")
    q = robot.random_q((3,))
    prefix = PrefixPose(robot, (3,), torch.float64)
    for j in range(3):
        prefix.commit(j, q[:, j])
    prefix.keep(torch.tensor([2, 0, 2, 1]))
    q = q[[2, 0, 2, 1]]
    prefix.commit(3, q[:, 3])
    torch.testing.assert_close(prefix.arc(4).constant, joint_arcs(robot, q).joint(4).constant)


def test_committing_again_replaces():
    robot = load_robot(ASSETS / "gantry.urdf")
    q = robot.random_q((2,))
    prefix = PrefixPose(robot, (2,), torch.float64)
    for j in range(robot.dof):
        prefix.commit(j, torch.zeros(2, dtype=torch.float64))
    for j in range(robot.dof):
        prefix.commit(j, q[:, j])
    torch.testing.assert_close(prefix.arc(4).constant, joint_arcs(robot, q).joint(4).constant)


def test_faults_name_what_is_missing():
    robot = load_robot("ur5e")
    prefix = PrefixPose(robot, (2,))
    prefix.commit(0, torch.zeros(2))
    with pytest.raises(ValueError, match="'elbow_joint' needs every joint before it; .*: shoulder_pan_joint"):
        prefix.arc(2)
    with pytest.raises(ValueError, match=r"shape \(3,\); this prefix is for \(2,\)"):
        inspect.unwrap(PrefixPose.commit)(prefix, 1, torch.zeros(3))
    with pytest.raises(ValueError, match="leading dimensions"):
        joint_arcs(robot, torch.zeros(2, 6)).at(torch.zeros(2))
