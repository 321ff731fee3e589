"""A robot that was written as a URDF is the same robot when it is loaded."""

from pathlib import Path

import pytest
import torch

import ikp
from ikp.kinematics import forward_kinematics, load_robot
from ikp.kinematics.builtin import BUILTIN
from ikp.kinematics.urdf_writer import edited_urdf, urdf_text

MJCF = """<mujoco><worldbody><body name="arm" pos="0 0 0.2" euler="10 20 30">
<joint name="turn" type="hinge" axis="0 1 1" pos="0.1 0.05 0" range="-90 90"/>
<body name="tip" pos="0.3 0 0"><joint name="slide" type="slide" axis="1 0 0" range="-0.1 0.2"/>
<geom size="0.01"/></body><geom size="0.01"/></body></worldbody></mujoco>"""
URDF = """<robot name="arm"><!-- kept --><link name="base"/><link name="arm"><visual><geometry><box size="1 1 1"/>
</geometry></visual></link><link name="finger"/><link name="thumb"/>
<joint name="turn" type="revolute"><parent link="base"/><child link="arm"/><origin xyz="0 0 1" rpy="0.1 0.2 0.3"/>
<axis xyz="0 0 1"/><limit lower="-1" upper="1" velocity="2" effort="9"/></joint>
<joint name="grip" type="prismatic"><parent link="arm"/><child link="finger"/><axis xyz="1 0 0"/>
<limit lower="0" upper="0.1" velocity="1" effort="9"/></joint>
<joint name="follow" type="prismatic"><parent link="arm"/><child link="thumb"/><axis xyz="-1 0 0"/>
<limit lower="0" upper="0.1" velocity="1" effort="9"/><mimic joint="grip" multiplier="0.5" offset="0.01"/></joint>
</robot>"""


def same(robot, other):
    q = robot.random_q((20,), generator=torch.Generator().manual_seed(0))
    assert robot.joint_names == other.joint_names
    torch.testing.assert_close(robot.lower, other.lower)
    torch.testing.assert_close(robot.velocity, other.velocity)
    places = [other.link_index(name) for name in robot.link_names]
    torch.testing.assert_close(
        forward_kinematics(robot, q), forward_kinematics(other, q)[:, places], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_robots_survive_the_way_through_a_urdf(name):
    robot = load_robot(name)
    Path("robot.urdf").write_text(urdf_text(robot))
    same(robot, load_robot("robot.urdf", tips=robot.tip_names))


@pytest.mark.parametrize(("text", "suffix"), [(MJCF, "xml"), (URDF, "urdf")])
def test_anchors_slides_limits_and_mimics_survive_too(text, suffix):
    Path(f"robot.{suffix}").write_text(text)
    robot = load_robot(f"robot.{suffix}")
    Path("written.urdf").write_text(urdf_text(robot))
    same(robot, load_robot("written.urdf"))


def test_an_edited_file_keeps_everything_else():
    Path("robot.urdf").write_text(URDF)
    robot = load_robot("robot.urdf")
    moved = robot.to_dict()
    moved["links"][1]["T_parent_joint"][2][3] = 1.25
    moved["links"][1]["joint"]["lower"] = -0.75
    changed = ikp.Robot.from_dict(moved)
    text = edited_urdf(Path("robot.urdf"), changed)
    assert "<!-- kept -->" in text
    assert '<box size="1 1 1" />' in text
    Path("edited.urdf").write_text(text)
    same(changed, load_robot("edited.urdf"))
    with_prefix = URDF.replace("<box", '<drake:box drake:kind="1"/><box')
    Path("robot.urdf").write_text(with_prefix)
    assert '<drake:box drake:kind="1" /><box' in edited_urdf(Path("robot.urdf"), changed)
    with pytest.raises(ValueError, match="no joint above the link 'shoulder'"):
        edited_urdf(Path("robot.urdf"), load_robot("ur5e"))
