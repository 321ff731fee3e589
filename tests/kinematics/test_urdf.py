"""URDF files: rotations in both forms, what is left of xacro, names, limits, and joints that follow fixed ones."""

import math
import re
import warnings

import mujoco
import numpy as np
import pinocchio
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ikp.kinematics import forward_kinematics, load_robot

from .reference import joint_positions

LIMIT = '<limit lower="-1" upper="1" effort="1" velocity="1"/>'


def text(*joints, links=None):
    """A URDF with the links `l0`, `l1` ... of a chain, or those that are named."""
    links = [f"l{i}" for i in range(len(joints) + 1)] if links is None else links
    return (
        '<robot name="r">'
        + "".join(f'<link name="{name}"/>' for name in links)
        + "".join(joints)
        + "</robot>"
    )


def joint(i=0, inner=LIMIT, *, kind="revolute", origin='xyz="0 0 0.1"', parent=None, axis="0 0 1"):
    parent = i if parent is None else parent
    return (
        f'<joint name="j{i}" type="{kind}"><parent link="l{parent}"/><child link="l{i + 1}"/>'
        f'<origin {origin}/><axis xyz="{axis}"/>{inner}</joint>'
    )


@pytest.fixture
def load(tmp_path):
    def load(content, **options):
        path = tmp_path / "robot.urdf"
        path.write_text(content)
        return load_robot(path, **options)

    return load


def refused(load, content, message, **options):
    with pytest.raises(ValueError, match=message) as caught:
        load(content, **options)
    assert "robot.urdf: " in str(caught.value)


# Rotations


def vectors(count, low, high):
    return st.lists(st.floats(low, high, width=32), min_size=count, max_size=count)


@st.composite
def chains(draw):
    """(origins, axes, mimics, q) of a chain; each origin a position, and a rotation by rpy."""
    count = draw(st.integers(1, 4))
    origins = [(draw(vectors(3, -1, 1)), draw(vectors(3, -7, 7))) for _ in range(count)]
    axes = [draw(vectors(3, -1, 1).filter(lambda v: np.linalg.norm(v) > 0.1)) for _ in range(count)]
    kinds = [draw(st.sampled_from(["revolute", "continuous", "prismatic"])) for _ in range(count)]
    mimics = [draw(st.one_of(st.none(), st.tuples(st.floats(-2, 2), st.floats(-1, 1)))) for _ in range(count)]
    return origins, axes, kinds, [None, *mimics[1:]], draw(st.floats(-0.5, 0.5))


def numbers(values):
    return " ".join(repr(float(value)) for value in values)


def chain(origins, axes, kinds, mimics, *, quaternions):
    joints = []
    for i, ((xyz, rpy), axis, kind, mimic) in enumerate(zip(origins, axes, kinds, mimics, strict=True)):
        turn = f'rpy="{numbers(rpy)}"'
        if quaternions:
            turn = f'quat_xyzw="{numbers(pinocchio.Quaternion(pinocchio.rpy.rpyToMatrix(*rpy)).coeffs())}"'
        follow = '<mimic joint="j0" multiplier="{}" offset="{}"/>'.format(*mimic) if mimic else ""
        inner = '<limit lower="-3" upper="3" effort="1" velocity="1"/>' + follow
        joints.append(joint(i, inner, kind=kind, origin=f'xyz="{numbers(xyz)}" {turn}', axis=numbers(axis)))
    return text(*joints)


@settings(max_examples=60)
@given(chains())
def test_random_chains_agree_with_pinocchio_and_mujoco(tmp_path_factory, drawn):
    """With rpy by their own readers of URDF; the same rotation as a quaternion gives the same robot."""
    *description, position = drawn
    path = tmp_path_factory.mktemp("chain") / "robot.urdf"
    content = chain(*description, quaternions=False)
    path.write_text(content)
    robot = load_robot(path, tips=[f"l{len(description[0])}"])
    q = torch.full((robot.dof,), position, dtype=torch.float64)
    T = forward_kinematics(robot, q)

    theirs = pinocchio.buildModelFromXML(re.sub("<mimic[^>]*>", "", content))
    data, x = theirs.createData(), pinocchio.neutral(theirs)
    at = joint_positions(robot, q)
    for model_joint, name in zip(theirs.joints[1:], theirs.names[1:], strict=True):
        circle = [math.cos(at[name]), math.sin(at[name])]
        x[model_joint.idx_q : model_joint.idx_q + model_joint.nq] = (
            circle if model_joint.nq == 2 else at[name]
        )
    pinocchio.framesForwardKinematics(theirs, data, x)
    options = '<mujoco><compiler fusestatic="false" boundmass="1" boundinertia="1"/></mujoco>'
    model = mujoco.MjModel.from_xml_string(content.replace('name="r">', f'name="r">{options}'))
    state = mujoco.MjData(model)
    for name, value in at.items():
        state.joint(name).qpos[:] = value
    mujoco.mj_kinematics(model, state)
    for i, name in enumerate(robot.link_names[1:], start=1):
        frame = data.oMf[theirs.getFrameId(name, pinocchio.FrameType.BODY)]
        np.testing.assert_allclose(T[i], frame.homogeneous, atol=1e-9)
        np.testing.assert_allclose(T[i, :3, 3], state.body(name).xpos, atol=1e-9)
        np.testing.assert_allclose(T[i, :3, :3].flatten(), state.body(name).xmat, atol=1e-9)

    path.write_text(chain(*description, quaternions=True))
    same = load_robot(path, tips=robot.tip_names)
    torch.testing.assert_close(forward_kinematics(same, q), T, atol=1e-9, rtol=0)


