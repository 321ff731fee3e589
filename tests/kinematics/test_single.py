"""One configuration in Python numbers equals the same configuration in a batch."""

import pytest
import torch

from ikp.kinematics import forward_kinematics, load_robot
from ikp.kinematics._columns import frame_columns
from ikp.kinematics._plan import nominal_terms, plan_of
from ikp.kinematics._single import single_frame_columns

from .reference import ASSETS, FOREIGN_MJCF, FOREIGN_URDF

ROBOTS = ["ur5e", "iiwa14", "iiwa14_dual", ASSETS / "gantry.urdf", ASSETS / "tree.xml", FOREIGN_URDF[2]]


@pytest.mark.parametrize("robot", [*ROBOTS, *FOREIGN_MJCF[:4]], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_equals_the_batched_form(robot, dtype, tolerance):
    robot = load_robot(robot)
    plan, terms = plan_of(robot), nominal_terms(robot, dtype)
    for q in robot.random_q((20,), dtype=dtype).split(1):
        one = single_frame_columns(q, plan, terms)
        assert one.dtype == dtype
        torch.testing.assert_close(one, frame_columns(q, plan, terms), atol=tolerance, rtol=0)


def test_is_a_fresh_tensor_each_time():
    robot, q = load_robot("ur5e"), torch.zeros(6)
    first, second = forward_kinematics(robot, q), forward_kinematics(robot, q)
    first.zero_()
    assert second[-1, 3, 3] == 1


def test_gradients_of_one_configuration_equal_those_of_a_batch():
    robot = load_robot(ASSETS / "gantry.urdf")
    q = robot.random_q((2,)).requires_grad_()
    residual = (0.1 * torch.randn(len(robot.links), 6, dtype=torch.float64)).requires_grad_()
    weights = torch.randn(len(robot.links), 4, 4, dtype=torch.float64)

    def gradients(q):
        T = forward_kinematics(robot, q, link_residual=residual)
        return torch.autograd.grad((T * weights).sum(), (q, residual))

    (q_one, r_one), (q_other, r_other), (q_both, r_both) = gradients(q[:1]), gradients(q[1:]), gradients(q)
    torch.testing.assert_close(torch.cat([q_one, q_other]), q_both)
    torch.testing.assert_close(r_one + r_other, r_both)
