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


def test_a_joint_beyond_its_limit_may_rest_there_or_return():
    limits = MotionLimits(ROBOT, ControllerConfig(joint_margin=1.0))
    turn = np.array([0, 0, 0, 0, 0, 0.1])
    beyond = np.array([*Q_HOME[:5], limits.upper[5] + 0.5])
    for target in (beyond, beyond - turn):
        np.testing.assert_array_equal(limits.checked(beyond, target)[0], target)
    with pytest.raises(RobotStopped, match="'wrist_3_joint'"):
        limits.checked(beyond, beyond + turn)


def test_way_points_are_found_open_together_as_one_by_one():
    limits = MotionLimits(ROBOT, ControllerConfig())
    down = Q_HOME + np.array([0, 0.6, 0, 0, 0, 0])
    turned = Q_HOME + np.array([0.2, 0, 0, 0, 0, 0.1])
    assert limits.all_open(Q_HOME, np.stack([turned, Q_HOME]))
    for bad in (down, turned + 9.0, np.full(6, np.nan)):
        assert not limits.all_open(Q_HOME, np.stack([turned, bad, Q_HOME]))
    assert not limits.all_open(Q_HOME, np.zeros((1, 7)))


def test_the_tip_stays_in_the_workspace():
    down = Q_HOME + np.array([0, 0.6, 0, 0, 0, 0])  # through the table
    with pytest.raises(RobotStopped, match="outside the workspace"):
        MotionLimits(ROBOT, ControllerConfig()).checked(Q_HOME, down)
    limits = MotionLimits(ROBOT, ControllerConfig(on_limit="clip"))
    kept, changed = limits.checked(Q_HOME, down)
    assert changed
    assert limits.workspace.outside(kept[None])[0] <= 1e-4
    assert limits.tip.positions(kept[None])[0, 2] < limits.tip.positions(Q_HOME[None])[0, 2] - 0.03
    back, changed = limits.checked(down, Q_HOME)  # from outside the way back is open
    assert not changed
    np.testing.assert_array_equal(back, Q_HOME)


DOWN = Q_HOME + np.array([0, 0.9, 0.3, -3.0, 0, 0])
"""A wrist at the table, the tip well above it."""


def test_the_links_from_the_elbow_on_stay_above_the_floor():
    limits = MotionLimits(ROBOT, ControllerConfig())
    assert limits.workspace.links == ("forearm", "wrist_1", "wrist_2", "wrist_3")
    with pytest.raises(
        RobotStopped, match=r"leads link 'wrist_1' to \[.*\] m, outside the workspace.*workspace_links"
    ):
        limits.checked(Q_HOME, DOWN)
    clipped = MotionLimits(ROBOT, ControllerConfig(on_limit="clip"))
    kept, changed = clipped.checked(Q_HOME, DOWN)
    assert changed
    heights = clipped.tip.all_positions(kept[None])[2:6, 0, 2]
    assert 0.01 - 1e-4 < heights.min() < 0.1
    assert clipped.tip.positions(kept[None])[0, 2] > 0.1
    for changes in (
        {"workspace_links": ()},
        {"workspace_links": ("forearm",)},
        {"workspace": ((-2.0, -2.0, -0.05), (2.0, 2.0, 2.0))},
    ):
        assert MotionLimits(ROBOT, ControllerConfig(**changes)).checked(Q_HOME, DOWN)[1] is False
    with pytest.raises(
        ValueError, match="workspace_links has 'elbow': the joints of .* move shoulder, upper_arm, forearm"
    ):
        MotionLimits(ROBOT, ControllerConfig(workspace_links=("elbow",)))