def test_a_quaternion_in_every_order_of_signs(load):
    for quat in ("0 0.6 0 0.8", "0 -0.6 0 -0.8"):
        robot = load(text(joint(origin=f'xyz="1 2 3" quat_xyzw="{quat}"')))
        T = forward_kinematics(robot, torch.zeros(1, dtype=torch.float64))[1]
        expected = pinocchio.SE3(pinocchio.Quaternion(0.8, 0.0, 0.6, 0.0), np.array([1.0, 2, 3])).homogeneous
        np.testing.assert_allclose(T, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ('rpy="0 0 1" quat_xyzw="0 0 0 1"', "joint 'j0' has both rpy and quat_xyzw; remove one"),
        ('quat_xyzw="0 0 0 0"', "quat_xyzw of joint 'j0' is '0 0 0 0'; the length of a unit quaternion"),
        ('quat_xyzw="0 0 0 inf"', "unit quaternion"),
        ('quat_xyzw="0 0 1"', r"quat_xyzw of joint 'j0' is '0 0 1'; needed: 4 number\(s\)"),
    ],
)
def test_faulty_quaternions_are_refused(load, origin, message):
    refused(load, text(joint(origin=origin)), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            text(joint(origin='quat_wxyz="1 0 0 0"')),
            "<origin> of joint 'j0' has quat_wxyz, which is ignored; known: xyz",
        ),
        (text(joint(inner='<limit min="-1" upper="1"/>')), "<limit> of joint 'j0' has min, which is ignored"),
        (
            text(joint(origin='rpy="0 90 0"')),
            "the rpy of joint 'j0' is '0 90 0' rad, more than a turn.*pi/180",
        ),
        (text(joint().replace("limit", "limits")), "<limits> in joints or links.*is ignored"),
        (
            text(joint().replace("limit", "limits")),
            "joint 'j0' has no <limit>, which URDF requires of revolute joints",
        ),
        (text(joint(inner="<axis><mimic/></axis>")), "<mimic> in joints or links"),
        (
            text(joint(), links=["l0", "l1"]).replace(
                '<link name="l1"/>', '<link name="l1"><limit upper="1"/></link>'
            ),
            "<limit> in joints or links",
        ),
    ],
)
def test_what_would_be_ignored_is_said(load, content, message):
    with pytest.warns(UserWarning, match=message):
        load(content)


# Xacro


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ('<xacro:cell_arm side="left"/>', "<xacro:cell_arm>"),
        ('<xacro:unless value="0"><link name="pole"/></xacro:unless>', "<xacro:unless>"),
        ('<group><xacro:property name="d" value="1"/></group>', "<xacro:property>"),
        ('<link name="${side}_pole"/>', r"\$\{side\}_pole"),
        ('<link name="$(arg side)_pole"/>', r"\$\(arg side\)_pole"),
    ],
)
def test_xacro_beside_a_whole_robot_is_refused(load, extra, named):
    refused(
        load, text(joint(), extra), rf"xacro left to be expanded \({named}\).*run xacro FILE", tips=["l1"]
    )


@pytest.mark.parametrize("part", ['xyz="0 0 $(arg height)"', 'xyz="0 0 ${height}"', 'rpy="0 0 ${pi/2}"'])
def test_xacro_in_numbers_is_refused(load, part):
    refused(load, text(joint(origin=part)), "xacro left to be expanded")


def test_xacro_under_another_prefix_is_refused(load):
    content = text(joint(), "<x:arm/>").replace("<robot", '<robot xmlns:x="http://www.ros.org/wiki/xacro"')
    refused(load, content, "<x:arm>")


