"""The control loop over the simulated twin, in lock-step: motion, hand-over, and every way to a stop."""

import numpy as np
import pytest

from ikp.robots.commands import Confirm, JointVelocity, SetLag, Status, Stop, TipVelocity, Waypoints
from ikp.robots.interfaces import Mode, RobotStopped

from .bench import Bench

TURN = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.3])


@pytest.fixture
def bench():
    return Bench()


def test_nothing_moves_before_a_person_agrees():
    bench = Bench(confirm=False)
    start = bench.telemetry.q
    bench.go(start + TURN, 0.5)
    assert bench.telemetry.status is Status.WAITING
    assert bench.arm.sent == 0
    np.testing.assert_allclose(bench.telemetry.q, start, atol=1e-3)
    bench.controller.send(Confirm())
    bench.go(start + TURN, 0.5, wait=1.0)
    np.testing.assert_allclose(bench.telemetry.q, start + TURN, atol=2e-3)


def test_the_arm_follows_waypoints_from_the_last_commanded_position(bench):
    start = bench.telemetry.q
    bench.go(start + TURN, 1.0, wait=0.5)
    np.testing.assert_allclose(bench.telemetry.q_command, start + TURN / 2, atol=0.02)
    bench.go(start, 1.0)  # turns back without a jump
    rows = bench.controller.motion()
    times = bench.controller.now() - np.arange(1.4, 0.0, -0.005)
    commanded = np.stack([rows.commanded(time) for time in times])
    speeds = np.diff(commanded, axis=0) / 0.005
    assert np.abs(np.diff(speeds, axis=0)).max() / 0.005 <= bench.config.acceleration * 1.01
    bench.wait(0.5)
    np.testing.assert_allclose(bench.telemetry.q, start, atol=2e-3)
    assert bench.telemetry.late == 0


def test_the_lag_is_measured_and_waypoints_are_scheduled_ahead_by_it(bench):
    start = bench.telemetry.q
    bench.go(start + TURN, 1.0)
    lag = bench.telemetry.lag
    assert bench.config.lookahead - 0.02 < lag < bench.config.lookahead + 0.03
    behind = np.abs(start + TURN - bench.telemetry.q).max()
    assert behind > 0.8 * lag * TURN.max()
    bench.wait(1.0)
    bench.controller.send(SetLag(lag))
    bench.go(start, 1.0)
    assert np.abs(start - bench.telemetry.q).max() < 0.35 * behind


def test_the_tip_follows_a_velocity_and_rests_when_commands_end(bench):
    before = bench.arm.tip_pose()
    for _ in range(100):
        bench.controller.send(TipVelocity(np.array([0, 0.1, 0, 0, 0, 0]), bench.controller.now()))
        bench.wait(0.01)
    assert bench.telemetry.status is Status.TELEOPERATED
    bench.wait(0.5)
    after = bench.arm.tip_pose()
    moved = after[:3, 3] - before[:3, 3]
    np.testing.assert_allclose(moved[[0, 2]], 0, atol=2e-3)
    assert 0.09 < moved[1] < 0.13
    np.testing.assert_allclose(after[:3, :3], before[:3, :3], atol=0.02)
    assert bench.telemetry.status is Status.RESTING
    assert bench.telemetry.stale == 1
    assert np.abs(bench.telemetry.qd).max() < 1e-3


def test_hand_over_between_tip_joints_and_waypoints_is_smooth(bench):
    def now():
        return bench.controller.now()

    for k in range(60):
        if k < 20:
            bench.controller.send(TipVelocity(np.array([0, 0.1, 0, 0, 0, 0]), now()))
        elif k < 40:
            bench.controller.send(JointVelocity(np.array([0.4, 0, 0, 0, 0, 0]), now()))
        else:
            q = bench.telemetry.q_command + 0.01 * TURN
            bench.controller.send(Waypoints(np.array([now() + 0.1]), q[None]))
        bench.wait(0.01)
    motion = bench.controller.motion()
    times = now() - np.arange(0.58, 0.0, -0.005)
    speeds = np.diff(np.stack([motion.commanded(time) for time in times]), axis=0) / 0.005
    assert np.abs(np.diff(speeds, axis=0)).max() / 0.005 <= bench.config.acceleration * 1.01
    assert bench.telemetry.status is Status.FOLLOWING


