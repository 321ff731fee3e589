"""Forward kinematics against MuJoCo, Pinocchio and published numbers; gradients; shapes and faults."""

import inspect
import math

import jaxtyping
import mujoco
import numpy as np
import pinocchio
import pytest
import torch

from ikp.kinematics import (
    Joint,
    Link,
    Mimic,
    Robot,
    far_end_poses,
    forward_kinematics,
    inverse_kinematics,
    jacobian,
    joint_arcs,
    load_robot,
)
from ikp.kinematics.builtin import BUILTIN
from ikp.kinematics.rotations import exp_rotation

from .reference import (
    ASSETS,
    FOREIGN_MJCF,
    FOREIGN_URDF,
    mujoco_from_robot,
    mujoco_from_urdf,
    mujoco_poses,
    pinocchio_from_robot,
    pinocchio_poses,
)

SAMPLES = 25


def rigid(generator):
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = exp_rotation(torch.randn(3, dtype=torch.float64, generator=generator))
    T[:3, 3] = 0.3 * torch.randn(3, dtype=torch.float64, generator=generator)
    return T


def odd_robot():
    """Joints of every kind on odd axes and beside their links' origins, mimic joints, a root off the base."""
    g = torch.Generator().manual_seed(3)
    z = (0.0, 0.0, 1.0)
    return Robot(
        "odd",
        (
            Link("root", -1, rigid(g)),
            Link("a", 0, rigid(g), Joint("ja", "revolute", (1.0, 2.0, 3.0), -2, 2, anchor=(0.1, 0.2, 0.3))),
            Link("b", 1, joint=Joint("jb", "prismatic", (0.0, -1.0, 0.0), -1, 1)),
            Link("c", 1, rigid(g), Joint("jc", "revolute", (0.0, -1.0, 0.0), mimic=Mimic("ja", -0.7, 0.3))),
            Link("d", 3, rigid(g), Joint("jd", "continuous", (1.0, 0.0, 0.0))),
            Link("e", 4, rigid(g)),
            Link("f", 2, rigid(g), Joint("jf", "prismatic", (1.0, 0.0, 2.0), mimic=Mimic("jb", 2.0, 0.1))),
            Link("g", 6, rigid(g), Joint("jg", "revolute", z, -1, 1, anchor=(0.0, 0.0, 0.5))),
        ),
    )


def robots():
    return [*(load_robot(name) for name in BUILTIN), odd_robot()]


def worst(robot, q, poses_of):
    """Largest deviation from a reference in float64 and (positions) in float32, over every link it knows."""
    T, T32 = forward_kinematics(robot, q).numpy(), forward_kinematics(robot, q.float()).numpy()
    exact, single = 0.0, 0.0
    for n in range(len(q)):
        for name, T_reference in poses_of(q[n]).items():
            exact = max(exact, np.abs(T[n, robot.link_index(name)] - T_reference).max())
        for name, T_reference in poses_of(q[n].float().double()).items():
            single = max(single, np.abs(T32[n, robot.link_index(name)] - T_reference)[:3, 3].max())
    return exact, single