def test_a_side_between_base_and_tip_is_for_the_tip_alone():
    low, high = (
        TIP.all_positions(Q_HOME[None])[2:, 0].min(axis=0),
        TIP.all_positions(Q_HOME[None])[2:, 0].max(axis=0),
    )
    tip = TIP.positions(Q_HOME[None])[0]
    assert tip[0] < low[0] + 1e-3  # the arm works towards -x
    assert high[0] > tip[0] + 0.2
    in_front = ((-1.0, -1.0, 0.0), (float(tip[0]) + 0.05, 1.0, 1.0))
    assert MotionLimits(ROBOT, ControllerConfig(workspace=in_front)).workspace.outside(Q_HOME[None])[0] == 0
    wall = ((-1.0, -1.0, 0.0), (1.0, 1.0, float(high[2]) + 0.02))
    limits = MotionLimits(ROBOT, ControllerConfig(workspace=wall, link_clearance=0.05))
    np.testing.assert_allclose(limits.workspace.outside(Q_HOME[None])[0], 0.05 - 0.02, atol=1e-9)
    assert limits.workspace.place(Q_HOME).startswith("link 'forearm' to [")


OUTSIDE = np.array([0.9, -1.2, 1.6, -2.0, -1.57, 0.0])
"""The tip at [-0.28, -0.57, 0.31] m or, with the tool of the tasks, near it."""


def box_above_the_table(q, beyond=0.35):
    """A workspace that the tip is outside of by `beyond` [m] in y, with the table at z = 0."""
    return ((-1.5, -1.5, 0.0), (1.5, float(TIP.positions(q[None])[0, 1]) - beyond, 1.5))


def test_an_arm_outside_one_side_does_not_leave_another_one():
    """Also where it comes in at the first side meanwhile, so that its largest depth falls."""
    down = OUTSIDE + np.array([-0.25, 0.9, 0, 0, 0, 0])
    config = {"workspace": box_above_the_table(OUTSIDE), "workspace_links": ()}
    refusing = MotionLimits(ROBOT, ControllerConfig(**config))
    toward = OUTSIDE + np.array([0.3, 0, 0, 0, 0, 0])  # with a turn of the base away from the table's edge
    for q in (down, OUTSIDE + np.array([0.6, 0.9, 0, 0, 0, 0])):
        with pytest.raises(RobotStopped, match="a way-point leads the tip to"):
            refusing.checked(OUTSIDE, q)
    assert refusing.workspace.outside(toward[None])[0] < refusing.workspace.outside(OUTSIDE[None])[0]
    assert refusing.checked(OUTSIDE, toward)[1] is False
    assert refusing.checked(OUTSIDE, OUTSIDE)[1] is False  # and it may stay
    kept, changed = MotionLimits(ROBOT, ControllerConfig(on_limit="clip", **config)).checked(OUTSIDE, down)
    assert changed
    assert TIP.positions(kept[None])[0, 2] > -1e-4


def test_what_an_arm_has_come_in_is_not_given_back():
    limits = MotionLimits(ROBOT, ControllerConfig(workspace=box_above_the_table(OUTSIDE), workspace_links=()))
    toward, rest = OUTSIDE + np.array([0.3, 0, 0, 0, 0, 0]), np.zeros(6)
    limits.workspace.start(OUTSIDE)
    assert limits.way_out(OUTSIDE, toward, rest) is None
    assert limits.way_out(toward, OUTSIDE, rest) is not None
    with pytest.raises(RobotStopped, match="a way-point leads the tip"):
        limits.checked(toward, OUTSIDE)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (((-800, -400, 0), (-250, 400, 800)), "the robot cannot reach it"),
        (((-800, -400, 0), (800, 400, 800)), "so far out it limits nothing"),
        (((1.6, -0.4, 0.0), (1.9, 0.4, 0.8)), "the robot cannot reach it"),
    ],
)
def test_a_workspace_in_millimetres_or_out_of_reach_is_refused(box, said):
    with pytest.raises(
        ValueError, match=rf"workspace is .*{said}, since 'ur5e.*' reaches 1\.\d+ m.*in metres"
    ):
        MotionLimits(ROBOT, ControllerConfig(workspace=box))


def test_a_workspace_without_room_for_the_links_is_refused():
    box = ((-0.9, -0.3, 0.0), (-0.2, 0.3, 0.8))
    with pytest.raises(ValueError, match=r"link_clearance 0\.5: no room is left for the links"):
        MotionLimits(ROBOT, ControllerConfig(workspace=box, link_clearance=0.5))