def test_a_late_or_dead_policy_ends_in_a_ramp_to_rest(bench):
    start = bench.telemetry.q
    bench.go(start + TURN, 0.3)
    bench.controller.send(Waypoints(np.array([bench.controller.now() - 0.01]), (start + 2 * TURN)[None]))
    bench.wait(1.0)
    assert bench.telemetry.late == 1
    assert bench.telemetry.stale == 1
    assert bench.telemetry.status is Status.RESTING
    np.testing.assert_allclose(bench.telemetry.q, start + TURN, atol=2e-3)


def test_the_workspace_holds_in_teleoperation(bench):
    for _ in range(300):
        bench.controller.send(TipVelocity(np.array([0, 0, -0.25, 0, 0, 0]), bench.controller.now()))
        bench.wait(0.01)
    assert bench.telemetry.clipped > 0
    assert bench.arm.tip_pose()[2, 3] > -0.012
    for _ in range(100):  # and the way back is open
        bench.controller.send(TipVelocity(np.array([0, 0, 0.25, 0, 0, 0]), bench.controller.now()))
        bench.wait(0.01)
    assert bench.arm.tip_pose()[2, 3] > 0.15


def test_an_arm_that_starts_outside_is_told_and_the_table_holds_all_the_way_in():
    tip = Bench().arm.tip_pose()[:3, 3]
    box = ((-1.5, float(tip[1]) + 0.1, 0.0), (1.5, 1.5, 1.5))
    said = r"the arm starts outside the workspace: the tip is 0\.100 m beyond y >= .*move it inside"
    for velocity in ([0, 0.01, -0.25, 0, 0, 0], [0, -0.1, 0, 0, 0, 0], [0, 0.1, 0, 0, 0, 0]):
        with pytest.warns(UserWarning, match=said):
            bench = Bench(workspace=box, workspace_links=())
        lowest = furthest = np.inf
        for _ in range(200):
            bench.controller.send(TipVelocity(np.array(velocity), bench.controller.now()))
            bench.wait(0.01)
            at = bench.arm.tip_pose()[:3, 3]
            lowest, furthest = min(lowest, at[2]), min(furthest, at[1])
        assert lowest > -2e-3
        assert furthest > tip[1] - 3e-3
        if velocity[1] == 0.1:
            assert bench.arm.tip_pose()[1, 3] > box[0][1]


def test_a_velocity_of_another_clock_counts_as_stale(bench):
    start = bench.telemetry.q
    bench.controller.send(JointVelocity(np.array([0, 0, 0, 0, 0, 0.5]), bench.controller.now() + 100.0))
    bench.wait(0.5)
    assert bench.telemetry.status is Status.RESTING
    np.testing.assert_allclose(bench.telemetry.q, start, atol=0.02)


def test_the_corners_between_waypoints_stay_in_the_workspace():
    """The shoulder is faster than the elbow, so the arm leaves the straight line of the check."""
    low = (-2.0, -2.0, 0.1)
    for on_limit in ("refuse", "clip"):
        bench = Bench(on_limit=on_limit, workspace=(low, (2.0, 2.0, 2.0)), speed=1.0)
        down = bench.telemetry.q + np.array([0, 0.35, 0, 0, 0, 0])
        bench.controller.send(Waypoints(bench.controller.now() + np.array([0.4]), down[None]))
        lowest = np.inf
        stopped = False
        for _ in range(100):
            bench.wait(0.01)
            lowest = min(lowest, bench.arm.tip_pose()[2, 3])
            try:
                bench.telemetry  # noqa: B018 - raises once the arm was stopped
            except RobotStopped:
                stopped = True
        assert lowest > low[2] - 2e-3
        assert stopped == (on_limit == "refuse")