def check_agreement(robot, poses_of, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = robot.random_q((SAMPLES,), generator=generator)
    assert set(poses_of(q[0])) >= set(robot.link_names) - {robot.link_names[0]}
    exact, single = worst(robot, q, poses_of)
    assert exact < 1e-9
    assert single < 1e-6


def check_single_precision(robot):
    """float32 against float64 of the same rounded q, over many more configurations."""
    q = robot.random_q((20_000,), generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    error = forward_kinematics(robot, q).double() - forward_kinematics(robot, q.double())
    assert error[..., :3, 3].abs().max() < 1e-6


@pytest.mark.parametrize("robot", robots(), ids=lambda robot: robot.name)
def test_agrees_with_mujoco(robot):
    model = mujoco_from_robot(robot)
    check_agreement(robot, lambda q: mujoco_poses(model, robot, q))
    check_single_precision(robot)


@pytest.mark.parametrize("robot", robots()[:-1], ids=lambda robot: robot.name)
def test_agrees_with_pinocchio(robot):
    model = pinocchio_from_robot(robot)
    check_agreement(robot, lambda q: pinocchio_poses(model, robot, q))


@pytest.mark.parametrize("path", [*FOREIGN_URDF, ASSETS / "gantry.urdf"], ids=lambda path: path.stem)
def test_urdf_agrees_with_mujoco_and_pinocchio(path):
    robot = load_robot(path)
    theirs = pinocchio.buildModelFromUrdf(str(path), mimic=False)
    check_agreement(robot, lambda q: pinocchio_poses(theirs, robot, q))
    model = mujoco_from_urdf(path)
    check_agreement(robot, lambda q: mujoco_poses(model, robot, q), seed=1)
    check_single_precision(robot)


@pytest.mark.parametrize("path", FOREIGN_MJCF, ids=lambda path: path.stem)
def test_mjcf_agrees_with_mujoco(path):
    robot = load_robot(path)
    model = mujoco.MjModel.from_xml_path(str(path))
    q = robot.random_q((SAMPLES,), generator=torch.Generator().manual_seed(0))
    poses = mujoco_poses(model, robot, q[0])
    assert len(poses) >= sum(bool(model.body(body).name) for body in range(1, model.nbody))
    exact, single = worst(robot, q, lambda q: mujoco_poses(model, robot, q))
    assert exact < 1e-9
    assert single < 1e-6
    check_single_precision(robot)


GOLDEN = [
    ("ur5e", [0.0] * 6, (-0.8172, -0.2329, 0.0628)),
    ("ur5e", [0.3, -1.2, 1.1, -0.7, 0.5, 0.9], (-0.55482, -0.40265, 0.56256)),
    ("iiwa14", [0.0] * 7, (0.0, 0.0, 1.306)),
    ("iiwa14", [0.3, -0.5, 0.4, -1.2, 0.7, 0.9, -0.6], (0.03334, 0.26449, 1.01602)),
]


@pytest.mark.parametrize(("name", "q", "p"), GOLDEN)
def test_published_flange_positions(name, q, p):
    T = forward_kinematics(load_robot(name), torch.tensor(q, dtype=torch.float64))
    torch.testing.assert_close(T[-1, :3, 3], torch.tensor(p, dtype=torch.float64), atol=6e-6, rtol=0)


DH = {  # a, d, alpha, standard convention
    "ur5e": [
        (0, 0.1625, math.pi / 2),
        (-0.425, 0, 0),
        (-0.3922, 0, 0),
        (0, 0.1333, math.pi / 2),
        (0, 0.0997, -math.pi / 2),
        (0, 0.0996, 0),
    ],
    "iiwa14": [
        (0, d, alpha * math.pi / 2)
        for d, alpha in zip((0.36, 0, 0.42, 0, 0.40, 0, 0.126), (-1, 1, 1, -1, -1, 1, 0), strict=True)
    ],
}


@pytest.mark.parametrize("name", DH)
def test_flange_follows_the_published_dh_parameters(name):
    robot = load_robot(name)
    q = robot.random_q((5,), generator=torch.Generator().manual_seed(0))
    for row, T in zip(q.numpy(), forward_kinematics(robot, q)[:, -1].numpy(), strict=True):
        expected = np.eye(4)
        for theta, (a, d, alpha) in zip(row, DH[name], strict=True):
            c, s, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
            expected = expected @ np.array(
                [[c, -s * ca, s * sa, a * c], [s, c * ca, -c * sa, a * s], [0, sa, ca, d], [0, 0, 0, 1]]
            )
        np.testing.assert_allclose(T, expected, atol=1e-12)


def test_ur5e_is_the_public_description_turned_by_pi():
    ours, theirs = load_robot("ur5e"), load_robot(FOREIGN_URDF[1])
    q = ours.random_q((10,))
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    wrist = forward_kinematics(theirs, q)[:, theirs.link_index("wrist_3_link")]
    torch.testing.assert_close(turn @ forward_kinematics(ours, q)[:, -1], wrist, atol=1e-8, rtol=0)


def test_two_arms_face_each_other():
    robot = load_robot("iiwa14_dual")
    home = torch.tensor([0, 0.5526, 0, -1.7384, 0, 0.5365, 0] * 2)
    left, right = forward_kinematics(robot, home)[list(robot.tip_indices), :3, 3]
    torch.testing.assert_close(left, right * torch.tensor([1, -1, 1]), atol=1e-6, rtol=0)
    assert 0.1 < left[1] < 0.4


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (0,), (2, 0, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_leading_dimensions_and_dtype(shape, dtype):
    robot = odd_robot()
    q = robot.random_q(shape, dtype=dtype).requires_grad_()
    T = forward_kinematics(robot, q)
    assert T.shape == (*shape, 8, 4, 4)
    assert T.dtype == dtype
    T.sum().backward()
    assert q.grad.shape == q.shape
    one_by_one = [forward_kinematics(robot, row) for row in q.detach().reshape(-1, robot.dof)]
    for expected, got in zip(one_by_one, T.detach().reshape(-1, 8, 4, 4), strict=False):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_offsets_broadcast():
    robot = load_robot("ur5e")
    q, offset = robot.random_q((6,)), 0.1 * torch.randn(3, 1, 6, dtype=torch.float64)
    torch.testing.assert_close(
        forward_kinematics(robot, q, q_offset=offset), forward_kinematics(robot, q + offset)
    )


@pytest.mark.parametrize("robot", robots(), ids=lambda robot: robot.name)
def test_gradients(robot):
    q = robot.random_q((2,)).requires_grad_()
    offset = (0.1 * torch.randn(robot.dof, dtype=torch.float64)).requires_grad_()
    residual = (0.2 * torch.randn(len(robot.links), 6, dtype=torch.float64)).requires_grad_()

    def poses(q, offset, residual):
        return forward_kinematics(robot, q, q_offset=offset, link_residual=residual)

    assert torch.autograd.gradcheck(poses, (q, offset, residual), fast_mode=True)
    assert torch.autograd.gradcheck(lambda q: forward_kinematics(robot, q), (q,))
    assert torch.autograd.gradgradcheck(lambda q: forward_kinematics(robot, q), (q,), fast_mode=True)
    # at no correction, where training starts
    zero = torch.zeros_like(residual).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: poses(q, offset, r), (zero,), fast_mode=True)


def test_gradient_of_a_batch_equals_those_of_its_parts():
    robot = load_robot("ur5e")
    q = robot.random_q((9000,)).requires_grad_()
    residual = torch.zeros(8, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(8, 4, 4, dtype=torch.float64)

    def loss(q):
        return (forward_kinematics(robot, q, link_residual=residual) * weights).sum()

    whole = torch.autograd.grad(loss(q), (q, residual))
    parts = [
        torch.autograd.grad(loss(part), (part, residual)) for part in q.detach().requires_grad_().split(3000)
    ]
    torch.testing.assert_close(whole[0], torch.cat([part[0] for part in parts]))
    torch.testing.assert_close(whole[1], sum(part[1] for part in parts))


def test_zero_residual_changes_nothing():
    robot = odd_robot()
    q = robot.random_q((3,))
    nominal = forward_kinematics(robot, q)
    corrected = forward_kinematics(robot, q, link_residual=torch.zeros(8, 6))
    torch.testing.assert_close(corrected, nominal)


def test_link_residual_acts_in_the_joint_frame():
    robot = load_robot("iiwa14")
    residual = torch.zeros(9, 6)
    residual[8, 2] = 0.1  # the flange 0.1 m further along its axis
    shifted = forward_kinematics(robot, torch.zeros(7), link_residual=residual)
    assert shifted[-1, 2, 3] == pytest.approx(1.406, abs=1e-6)


def test_planted_offset_is_recovered_from_tip_poses():
    robot = load_robot("ur5e")
    planted = torch.deg2rad(torch.tensor([1.6, -1.3, 1.8, -1.9, 1.1, -1.5], dtype=torch.float64))
    q = robot.random_q((60,), generator=torch.Generator().manual_seed(0))
    target = forward_kinematics(robot, q, q_offset=planted)[:, -1]
    estimate = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([estimate], lr=5e-3)
    for _ in range(300):
        optimizer.zero_grad()
        (forward_kinematics(robot, q, q_offset=estimate)[:, -1] - target).square().sum().backward()
        optimizer.step()
    assert (estimate.detach() - planted).abs().max() < math.radians(0.01)


def test_autocast_does_not_round_poses():
    robot = load_robot("iiwa14")
    q = robot.random_q((5,), dtype=torch.float32).requires_grad_()
    expected = forward_kinematics(robot, q)
    with torch.autocast("cpu", torch.bfloat16):
        T = forward_kinematics(robot, q, link_residual=torch.zeros(9, 6))
    torch.testing.assert_close(T, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("q", "message"),
    [
        (torch.zeros(3, 5), r"shape \(3, 5\).*6 joints.*shoulder_pan_joint"),
        (torch.zeros(6, dtype=torch.bfloat16), "float32 or float64"),
    ],
)
def test_wrong_joint_positions_are_refused(q, message):
    with pytest.raises(ValueError, match=message):
        forward_kinematics(load_robot("ur5e"), q)


def test_wrong_corrections_are_refused():
    robot, q = load_robot("ur5e"), torch.zeros(6)
    unchecked = inspect.unwrap(forward_kinematics)  # without the shape checks that run under pytest alone
    with pytest.raises(ValueError, match="q_offset has the shape"):
        unchecked(robot, q, q_offset=torch.zeros(7))
    with pytest.raises(ValueError, match=r"needs \(8, 6\)"):
        forward_kinematics(robot, q, link_residual=torch.zeros(6, 6))


@pytest.fixture
def _no_type_checks():
    """As outside of the tests, where annotations are not checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("_no_type_checks")
@pytest.mark.parametrize("given", [np.zeros(6), [0.0] * 6, None], ids=["ndarray", "list", "NoneType"])
def test_what_is_no_tensor_is_named_with_the_fix(given, request):
    robot, kind, q = load_robot("ur5e"), request.node.callspec.id, torch.zeros(6)
    calls = {
        "q": (
            lambda: forward_kinematics(robot, given),
            lambda: jacobian(robot, given),
            lambda: far_end_poses(robot, given),
            lambda: joint_arcs(robot, given),
            lambda: inverse_kinematics(robot, torch.eye(4)[None], given),
        ),
        "q_offset": (lambda: forward_kinematics(robot, q, q_offset=given),) if given is not None else (),
        "T_base_tip": (lambda: inverse_kinematics(robot, given, q),),
    }
    for name, functions in calls.items():
        for function in functions:
            message = rf"{name} is a {kind}; give a torch tensor: torch.as_tensor\({name}\)"
            with pytest.raises(ValueError, match=message):
                function()