def test_a_file_with_xacro_alone_says_so(load):
    content = '<robot name="r"><link name="world"/><xacro:arm parent="world"/></robot>'
    refused(load, content, "xacro left to be expanded")


def test_an_expanded_file_may_declare_xacro_and_keep_expressions_in_meshes(load):
    mesh = '<link name="shell"><visual><geometry><mesh filename="$(find arm)/shell.stl"/></geometry></visual></link>'
    mount = '<joint name="m" type="fixed"><parent link="l1"/><child link="shell"/></joint>'
    content = text(joint(), mesh, mount, links=["l0", "l1"])
    content = content.replace("<robot", '<robot xmlns:xacro="http://www.ros.org/wiki/xacro"')
    assert load(content).link_names == ("l0", "l1", "shell")


# Names, limits, kinds


@pytest.mark.parametrize("links", [["l0", "l1", "l1"], ["l0", "l0", "l1"], ["l0", "l1", "free", "free"]])
def test_links_of_one_name_are_refused(load, links):
    refused(
        load,
        text(joint(), links=links),
        f"several links named {links[-1] if links[1] != 'l0' else 'l0'}; names must",
    )


@pytest.mark.parametrize(
    "limit",
    [
        '<limit lower="0" upper="0" effort="0" velocity="0"/>',
        '<limit effort="8" velocity="2"/>',
        '<limit lower="0.4" upper="0.4"/>',
    ],
)
@pytest.mark.parametrize("kind", ["revolute", "prismatic"])
def test_joints_that_cannot_move_are_said(load, limit, kind):
    content = text(joint(0, limit, kind=kind), joint(1), joint(2, limit, kind=kind))
    with pytest.warns(UserWarning, match="joints j0, j2 cannot move: their lower and upper limits are equal"):
        load(content)


def test_limits_of_a_continuous_or_mimic_joint_may_be_zero(load, recwarn):
    zero = '<limit lower="0" upper="0" effort="0" velocity="0"/>'
    load(text(joint(0, zero, kind="continuous"), joint(1, zero + '<mimic joint="j0"/>')))
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["floating", "planar", "spherical"])
def test_other_kinds_say_what_to_do(load, kind):
    message = f"'j0' has the type '{kind}'.*make it fixed, remove the link above it, or replace it"
    refused(load, text(joint(kind=kind), joint(1)), message)


def test_what_mimics_a_fixed_joint_is_fixed_at_its_offset(load):
    content = text(
        joint(0, "", kind="fixed"),
        joint(1, LIMIT + '<mimic joint="j0" multiplier="3" offset="0.4"/>', parent=0, origin='xyz="0 1 0"'),
        joint(2, LIMIT + '<mimic joint="j1" multiplier="-0.5" offset="0.1"/>', parent=2, kind="prismatic"),
        joint(3),
    )
    with pytest.warns(UserWarning, match="which is fixed") as caught:
        robot = load(content, tips=["l4"])
    said = [str(warning.message) for warning in caught]
    assert [message.split(";")[0] for message in said] == [
        "joint 'j1' mimics 'j0', which is fixed",
        "joint 'j2' mimics 'j1', which is fixed",
    ]
    assert robot.joint_names == ("j3",)
    T = forward_kinematics(robot, torch.zeros(1, dtype=torch.float64))
    turn = T[robot.link_index("l2"), :3, :3]
    assert math.atan2(turn[1, 0], turn[0, 0]) == pytest.approx(0.4)
    assert T[robot.link_index("l3"), 2, 3] == pytest.approx(0.1 - 0.5 * 0.4 + 0.1)


def test_joints_that_mimic_each_other_are_refused_with_the_fix(load):
    content = text(joint(0, LIMIT + '<mimic joint="j1"/>'), joint(1, LIMIT + '<mimic joint="j0"/>'))
    refused(
        load,
        content,
        "'j0' mimics joint 'j0', which follows it in turn|in turn; let one of them follow no joint",
    )


@pytest.mark.parametrize("length", [400, 39])
def test_a_robot_in_millimetres_is_said(load, length):
    content = text(*[joint(i, origin=f'xyz="0 0 {length}"') for i in range(3)])
    with pytest.warns(UserWarning, match=f"the robot is {2 * length} m long.*multiply them by 0.001"):
        load(content)


def test_a_far_base_is_no_long_robot(load, recwarn):
    load(text(joint(0, origin='xyz="900 0 0"'), joint(1)))
    assert not recwarn.list


def test_large_files_load_in_time(load):
    """Thousands of links: nothing is searched for each of them."""
    count = 3000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load(text(*[joint(i) for i in range(count)])).dof == count
