"""Five poses tell whether a calibration still holds, and which joint drifted."""

import math

import numpy as np
import pytest

from ikp.calibration import calibrate, verify
from simulated_arms import TrueArm


def checked(arm, found, drift=None):
    """The test with five new poses of an arm whose joint `drift` moved by half a degree."""
    q = arm.q(5)
    moved = np.zeros(arm.robot.dof)
    if drift is not None:
        moved[drift] = math.radians(0.5)
    measured = arm.tip_poses(q=q + moved)
    return verify(arm.robot, [measured.at(q + found.q_offset, np.arange(5))], found.covariance)


@pytest.fixture(scope="module", params=["ur5e", "iiwa14"])
def calibrated(request):
    arm = TrueArm(request.param)
    return arm, calibrate(arm.robot, [arm.tip_poses(30)])


def test_a_calibration_that_holds_is_said_to(calibrated):
    assert sum(checked(*calibrated).holds for _ in range(20)) >= 19


def test_the_joint_that_drifted_is_named(calibrated):
    arm, found = calibrated
    for joint, name in enumerate(arm.robot.joint_names):
        outcome = checked(arm, found, joint)
        assert not outcome.holds
        assert outcome.suspects[0].joint == name
        assert outcome.suspects[0].value == pytest.approx(math.radians(0.5), abs=math.radians(0.1))
        assert f"most likely drifted: {name} by 0." in str(outcome)


def test_joints_that_the_calibration_left_open_raise_no_alarm_in_a_known_frame():
    """They are degrees away, where derivatives at zero say nothing."""
    holds = found = 0
    for seed in range(6):
        arm = TrueArm("ur5e", seed)
        known = calibrate(arm.robot, [arm.tip_poses(30, unknown=("base", "tool"))])
        holds += checked(arm, known).holds
        found += not checked(arm, known, drift=2).holds
    assert holds >= 5
    assert found == 6


def test_joints_that_the_poses_do_not_show_are_named():
    arm = TrueArm("so101")
    found = calibrate(arm.robot, [arm.tip_poses(30)])
    assert "these poses do not show it: gripper" in str(checked(arm, found))
    hidden = calibrate(arm.robot, [arm.tip_poses(30, unknown=("base",))])
    outcome = verify(arm.robot, [arm.tip_poses(5, unknown=("base",))], hidden.covariance)
    assert "do not show it: shoulder_pan, gripper" in str(outcome)


def test_what_no_single_joint_explains_is_said(calibrated):
    arm, found = calibrated
    assert not checked(arm, found, 1).unexplained
    q = arm.q(5)
    measured = arm.tip_poses(q=q + np.radians(0.5) * (np.arange(arm.robot.dof) % 3 == 1))
    outcome = verify(arm.robot, [measured.at(q + found.q_offset, np.arange(5))], found.covariance)
    assert outcome.unexplained
    assert "no single joint explains this" in str(outcome)


def test_fewer_residuals_than_unknowns_are_refused():
    arm = TrueArm()
    with pytest.raises(ValueError, match="add a pose"):
        verify(arm.robot, [arm.tip_poses(1, unknown=("base",))])
