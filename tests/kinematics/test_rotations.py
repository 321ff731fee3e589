"""Rotations against SciPy, the axioms of their group, and gradients where formulas are singular."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ikp.kinematics.rotations import (
    compose,
    cross,
    exp_rotation,
    inverse_pose,
    log_rotation,
    matrix_to_quat_wxyz,
    matrix_to_rotation_6d,
    matrix_to_rpy,
    product,
    quat_wxyz_to_matrix,
    rotation_6d_to_matrix,
    rpy_to_matrix,
    skew,
)

ANGLES = [
    0.0,
    1e-12,
    1e-8,
    1e-5,
    1e-3,
    0.009,
    0.011,
    0.1,
    1.0,
    2.0,
    3.0,
    math.pi - 1e-3,
    math.pi - 1e-7,
    math.pi,
]

component = st.floats(-1, 1, allow_nan=False)
axes = st.tuples(component, component, component).filter(lambda v: sum(c * c for c in v) > 1e-2)
angles = st.floats(0, math.pi - 1e-6) | st.sampled_from(ANGLES[:-1])


@st.composite
def rotation_vectors(draw):
    axis = torch.tensor(draw(axes), dtype=torch.float64)
    return axis / axis.norm() * draw(angles)


@st.composite
def poses(draw):
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = exp_rotation(draw(rotation_vectors()))
    T[:3, 3] = torch.tensor(draw(st.tuples(component, component, component)), dtype=torch.float64)
    return T


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@given(rotation_vectors())
def test_exponential_and_quaternion_agree_with_scipy(w):
    theirs = Rotation.from_rotvec(w.numpy())
    R = exp_rotation(w)
    close(R, torch.from_numpy(theirs.as_matrix()))
    x, y, z, real = theirs.as_quat(canonical=True)
    q = matrix_to_quat_wxyz(R)
    close(
        q * torch.sign(q[0] * real + q[1:] @ torch.tensor([x, y, z])),
        torch.tensor([real, x, y, z]),
        atol=1e-9,
    )
    close(quat_wxyz_to_matrix(q), R)
    close(quat_wxyz_to_matrix(-3 * q), R)


@given(rotation_vectors())
def test_logarithm_inverts_the_exponential(w):
    R = exp_rotation(w)
    close(log_rotation(R), w, atol=1e-9)
    close(log_rotation(R).norm(), w.norm(), atol=1e-9)


@given(rotation_vectors())
def test_matrices_are_rotations(w):
    for R in (exp_rotation(w), rpy_to_matrix(w), quat_wxyz_to_matrix(torch.cat([w.new_ones(1), w]))):
        close(R @ R.mT, torch.eye(3, dtype=torch.float64))
        assert torch.det(R) > 0


@given(poses(), poses(), poses())
def test_poses_form_a_group(A, B, C):
    close(compose(compose(A, B), C), compose(A, compose(B, C)))
    close(compose(A, inverse_pose(A)), torch.eye(4, dtype=torch.float64))
    close(compose(A, B), A @ B)
    close(compose(A[:3], B[:3]), (A @ B)[:3])
    close(inverse_pose(compose(A, B)), compose(inverse_pose(B), inverse_pose(A)))
    close(inverse_pose(A[:3]), inverse_pose(A)[:3])


@given(rotation_vectors(), rotation_vectors())
def test_parametrisations_commute_with_composition(u, v):
    R = exp_rotation(u) @ exp_rotation(v)
    theirs = Rotation.from_rotvec(u.numpy()) * Rotation.from_rotvec(v.numpy())
    close(R, torch.from_numpy(theirs.as_matrix()))
    close(rotation_6d_to_matrix(matrix_to_rotation_6d(R)), R)
    close(
        rpy_to_matrix(matrix_to_rpy(R)), R, atol=1e-6
    )  # near a pitch of a quarter turn half the digits are lost
    close(exp_rotation(log_rotation(R)), R, atol=1e-9)


def test_rpy_is_the_convention_of_urdf():
    rpy = torch.tensor([[0.3, -0.4, 1.2], [2.0, 1.0, -3.0]], dtype=torch.float64)
    close(rpy_to_matrix(rpy), torch.from_numpy(Rotation.from_euler("xyz", rpy.numpy()).as_matrix()))
    close(matrix_to_rpy(rpy_to_matrix(rpy)), rpy)


@pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2])
def test_rpy_at_gimbal_lock(pitch):
    R = rpy_to_matrix(torch.tensor([0.3, pitch, -0.8], dtype=torch.float64)).requires_grad_()
    rpy = matrix_to_rpy(R)
    close(rpy_to_matrix(rpy), R)
    rpy.sum().backward()
    assert R.grad.isfinite().all()


def test_6d_takes_any_two_directions():
    R = rotation_6d_to_matrix(torch.tensor([2.0, 0, 0, 5.0, 3.0, 0]))
    torch.testing.assert_close(R, torch.eye(3))


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_from_the_identity_to_half_turns(angle, dtype):
    for axis in ([0, 0, 1], [1, 0, 0], [0.6, 0, -0.8], [1 / 3, 2 / 3, 2 / 3]):
        w = (angle * torch.tensor(axis, dtype=dtype)).requires_grad_()
        R = exp_rotation(w)
        outputs = (R, log_rotation(R), matrix_to_quat_wxyz(R), matrix_to_rpy(R))
        for output in (*outputs, rotation_6d_to_matrix(matrix_to_rotation_6d(R))):
            (gradient,) = torch.autograd.grad(output.sum(), w, retain_graph=True)
            assert gradient.isfinite().all()


@pytest.mark.parametrize("angle", ANGLES[:-2])
def test_gradients_are_right(angle):
    w = (angle * torch.tensor([1 / 3, 2 / 3, 2 / 3], dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(exp_rotation, (w,), atol=1e-6)
    assert torch.autograd.gradcheck(lambda w: log_rotation(exp_rotation(w)), (w,), atol=1e-5)


def test_logarithm_keeps_small_angles_in_single_precision():
    w = torch.tensor([3e-5, -2e-5, 1e-5])
    torch.testing.assert_close(log_rotation(exp_rotation(w)), w, atol=1e-9, rtol=1e-4)


def test_half_turns_in_every_direction():
    for axis in np.vstack([np.eye(3), Rotation.random(20, rng=0).as_matrix()[:, 0]]):
        R = torch.from_numpy(Rotation.from_rotvec(math.pi * axis).as_matrix())
        close(exp_rotation(log_rotation(R)), R, atol=1e-9)
        assert log_rotation(R).norm().item() == pytest.approx(math.pi)


def test_products_are_not_rounded_by_autocast():
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    torch.testing.assert_close(cross(a, b), torch.linalg.cross(a, b))
    torch.testing.assert_close(cross(a.T, b.T, dim=0), torch.linalg.cross(a, b).T)
    A, B = skew(a), skew(b)
    expected = A @ B
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(product(A, B), expected)
        torch.testing.assert_close(product(A, b[..., None])[..., 0], torch.linalg.cross(a, b))
