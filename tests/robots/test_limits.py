"""No sequence of commands makes the arm faster, or brings it further, than the limits allow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ikp.kinematics import Joint, Link, Mimic, Robot, forward_kinematics, iiwa14, jacobian, panda, so101
from ikp.kinematics.rotations import exp_rotation
from ikp.robots.config import ControllerConfig
from ikp.robots.differential import joint_speeds
from ikp.robots.interfaces import RobotStopped
from ikp.robots.limits import MotionLimits
from ikp.robots.tip import TipKinematics
from ikp.tasks.suction import Q_HOME, suction_robot

ROBOT = suction_robot()
TIP = TipKinematics(ROBOT)
DT = 0.004


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_steps_stay_within_speed_acceleration_and_joint_limits(seed):
    rng = np.random.default_rng(seed)
    limits = MotionLimits(ROBOT, ControllerConfig())
    q, qd = rng.uniform(limits.lower, limits.upper), np.zeros(6)
    for _ in range(6):
        wanted, speed = rng.uniform(-9, 9, 6), rng.uniform(-9, 9, 6)
        for _ in range(50):
            following, after, _ = limits.step(q, qd, wanted, speed, DT)
            assert (np.abs(after) <= limits.speed + 1e-9).all()
            assert (following <= limits.upper + 1e-12).all()
            assert (following >= limits.lower - 1e-12).all()
            at_limit = (following >= limits.upper - 1e-3) | (following <= limits.lower + 1e-3)
            assert ((np.abs(after - qd) <= limits.acceleration * DT + 1e-9) | at_limit).all()
            q, qd = following, after


def test_a_target_is_reached_without_overshoot_and_a_moving_one_is_followed():
    limits = MotionLimits(ROBOT, ControllerConfig())
    q, qd, target = np.zeros(6), np.zeros(6), np.full(6, 0.5)
    highest = q
    for _ in range(400):
        q, qd, _ = limits.step(q, qd, target, np.zeros(6), DT)
        highest = np.maximum(highest, q)
    np.testing.assert_allclose(q, target, atol=1e-4)
    assert (highest <= target + 1e-3).all()
    for k in range(400):
        q, qd, _ = limits.step(q, qd, target + 0.3 * DT * (k + 1), np.full(6, 0.3), DT)
    np.testing.assert_allclose(q, target + 0.3 * DT * 400, atol=1e-3)


def test_waypoints_that_are_not_finite_or_of_another_arm_are_refused_also_when_clipping():
    limits = MotionLimits(ROBOT, ControllerConfig(on_limit="clip"))
    for value in (np.nan, np.inf):
        with pytest.raises(RobotStopped, match="not finite"):
            limits.checked(Q_HOME, np.where(np.arange(6) == 2, value, Q_HOME))
    with pytest.raises(RobotStopped, match="the arm has 6 joints"):
        limits.checked(Q_HOME, np.zeros(7))


def test_a_waypoint_beyond_a_joint_limit_is_refused_or_clipped():
    far = Q_HOME + np.array([0, 0, 0, 0, 0, 9.0])
    with pytest.raises(RobotStopped, match=r"'wrist_3_joint' to 7\.160: allowed are -6\.263 to 6\.263"):
        MotionLimits(ROBOT, ControllerConfig()).checked(Q_HOME, far)
    limits = MotionLimits(ROBOT, ControllerConfig(on_limit="clip"))
    kept, changed = limits.checked(Q_HOME, far)
    assert changed
    assert kept[5] == limits.upper[5]


def test_the_tip_stays_in_the_workspace():
    down = Q_HOME + np.array([0, 0.6, 0, 0, 0, 0])  # through the table
    with pytest.raises(RobotStopped, match="outside the workspace"):
        MotionLimits(ROBOT, ControllerConfig()).checked(Q_HOME, down)
    limits = MotionLimits(ROBOT, ControllerConfig(on_limit="clip"))
    kept, changed = limits.checked(Q_HOME, down)
    assert changed
    assert limits.outside(kept[None])[0] <= 1e-4
    assert limits.tip.positions(kept[None])[0, 2] < limits.tip.positions(Q_HOME[None])[0, 2] - 0.03
    back, changed = limits.checked(down, Q_HOME)  # from outside the way back is open
    assert not changed
    np.testing.assert_array_equal(back, Q_HOME)


@pytest.mark.parametrize("robot", [ROBOT, iiwa14(), panda(), so101()], ids=lambda robot: robot.name)
def test_the_tip_in_numpy_is_that_of_the_kinematics(robot):
    tip, q = TipKinematics(robot), robot.random_q((5,))
    expected = forward_kinematics(robot, q)[:, robot.tip_indices[0], :3, 3]
    np.testing.assert_allclose(tip.positions(q.numpy()), expected, atol=1e-12)
    np.testing.assert_allclose(tip.jacobian(q[0].numpy()), jacobian(robot, q[0])[0], atol=1e-12)


def test_the_tip_of_sliding_and_mimic_joints_and_of_axes_beside_their_origin():
    def link(name, parent, joint):
        T = torch.eye(4, dtype=torch.float64)
        T[:3, :3] = exp_rotation(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64))
        T[:3, 3] = torch.tensor([0.1, 0.2, 0.3])
        return Link(name, parent, T, joint)

    joints = [
        Joint("slide", "prismatic", (1.0, 0.0, 1.0)),
        Joint("turn", "revolute", (0.0, 1.0, 0.0), anchor=(0.1, 0.0, -0.2)),
        Joint("follow", "revolute", (0.0, 0.0, 1.0), mimic=Mimic("turn", -2.0, 0.3)),
    ]
    links = [Link("base", -1), *(link(joint.name, i, joint) for i, joint in enumerate(joints))]
    robot = Robot("odd", (*links, link("tip", 3, None)), ("tip",))
    tip, q = TipKinematics(robot), robot.random_q((5,))
    expected = forward_kinematics(robot, q)[:, robot.tip_indices[0], :3, 3]
    np.testing.assert_allclose(tip.positions(q.numpy()), expected, atol=1e-12)
    np.testing.assert_allclose(tip.jacobian(q[0].numpy()), jacobian(robot, q[0])[0], atol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_braking_ends_at_rest_within_the_acceleration_and_in_the_posture_that_was_checked(seed):
    rng = np.random.default_rng(seed)
    limits = MotionLimits(ROBOT, ControllerConfig())
    q, qd = Q_HOME, rng.uniform(-1, 1, 6) * limits.speed
    end = q + 0.5 * qd * (np.abs(qd) / limits.acceleration).max()
    for _ in range(200):
        following, after = limits.braked(q, qd, DT)
        assert (np.abs(after - qd) <= limits.acceleration * DT + 1e-9).all()
        q, qd = following, after
    np.testing.assert_array_equal(qd, 0)
    np.testing.assert_allclose(q, end, atol=2 * DT * limits.speed.max())


def test_joint_speeds_move_the_tip_as_asked_and_stay_small_at_a_singular_posture():
    velocity = np.array([0.1, -0.05, 0.02, 0.2, 0.0, -0.3])
    step = 1e-4
    speeds = joint_speeds(TIP, Q_HOME, velocity)
    tips = TIP.positions(np.stack([Q_HOME, Q_HOME + step * speeds]))
    np.testing.assert_allclose((tips[1] - tips[0]) / step, velocity[:3], atol=1e-3)
    stretched = np.array([0.0, -1.2, 0.0, 0.1, 0.1, 0.0])
    assert np.abs(joint_speeds(TIP, stretched, np.array([-1.0, 0, 1.0, 0, 0, 0]))).max() < 30


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rate": 1000.0}, "rate is 1000.0"),
        ({"lookahead": 0.5}, "lookahead is 0.5"),
        ({"gain": float("nan")}, "gain is nan"),
        ({"on_limit": "ignore"}, "choose one of refuse, clip"),
        ({"workspace": ((0, 0, 0), (1, 1, -1))}, "the least and the largest"),
        ({"workspace": ((0.0, 0.0, float("nan")), (1.0, 1.0, 1.0))}, "the least and the largest"),
    ],
)
def test_settings_that_are_not_allowed_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        ControllerConfig(**settings)


def test_settings_are_written_and_read(tmp_path):
    config = ControllerConfig(rate=125.0, workspace=((0, -1, 0), (1, 1, 1)), lag=0.05)
    config.save(tmp_path / "robot.json")
    assert ControllerConfig.load(tmp_path / "robot.json") == config
    (tmp_path / "robot.json").write_text('{"spede": 1}')
    with pytest.raises(ValueError, match=r"robot.json has the settings spede: allowed are rate"):
        ControllerConfig.load(tmp_path / "robot.json")
    (tmp_path / "robot.json").write_text('{"workspace": [[1, 0, 0], [0, 1, 1]]}')
    with pytest.raises(ValueError, match=r"robot.json: workspace is \(\(1, 0, 0\), \(0, 1, 1\)\)"):
        ControllerConfig.load(tmp_path / "robot.json")
    (tmp_path / "robot.json").write_text('{"rate": 125}')
    assert ControllerConfig.load(tmp_path / "robot.json", on_limit="clip", rate=250.0) == ControllerConfig(
        rate=125, on_limit="clip"
    )
