"""The compiled extension equals plain torch, which serves where the extension cannot."""

import multiprocessing
import threading

import pytest
import torch

from ikp.kinematics import _compiled, forward_kinematics, load_robot
from ikp.kinematics._columns import frame_columns, joint_gradient, subtree_wrenches
from ikp.kinematics._plan import nominal_terms, plan_of
from ikp.kinematics.builtin import BUILTIN

from .reference import ASSETS, FOREIGN_MJCF, FOREIGN_URDF
from .test_forward import odd_robot

ROBOTS = [
    *BUILTIN,
    ASSETS / "gantry.urdf",
    ASSETS / "tree.xml",
    *FOREIGN_URDF,
    *FOREIGN_MJCF[:4],
    odd_robot(),
]
needs_extension = pytest.mark.skipif(_compiled.native is None, reason="the extension was not built here")


def loaded(robot):
    return robot if robot is ROBOTS[-1] else load_robot(robot)


def by_torch(robot, q, G):
    """Poses and their gradient by whole-tensor operations, G laid out as the poses' columns (link, 4, 4, n)."""
    plan, links = plan_of(robot), len(robot.links)
    columns = frame_columns(q, plan, nominal_terms(robot, q.dtype))
    grad = torch.cat([G, G.new_zeros(len(plan.nodes) - links, *G.shape[1:])])
    return columns[:links], joint_gradient(columns, subtree_wrenches(columns, grad, plan, 0), plan, 0)


@needs_extension
@pytest.mark.parametrize("robot", ROBOTS, ids=lambda robot: getattr(robot, "name", str(robot)))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
@pytest.mark.parametrize("n", [1, 7, 513, 1100])
def test_equals_torch(robot, dtype, tolerance, n):
    robot = loaded(robot)
    q = robot.random_q((n,), dtype=dtype)
    G = torch.randn(len(robot.links), 4, 4, n, dtype=dtype)
    poses, gradient = by_torch(robot, q, G)
    constants = _compiled.packed_constants(robot, None, dtype)
    got = _compiled.compiled_columns(q, robot, constants)
    torch.testing.assert_close(got, poses, atol=tolerance * 0.1, rtol=tolerance)
    got = _compiled.compiled_gradient(q, robot, constants, G)
    scale = gradient.abs().max().clamp_min(1)
    torch.testing.assert_close(got / scale, gradient / scale, atol=tolerance, rtol=0)


@needs_extension
def test_large_outputs_and_threads():
    """Written past the caches, and by several threads; the last block is not full."""
    robot = load_robot("iiwa14")
    q = robot.random_q((40_001,), dtype=torch.float32)
    G = torch.randn(9, 4, 4, len(q))
    assert G.nbytes > 16 << 20
    constants = _compiled.packed_constants(robot, None, torch.float32)
    poses, gradient = by_torch(robot, q, G)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            got = _compiled.compiled_columns(q, robot, constants)
            torch.testing.assert_close(got, poses, atol=2e-6, rtol=0)
            got = _compiled.compiled_gradient(q, robot, constants, G)
            torch.testing.assert_close(got, gradient, atol=2e-4, rtol=0)
    finally:
        torch.set_num_threads(before)


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_angles_of_any_size(dtype):
    robot = load_robot("ur5e")
    q = torch.tensor(
        [0.0, -0.0, 1e-8, 0.785398, -0.7853982, 1.5707964, 3.1415927, -4.7123890, 1e3, -9.9e5, 1.1e6, 3e7]
    )
    q = q.to(dtype)[:, None].expand(-1, 6)
    exact = forward_kinematics(robot, q.double().clone().requires_grad_()).detach()
    poses, _ = by_torch(robot, q.double(), torch.zeros(len(robot.links), 4, 4, len(q), dtype=torch.float64))
    torch.testing.assert_close(exact.permute(1, 3, 2, 0), poses, atol=1e-13, rtol=0)
    atol = 1e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(forward_kinematics(robot, q).double(), exact, atol=atol, rtol=0)


@needs_extension
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_gives_nan(value):
    robot = load_robot("ur5e")
    q = torch.zeros(3, 6)
    q[1, 2] = value
    T = forward_kinematics(robot, q)
    assert T[1, -1, :3].isnan().any()
    assert T[[0, 2]].isfinite().all()


@needs_extension
def test_views_of_other_strides():
    robot = load_robot("iiwa14")
    q = robot.random_q((5, 2), dtype=torch.float32)
    expected = forward_kinematics(robot, q[:, 1].contiguous())
    assert torch.equal(forward_kinematics(robot, q[:, 1]), expected)
    assert torch.equal(forward_kinematics(robot, q[:, 1].t().contiguous().t()), expected)
    leaf = q[:, 1].clone().requires_grad_()
    total = torch.autograd.grad(forward_kinematics(robot, leaf).sum(), leaf)[
        0
    ]  # its gradient has strides of 0
    weights = torch.ones(9, 4, 4, 5)
    torch.testing.assert_close(total, by_torch(robot, leaf.detach(), weights)[1], atol=1e-5, rtol=0)


@needs_extension
def test_what_the_extension_cannot_read_goes_to_torch(monkeypatch):
    q = torch.zeros(3, 6)
    assert _compiled.serves(q, torch.nn.Parameter(q))
    assert not _compiled.serves(q.to("meta"))
    assert not _compiled.serves(torch.complex(q, q).conj().imag)  # negated when it is read
    with torch._subclasses.FakeTensorMode():
        assert not _compiled.serves(torch.zeros(3, 6))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not _compiled.serves(q)


@pytest.mark.parametrize("n", [1, 3])
def test_without_the_extension_torch_computes_the_same(monkeypatch, n):
    robot = odd_robot()
    q = robot.random_q((n,)).requires_grad_()
    weights = torch.randn(len(robot.links), 4, 4, dtype=torch.float64)

    def outcome():
        T = forward_kinematics(robot, q)
        (first,) = torch.autograd.grad((T * weights).sin().sum(), q, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), q)
        return T.detach(), first.detach(), second

    here = outcome()
    monkeypatch.setattr(_compiled, "native", None)
    for with_extension, without in zip(here, outcome(), strict=True):
        torch.testing.assert_close(with_extension, without, atol=1e-12, rtol=1e-12)


def test_residuals_without_gradient_are_read_anew_at_every_call():
    robot = odd_robot()
    q = robot.random_q((4,))
    for residual in 0.1 * torch.randn(2, len(robot.links), 6, dtype=torch.float64):
        trained = residual.clone().requires_grad_()  # by torch
        expected = forward_kinematics(robot, q, link_residual=trained).detach()
        torch.testing.assert_close(forward_kinematics(robot, q, link_residual=residual), expected)


def _last_pose(robot, q):
    return forward_kinematics(robot, q)[-1, -1].flatten().tolist()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded")
def test_after_a_fork_and_in_several_threads():
    robot = load_robot("ur5e")
    q = robot.random_q((9000,), dtype=torch.float32)
    expected = _last_pose(robot, q)  # by threads, where torch has several
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_last_pose, (robot, q)) == pytest.approx(expected, abs=1e-6)
    results = []
    threads = [threading.Thread(target=lambda: results.append(_last_pose(robot, q))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4
