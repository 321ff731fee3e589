"""Derivatives of every kind: forward mode, transforms of torch.func, and what was cached without a gradient."""

import pytest
import torch
from torch.autograd import forward_ad

from ikp.kinematics import (
    PrefixPose,
    far_end_poses,
    forward_kinematics,
    inverse_kinematics,
    jacobian,
    joint_arcs,
    load_robot,
)

from .reference import ASSETS
from .test_forward import odd_robot

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # of arcs under vmap
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated"),  # by torch's own forward mode
]

ROBOTS = {
    "iiwa14": lambda: load_robot("iiwa14"),
    "odd": odd_robot,
    "gantry": lambda: load_robot(ASSETS / "gantry.urdf"),
    "tree": lambda: load_robot(ASSETS / "tree.xml"),
}


def sequential(robot, q):
    prefix = PrefixPose(robot, q.shape[:-1], q.dtype)
    ends = []
    for j in range(robot.dof):
        ends.append(prefix.arc(j).at(q[..., j]))
        prefix.commit(j, q[..., j])
    return torch.stack(ends, -3)


QUANTITIES = {
    "poses": forward_kinematics,
    "jacobian": jacobian,
    "far ends": far_end_poses,
    "arcs": lambda robot, q: joint_arcs(robot, q).at(q),
    "sequential": sequential,
}


@pytest.fixture(params=ROBOTS)
def robot(request):
    return ROBOTS[request.param]()


def differences(function, q, direction, step=1e-6):
    return (function(q + step * direction) - function(q - step * direction)) / (2 * step)


@pytest.mark.parametrize("rows", [None, 1, 3], ids=["one", "one row", "batch"])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_forward_mode_equals_finite_differences(robot, quantity, rows):
    def function(q):
        return QUANTITIES[quantity](robot, q)

    q = robot.random_q(() if rows is None else (rows,))
    direction = torch.randn_like(q)
    expected = differences(function, q, direction)
    values, tangents = torch.func.jvp(function, (q,), (direction,))
    torch.testing.assert_close(values, function(q))
    torch.testing.assert_close(tangents, expected, atol=2e-7, rtol=1e-6)
    with forward_ad.dual_level():
        dual = function(forward_ad.make_dual(q, direction))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, tangents)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_transforms_equal_backward(robot, quantity):
    def function(q):
        return QUANTITIES[quantity](robot, q)

    q = robot.random_q()
    expected = torch.autograd.functional.jacobian(function, q)
    torch.testing.assert_close(torch.func.jacfwd(function)(q), expected)
    torch.testing.assert_close(torch.func.jacrev(function)(q), expected)
    for strategy in ("forward-mode", "reverse-mode"):
        vectorized = torch.autograd.functional.jacobian(function, q, vectorize=True, strategy=strategy)
        torch.testing.assert_close(vectorized, expected)
    batch = robot.random_q((4,))
    torch.testing.assert_close(torch.vmap(function)(batch), function(batch))


def test_second_derivatives_of_both_inputs(robot):
    q = robot.random_q((2,)).requires_grad_()
    residual = (0.1 * torch.randn(len(robot.links), 6, dtype=torch.float64)).requires_grad_()

    def poses(q, residual):
        return forward_kinematics(robot, q, link_residual=residual)

    assert torch.autograd.gradgradcheck(poses, (q, residual), fast_mode=True)

    def loss(q):
        return poses(q, residual.detach()).sin().sum()

    one = q[0].detach()
    torch.testing.assert_close(torch.func.hessian(loss)(one), torch.autograd.functional.hessian(loss, one))
    forward_over_backward = torch.func.jvp(torch.func.grad(loss), (one,), (torch.ones_like(one),))[1]
    torch.testing.assert_close(forward_over_backward, torch.func.hessian(loss)(one).sum(-1))


def test_forward_mode_of_link_residuals():
    robot = odd_robot()
    q = robot.random_q()
    residual, direction = 0.1 * torch.randn(2, len(robot.links), 6, dtype=torch.float64)

    def function(residual):
        return forward_kinematics(robot, q, link_residual=residual)

    tangents = torch.func.jvp(function, (residual,), (direction,))[1]
    torch.testing.assert_close(tangents, differences(function, residual, direction), atol=1e-7, rtol=0)


def test_the_ordinary_path_is_back_after_a_transform():
    robot = load_robot("ur5e")
    q = robot.random_q((2,))
    torch.func.jvp(lambda q: forward_kinematics(robot, q), (q,), (q,))
    assert "Kinematics" in forward_kinematics(robot, q.requires_grad_()).grad_fn.next_functions[0][0].name()


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_what_inference_mode_caches_serves_training(quantity):
    robot = load_robot("ur5e", tips=["forearm", "flange"])  # a robot that nothing is cached for
    with torch.inference_mode():
        QUANTITIES[quantity](robot, torch.zeros(3, 6))
        assert robot.lower.shape == robot.upper.shape == robot.velocity.shape
    q = torch.zeros(3, 6, requires_grad=True)
    (QUANTITIES[quantity](robot, q).sum() + (q * robot.lower).sum()).backward()
    assert q.grad.isfinite().all()


def test_inverse_kinematics_refuses_forward_mode():
    robot = load_robot("ur5e")
    q = robot.random_q()
    T = forward_kinematics(robot, q)[-1:]
    with pytest.raises(ValueError, match="q_start carries forward-mode derivatives.*detach"):
        torch.func.jvp(lambda q: inverse_kinematics(robot, T, q).q, (q,), (q,))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(T, T)
        with pytest.raises(ValueError, match="T_base_tip carries forward-mode derivatives"):
            inverse_kinematics(robot, dual, q)
        assert inverse_kinematics(robot, T, q).converged
