"""Offsets are found, intervals are honest, what is not identified is said, and poor data are refused with the fix."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import ikp
from ikp.calibration import SocketDistances, TipPoses, Upright, calibrate
from ikp.joint_map import JOINT, Dimension
from simulated_arms import TrueArm

SOCKETS = {
    "ur5e": {"a": (-0.45, -0.2, 0.15), "b": (-0.45, 0.0, 0.15)},
    "so101": {"a": (0.25, 0.0, 0.05), "b": (0.25, 0.08, 0.05)},
}

UP_AT_ZERO = np.array([0.0, 1.0, 0.0])  # in the flange of a UR5e


def errors(found, arm):
    """Error and standard deviation of every identified parameter."""
    identified = np.array([one.identified for one in found.parameters])
    sigma = np.array([one.sigma for one in found.parameters])
    return (found.fit.beta - arm.beta)[identified], sigma[identified]


def verdicts(found):
    return {one.joint: one for one in found.parameters}


@pytest.mark.parametrize("name", ["ur5e", "iiwa14", "so101", "aloha"])
def test_measured_poses_identify_every_joint_that_moves_the_tip(name):
    arm = TrueArm(name)
    found = calibrate(arm.robot, [arm.tip_poses()])
    above = {arm.robot.joint_names[j] for j in arm.robot.joints_above(arm.robot.link_index(arm.link))}
    assert {one.joint for one in found.parameters if one.identified} == above
    error, sigma = errors(found, arm)
    assert np.abs(error).max() < math.radians(0.05)
    assert (np.abs(error) < 4 * sigma).all()
    (length, angle) = found.residuals
    assert length.before > 5e-3
    assert length.after < 2e-4
    assert angle.after < math.radians(0.07)


@pytest.mark.parametrize(
    ("unknown", "hidden"),
    [("base", {0: "the base"}), ("tool", {5: "the tool"}), ("base tool", {0: "the base", 5: "the tool"})],
)
def test_unknown_frames_hide_the_joints_next_to_them(unknown, hidden):
    arm = TrueArm()
    base, tool = np.eye(4), np.eye(4)
    base[:3, :3], base[:3, 3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], (0.3, -0.8, 0.1)
    tool[:3, 3] = (0.02, 0.0, 0.1)
    names = unknown.split()
    poses = arm.tip_poses(
        base=base if "base" in names else None, tool=tool if "tool" in names else None, unknown=names
    )
    found = calibrate(arm.robot, [poses])
    for index, one in enumerate(found.parameters):
        assert one.identified == (index not in hidden)
        if index in hidden:
            assert hidden[index] in one.hidden_by
            assert abs(one.value) < 1e-6
            assert one.sigma == pytest.approx(arm.model.sigma[index], rel=0.01)
            assert f"needs one of these to be known: {hidden[index]}" in str(found)
    error, _ = errors(found, arm)
    assert np.abs(error).max() < math.radians(0.05)


def test_intervals_cover_the_truth_as_often_as_they_say():
    scores = []
    for seed in range(8):
        arm = TrueArm("iiwa14", seed)
        error, sigma = errors(calibrate(arm.robot, [arm.tip_poses(10)]), arm)
        scores += list(error / sigma)
    assert 0.5 < np.mean(np.square(scores)) < 1.6
    assert 0.88 < np.mean(np.abs(scores) < 1.96) <= 1


@pytest.mark.parametrize("name", ["ur5e", "so101"])
def test_a_ball_in_two_sockets_calibrates_without_a_camera(name):
    arm = TrueArm(name, 1)
    places = SOCKETS[name]
    distance = float(np.linalg.norm(np.subtract(places["a"], places["b"])))
    found = calibrate(arm.robot, [arm.sockets(places, 40), SocketDistances({("a", "b"): distance})])
    by_joint = verdicts(found)
    joints = arm.robot.joint_names[:-1] if name == "so101" else arm.robot.joint_names
    assert [joint for joint in joints if not by_joint[joint].identified] == [joints[0], joints[-1]]
    assert "the ball" in by_joint[joints[-1]].hidden_by
    error, sigma = errors(found, arm)
    assert (np.abs(error) < 4 * sigma).all()
    assert np.abs(error).max() < math.radians(0.3 if name == "so101" else 0.05)
    np.testing.assert_allclose(found.unknowns["ball"][2], 0.08, atol=2e-3)


def test_a_held_point_and_a_touched_plane_combine():
    arm = TrueArm("ur5e", 2)
    point = arm.sockets({"point": (-0.45, -0.2, 0.15)}, 30)
    found = calibrate(arm.robot, [point, arm.plane(0.05, 30)])
    error, sigma = errors(found, arm)
    assert len(error) >= 4
    assert (np.abs(error) < 4 * sigma).all()
    assert np.abs(error).max() < math.radians(0.1)


def test_what_demonstrations_show_and_what_stays_nominal():
    arm = TrueArm("ur5e", 3)
    upright, table = arm.demonstrations(0.05, 40)
    alone = calibrate(arm.robot, [upright])
    by_joint = verdicts(alone)
    assert by_joint["wrist_2_joint"].identified
    assert not any(
        by_joint[name].identified for name in ("shoulder_lift_joint", "elbow_joint", "wrist_1_joint")
    )
    assert alone.q_offset[1:4].sum() == pytest.approx(arm.beta[1:4].sum(), abs=math.radians(0.1))
    np.testing.assert_allclose(alone.q_offset[1:4], alone.q_offset[1:4].mean(), atol=math.radians(0.01))
    both = calibrate(arm.robot, [upright, table])
    error, sigma = errors(both, arm)
    assert len(error) == 4
    assert (np.abs(error) < 4 * sigma).all()


def test_noise_is_not_taken_for_offsets_that_the_data_do_not_show():
    arm = TrueArm("ur5e", 3)
    upright, _ = arm.demonstrations(0.05, 40)
    narrow = upright.q[:8]
    few = calibrate(arm.robot, [replace(upright, q=narrow, noise_rad=math.radians(1))], complete=False)
    for one in few.parameters:
        assert abs(one.value) < math.radians(6)
        if not one.identified and one.has_effect:
            assert one.sigma > 0.5 * math.radians(10) / math.sqrt(3)


def test_scale_and_drift_are_found_where_the_joints_move_far():
    arm = TrueArm("iiwa14", 4, terms=("offset", "scale", "drift"))
    arm.beta *= 0.3
    found = calibrate(arm.robot, [arm.tip_poses(80)], estimate=("offset", "scale", "drift"))
    error, sigma = errors(found, arm)
    assert len(error) == arm.model.size
    assert (np.abs(error) < 4.5 * sigma).all()
    assert "neither a joint map nor a URDF can hold it" in str(found)


def test_link_corrections_predict_poses_that_were_not_measured():
    arm = TrueArm("ur5e", 5, terms=("offset", "links"))
    found = calibrate(arm.robot, [arm.tip_poses(60)], estimate=("offset", "links"))
    q = arm.q(50)
    link = arm.robot.link_index(arm.link)
    corrected = ikp.forward_kinematics(found.corrected_robot, torch.from_numpy(q))[:, link].numpy()
    nominal = ikp.forward_kinematics(arm.robot, torch.from_numpy(q))[:, link].numpy()
    true = arm.poses(q)[:, :3, 3]
    assert np.linalg.norm(nominal[:, :3, 3] - true, axis=1).mean() > 5e-3
    assert np.linalg.norm(corrected[:, :3, 3] - true, axis=1).max() < 5e-4


def test_outliers_are_left_out_and_named():
    arm = TrueArm("ur5e", 6)
    poses = arm.tip_poses(30)
    wrong = poses.position.copy()
    wrong[[3, 11]] += (0.0, 0.03, -0.02)
    poses = TipPoses(
        poses.q,
        poses.link,
        0.0,
        wrong,
        poses.rotation,
        position_noise=1e-4,
        rotation_noise=poses.rotation_noise,
    )
    spoilt, found = calibrate(arm.robot, [poses]), calibrate(arm.robot, [poses], robust=True)
    assert found.outliers == {"tip poses": [3, 11]}
    assert "left out as outliers: 4, 12" in str(found)
    assert spoilt.fit.excess > 5
    assert "times the stated noise" in str(spoilt)
    error, sigma = errors(found, arm)
    assert (np.abs(error) < 4 * sigma).all()


def test_noise_of_the_joints_is_part_of_the_noise():
    arm = TrueArm("ur5e", 7)
    poses = arm.tip_poses(60)
    readings = poses.q + math.radians(0.05) * arm.rng.normal(size=poses.q.shape)
    rest = (poses.position, poses.rotation, np.eye(4), np.eye(4), 1e-4, math.radians(0.05))
    ignored = calibrate(arm.robot, [TipPoses(readings, arm.link, 0.0, *rest)])
    stated = calibrate(arm.robot, [TipPoses(readings, arm.link, math.radians(0.05), *rest)])
    assert ignored.fit.excess > 2
    assert stated.fit.excess == 1
    error, sigma = errors(stated, arm)
    assert (np.abs(error) < 4 * sigma).all()


def test_the_joint_map_gives_the_true_joints():
    arm = TrueArm("ur5e", 8)
    names = arm.robot.joint_names
    entries = tuple(
        Dimension(f"{name}.pos", JOINT, name, "deg", -1 if i == 2 else 1, math.pi / 180, 0.1 * i)
        for i, name in enumerate(names)
    )
    nominal = ikp.JointMap(names, entries, entries)
    recorded = 60 * arm.rng.uniform(-1, 1, (20, 6))
    q = nominal.states.to_model(torch.from_numpy(recorded)).numpy()
    found = calibrate(arm.robot, [arm.tip_poses(q=q)], joint_map=nominal)
    q_true = arm.model.joints(q, arm.beta)
    for vector in (found.joint_map.states, found.joint_map.actions):
        np.testing.assert_allclose(
            vector.to_model(torch.from_numpy(recorded)).numpy(), q_true, atol=math.radians(0.05)
        )
    again = ikp.JointMap.from_json(found.joint_map.to_json(), arm.robot)
    assert again == found.joint_map


def test_too_few_and_degenerate_poses_are_refused_with_the_pose_to_add():
    arm = TrueArm()
    with pytest.raises(ValueError, match=r"leave nothing to check the result by: add \d pose"):
        calibrate(arm.robot, [arm.tip_poses(2, rotations=False)])
    q = np.tile(arm.q(1), (20, 1))
    q[:, [0, 1, 4]] += arm.rng.uniform(-0.5, 0.5, (20, 3))
    with pytest.raises(
        ValueError, match=r"do not show .*: add poses \(tip poses\) that move wrist_1_joint, such as shoulder"
    ):
        calibrate(arm.robot, [arm.tip_poses(q=q)], estimate=("offset", "scale"))
    with pytest.raises(ValueError, match="do not show"):
        calibrate(arm.robot, [arm.sockets({"point": (-0.45, -0.2, 0.15)}, 3)])


def test_the_wrong_robot_and_wrong_arguments_are_refused():
    arm = TrueArm()
    poses = arm.tip_poses(8)
    turned = TipPoses(poses.q[:, ::-1].copy(), arm.link, 0.0, poses.position, poses.rotation)
    with pytest.raises(ValueError, match="explains the tip poses: .* are left. Check that it is this robot"):
        calibrate(arm.robot, [turned])
    turned = poses.q * [1, 1, -1, 1, 1, 1]
    with pytest.raises(
        ValueError, match="With elbow_joint reversed it would be explained: give it the other 'sign'"
    ):
        calibrate(arm.robot, [replace(poses, q=turned)])
    with pytest.raises(ValueError, match="choose any of offset, scale, drift, links"):
        calibrate(arm.robot, [poses], estimate=("zeros",))
    with pytest.raises(ValueError, match="nothing to calibrate"):
        calibrate(arm.robot, [])
    with pytest.raises(ValueError, match="positive standard deviation"):
        TipPoses(poses.q, arm.link, 0.0, poses.position, position_noise=0.0)
    with pytest.raises(ValueError, match="not finite"):
        TipPoses(poses.q * math.nan, arm.link, 0.0, poses.position)
    with pytest.raises(ValueError, match="where no ball was put"):
        calibrate(arm.robot, [SocketDistances({("a", "b"): 0.2})])
    with pytest.raises(ValueError, match="reverse one of them"):
        calibrate(
            arm.robot, [Upright(np.zeros((9, 6)), arm.link, 0.0, -UP_AT_ZERO, np.array([0.0, 0.0, 1.0]))]
        )
