"""Robots from files: what MJCF can hold, tips, and one clear error for each fault."""

import math
import re
import subprocess
import sys
import warnings

import mujoco
import numpy as np
import pytest
import torch

from ikp.kinematics import forward_kinematics, load_robot

from .reference import ASSETS, FOREIGN_MJCF, FOREIGN_URDF, joint_positions


def test_loading_a_builtin_needs_no_simulator():
    code = "import sys, ikp.kinematics as k; k.load_robot('ur5e'); print('mujoco' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_mjcf_tree_agrees_with_mujoco(tmp_path):
    """Anchors, references, several joints in a body, couplings, a held joint, a free base and an include."""
    robot = load_robot(ASSETS / "tree.xml")
    assert robot.joint_names == ("elbow", "left", "pan", "tilt", "lift")
    for name in ("tree.xml", "tree_arm.xml"):  # MuJoCo alone would ask for the mesh
        text = re.sub(r"<(geom|mesh)\b[^>]*/>", "", (ASSETS / name).read_text())
        text = text.replace('fusestatic="true"', 'boundmass="1" boundinertia="1"')
        (tmp_path / name).write_text(text)
    model = mujoco.MjModel.from_xml_path(str(tmp_path / "tree.xml"))
    data = mujoco.MjData(model)
    for q in robot.random_q((20,), generator=torch.Generator().manual_seed(0)):
        T = forward_kinematics(robot, q).numpy()
        for name, position in {**joint_positions(robot, q), "stuck": 0.3}.items():
            data.joint(name).qpos[:] = position
        mujoco.mj_kinematics(model, data)
        for body in range(1, model.nbody):
            link = robot.link_index(model.body(body).name)
            np.testing.assert_allclose(T[link, :3, 3], data.xpos[body], atol=1e-9)
            np.testing.assert_allclose(T[link, :3, :3].flatten(), data.xmat[body], atol=1e-9)


def test_mjcf_joints_keep_their_limits_and_mimicry():
    robot = load_robot(ASSETS / "tree.xml")
    turn = math.radians(100)
    assert robot.upper.tolist() == pytest.approx([turn, 0.05, turn, turn, 0.2])
    right = robot.links[robot.link_index("right_jaw")].joint
    assert (right.mimic.joint, right.mimic.multiplier) == ("left", 1.0)
    assert right.mimic.offset == pytest.approx(0.001 - 0.01)
    assert robot.links[robot.link_index("plate")].joint is None
    assert {"neck/pan", "neck/tilt", "neck"} <= set(robot.link_names)


def test_sites_can_be_tips():
    robot = load_robot(ASSETS / "tree.xml", tips=["grip", "head"])
    assert robot.tip_names == ("grip", "head")
    plate = robot.link_index("plate")
    assert robot.parents[robot.link_index("grip")] == plate
    T = forward_kinematics(robot, torch.zeros(5, dtype=torch.float64))
    offset = T[plate, :3, :3].T @ (T[robot.link_index("grip"), :3, 3] - T[plate, :3, 3])
    torch.testing.assert_close(offset, torch.tensor([0, 0, 0.12], dtype=torch.float64))


def test_urdf_mimic_chain_and_limits():
    robot = load_robot(ASSETS / "gantry.urdf")
    assert robot.joint_names == (
        "bridge_slide",
        "trolley_slide",
        "mast_turn",
        "wrist_turn",
        "left_finger_slide",
    )
    assert robot.joint_types == ("prismatic", "prismatic", "continuous", "revolute", "prismatic")
    assert robot.lower.tolist() == [-0.8, -0.3, -math.inf, -2.5, 0.0]
    assert robot.velocity.tolist() == [0.5, 0.5, math.inf, 2.0, 0.1]
    wheel = robot.links[robot.link_index("cam_wheel")].joint
    assert wheel.mimic.joint == "left_finger_slide"
    assert wheel.mimic.multiplier == pytest.approx(-22.5)
    assert wheel.mimic.offset == pytest.approx(0.2 - 25 * 0.003)