def test_the_elbow_stays_above_the_floor_in_teleoperation():
    bench = Bench()
    limits, lowest = bench.controller._loop.limits, np.inf
    for _ in range(600):
        speeds = np.array([0, 0.18, 0.06, -0.6, 0, 0])
        bench.controller.send(JointVelocity(speeds, bench.controller.now()))
        bench.wait(0.01)
        lowest = min(lowest, limits.tip.all_positions(bench.telemetry.q[None])[2:6, 0, 2].min())
    assert bench.telemetry.clipped > 0
    assert bench.arm.tip_pose()[2, 3] > 0.1
    assert 0.01 - 2e-3 < lowest < 0.1


def test_a_dry_run_sends_nothing():
    bench = Bench(dry_run=True)
    start = bench.telemetry.q
    bench.go(start + TURN, 0.5)
    np.testing.assert_allclose(bench.telemetry.q_command, start + TURN, atol=0.02)
    np.testing.assert_allclose(bench.telemetry.q, start, atol=1e-3)
    assert bench.arm.sent == 0


def test_a_tip_that_disagrees_is_refused_at_the_start():
    with pytest.raises(RobotStopped, match=r"1\.5 mm apart.*calibration"):
        Bench(tip_shift=0.0015)
    assert Bench(tip_shift=0.0009).telemetry.ticks > 0


def test_a_tip_that_is_turned_is_refused_unless_its_turn_is_free():
    with pytest.raises(
        RobotStopped, match=r"'.*' and the TCP .* turned by 90\.0 degrees .*RX, RY, RZ.*tip_angle"
    ):
        Bench(turned=np.pi / 2)
    assert Bench(turned=0.01).telemetry.ticks > 0
    assert Bench(turned=np.pi, tip_angle=3.2).telemetry.ticks > 0


def test_the_first_motion_is_not_confirmed_while_the_arm_moves():
    bench = Bench(confirm=False)
    bench.world.env.data.qvel[0] = 0.5
    bench.world.publish()
    bench.controller.send(Confirm())
    bench.wait(0.005)
    with pytest.raises(RobotStopped, match=r"'shoulder_pan_joint' moves at 0\.\d+ rad/s .*let the arm rest"):
        bench.telemetry  # noqa: B018 - raises
    assert bench.arm.sent == 0


def test_a_joint_beyond_its_margin_rests_where_the_hand_lets_go():
    bench = Bench(joint_margin=1.0)
    loop, beyond = bench.controller._loop, bench.telemetry.q_command.copy()
    loop.limits.upper[5] = beyond[5] - 0.5
    for _ in range(10):
        bench.controller.send(TipVelocity(np.zeros(6), bench.controller.now()))
        bench.wait(0.01)
    bench.wait(1.0)
    assert bench.telemetry.status is Status.RESTING
    np.testing.assert_allclose(bench.telemetry.q_command, beyond, atol=1e-6)


def fastest_tip(bench, command):
    """Largest linear and angular speed of the commanded tip [m/s, rad/s] in half a second of a command."""
    speeds = []
    for _ in range(50):
        bench.controller.send(command(bench.controller.now()))
        bench.wait(0.01)
        loop = bench.controller._loop
        speeds.append(loop.limits.tip.jacobian(loop.q) @ loop.qd)
    linear, angular = np.split(np.stack(speeds), 2, axis=1)
    return np.linalg.norm(linear, axis=1).max(), np.linalg.norm(angular, axis=1).max()


def test_teleoperation_is_no_faster_than_full_deflection_and_the_tips_limits():
    push = np.array([0, 2.0, 0, 0, 0, 0])
    bench = Bench(linear_speed=0.05, speed=1.0)
    assert 0.04 < fastest_tip(bench, lambda now: TipVelocity(push, now))[0] < 0.053
    assert bench.telemetry.clipped > 0
    bench = Bench(tip_speed=0.1, tip_turn_speed=0.2, speed=1.0)
    sideways, turning = np.array([0.5, 0, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0, -0.6])
    linear, _ = fastest_tip(bench, lambda now: JointVelocity(sideways, now))
    assert 0.05 < linear < 0.105
    bench.wait(0.5)
    assert 0.15 < fastest_tip(bench, lambda now: JointVelocity(turning, now))[1] < 0.21
    bench = Bench(joint_speed=0.1)
    fastest_tip(bench, lambda now: JointVelocity(sideways, now))
    assert 0.08 < np.abs(bench.telemetry.qd).max() < 0.105


