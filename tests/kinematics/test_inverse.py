"""Inverse kinematics: reaches, stays within the limits, reports what it does not reach."""

import math

import pytest
import torch

from ikp.kinematics import forward_kinematics, inverse_kinematics, load_robot

from .reference import ASSETS


def tips(robot, q, **options):
    return forward_kinematics(robot, q, **options)[..., list(robot.tip_indices), :, :]


def draw(robot, n, seed=0, dtype=torch.float64):
    return robot.random_q((n,), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", ["ur5e", "iiwa14", "iiwa14_dual"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reaches_reachable_targets_from_anywhere(name, dtype):
    robot = load_robot(name)
    target = tips(robot, 0.9 * draw(robot, 60, dtype=dtype))
    solution = inverse_kinematics(robot, target, draw(robot, 60, seed=1, dtype=dtype))
    assert solution.q.dtype == dtype
    assert solution.converged.float().mean() > 0.95
    reached = tips(robot, solution.q)[solution.converged]
    assert (reached - target[solution.converged])[..., :3, 3].norm(dim=-1).max() < 1.1e-5
    assert (solution.q >= robot.lower.to(dtype)).all()
    assert (solution.q <= robot.upper.to(dtype)).all()


@pytest.mark.parametrize("name", ["ur5e", "iiwa14_dual"])
def test_warm_start_stays_on_its_branch(name):
    robot = load_robot(name)
    q = 0.8 * draw(robot, 100)
    start = q + 0.02 * torch.randn(100, robot.dof, dtype=torch.float64)
    solution = inverse_kinematics(robot, tips(robot, q), start, restarts=0, iterations=20)
    assert solution.converged.float().mean() > 0.97
    assert (solution.q - start)[solution.converged].abs().max() < 1.0


def test_position_and_rotation_errors_are_what_is_left():
    robot = load_robot("ur5e")
    target = tips(robot, draw(robot, 5))
    target[0, :, :3, 3] *= 10
    solution = inverse_kinematics(robot, target, torch.zeros(5, 6, dtype=torch.float64), restarts=2)
    assert solution.converged.tolist() == [False, True, True, True, True]
    left = (tips(robot, solution.q) - target)[..., :3, 3].norm(dim=-1).amax(-1)
    torch.testing.assert_close(solution.position_error, left)
    assert solution.rotation_error[1:].max() < 1e-4


def test_offsets_are_compensated():
    robot = load_robot("ur5e")
    offset = torch.deg2rad(torch.tensor([1.6, -1.3, 1.8, -1.9, 1.1, -1.5], dtype=torch.float64))
    q = 0.9 * draw(robot, 20)
    solution = inverse_kinematics(robot, tips(robot, q, q_offset=offset), q + 0.05, q_offset=offset)
    assert solution.converged.all()
    torch.testing.assert_close(tips(robot, solution.q + offset), tips(robot, q + offset), atol=2e-4, rtol=0)


def test_limits_hold_where_the_target_is_beyond_them():
    robot = load_robot("iiwa14")
    beyond = robot.upper.clone()
    beyond[1] += 0.3
    solution = inverse_kinematics(robot, tips(robot, beyond), robot.upper.clone(), restarts=0)
    assert not solution.converged
    assert (solution.q <= robot.upper).all()


def test_joints_on_their_limits_leave_the_work_to_the_others():
    """The seven joints of the arm reach the pose in spite of two that the first step drives onto a limit."""
    robot = load_robot("iiwa14")
    q = 0.6 * draw(robot, 200)
    q[:, 1], q[:, 3] = robot.upper[1], robot.lower[3]
    start = (q + 0.1 * torch.randn(q.shape, dtype=q.dtype)).clamp(robot.lower, robot.upper)
    solution = inverse_kinematics(robot, tips(robot, q), start, restarts=0, iterations=15)
    assert solution.converged.float().mean() > 0.95


def test_solutions_do_not_wind_up():
    """Random restarts of an arm with two turns per joint come back to the turn of the start."""
    robot = load_robot("ur5e")
    start = torch.zeros(40, 6, dtype=torch.float64)
    solution = inverse_kinematics(robot, tips(robot, draw(robot, 40)), start)
    assert solution.converged.float().mean() > 0.9
    assert solution.q[solution.converged].abs().max() <= math.pi + 1.5


def test_prismatic_and_mimic_joints():
    robot = load_robot(ASSETS / "gantry.urdf", tips=["camera"])
    target = tips(robot, 0.8 * draw(robot, 20))
    solution = inverse_kinematics(robot, target, draw(robot, 20, seed=1), position_tolerance=1e-4)
    assert solution.q.shape == (20, 5)
    assert solution.converged.float().mean() > 0.9


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_any_leading_dimensions(shape):
    robot = load_robot("iiwa14_dual")
    q = 0.5 * robot.random_q(shape)
    solution = inverse_kinematics(robot, tips(robot, q), q)
    assert solution.q.shape == (*shape, 14)
    assert solution.position_error.shape == solution.converged.shape == shape
    assert solution.converged.all()


def test_same_seed_same_solution():
    robot = load_robot("ur5e")
    target, start = tips(robot, draw(robot, 10)), draw(robot, 10, seed=1)
    first = inverse_kinematics(robot, target, start, generator=torch.Generator().manual_seed(5))
    second = inverse_kinematics(robot, target, start, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first.q, second.q)


def test_faulty_targets_are_refused():
    robot = load_robot("ur5e")
    target, q = torch.eye(4).expand(2, 1, 4, 4).clone(), torch.zeros(2, 6)
    with pytest.raises(ValueError, match=r"\(\.\.\., 1, 4, 4\) for the tips flange"):
        inverse_kinematics(robot, target.expand(2, 2, 4, 4), q)
    with pytest.raises(ValueError, match="T_base_tip contains NaN"):
        inverse_kinematics(robot, target.index_fill(0, torch.tensor([1]), math.nan), q)
    with pytest.raises(ValueError, match="q_start contains NaN"):
        inverse_kinematics(robot, target, q / 0)
