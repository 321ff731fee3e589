"""Names of dimensions, split and matched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikp.joint_map.names import (
    DIFFERENCE,
    EFFORT,
    POSE,
    POSITION,
    VELOCITY,
    counts_otherwise,
    is_unnamed,
    match_joints,
    plain_name,
    unnamed,
)

UR5E = (
    "shoulder_pan_joint",
    "shoulder_lift_joint",
    "elbow_joint",
    "wrist_1_joint",
    "wrist_2_joint",
    "wrist_3_joint",
)
SO101 = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


@pytest.mark.parametrize(
    ("name", "words", "kind", "unit"),
    [
        ("shoulder_pan.pos", ("shoulder", "pan"), POSITION, ""),
        ("main_shoulder_pan", ("shoulder", "pan"), POSITION, ""),
        ("shoulderPanJoint", ("shoulder", "pan"), POSITION, ""),
        ("joint_01", ("1",), POSITION, ""),
        ("panda_joint1", ("panda", "1"), POSITION, ""),
        ("elbow_deg", ("elbow",), POSITION, "deg"),
        ("elbow.vel", ("elbow",), VELOCITY, ""),
        ("joint_torque_3", ("3",), EFFORT, ""),
        ("delta_j1", ("j", "1"), DIFFERENCE, ""),
        ("x", ("x",), POSE, ""),
        ("ee_yaw", ("ee", "yaw"), POSE, ""),
    ],
)
def test_names_are_split(name, words, kind, unit):
    plain = plain_name(name)
    assert (plain.words, plain.kind, plain.unit) == (words, kind, unit)


@given(order=st.permutations(range(6)), ending=st.sampled_from((".pos", "", "_position", ".q")))
def test_joints_are_found_in_any_order(order, ending):
    for joints in (UR5E, SO101, tuple(f"panda_joint{i}" for i in range(1, 7))):
        names = [joints[i].removesuffix("_joint") + ending for i in order]
        assert match_joints(names, joints) == {joints[i]: place for place, i in enumerate(order)}


@given(order=st.permutations(range(6)))
def test_velocities_between_are_no_positions(order):
    names = [f"{UR5E[i]}.{kind}" for i in order for kind in ("vel", "pos")]
    assert match_joints(names, UR5E) == {UR5E[i]: 2 * place + 1 for place, i in enumerate(order)}


def test_names_that_two_joints_share_match_none():
    assert match_joints(["arm.pos", "other"], ["left_arm", "right_arm"]) == {}
    assert match_joints([f"joint_{i}" for i in range(6)], UR5E) == {}
    assert match_joints(["action_0", "action_1"], ["shoulder", "elbow"]) == {}
    both = match_joints(["left_joint_1", "right_joint_1"], ["right_joint_1", "left_joint_1"])
    assert both == {"right_joint_1": 1, "left_joint_1": 0}


def test_a_part_of_the_words_matches_only_where_it_is_asked():
    names, joints = ["pan.pos", "lift.pos"], ["shoulder_pan", "shoulder_lift"]
    assert match_joints(names, joints) == {"shoulder_pan": 0, "shoulder_lift": 1}
    short = ["pan", "lift", "elbow", "flex", "roll"]
    assert match_joints(SO101, short) == {joint: place for place, joint in enumerate(short)}
    names = ["outer_shoulder_pan", "shoulder_lift"]
    assert match_joints(names, joints) == {"shoulder_pan": 0, "shoulder_lift": 1}
    assert match_joints(names, joints, loose=False) == {"shoulder_lift": 1}


def test_numbers_that_begin_elsewhere_match_nothing():
    joints = [f"panda_joint{i}" for i in range(1, 8)]
    assert len(match_joints([f"motor_{i}" for i in range(1, 9)], joints)) == 7
    for stem in ("motor_{}", "joint_{}.pos", "{}"):
        names = [stem.format(i) for i in range(8)]
        assert counts_otherwise(names, joints)
        assert match_joints(names, joints) == {}
        assert match_joints(names[1:], joints, beside=(names, ())) == {}
    two = [f"{side}_joint_{i}" for side in ("left", "right") for i in range(1, 3)]
    assert match_joints([name.replace("2", "0") for name in two], two) == {}
    assert match_joints([*two, "torso_0"], two) == {joint: place for place, joint in enumerate(two)}


def test_a_dimension_without_a_name_is_like_no_joint_but_like_its_action():
    joints = [f"joint_{i}" for i in range(3)]
    states = [unnamed("observation.state", dim) for dim in range(3)]
    assert all(is_unnamed(name) for name in states)
    assert match_joints(states, joints) == {}
    actions = [unnamed("action", dim) for dim in (2, 0, 1)]
    assert match_joints(states, actions) == {"action_2": 2, "action_0": 0, "action_1": 1}
