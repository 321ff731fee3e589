"""Learned corrections: they start as nothing, are causal, take gradients, and find planted errors."""

import math

import pytest
import torch

from ikp.calibration.joint_terms import TERMS
from ikp.kinematics import far_end_poses, forward_kinematics, joint_arcs, load_robot
from ikp.kinematics.links import Joint, Link
from ikp.kinematics.robot import Robot
from ikp.policies.residual import DenseJointResidual, JointDrift, JointOffset, KinematicResidual, LinkResidual


def trained_like(module):
    """The module with weights that are not zero anywhere."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def test_all_start_as_no_correction():
    robot = load_robot("ur5e")
    q = robot.random_q((2, 3), dtype=torch.float32)
    assert torch.equal(JointOffset(6)(q), q)
    assert torch.equal(DenseJointResidual(6)(q), q)
    assert not JointDrift(robot).delta(q).any()
    torch.testing.assert_close(
        forward_kinematics(robot, q, link_residual=LinkResidual(robot).value), forward_kinematics(robot, q)
    )


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_dense_residual_is_causal(shape):
    module = trained_like(DenseJointResidual(5, width=16, blocks=2)).double()
    q = torch.randn(*shape, 5, dtype=torch.float64)
    for j in range(5):
        later = q.clone()
        later[..., j + 1 :] += 1.0
        torch.testing.assert_close(module(later)[..., : j + 1], module(q)[..., : j + 1])
        own = q.clone()
        own[..., j] += 1.0
        assert not torch.allclose(module(own)[..., j] - 1.0, module(q)[..., j])


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_candidates_are_corrected_as_whole_vectors_are(shape):
    module = trained_like(DenseJointResidual(5, width=16, blocks=2)).double()
    q, candidates = torch.randn(*shape, 5).double(), torch.randn(*shape, 7).double()
    for j in range(5):
        corrected = module.at(j, candidates, q)
        for n in range(7):
            whole = q.clone()
            whole[..., j], whole[..., j + 1 :] = candidates[..., n], 9.0
            torch.testing.assert_close(corrected[..., n], module(whole)[..., j])


@pytest.mark.parametrize("kinds", [("drift",), ("offset", "drift"), ("offset", "drift", "dense")])
def test_candidates_of_several_joints_are_corrected_as_whole_vectors_are(kinds):
    robot = load_robot("iiwa14")
    residual = trained_like(KinematicResidual(robot, kinds))
    q, candidates = robot.random_q((3,), dtype=torch.float32), torch.randn(3, 2, 5)
    corrected = residual.candidates(q, candidates, slice(2, 4))
    for n in range(5):
        for place, j in enumerate((2, 3)):
            whole = q.clone()
            whole[:, j] = candidates[:, place, n]
            torch.testing.assert_close(corrected[:, place, n], residual(whole)[:, j])
    assert residual.constant_offset is None


def test_a_drift_is_the_one_that_a_calibration_estimates_and_joints_that_slide_have_none():
    axis = (0.0, 0.0, 1.0)
    robot = Robot(
        "mixed",
        (
            Link("base", -1),
            Link("rail", 0, joint=Joint("slide", "prismatic", axis, -1.0, 1.0)),
            Link("tip", 1, joint=Joint("turn", "revolute", axis, -1.0, 1.0)),
        ),
    )
    drift = JointDrift(robot)
    with torch.no_grad():
        drift.value.copy_(torch.tensor([[0.1, 0.2], [0.03, -0.02]]))
    q = torch.tensor([[0.3, 0.7], [-0.4, 2.0]])
    estimated = [function(q[:, 1].numpy()) for function in TERMS["drift"].functions.values()]
    expected = 0.03 * estimated[0] - 0.02 * estimated[1]
    found = drift.delta(q)
    assert found[:, 1].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert not found[:, 0].any()


def test_dense_residual_is_not_rounded_by_autocast():
    module = trained_like(DenseJointResidual(6))
    q = torch.randn(8, 6)
    with torch.autocast("cpu", torch.bfloat16):
        corrected, one = module(q), module.at(3, q[:, 3:4], q)
    torch.testing.assert_close(corrected, module(q))
    torch.testing.assert_close(one[:, 0], corrected[:, 3])
    assert module(q.double()).dtype == torch.float64


def test_every_parameter_takes_a_gradient_together():
    robot = load_robot("iiwa14")
    offset, dense, links = JointOffset(7), trained_like(DenseJointResidual(7, blocks=2)), LinkResidual(robot)
    q = robot.random_q((16,), dtype=torch.float32)
    poses = forward_kinematics(robot, offset(dense(q)), link_residual=links.value)
    ends = far_end_poses(robot, offset(dense(q)), link_residual=links.value)
    (poses[..., :3, 3].square().sum() + ends[..., 0, 0].sum()).backward()
    for module in (offset, dense, links):
        for name, parameter in module.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


def test_width_must_divide_by_four():
    with pytest.raises(ValueError, match="width is 10: it must be a positive multiple of 4"):
        DenseJointResidual(6, width=10)


def fit(modules, loss, steps, lr):
    optimizer = torch.optim.Adam([p for module in modules for p in module.parameters()], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return loss().item()


def test_offset_finds_planted_offsets():
    robot = load_robot("ur5e")
    planted = torch.deg2rad(torch.tensor([1.6, -1.3, 1.8, -1.9, 1.1, -1.5]))
    q = robot.random_q((60,), generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    target = forward_kinematics(robot, q + planted)[:, -1]
    offset = JointOffset(6)
    fit([offset], lambda: (forward_kinematics(robot, offset(q))[:, -1] - target).square().sum(), 300, 5e-3)
    assert (offset.value - planted).abs().max() < math.radians(0.02)


def test_dense_residual_and_link_residual_reduce_a_planted_error():
    robot = load_robot("ur5e")
    q = 0.5 * robot.random_q((200,), generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    planted = torch.zeros(8, 6)
    planted[3] = torch.tensor([0.005, -0.004, 0.003, 0.02, -0.01, 0.015])
    target = forward_kinematics(robot, q, link_residual=planted)[:, -1, :3]

    def loss(q, residual):
        return (forward_kinematics(robot, q, link_residual=residual)[:, -1, :3] - target).square().mean()

    before = loss(q, None).item()
    links, dense = LinkResidual(robot), DenseJointResidual(6, width=32)
    assert fit([links], lambda: loss(q, links.value), 300, 1e-3) < 1e-3 * before
    assert fit([dense], lambda: loss(dense(q), None), 300, 1e-3) < 0.5 * before


def test_gradients_reach_a_dense_residual_through_the_arcs():
    robot = load_robot("ur5e")
    module = DenseJointResidual(6, width=8)
    q = robot.random_q((4,), dtype=torch.float32)
    corrected = module(q)
    joint_arcs(robot, corrected).at(corrected).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert module.exit_bias.grad.abs().max() > 0