@pytest.mark.parametrize("robot", [ROBOT, iiwa14(), panda(), so101()], ids=lambda robot: robot.name)
def test_the_reach_is_no_less_than_that_of_random_postures(robot):
    tip = TipKinematics(robot)
    furthest = np.linalg.norm(tip.positions(robot.random_q((2000,)).numpy()), axis=1).max()
    assert furthest <= tip.reach < 2.0 * furthest


@pytest.mark.parametrize("robot", [ROBOT, iiwa14(), panda(), so101()], ids=lambda robot: robot.name)
def test_the_links_in_numpy_are_those_of_the_kinematics(robot):
    tip, q = TipKinematics(robot), robot.random_q((5,))
    poses = forward_kinematics(robot, q)
    links = [robot.link_index(name) for name in tip.links] + [robot.tip_indices[0]]
    np.testing.assert_allclose(
        tip.all_positions(q.numpy()), poses[:, links, :3, 3].transpose(0, 1), atol=1e-12
    )


def test_the_joints_that_move_a_link():
    assert list(TipKinematics(panda()).moving_joints().values()) == [0, 0, 2, 3, 4, 4, 6]


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
        ({"workspace": ((False,) * 3, (True,) * 3)}, "the least and the largest"),
        ({"acceleration": 21.0}, "acceleration is 21.0"),
        ({"link_clearance": -0.1}, "link_clearance is -0.1"),
        ({"image_age": 0.0}, "image_age is 0.0"),
        ({"rate": 10**400}, r"rate is 10000000000000000000\.\.\.: it must be from 10"),
        (
            {"workspace": ((-(10**400), 0, 0), (1, 1, 1))},
            r"workspace is \(\(-1000.*\.\.\..*the least and the largest",
        ),
        ({"workspace": ((0.0, 0.0, float("nan")), (1.0, 1.0, 1.0))}, "the least and the largest"),
    ],
)
def test_settings_that_are_not_allowed_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        ControllerConfig(**settings)


def test_settings_are_written_and_read(tmp_path):
    config = ControllerConfig(
        rate=125.0, workspace=((0, -1, 0), (1, 1, 1)), workspace_links=("wrist_3",), lag=0.05
    )
    config.save(tmp_path / "robot.json")
    assert ControllerConfig.load(tmp_path / "robot.json") == config
    (tmp_path / "robot.json").write_text('{"spede": 1}')
    with pytest.raises(ValueError, match=r"robot.json has the settings spede: allowed are rate"):
        ControllerConfig.load(tmp_path / "robot.json")
    (tmp_path / "robot.json").write_text('{"workspace": [[1, 0, 0], [0, 1, 1]]}')
    with pytest.raises(ValueError, match=r"robot.json: workspace is \(\(1, 0, 0\), \(0, 1, 1\)\)"):
        ControllerConfig.load(tmp_path / "robot.json")
    (tmp_path / "robot.json").write_text('{"speed": 0.1, "speed": 1.0}')
    with pytest.raises(ValueError, match=r"robot.json is not valid JSON \(the key 'speed' is there twice\)"):
        ControllerConfig.load(tmp_path / "robot.json")
    (tmp_path / "robot.json").write_text(f'{{"workspace": [[-1{"0" * 400}, 0, 0], [1, 1, 1]]}}')
    with pytest.raises(ValueError, match=r"robot.json: workspace is \(\(-1000"):
        ControllerConfig.load(tmp_path / "robot.json")
    (tmp_path / "robot.json").write_text('{"workspace_links": [3]}')
    with pytest.raises(ValueError, match=r"(?s)robot.json: .*workspace_links"):
        ControllerConfig.load(tmp_path / "robot.json")
    (tmp_path / "robot.json").write_text('{"rate": 125}')
    assert ControllerConfig.load(tmp_path / "robot.json", on_limit="clip", rate=250.0) == ControllerConfig(
        rate=125, on_limit="clip"
    )
