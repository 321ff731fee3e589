"""The reusable parts: arms from any robot, cameras, rendering, inverse kinematics, miscalibration."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch

from ikp.kinematics import forward_kinematics, iiwa14
from ikp.tasks import Miscalibration, rendering
from ikp.tasks.arms import Drive, LinkBody, Shape, add_arm
from ikp.tasks.insertion.scene import build_insertion_spec
from ikp.tasks.miscalibration import MAX_OFFSET
from ikp.tasks.rendering import FAST, OffscreenRenderer, shared_renderer
from ikp.tasks.scene import add_camera, add_surroundings, camera_matrices, make_spec, wrap_angle, yaw_to_quat
from ikp.tasks.suction import Q_HOME, suction_robot
from ikp.tasks.tip_ik import TipSolver
from ikp.tasks.ur5e import UR5E_BODIES


def test_any_robot_becomes_an_arm():
    robot = iiwa14()
    drive = Drive(kp=1000, kv=50, torque=100, armature=0.1, damping=0.5)
    body = LinkBody((Shape((0, 0, 0), (0, 0, 0.1), 0.05),), mass=2.0, drive=drive)
    spec = make_spec(0.005)
    T_world_base = np.eye(4)
    T_world_base[:3, 3] = (0.1, -0.2, 0.3)
    add_arm(spec, robot, dict.fromkeys(robot.link_names[1:-1], body), T_world_base)
    model = spec.compile()
    data = mujoco.MjData(model)
    q = robot.random_q(generator=torch.Generator().manual_seed(0))
    data.qpos[:] = q.numpy()
    mujoco.mj_forward(model, data)
    expected = T_world_base @ forward_kinematics(robot, q).numpy()
    for name, T in zip(robot.link_names, expected, strict=True):
        np.testing.assert_allclose(data.body(name).xpos, T[:3, 3], atol=1e-9)
        np.testing.assert_allclose(data.body(name).xmat.reshape(3, 3), T[:3, :3], atol=1e-9)
    np.testing.assert_allclose(model.body_mass[1:].sum(), 14.0)
    np.testing.assert_allclose(model.jnt_range[:, 1], robot.upper.numpy())


def test_moving_link_without_drive():
    with pytest.raises(ValueError, match="'shoulder' has a joint"):
        add_arm(make_spec(0.005), suction_robot(), {"base": UR5E_BODIES["base"]}, np.eye(4))


def test_arm_hangs_still_without_control():
    """Gravity is compensated: at rest the arm stays where it is, as a real arm's controller sees to it."""
    model = build_insertion_spec().compile()
    model.actuator_gainprm[:] = 0.0
    model.actuator_biasprm[:] = 0.0
    data = mujoco.MjData(model)
    data.qpos[:6] = Q_HOME
    mujoco.mj_step(model, data, 100)
    np.testing.assert_allclose(data.qpos[:6], Q_HOME, atol=1e-6)


def test_inverse_kinematics_over_the_workspace():
    model = build_insertion_spec().compile()
    solver = TipSolver(model, "tip", suction_robot().joint_names)
    rng = np.random.default_rng(0)
    for _ in range(50):
        q_true = Q_HOME + rng.uniform(-0.2, 0.2, 6)
        position, rotation = solver.pose(q_true)
        q, error = solver.solve(position, rotation, q_true + rng.uniform(-0.1, 0.1, 6))
        assert error < 1e-6
        np.testing.assert_allclose(q, q_true, atol=1e-5)


def test_camera_looks_at_its_target():
    spec = make_spec(0.005)
    spec.worldbody.add_geom(size=[0.1, 0.1, 0.1])
    add_camera(spec, "camera", (1.0, 0.5, 0.8), (0.2, -0.1, 0.3), fovy=30.0)
    add_camera(spec, "top", (0.5, 0.0, 2.0), (0.5, 0.0, 0.0), fovy=30.0)
    model = spec.compile()
    for name, target in (("camera", (0.2, -0.1, 0.3)), ("top", (0.5, 0.0, 0.0))):
        K, T_world_camera = camera_matrices(model, name, 100, 200)
        p_camera = np.linalg.inv(T_world_camera) @ (*target, 1.0)
        u, v, w = K @ p_camera[:3]
        np.testing.assert_allclose((u / w, v / w), (100.0, 50.0), atol=1e-6)
        assert w > 0
        assert np.linalg.det(T_world_camera[:3, :3]) == pytest.approx(1.0)


def test_renderer_is_shared_and_survives_another_being_freed():
    spec = make_spec(0.005)
    add_surroundings(spec, (1.0, 1.0), (0.0, 0.0))
    add_camera(spec, "camera", (1.0, 0.0, 1.0), (0.0, 0.0, 0.0), fovy=40.0)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    first = shared_renderer("test-scene", model, 32, 48, FAST)
    image = first.render(data, "camera")
    assert image.shape == (32, 48, 3)
    other = OffscreenRenderer(model, 16, 16, FAST)
    other.render(data, "camera")
    del other
    np.testing.assert_array_equal(first.render(data, "camera"), image)
    assert shared_renderer("test-scene", model, 32, 48, FAST) is first


def test_missing_opengl_names_the_package(monkeypatch):
    def fail(name):
        raise ImportError(f"cannot load {name}")

    monkeypatch.setattr(rendering, "importlib", SimpleNamespace(import_module=fail))
    spec = make_spec(0.005)
    spec.worldbody.add_geom(size=[0.1, 0.1, 0.1])
    model = spec.compile()
    slices = model.vis.quality.numslices
    with pytest.raises(RuntimeError, match="libegl1"):
        OffscreenRenderer(model, 16, 16, FAST)
    assert model.vis.quality.numslices == slices


def test_forked_child_of_a_rendering_process_is_told_so(monkeypatch):
    monkeypatch.setattr(rendering, "_renderers", {(-1, "scene", 16, 16, FAST): None})
    with pytest.raises(RuntimeError, match="spawn"):
        shared_renderer("scene", build_insertion_spec().compile(), 16, 16, FAST)


def test_renders_though_mujoco_was_imported_without_a_platform():
    """Kinematics may import mujoco long before the tasks are imported; MUJOCO_GL need not be set."""
    code = (
        "import os; os.environ.pop('MUJOCO_GL', None); os.environ.pop('DISPLAY', None); import mujoco; "
        "from ikp.tasks import InsertionEnv; print(InsertionEnv().reset(seed=0)[0]['image'].std() > 10)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr


def test_miscalibration_is_constant_bounded_and_invertible():
    first, again, other = (Miscalibration.from_seed(seed, 6) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.q_offset, again.q_offset)
    assert not np.allclose(first.q_offset, other.q_offset)
    many = np.stack([Miscalibration.from_seed(seed, 6).q_offset for seed in range(200)])
    assert np.abs(many).max() <= np.radians(MAX_OFFSET)
    assert np.abs(many).max(axis=0).min() > 0.95 * np.radians(MAX_OFFSET)
    assert np.all(Miscalibration.from_seed(None, 6).q_offset == 0)
    q = np.linspace(-1, 1, 12).reshape(2, 6)
    np.testing.assert_allclose(first.true(first.measured(q)), q)
    np.testing.assert_allclose(first.measured(q), q - first.q_offset)


def test_angles():
    assert wrap_angle(3.5 * np.pi) == pytest.approx(-0.5 * np.pi)
    np.testing.assert_allclose(yaw_to_quat(np.pi), (0, 0, 0, 1), atol=1e-12)