def test_many_way_points_are_taken_one_period_after_another_and_too_many_stop_the_arm(bench):
    start, checked = bench.telemetry.q, []
    loop = bench.controller._loop
    whole = loop.limits.all_open
    loop.limits.all_open = lambda q, rows: checked.append((loop.ticks, len(rows))) or whole(q, rows)
    for k in range(20):
        times = bench.controller.now() + 0.5 + 0.1 * k + np.linspace(0.01, 0.1, 16)
        bench.controller.send(Waypoints(times, np.repeat(start[None], 16, 0)))
    bench.wait(0.2)
    assert [rows for _, rows in checked] == [16] * 20
    assert len({tick for tick, _ in checked}) == 20
    assert bench.telemetry.status is Status.FOLLOWING
    for k in range(70):
        times = bench.controller.now() + 3.0 + 0.1 * k + np.linspace(0.01, 0.1, 16)
        bench.controller.send(Waypoints(times, np.repeat(start[None], 16, 0)))
    bench.wait(0.05)
    with pytest.raises(RobotStopped, match=r"way-points wait for the arm, allowed are 1024"):
        bench.controller.telemetry()


FAULTS = {
    "protective": (lambda bench: setattr(bench.arm, "mode", Mode.PROTECTIVE_STOP), "reports protective stop"),
    "emergency": (lambda bench: setattr(bench.arm, "mode", Mode.EMERGENCY_STOP), "reports emergency stop"),
    "frozen": (lambda bench: setattr(bench.arm, "frozen", True), "no new state"),
    "lost": (lambda bench: setattr(bench.arm, "lost", True), "connection to the arm is lost"),
    "stop": (lambda bench: bench.controller.send(Stop("enough")), "enough"),
    "nan waypoint": (
        lambda bench: bench.controller.send(
            Waypoints(np.array([bench.controller.now() + 0.1]), np.full((1, 6), np.nan))
        ),
        "not finite",
    ),
    "nan velocity": (
        lambda bench: bench.controller.send(TipVelocity(np.full(6, np.nan), bench.controller.now())),
        "velocity is not finite",
    ),
    "outside": (
        lambda bench: bench.controller.send(
            Waypoints(np.array([bench.controller.now() + 0.1]), np.full((1, 6), 7.0))
        ),
        "allowed are -6.263 to 6.263",
    ),
    "lag": (lambda bench: bench.controller.send(SetLag(np.nan)), "the lag is not finite"),
    "time": (
        lambda bench: bench.controller.send(TipVelocity(np.zeros(6), np.nan)),
        "velocity is not finite",
    ),
    "clock": (
        lambda bench: bench.controller.send(Waypoints(np.array([1e6]), bench.telemetry.q[None])),
        "s ahead, allowed are 60",
    ),
    "safeguard": (lambda bench: setattr(bench.arm, "mode", Mode.SAFEGUARD_STOP), "reports safeguard stop"),
    "times": (
        lambda bench: bench.controller.send(
            Waypoints(np.array([2.0, 1.0]) + bench.controller.now(), np.zeros((2, 6)))
        ),
        "must increase",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_motion_ends_at_rest_within_a_fifth_of_a_second(bench, fault):
    start = bench.telemetry.q
    bench.go(start + 3 * TURN, 1.0, wait=0.5)
    assert np.abs(bench.telemetry.qd).max() > 0.5
    cause, message = FAULTS[fault]
    cause(bench)
    bench.wait(0.2)
    assert np.abs(bench.world.env.data.qvel[:6]).max() < 0.02
    assert bench.arm.stops == 1
    with pytest.raises(RobotStopped, match=message):
        bench.controller.telemetry()


def test_an_arm_that_is_held_is_stopped(bench):
    bench.world.env.model.dof_damping[5] = 1e4
    bench.go(bench.telemetry.q + 3 * TURN, 1.0, wait=0.1)
    bench.wait(1.5)
    with pytest.raises(RobotStopped, match="'wrist_3_joint' is .* from its target: the arm does not follow"):
        bench.controller.telemetry()
