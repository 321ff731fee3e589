"""The Jacobian against MuJoCo's and against its own kinematics."""

import mujoco
import numpy as np
import pytest
import torch

from ikp.kinematics import forward_kinematics, jacobian, load_robot

from .reference import ASSETS, joint_positions, mujoco_from_robot


@pytest.mark.parametrize("name", ["ur5e", "iiwa14", "iiwa14_dual"])
def test_agrees_with_mujoco(name):
    robot = load_robot(name)
    model = mujoco_from_robot(robot)
    data = mujoco.MjData(model)
    links = robot.link_names[1:]
    for q in robot.random_q((10,), generator=torch.Generator().manual_seed(0)):
        for joint, position in joint_positions(robot, q).items():
            data.joint(joint).qpos[:] = position
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        for link, J in zip(links, jacobian(robot, q, links), strict=True):
            linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
            mujoco.mj_jacBody(model, data, linear, angular, model.body(link).id)
            np.testing.assert_allclose(J, np.vstack([linear, angular]), atol=1e-12)


@pytest.mark.parametrize("source", [ASSETS / "gantry.urdf", ASSETS / "tree.xml"], ids=str)
def test_is_the_derivative_of_the_poses(source):
    """Prismatic and mimic joints, anchors; MuJoCo knows no mimic joints."""
    robot = load_robot(source)
    q, qd = robot.random_q((4,)), torch.randn(4, robot.dof, dtype=torch.float64)
    step = 1e-6 * qd
    T = forward_kinematics(robot, q)
    T_dot = (forward_kinematics(robot, q + step) - forward_kinematics(robot, q - step)) / 2e-6
    spin = T_dot[..., :3, :3] @ T[..., :3, :3].mT
    angular = torch.stack([spin[..., 2, 1], spin[..., 0, 2], spin[..., 1, 0]], dim=-1)
    expected = torch.cat([T_dot[..., :3, 3], angular], dim=-1)
    velocity = (jacobian(robot, q, robot.link_names) @ qd[:, None, :, None])[..., 0]
    torch.testing.assert_close(velocity, expected, atol=1e-7, rtol=0)


def test_shapes_defaults_and_offsets():
    robot = load_robot("iiwa14_dual")
    q = robot.random_q((2, 3))
    J = jacobian(robot, q)
    assert J.shape == (2, 3, 2, 6, 14)
    assert (J[:, :, 0, :, 7:] == 0).all()
    assert jacobian(robot, q[0, 0]).shape == (2, 6, 14)
    offset = torch.full((14,), 0.1, dtype=torch.float64)
    torch.testing.assert_close(jacobian(robot, q, q_offset=offset), jacobian(robot, q + offset))


def test_is_differentiable():
    robot = load_robot("ur5e")
    q = robot.random_q((2,)).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: jacobian(robot, q), (q,), fast_mode=True)


def test_unknown_link():
    with pytest.raises(ValueError, match="'hand' is no link of 'ur5e'; allowed: base"):
        jacobian(load_robot("ur5e"), torch.zeros(6), ["hand"])
