"""Inverse kinematics: reaches, stays within the limits, reports what it does not reach."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ikp.kinematics import forward_kinematics, inverse_kinematics, load_robot
from ikp.kinematics.rotations import exp_rotation, log_rotation

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


DESK_ARM = ("0 0 0.07", "0.02 0 0.06", "0 0 0.12", "0.13 0 0", "0.05 0 0")  # of five joints
SHARP_ARM = ("0 0 0.2", "0 0.12 0", "0 0 0.45", "0 0 0.4", "0 0.1 0", "0 0 0.1")


def write_arm(path, origins, tip, *, scale=1.0, axes="zyyyx"):
    """A chain of revolute joints, in metres or with `scale` 1000 in millimetres."""
    rows = [("revolute", origin, axis) for origin, axis in zip(origins, axes, strict=True)] + [
        ("fixed", tip, "z")
    ]
    joints = ""
    for i, (kind, origin, axis) in enumerate(rows):
        xyz = " ".join(str(scale * float(value)) for value in origin.split())
        along = " ".join(str(float(axis == letter)) for letter in "xyz")
        joints += (
            f'<joint name="j{i}" type="{kind}"><parent link="l{i}"/><child link="l{i + 1}"/><origin xyz="{xyz}"/>'
            f'<axis xyz="{along}"/><limit lower="-2.6" upper="2.6" velocity="3"/></joint>'
        )
    links = "".join(f'<link name="l{i}"/>' for i in range(len(rows) + 1))
    path.write_text(f'<robot name="arm">{links}{joints}</robot>')
    return load_robot(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_five_joints_reach_points_when_rotations_count_for_nothing(tmp_path, dtype):
    robot = write_arm(tmp_path / "desk.urdf", DESK_ARM, "0.09 0 0")
    q = 0.6 * draw(robot, 200, seed=2, dtype=dtype)
    target = tips(robot, q).clone()
    target[:, 0, :3, :3] = target[:, 0, :3, :3] @ exp_rotation(torch.tensor([0.0, 0.0, 0.3], dtype=dtype))
    start = torch.zeros_like(q)
    assert not inverse_kinematics(robot, target, start).converged.any()  # no rotation is reached
    solution = inverse_kinematics(robot, target, start, rotation_weight=0.0)
    assert solution.converged.all()
    left = tips(robot, solution.q) - target
    assert left[..., :3, 3].norm(dim=-1).max() < 1.1e-5
    one_start = inverse_kinematics(robot, target, start, rotation_weight=0.0, restarts=0)
    assert one_start.converged.float().mean() > 0.9
    # a small weight: nearly the point, and a rotation that is nearer
    prior = inverse_kinematics(robot, target, start, rotation_weight=0.01)
    assert prior.position_error.median() < 1e-4
    assert prior.rotation_error.median() < 0.5 * solution.rotation_error.median()
    assert inverse_kinematics(robot, target, start).position_error.median() > 1e-2


def test_rotation_errors_are_reported_where_they_count_for_nothing():
    robot = load_robot("ur5e")
    target = tips(robot, draw(robot, 5))
    solution = inverse_kinematics(robot, target, draw(robot, 5, seed=1), rotation_weight=0.0)
    R = tips(robot, solution.q)[:, 0, :3, :3]
    torch.testing.assert_close(
        solution.rotation_error, log_rotation(target[:, 0, :3, :3] @ R.mT).norm(dim=-1), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.filterwarnings("ignore:.*multiply them by 0.001")
def test_millimetres_converge_like_metres(tmp_path, dtype):
    shares = []
    for name, scale in (("m", 1.0), ("mm", 1000.0)):
        robot = write_arm(tmp_path / f"{name}.urdf", SHARP_ARM, "0 0.09 0", scale=scale, axes="zyyyzy")
        q = draw(robot, 200, seed=1).to(dtype)
        solution = inverse_kinematics(robot, tips(robot, q), torch.zeros_like(q))
        shares.append(solution.converged.float().mean())
        # what is called converged is at the point, to what single precision holds
        left = (tips(robot, solution.q.double()) - tips(robot, q.double()))[solution.converged, 0, :3, 3]
        assert left.norm(dim=-1).max() < scale * 1.1e-5
    assert min(shares) > 0.9


def test_tolerances_of_robots_in_metres_are_kept():
    robot = load_robot("iiwa14")
    target = tips(robot, draw(robot, 20, dtype=torch.float32))
    loose = inverse_kinematics(
        robot, target, draw(robot, 20, seed=1, dtype=torch.float32), position_tolerance=1e-3
    )
    assert loose.position_error.max() > 1e-5
    tight = inverse_kinematics(robot, target, loose.q, restarts=0)
    assert tight.position_error[tight.converged].max() <= 1e-5


TARGETS_THAT_ARE_NOT_RIGID = {
    "scaled": lambda T: T * torch.tensor([2.0, 2.0, 2.0, 1.0]),
    "mirrored": lambda T: T * torch.tensor([1.0, 1.0, -1.0, 1.0]),
    "zeros": lambda T: T * torch.tensor([0.0, 0.0, 0.0, 1.0]),
    "sheared": lambda T: T @ (torch.eye(4) + 0.01 * torch.ones(4, 4).triu(1) * torch.tensor([1.0, 1, 1, 0])),
    "doubled": lambda T: 2 * T,
    "transposed": lambda T: T.mT,
}


@pytest.mark.parametrize("fault", TARGETS_THAT_ARE_NOT_RIGID)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_that_are_not_rigid_are_refused(fault, dtype):
    robot = load_robot("iiwa14_dual")
    q = draw(robot, 3, dtype=dtype)
    target = tips(robot, q).clone()
    target[1, 1] = TARGETS_THAT_ARE_NOT_RIGID[fault](target[1, 1].float()).to(dtype)
    with pytest.raises(ValueError, match=r"T_base_tip\[1, 1\] is \[\[.*must be a rigid transform"):
        inverse_kinematics(robot, target, q)


@given(
    st.tuples(*[st.floats(-20, 20)] * 3), st.sampled_from([torch.float32, torch.float64]), st.integers(4, 16)
)
@settings(max_examples=50)
def test_rotations_in_any_precision_are_rigid(w, dtype, digits):
    """Single precision, and matrices that were written with four digits."""
    robot = load_robot("ur5e")
    q = torch.zeros(6, dtype=dtype)
    target = tips(robot, q).clone()
    R = exp_rotation(torch.tensor(w, dtype=dtype))
    target[0, :3, :3] = torch.round(R, decimals=digits) if dtype == torch.float64 else R
    inverse_kinematics(robot, target, q, restarts=0, iterations=1)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_faulty_weights_are_refused(weight):
    robot = load_robot("ur5e")
    with pytest.raises(ValueError, match="rotation_weight is .*; it must be 0 or a positive number"):
        inverse_kinematics(robot, tips(robot, torch.zeros(6)), torch.zeros(6), rotation_weight=weight)


def test_faulty_offsets_are_refused():
    robot = load_robot("ur5e")
    q = torch.zeros(6)
    with pytest.raises(ValueError, match="q_offset contains NaN"):
        inverse_kinematics(robot, tips(robot, q), q, q_offset=torch.full((6,), math.nan))