def test_default_tips_are_leaves_that_move():
    assert load_robot(FOREIGN_URDF[1]).tip_names == ("tool0",)
    assert load_robot(ASSETS / "gantry.urdf").tip_names == ("left_finger", "cam_wheel", "camera")
    assert load_robot(FOREIGN_MJCF[0]).tip_names == ("tips_arm", "object", "goal")
    assert load_robot("ur5e", tips=["wrist_2"]).tip_names == ("wrist_2",)


def test_repeated_equality_and_loops_warn(tmp_path):
    text = """<mujoco><worldbody>
      <body name="a"><joint name="ja"/>
        <body name="b"><joint name="jb"/><body name="c"><joint name="jc"/></body></body>
      </body>
    </worldbody><equality>
      <joint joint1="jb" joint2="ja" polycoef="0 1 0.5 0 0"/>
      <connect name="loop" body1="a" body2="c" anchor="0 0 0"/>
    </equality></mujoco>"""
    path = tmp_path / "loop.xml"
    path.write_text(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        robot = load_robot(path)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "'loop' closes a loop" in messages
    assert "'jb' is not linear" in messages
    assert robot.joint_names == ("ja", "jb", "jc")


def urdf(*parts):
    return '<robot name="r">' + "".join(parts) + "</robot>"


BASE, HAND = '<link name="base"/>', '<link name="hand"/>'
ENDS = '<parent link="base"/><child link="hand"/>'
AXIS = '<axis xyz="0 0 1"/>'


def joint(content=ENDS + AXIS, kind="continuous", name="turn"):
    return f'<joint name="{name}" type="{kind}">{content}</joint>'


ENTITIES = '<!DOCTYPE robot [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><robot name="&b;"/>'
OUTSIDE = '<!DOCTYPE robot [<!ENTITY file SYSTEM "file:///etc/hostname">]><robot name="&file;"/>'
MALFORMED = {
    "missing parent": (
        urdf(BASE, HAND, joint('<parent link="arm"/><child link="hand"/>')),
        r"joint 'turn' names the parent link 'arm'.*allowed: base, hand",
    ),
    "no child": (urdf(BASE, HAND, joint('<parent link="base"/>')), "joint 'turn' has no <child>"),
    "unnamed link": (urdf("<link/>"), "a <link> has no 'name'"),
    "no links": (urdf(), "there is no <link>.*xacro"),
    "two roots": (urdf(BASE, HAND), r"2 links have no parent joint \(base, hand\)"),
    "two parents": (urdf(BASE, HAND, joint(), joint(name="again")), "'hand' is the child of two joints"),
    "ring": (
        urdf(BASE, HAND, joint(), joint('<parent link="hand"/><child link="base"/>', name="back")),
        "form a ring",
    ),
    "ring beside the root": (
        urdf(
            '<link name="root"/><link name="arm"/>',
            BASE,
            HAND,
            joint(),
            joint('<parent link="hand"/><child link="base"/>', name="back"),
            joint('<parent link="root"/><child link="arm"/>' + AXIS, name="arm"),
        ),
        "base, hand form a ring",
    ),
    "ball joint": (urdf(BASE, HAND, joint(kind="floating")), "has the type 'floating'.*fixed, revolute"),
    "only fixed joints": (urdf(BASE, HAND, joint(kind="fixed")), "no joint that moves"),
    "zero axis": (urdf(BASE, HAND, joint(ENDS + '<axis xyz="0 0 0"/>')), "'turn' has a zero axis"),
    "short axis": (urdf(BASE, HAND, joint(ENDS + '<axis xyz="0 1"/>')), "the axis of joint 'turn' is '0 1'"),
    "not a number": (
        urdf(BASE, HAND, joint(ENDS + AXIS + '<origin xyz="0 nan 0"/>')),
        "the xyz of joint 'turn' is '0 nan 0'",
    ),
    "xacro": (urdf(BASE, HAND, joint(ENDS + AXIS + '<origin xyz="${d} 0 0"/>')), "xacro"),
    "reversed limits": (
        urdf(BASE, HAND, joint(ENDS + AXIS + '<limit lower="1" upper="-1"/>', kind="revolute")),
        "'turn' has reversed limits.*swap",
    ),
    "mimics nothing": (
        urdf(BASE, HAND, joint(ENDS + AXIS + '<mimic joint="other"/>')),
        "'turn' mimics joint 'other', which does not exist",
    ),
    "mimics itself": (
        urdf(BASE, HAND, joint(ENDS + AXIS + '<mimic joint="turn"/>')),
        "'turn' mimics joint 'turn', which follows it in turn",
    ),
    "same joint name": (
        urdf(
            BASE,
            HAND,
            '<link name="tool"/>',
            joint(),
            joint('<parent link="hand"/><child link="tool"/>' + AXIS),
        ),
        "several joints named turn",
    ),
    "cut off": ('<robot name="r"><link name="base"/>', "not well-formed XML"),
    "not XML": ("solid cube\n", "not well-formed XML"),
    "empty": ("", "not well-formed XML"),
    "other root": ("<sdf/>", "root element is <sdf>"),
    "entities": (ENTITIES, "DOCTYPE"),
    "external entity": (OUTSIDE, "DOCTYPE"),
    "mjcf ball": (
        '<mujoco><worldbody><body><joint type="ball" name="hip"/></body></worldbody></mujoco>',
        "'hip' is a ball joint; replace",
    ),
    "mjcf fault": ("<mujoco><worldbody><bdy/></worldbody></mujoco>", "bdy"),
    "mjcf without joints": (
        '<mujoco><worldbody><body name="a"/></worldbody></mujoco>',
        "no joint that moves",
    ),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED)
@pytest.mark.filterwarnings("ignore:.*has no axis")
def test_malformed_file_gives_one_clear_error(tmp_path, text, message):
    path = tmp_path / "robot.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_robot(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_axis_means_x_and_warns(tmp_path):
    path = tmp_path / "robot.urdf"
    path.write_text(urdf(BASE, HAND, joint(ENDS)))
    with pytest.warns(UserWarning, match="joint 'turn' has no axis"):
        robot = load_robot(path)
    assert robot.joints[0].axis == (1.0, 0.0, 0.0)


def test_limits_in_degrees_warn(tmp_path):
    path = tmp_path / "robot.urdf"
    path.write_text(urdf(BASE, HAND, joint(ENDS + AXIS + '<limit lower="-90" upper="90"/>', kind="revolute")))
    with pytest.warns(UserWarning, match=r"'turn' has limits \[-90, 90\] rad.*pi/180"):
        load_robot(path)


def test_undeclared_prefixes_are_read(tmp_path):
    path = tmp_path / "robot.urdf"
    path.write_text(urdf(BASE, HAND, joint(), "<gazebo:plugin><x:y/></gazebo:plugin>"))
    assert load_robot(path).dof == 1


def test_unknown_names_list_what_is_allowed(tmp_path):
    with pytest.raises(FileNotFoundError, match="'ur6e'.*ur5e, iiwa14, iiwa14_dual"):
        load_robot("ur6e")
    with pytest.raises(FileNotFoundError, match="no robot file"):
        load_robot(tmp_path)
    with pytest.raises(ValueError, match="'hand' is no link of 'ur5e'; allowed: base, shoulder"):
        load_robot("ur5e", tips=["hand"])


@pytest.mark.parametrize("name", ["ur5e", ASSETS / "tree.xml"])
def test_a_tip_is_moved_and_named_once(name):
    robot = load_robot(name)
    tip = robot.tip_names[0]
    assert load_robot(name, tips=tip).tip_names == (tip,)
    with pytest.raises(ValueError, match="no joint moves the tip .*choose a link that one moves"):
        load_robot(name, tips=[robot.link_names[0]])
    with pytest.raises(ValueError, match=f"{tip!r} of robot .* is given twice"):
        load_robot(name, tips=[tip, tip])
