"""Inference: each unit, order and gripper is found, or refused with the option that settles it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ikp.joint_map import EXTRA, GRIPPER, IGNORED, JOINT, MapHints, infer_joint_map
from ikp.kinematics import load_robot

DEG = 180 / math.pi


def found(robot, recording, **hints):
    return infer_joint_map(robot, recording, MapHints(**hints))


def units_of(joint_map):
    return [d.unit for d in joint_map.action if d.unit]


@settings(max_examples=20)
@given(
    data=st.data(),
    ending=st.sampled_from(("", ".pos", "_position")),
    in_degrees=st.booleans(),
)
def test_action_and_state_in_any_order_and_unit(arm, helpers, data, ending, in_degrees):
    state, action = helpers.motion(5, reach=1.8)
    orders = [data.draw(st.permutations(range(5))) for _ in range(2)]
    scale = DEG if in_degrees else 1.0
    names = [[helpers.JOINTS[i] + ending for i in order] for order in orders]
    made = helpers.recording(names[0], scale * action[:, orders[0]], names[1], scale * state[:, orders[1]])
    # LeRobot's `NAME.pos` may also be a percentage, so that degrees must be said.
    joint_map = found(arm, made, **({"units": "deg"} if in_degrees and ending == ".pos" else {}))
    np.testing.assert_allclose(
        joint_map.actions.to_model(torch.tensor(made.action.values)), action, atol=1e-12
    )
    np.testing.assert_allclose(joint_map.states.to_model(torch.tensor(made.state.values)), state, atol=1e-12)


@pytest.mark.parametrize("unit", ["rad", "deg", "percent", "signed-percent"])
def test_a_unit_that_is_said_counts(arm, helpers, unit):
    state, action = helpers.motion(5)
    share = {"rad": (1, 0), "deg": (DEG, 0), "percent": (100 / 3.8, 50), "signed-percent": (100 / 1.9, 0)}
    scale, zero = share[unit]
    made = helpers.recording(helpers.JOINTS, scale * action + zero, None, scale * state + zero)
    joint_map = found(arm, made, units=unit)
    np.testing.assert_allclose(joint_map.states.to_model(torch.tensor(made.state.values)), state, atol=1e-9)
    assert units_of(joint_map) == [unit] * 5


@pytest.mark.parametrize("unit", ["m", "mm"])
@pytest.mark.parametrize("is_said", [True, False])
def test_a_sliding_joint_beside_turning_ones(tmp_path, helpers, unit, is_said):
    slide = dict(kind="prismatic", axis="0 0 1", lower=0.0, upper=0.5)
    path = tmp_path / "arm.urdf"
    path.write_text(helpers.arm_urdf(("pan", "lift"), hand=slide).replace("gripper", "column"))
    robot = load_robot(path)
    state, action = helpers.motion(3)
    state[:, 2], action[:, 2] = 0.25 + state[:, 2] / 10, 0.25 + action[:, 2] / 10
    scale = np.array([1, 1, 1000 if unit == "mm" else 1])
    made = helpers.recording(robot.joint_names, action * scale, None, state * scale)
    joint_map = found(robot, made, **({"units": unit} if is_said else {}))
    assert units_of(joint_map) == ["rad", "rad", unit]
    np.testing.assert_allclose(joint_map.states.to_model(torch.tensor(made.state.values)), state, atol=1e-12)


def test_stored_units_and_units_in_names_count(arm, helpers):
    state, action = helpers.motion(5)
    small = 0.05 * action * DEG  # would fit the limits in rad
    stored = helpers.recording(helpers.JOINTS, small, None, 0.05 * state, units=("degrees",) * 5)
    assert units_of(found(arm, stored)) == ["deg"] * 5
    assert found(arm, stored).state[0].unit == "rad"
    named = helpers.recording(
        [f"{joint}_deg" for joint in helpers.JOINTS], small, helpers.JOINTS, 0.05 * state
    )
    assert units_of(found(arm, named)) == ["deg"] * 5
    wrong = helpers.recording(helpers.JOINTS, action * DEG, None, state * DEG, units=("rad",) * 5)
    with pytest.raises(ValueError, match="said to be in rad, but reaches.*--units deg"):
        found(arm, wrong)


@pytest.mark.parametrize("unit", ["mrad", "cm", "rev", "rad/s", "x" * 1000])
def test_a_stored_unit_that_is_unknown_is_refused(arm, helpers, unit):
    state, action = helpers.motion(5, reach=0.5)
    made = helpers.recording(helpers.JOINTS, action, None, state, units=("rad", unit, "rad", "rad", "rad"))
    with pytest.raises(
        ValueError, match="'shoulder_lift' is stored in '.*--units shoulder_lift=UNIT"
    ) as raised:
        found(arm, made)
    assert len(str(raised.value)) < 250
    assert units_of(found(arm, made, units={"shoulder_lift": "deg"})) == ["rad", "deg", "rad", "rad", "rad"]


def test_degrees_or_percent_is_asked(arm, helpers):
    state, action = helpers.motion(5)
    names = [f"{joint}.pos" for joint in helpers.JOINTS]
    with pytest.raises(ValueError, match="--units deg or --units signed-percent"):
        found(arm, helpers.recording(names, action * DEG, None, state * DEG))
    beyond = np.concatenate([action * DEG, np.full((1, 5), 104.0)])  # no percentage
    assert units_of(found(arm, helpers.recording(names, beyond))) == ["deg"] * 5


def test_small_degrees_are_told_by_the_limits_and_by_speed(arm, helpers):
    state, action = helpers.motion(5)
    with pytest.raises(ValueError, match="has the limits -1.9 to 1.9; as deg the numbers fit.*--units deg"):
        found(arm, helpers.recording(helpers.JOINTS, action * 5, None, state * 5))
    quick, _ = helpers.motion(5, frames=20)
    jumps = quick[::-1] * np.where(np.arange(20) % 2, 1, -1)[:, None]
    with pytest.raises(ValueError, match="move faster than the robot can: give --units deg, or --units rad"):
        found(arm, helpers.recording(helpers.JOINTS, jumps))
    assert units_of(found(arm, helpers.recording(helpers.JOINTS, jumps), units="rad")) == ["rad"] * 5


@pytest.mark.parametrize("unit", ["rad", "deg"])
def test_an_encoder_that_wraps_is_no_fast_joint(tmp_path, helpers, unit):
    text = helpers.arm_urdf().replace('"shoulder_pan" type="revolute"', '"shoulder_pan" type="continuous"')
    (tmp_path / "turner.urdf").write_text(text)
    robot = load_robot(tmp_path / "turner.urdf")
    state, _ = helpers.motion(5)
    state[:, 0] = (0.15 * np.arange(len(state)) + np.pi) % (2 * np.pi) - np.pi  # 2 % of the frames wrap
    values = state * (DEG if unit == "deg" else 1)
    assert units_of(found(robot, helpers.recording(helpers.JOINTS, values))) == [unit] * 5
    state[:, 0] = 0.8 * np.arange(len(state)) % 6.2
    with pytest.raises(ValueError, match="move faster than the robot can"):
        found(robot, helpers.recording(helpers.JOINTS, state))


def test_units_that_no_joint_can_have_are_refused(arm, helpers):
    made = helpers.recording(helpers.JOINTS, helpers.motion(5)[0])
    with pytest.raises(ValueError, match="has no joint of this kind; choose rad, deg"):
        found(arm, made, units="mm")
    with pytest.raises(ValueError, match="the joint is revolute; choose rad, deg"):
        found(arm, made, units={"elbow_flex": "m"})
    with pytest.raises(ValueError, match="the unit is unknown; choose one of rad, deg, m, mm, percent"):
        MapHints(units="turns")
    with pytest.raises(ValueError, match=r"--units names \['elbow'\]; there are"):
        found(arm, made, units={"elbow": "deg"})


@pytest.mark.parametrize("in_degrees", [True, False])
def test_a_jaw_from_0_to_100_is_a_share_of_its_range(arm_with_jaw, helpers, in_degrees):
    action = helpers.motion(6)[1]
    jaw = 0.8 + action[:, 5:] / 2
    percent = (jaw + 0.2) / 2 * 100
    scale = DEG if in_degrees else 1
    values = np.concatenate([action[:, :5] * scale, percent], 1)
    made = helpers.recording([f"{joint}.pos" for joint in arm_with_jaw.joint_names], values)
    joint_map = found(arm_with_jaw, made, units="deg" if in_degrees else "")
    model = joint_map.actions.to_model(torch.tensor(values))
    np.testing.assert_allclose(model[:, 5:], jaw, atol=1e-9)
    np.testing.assert_allclose(model[:, :5], action[:, :5], atol=1e-9)


@pytest.mark.parametrize(
    ("values", "opened", "closed"),
    [((0, 1), 0, 1), ((-1, 1), -1, 1), ((0, 100), 100, 0), ((0.0, 0.08), 0.08, 0.0), ((0.2, 0.8), 0.8, 0.2)],
)
@pytest.mark.parametrize("measured", ["gripper.pos", "gripper_position", "width"])
def test_grippers_of_any_two_values_are_found(arm, helpers, values, opened, closed, measured):
    state, action = helpers.motion(5)
    grip = np.where(np.arange(200) % 40 < 20, *values)[:, None]
    made = helpers.recording(
        (*helpers.JOINTS, "gripper.pos"),
        np.hstack([action, grip]),
        (measured, *helpers.JOINTS),
        np.hstack([grip, state]),
    )
    joint_map = found(arm, made)
    entry = joint_map.action[5]
    assert (entry.role, entry.open, entry.closed) == (GRIPPER, opened, closed)
    model = joint_map.actions.to_model(torch.tensor(made.action.values))
    assert set(model[:, 5].tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(joint_map.actions.to_recorded(model), made.action.values, atol=1e-9)
    assert (joint_map.state[0].role == GRIPPER) == (measured != "width")


CLOSING = np.arange(200) % 40 >= 20
"""Frames in which a gripper is told to close."""


def gripper_map(arm, helpers, command, measured):
    """The map of a recording whose gripper is commanded and measured as given, (frame,) each."""
    state, action = helpers.motion(5)
    names = (*helpers.JOINTS, "gripper")
    made = helpers.recording(names, np.c_[action, command], names, np.c_[state, measured])
    return found(arm, made), made


@pytest.mark.parametrize("command", [(0.0, 1.0), (-1.0, 1.0), (0.08, 0.0), (100.0, 0.0)])
@pytest.mark.parametrize("width", [(0.08, 0.0), (0.0, 0.8), (95.0, 40.0), (0.0, 1.0), (1.0, 0.0)])
def test_a_measured_gripper_has_its_own_unit(arm, helpers, command, width):
    """The fingers take three frames to move and never hold quite still."""
    late = np.convolve(CLOSING, np.ones(3) / 3)[:200]
    noise = np.random.default_rng(0).normal(0, 0.002, 200)
    measured = width[0] + (width[1] - width[0]) * (late + noise)
    joint_map, made = gripper_map(arm, helpers, np.where(CLOSING, command[1], command[0]), measured)
    assert joint_map.state[5].role == GRIPPER
    model = joint_map.states.to_model(torch.tensor(made.state.values))[:, 5].numpy()
    np.testing.assert_allclose(model, late, atol=0.12)
    assert ((model > 0.5) == (late > 0.5)).all()


@pytest.mark.parametrize("measured", [np.full(200, 0.03), np.sin(np.arange(200) / 7)])
def test_measured_numbers_that_do_not_follow_the_gripper_are_an_input_only(arm, helpers, measured):
    joint_map, _ = gripper_map(arm, helpers, CLOSING.astype(float), measured)
    assert joint_map.action[5].role == GRIPPER
    assert joint_map.state[5].role == EXTRA


def test_a_gripper_that_never_moves_is_measured_as_it_is_commanded(arm, helpers):
    joint_map, _ = gripper_map(arm, helpers, CLOSING.astype(float), np.zeros(200))
    assert (joint_map.state[5].open, joint_map.state[5].closed) == (0.0, 1.0)


@pytest.mark.parametrize(("opened", "closed"), [(0.0, 1.0), (-1.0, 1.0), (100.0, 0.0), (0.08, 0.0)])
def test_noise_does_not_change_which_command_is_closed(arm, helpers, opened, closed):
    noise = np.random.default_rng(0).normal(0, 0.001 * abs(opened - closed), 200)
    command = np.where(CLOSING, closed, opened) + noise
    entry = gripper_map(arm, helpers, command, command)[0].action[5]
    assert (entry.open, entry.closed) == pytest.approx((opened, closed), abs=0.001 * abs(opened - closed))


def test_a_gripper_that_is_said_may_take_many_values(arm, helpers):
    action = helpers.motion(6)[1]
    made = helpers.recording((*helpers.JOINTS, "hand"), action * np.array([1] * 5 + [40]))
    as_number = found(arm, made).action[5]
    assert (as_number.role, as_number.reason) == (EXTRA, "many values (else --gripper hand, --ignore hand)")
    said = found(arm, made, gripper={"hand": (40.0, -40.0)}).action[5]
    assert (said.role, said.open, said.closed) == (GRIPPER, 40.0, -40.0)
    cut = found(arm, made, gripper={"hand": None}).action[5]
    assert cut.open > 40
    assert cut.closed < -40
    left_out = found(arm, made, ignore=["hand"]).action[5]
    assert left_out.role == IGNORED


@pytest.mark.parametrize(("given", "kind"), [((0.0, 1.0), "open"), ((1.0, 0.0), "closed")])
def test_two_given_values_that_the_commands_never_come_near_are_refused(arm, helpers, given, kind):
    action = helpers.motion(6)[1]
    action[:, 5] = np.where(CLOSING, 0.025, 0.085)
    made = helpers.recording((*helpers.JOINTS, "hand"), action)
    with pytest.raises(ValueError, match=f"are 0.025 and 0.085, which would both count as {kind}"):
        found(arm, made, gripper={"hand": given})
    entry = found(arm, made, gripper={"hand": (0.09, 0.0)}).action[5]
    assert (entry.open, entry.closed) == (0.09, 0.0)
    action[:, 5] = 0.085  # it never closes: nothing contradicts the given values
    made = helpers.recording((*helpers.JOINTS, "hand"), action)
    assert found(arm, made, gripper={"hand": given}).action[5].closed == given[1]


def test_joints_that_are_said_may_not_have_the_names_of_other_joints(arm, helpers):
    values = helpers.motion(5)[1]
    for names in (helpers.JOINTS, [f"{joint}.pos" for joint in helpers.JOINTS]):
        mixed = [names[i] for i in (2, 1, 0, 3, 4)]
        made = helpers.recording(mixed, values)
        with pytest.raises(ValueError, match=f"'{names[0]}' for the robot's joint 'elbow_flex'"):
            found(arm, made, joints=mixed)
        joints = [entry.joint for entry in found(arm, made, joints=names).action]
        assert joints == [helpers.JOINTS[i] for i in (2, 1, 0, 3, 4)]
    others = [f"motor {letter}" for letter in "edcba"]
    made = helpers.recording(others, values)
    assert [entry.joint for entry in found(arm, made, joints=others).action] == list(arm.joint_names)


def test_a_declared_gripper_that_is_none_is_refused(helpers):
    made = helpers.recording(("a", "b"), helpers.motion(2)[0], discrete_dims=(1,))
    with pytest.raises(ValueError, match="'b' takes the values"):
        infer_joint_map(None, made)


def test_names_that_fit_no_joint_are_refused_with_the_line_that_settles_it(arm, helpers):
    state, action = helpers.motion(5)
    names = [f"motor_{i}" for i in range(5)]
    made = helpers.recording(names, action, None, state)
    with pytest.raises(
        ValueError, match="--joints motor_0 motor_1 motor_2 motor_3 motor_4; or give the robot"
    ):
        found(arm, made)
    joint_map = found(arm, made, joints=names)
    assert [d.joint for d in joint_map.action] == list(helpers.JOINTS)
    swapped = found(arm, made, joints=[names[i] for i in (1, 0, 2, 3, 4)])
    assert [d.joint for d in swapped.action][:2] == ["shoulder_lift", "shoulder_pan"]
    with pytest.raises(ValueError, match="--joints gives 4 names for the 5 joints"):
        found(arm, made, joints=names[:4])


def test_too_few_and_too_many_dimensions_are_refused(arm, arm_with_jaw, helpers):
    six, five = helpers.motion(6)[0], helpers.motion(5)[0]
    with pytest.raises(ValueError, match="lock them: --lock gripper=VALUE"):
        found(arm_with_jaw, helpers.recording(helpers.JOINTS, five))
    with pytest.raises(ValueError, match="'lamp' is no joint of robot.*--ignore lamp"):
        found(arm, helpers.recording((*helpers.JOINTS, "lamp"), six))
    constant = np.hstack([five, np.full((200, 1), 7.0)])
    entry = found(arm, helpers.recording((*helpers.JOINTS, "lamp"), constant)).action[5]
    assert (entry.role, entry.fill) == (IGNORED, 7.0)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("x", "y", "z", "roll", "pitch"), "looks like the pose of an end effector"),
        (("delta_x", "delta_y", "delta_z", "delta_roll", "delta_pitch"), "looks like"),
        (("a.vel", "b.vel", "c.vel", "d.vel", "e.vel"), "looks like velocities"),
    ],
)
def test_actions_that_are_no_joints_are_refused(arm, helpers, names, says):
    state, action = helpers.motion(5)
    with pytest.raises(ValueError, match=f"{says}.*--method raw"):
        found(arm, helpers.recording(names, action, helpers.JOINTS, state))


@pytest.mark.parametrize("kind", ["differences", "velocities"])
def test_differences_under_the_joints_names_are_refused(arm, helpers, kind):
    state, action = helpers.motion(5)
    made = helpers.recording(
        helpers.JOINTS, (action - state) * (10 if kind == "velocities" else 1), None, state
    )
    with pytest.raises(ValueError, match=f"look like {kind}, not like targets.*--joint-map FILE"):
        found(arm, made)


def test_names_count_more_than_declared_places(arm, helpers):
    state, action = helpers.motion(5)
    order = (2, 1, 0, 3, 4)
    names = [helpers.JOINTS[i] for i in order]
    declared = {"joint_dims": tuple(range(5))}
    by_name = found(arm, helpers.recording(names, action[:, order], None, state[:, order], **declared))
    np.testing.assert_array_equal(by_name.actions.order, (2, 1, 0, 3, 4))
    other = found(arm, helpers.recording([f"q{i}" for i in range(5)], action, None, state, **declared))
    assert other.actions.order == (0, 1, 2, 3, 4)
    with pytest.raises(ValueError, match="has 5 joints and the data set 4 joint dimensions"):
        found(
            arm, helpers.recording([f"m{i}x" for i in range(5)], action, None, state, joint_dims=(0, 1, 2, 3))
        )


def test_declared_joints_without_the_robots_names_are_told_to_be_by_position(arm, helpers):
    state, action = helpers.motion(5)
    names = [f"axis_{i}" for i in range(5)]
    made = helpers.recording(names, action, None, state, joint_dims=tuple(range(5)))
    joint_map = found(arm, made)
    assert [entry.joint for entry in joint_map.action] == list(helpers.JOINTS)
    assert all(entry.reason.startswith("by position") for entry in joint_map.action)


def test_declared_joints_that_are_numbered_in_another_order_are_refused(arm, helpers):
    state, action = helpers.motion(5)
    names = [f"j{5 - i}.pos" for i in range(5)]
    made = helpers.recording(names, action, None, state, joint_dims=tuple(range(5)))
    with pytest.raises(ValueError, match=r"--joints j5.pos j4.pos j3.pos j2.pos j1.pos"):
        found(arm, made)
    joint_map = found(arm, made, joints=tuple(names))
    assert [entry.joint for entry in joint_map.action] == list(helpers.JOINTS)


@pytest.mark.parametrize("in_degrees", ["action", "state"])
def test_degrees_beside_radians_are_refused(arm, helpers, in_degrees):
    state, action = helpers.motion(5)
    state, action = (DEG * state, action) if in_degrees == "state" else (state, DEG * action)
    made = helpers.recording(helpers.JOINTS, action, None, state)
    for hints in ({}, {"units": "deg"}, {"units": "rad"}):
        with pytest.raises(ValueError, match="in degrees and the|in rad and the") as refused:
            found(arm, made, **hints)
        assert "--joint-map FILE" in str(refused.value)


def test_declared_joints_in_another_order_with_one_unknown_name_are_refused(arm, helpers):
    state, action = helpers.motion(5)
    names = [*helpers.JOINTS[::-1][:4], "shoulder_pn"]
    made = helpers.recording(names, DEG * action, None, DEG * state, joint_dims=tuple(range(5)))
    with pytest.raises(ValueError, match="other joints than those of robot .*--joints wrist_roll wrist_flex"):
        found(arm, made, units="deg")


def test_dimensions_that_count_from_0_are_no_joints_that_count_from_1(tmp_path, helpers):
    path = tmp_path / "arm.urdf"
    path.write_text(helpers.arm_urdf([f"joint_{i}" for i in range(1, 6)]))
    arm = load_robot(path)
    state, action = helpers.motion(6)
    motors = [f"motor_{i}" for i in range(6)]
    for hints in (MapHints(), MapHints(ignore=["motor_0"])):
        with pytest.raises(
            ValueError, match=r"one counts from 0 .* --joints motor_0 motor_1 motor_2 motor_3 motor_4;"
        ):
            infer_joint_map(arm, helpers.recording(motors, action, state=state), hints)
    action[:, 0] = state[:, 0] = 0.5  # a joint that stands still is no reason to shift the others
    with pytest.raises(ValueError, match="one counts from 0"):
        infer_joint_map(arm, helpers.recording(motors, action, state=state))
    found = infer_joint_map(
        arm, helpers.recording(motors, action, state=state), MapHints(joints=motors[:5], ignore=["motor_5"])
    )
    assert [(d.name, d.joint) for d in found.state if d.role == JOINT] == list(
        zip(motors[:5], arm.joint_names, strict=True)
    )


def test_a_state_without_names_beside_named_actions_is_refused(arm, helpers):
    state, action = helpers.motion(5)
    unnamed = [f"observation.state_{i}" for i in range(5)]
    recording = helpers.recording(helpers.JOINTS, action, unnamed, state)
    with pytest.raises(
        ValueError,
        match=r"the data set names none, .* 'names' .* in meta/info.json; say which .* --joint-map",
    ):
        infer_joint_map(arm, recording)
    both = helpers.recording([f"action_{i}" for i in range(5)], action, unnamed, state)
    found = infer_joint_map(arm, both, MapHints(joints=[f"action_{i}" for i in (1, 0, 2, 3, 4)]))
    assert [d.joint for d in found.state] == ["shoulder_lift", "shoulder_pan", *helpers.JOINTS[2:]]


def test_far_targets_in_degrees_beside_radians_are_refused(arm, helpers):
    state, _ = helpers.motion(5)
    targets = np.degrees(np.roll(state, -40, 0))
    names = [f"{joint}.q" for joint in helpers.JOINTS]
    with pytest.raises(
        ValueError, match=r"the actions spread 57.3 times as far as .*: in degrees, and those in rad"
    ):
        infer_joint_map(arm, helpers.recording(names, targets, state=state), MapHints(units="rad"))


def test_one_joint_in_degrees_among_others_in_radians_is_refused(arm, helpers):
    state, action = (values.copy() for values in helpers.motion(5))
    names = [f"{joint}.q" for joint in helpers.JOINTS]
    for values in (state, action):
        values[:, 4] = np.degrees(values[:, 4])
    with pytest.raises(
        ValueError, match=r"most of these joints fit rad, such as 'shoulder_pan.q' .*--units NAME=deg"
    ):
        infer_joint_map(arm, helpers.recording(names, action, state=state))
    found = infer_joint_map(
        arm, helpers.recording(names, action, state=state), MapHints(units={"wrist_roll": "deg", "": "rad"})
    )
    assert [d.unit for d in found.action] == ["rad"] * 4 + ["deg"]


def test_the_printed_line_names_the_joints_of_two_arms_that_count_from_0(tmp_path, helpers):
    path = tmp_path / "arms.urdf"
    path.write_text(
        helpers.arm_urdf([f"{side}_joint_{i}" for side in ("left", "right") for i in range(1, 4)])
    )
    arms = load_robot(path)
    names = [
        f"{side}_{name}"
        for side in ("left", "right")
        for name in ("joint_0", "joint_1", "joint_2", "gripper")
    ]
    state, action = helpers.motion(8)
    wanted = [name for name in names if "gripper" not in name]
    with pytest.raises(ValueError, match=f"--joints {' '.join(wanted)};"):
        infer_joint_map(arms, helpers.recording(names, action, state=state))


def test_sensors_and_locked_joints_that_count_from_0_change_nothing(tmp_path, helpers):
    path = tmp_path / "arm.urdf"
    path.write_text(helpers.arm_urdf([f"joint_{i}" for i in range(1, 6)]))
    arm = load_robot(path)
    state, action = helpers.motion(5)
    for sensor in ("joint_vel_0", "force_0", "joint_torque_0", "state_0", "q_0"):
        names = [*arm.joint_names, sensor]
        recording = helpers.recording(
            arm.joint_names, action, names, np.hstack([state, state[:, :1]]), units=("",) * 5
        )
        assert [d.joint for d in infer_joint_map(arm, recording).state][:5] == list(arm.joint_names)
    path.write_text(helpers.arm_urdf([f"j{i}" for i in range(5)]))
    locked = load_robot(path, locked={"j0": 0.0})
    recording = helpers.recording([f"j{i}" for i in range(5)], action, state=state)
    found = infer_joint_map(locked, recording, MapHints(ignore=["j0"]))
    assert [d.joint for d in found.state if d.role == JOINT] == ["j1", "j2", "j3", "j4"]


def test_a_state_with_the_robots_names_needs_no_option_beside_said_actions(arm, helpers):
    state, action = helpers.motion(5)
    motors = [f"m{i}" for i in range(5)]
    found = infer_joint_map(
        arm, helpers.recording(motors, action, helpers.JOINTS, state), MapHints(joints=motors)
    )
    assert [d.joint for d in found.state] == list(helpers.JOINTS)
    unnamed = helpers.recording(
        [f"action_{i}" for i in range(5)], action, [f"state_{i}" for i in range(5)], state
    )
    found = infer_joint_map(arm, unnamed, MapHints(joints=[f"action_{i}" for i in range(5)]))
    assert [d.joint for d in found.state] == list(helpers.JOINTS)


def test_a_parked_arm_tells_no_unit(arm, helpers):
    rng = np.random.default_rng(0)
    state, action = (values.copy() for values in helpers.motion(5))
    for values, noise in ((state, 1.5e-3), (action, 2e-5)):
        values[:, :3] = 0.3 + noise * rng.normal(size=(len(values), 3))
    names = [f"{joint}.q" for joint in helpers.JOINTS]
    found = infer_joint_map(arm, helpers.recording(names, action, state=state))
    assert [d.unit for d in found.action] == ["rad"] * 5
    found = infer_joint_map(arm, helpers.recording(names, np.degrees(action), state=np.degrees(state)))
    assert [d.unit for d in found.action] == ["deg"] * 5


def test_a_jaw_from_0_to_1_is_asked_and_a_fraction_of_its_range(arm_with_jaw, helpers):
    state, action = (values.copy() for values in helpers.motion(6))
    names = [f"{joint}.pos" for joint in (*helpers.JOINTS, "gripper")]
    for values in (state, action):
        values[:, 5] = (values[:, 5] - values[:, 5].min()) / np.ptp(values[:, 5])
    for scale, said in ((1.0, {}), (1.0, {"": "rad"}), (180 / math.pi, {"": "deg"})):
        recorded = [values * np.array([scale] * 5 + [1.0]) for values in (action, state)]
        recording = helpers.recording(names, recorded[0], state=recorded[1])
        if said != {"": "rad"}:
            with pytest.raises(ValueError, match="gripper=fraction"):
                infer_joint_map(arm_with_jaw, recording, MapHints(units=said))
        found = infer_joint_map(arm_with_jaw, recording, MapHints(units=said | {"gripper": "fraction"}))
        assert (found.action[5].scale, found.action[5].offset) == pytest.approx((2.0, -0.2))
        assert "fraction of -0.2 to 1.8" in str(found)
