"""MJCF files: sites and bodies of one name, attached files, materials, couplings in a ring, hostile counts."""

import math
import time

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ikp.kinematics import forward_kinematics, load_robot

from .reference import joint_positions, mujoco_poses


@pytest.fixture
def load(tmp_path):
    def load(content, **options):
        path = tmp_path / "robot.xml"
        path.write_text(content)
        return load_robot(path, **options)

    return load


def world(content, rest=""):
    return f"<mujoco><worldbody>{content}</worldbody>{rest}</mujoco>"


def agrees(robot, path):
    """Every body of MuJoCo's own model of the same file is where the robot has it."""
    model = mujoco.MjModel.from_xml_path(str(path))
    for q in robot.random_q((5,)):
        T = forward_kinematics(robot, q).numpy()
        for name, expected in mujoco_poses(model, robot, q).items():
            np.testing.assert_allclose(T[robot.link_index(name)], expected, atol=1e-9)


# Sites and bodies

WRIST = world(
    '<body name="wrist" pos="0 0 0.5"><joint name="turn" axis="0 0 1"/><geom size="0.1"/>'
    '<site name="wrist" pos="0.2 0 0" euler="0 90 0"/><site name="pen" pos="0 0.3 0"/>'
    '<site name="base" pos="0 0 0.1"/><site name="hub"/></body><body name="hub"/>'
)


def tip(robot):
    T = forward_kinematics(robot, torch.zeros(robot.dof, dtype=torch.float64))
    return T[robot.tip_indices[0], :3, 3].tolist()


def test_a_site_and_a_body_of_one_name_are_asked_for(load):
    with pytest.raises(
        ValueError, match="'wrist' is the name of a body and of a site.*'site:wrist' or 'body:wrist'"
    ):
        load(WRIST, tips=["wrist"])
    with pytest.raises(ValueError, match="'site:hub' or 'body:hub'"):
        load(WRIST, tips=["hub"])
    site = load(WRIST, tips=["site:wrist"])
    assert tip(site) == pytest.approx([0.2, 0, 0.5])
    assert site.tip_names == ("site:wrist",)
    assert tip(load(WRIST, tips=["body:wrist"])) == pytest.approx([0, 0, 0.5])
    assert tip(load(WRIST, tips=["body:wrist", "site:wrist"])) == pytest.approx([0, 0, 0.5])
    assert (
        tip(load(WRIST, tips=["pen"])) == tip(load(WRIST, tips=["site:pen"])) == pytest.approx([0, 0.3, 0.5])
    )
    assert load(WRIST).tip_names == ("wrist",)


def test_a_site_in_its_bodys_place_is_no_question(load):
    assert load(WRIST.replace('pos="0.2 0 0" euler="0 90 0"', ""), tips=["wrist"]).tip_names == ("wrist",)


@pytest.mark.parametrize("name", ["nib", "site:nib", "body:nib", "body:pen"])
def test_an_unknown_tip_lists_bodies_and_sites(load, name):
    with pytest.raises(ValueError, match=f"'{name}' is no body and no site.*world, wrist.*wrist, pen, base"):
        load(WRIST, tips=[name])


# Files and materials that a model refers to


def test_sites_may_use_materials(load, tmp_path):
    content = (
        '<mujoco><default><site material="steel"/></default><asset><texture name="t" type="2d" file="none.png"/>'
        '<material name="steel" texture="t"/></asset><worldbody><body name="arm" pos="0 0 1"><joint name="j"/>'
        '<geom size=".1" material="steel"/><site name="end" pos="0 0 0.4"/></body></worldbody></mujoco>'
    )
    assert tip(load(content, tips=["end"])) == pytest.approx([0, 0, 1.4])


HAND = """<mujoco model="grip"><compiler angle="radian" {compiler}/><asset><material name="rubber"/></asset>
<worldbody><body name="base"><geom size="0.02" material="rubber"/>
<body name="thumb" pos="0 0.01 0.04" quat="0.9 0.1 0.2 0.3"><joint name="bend" axis="1 0 1" range="-0.5 0.7"/>
<geom type="capsule" size="0.01 0.02"/></body></body></worldbody></mujoco>"""
ARM = """<mujoco><compiler {compiler}/><asset><model name="g" file="grip.xml"/></asset><worldbody>
<body name="arm"><joint name="lift" axis="0 1 0"/><geom size="0.05"/>
<body name="wrist" pos="0.4 0 0.1" euler="0 30 0">{attach}</body></body></worldbody></mujoco>"""
ATTACH = '<attach model="g" body="base" prefix="{}/"/>'


@pytest.mark.parametrize("compiler", ["", 'inertiafromgeom="true"', 'boundmass="0" balanceinertia="false"'])
@pytest.mark.parametrize("prefixes", [["left"], ["left", "right"]])
def test_attached_files_agree_with_mujoco(load, tmp_path, compiler, prefixes):
    (tmp_path / "grip.xml").write_text(HAND.format(compiler=compiler))
    attach = "".join(f'<body pos="0 0 {i}">{ATTACH.format(p)}</body>' for i, p in enumerate(prefixes))
    robot = load(ARM.format(compiler=compiler, attach=attach))
    assert robot.joint_names == ("lift", *(f"{prefix}/bend" for prefix in prefixes))
    assert robot.lower.tolist()[1:] == [-0.5] * len(prefixes)
    agrees(robot, tmp_path / "robot.xml")


@pytest.mark.parametrize(
    "inertial",
    [
        '<inertial pos="0 0 0" mass="1" diaginertia="1 1 5"/>',
        '<inertial pos="1 0 0" mass="0.1" fullinertia="1 1 1 0.1 0.1 0.1"/>',
        '<inertial pos="0 0 0" euler="1 2 3" mass="1" diaginertia="1 1 1"/>',
        '<geom type="mesh" mesh="none"/>',
        "",
    ],
)
def test_masses_of_every_kind_are_left_out(load, inertial):
    asset = '<asset><mesh name="none" file="none.stl"/></asset>' if "mesh" in inertial else ""
    content = world(f'<body name="a" pos="1 0 0"><joint name="j"/>{inertial}</body>', asset)
    assert tip(load(content)) == pytest.approx([1, 0, 0])


@pytest.mark.parametrize(
    "setting",
    [
        '<default><geom type="capsule" size="0.01" fromto="0 0 0 0 0 1"/></default>',
        '<default><geom type="mesh" mesh="none" material="none"/></default><asset><material name="none"/></asset>',
        '<size memory="1K"/>',
        '<compiler settotalmass="3"/>',
    ],
)
def test_settings_of_a_file_do_not_reach_what_stands_for_its_masses(load, setting):
    bodies = "".join(f'<body name="b{i}" pos="1 0 {i}"><joint name="j{i}"/></body>' for i in range(5))
    content = f"<mujoco>{setting}<worldbody>{bodies}</worldbody></mujoco>"
    assert tip(load(content, tips=["b3"])) == pytest.approx([1, 0, 3])


# Couplings

BODIES = "".join(
    f'<body name="{name}_link" pos="0 {i} 0"><joint name="{name}" axis="0 0 1" ref="{10 * i}"/>'
    '<geom size="0.1"/></body>'
    for i, name in enumerate(("left", "middle", "right"))
)


def coupled(*pairs):
    joints = (
        f'<joint joint1="{a}" polycoef="{offset} {factor} 0 0 0"' + (f' joint2="{b}"/>' if b else "/>")
        for a, b, offset, factor in pairs
    )
    return world(BODIES, f"<equality>{''.join(joints)}</equality>")


def test_a_coupling_written_twice_is_one(load):
    content = coupled(("left", "right", 0, 1), ("right", "left", 0, 1))
    with pytest.warns(
        UserWarning,
        match="of joint 'right' is one that closes a ring: joint 'left' follows it already; it is",
    ):
        robot = load(content)
    assert robot.joint_names == ("middle", "right")
    assert robot.link_dofs == (-1, 1, 0, 1)


def test_a_ring_of_three_is_opened(load):
    content = coupled(("left", "middle", 0.1, 2), ("middle", "right", 0, -1), ("right", "left", 0, 1))
    with pytest.warns(UserWarning, match="of joint 'right' is one that closes a ring"):
        robot = load(content)
    assert robot.joint_names == ("right",)
    follow = robot.links[robot.link_index("left_link")].joint.mimic
    assert (follow.joint, follow.multiplier) == ("right", -2)


def test_a_joint_that_follows_itself_is_refused_by_mujoco(load):
    with pytest.raises(ValueError, match="'left' is repeated in equality constraint"):
        load(coupled(("left", "left", 0, 1)))


def test_what_follows_a_held_joint_is_held(load):
    """As MuJoCo's own solver holds them."""
    content = coupled(("middle", "", 0.2, 0), ("left", "middle", 0.1, -3))
    robot = load(content)
    assert robot.joint_names == ("right",)
    T = forward_kinematics(robot, torch.zeros(1, dtype=torch.float64))
    turn = T[robot.link_index("left_link"), :3, :3]
    # displacements from the references: middle by 0.2, left by 0.1 - 3 * 0.2
    assert math.atan2(turn[1, 0], turn[0, 0]) == pytest.approx(0.1 - 0.6)


@settings(max_examples=40)
@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["left", "middle", "right"]),
            st.sampled_from(["left", "middle", "right", ""]),
            st.floats(-0.3, 0.3),
            st.floats(-2, 2).filter(lambda factor: abs(factor) > 0.01),
        ).filter(lambda pair: pair[0] != pair[1]),
        max_size=5,
    )
)
@pytest.mark.filterwarnings("ignore:an equality constraint")
def test_random_couplings_are_those_of_mujoco(tmp_path_factory, pairs):
    """The first coupling of each joint holds at every q, unless it closes a ring; the others are left out."""
    path = tmp_path_factory.mktemp("coupled") / "robot.xml"
    path.write_text(coupled(*pairs))
    model = mujoco.MjModel.from_xml_path(str(path))
    kept: dict[str, tuple[str, float, float]] = {}
    for a, b, offset, factor in pairs:
        end = b
        while end in kept and end != a:
            end = kept[end][0]
        if a not in kept and end != a:
            kept[a] = (b, offset, factor)
    if len(kept) == 3:
        with pytest.raises(ValueError, match="no joint that moves"):
            load_robot(path)
        return
    robot = load_robot(path)
    q = robot.random_q()
    rest = {name: model.qpos0[i] for i, name in enumerate(("left", "middle", "right"))}
    at = joint_positions(robot, q)

    def position(name):
        if name not in kept:
            return at[name]
        main, offset, factor = kept[name]
        return rest[name] + offset + (factor * (position(main) - rest[main]) if main else 0.0)

    data = mujoco.MjData(model)
    for name in rest:
        data.joint(name).qpos[:] = position(name)
    mujoco.mj_kinematics(model, data)
    T = forward_kinematics(robot, q)
    for body in range(1, model.nbody):
        link = robot.link_index(model.body(body).name)
        np.testing.assert_allclose(T[link, :3, :3].flatten(), data.xmat[body], atol=1e-9)


# Counts

PAIR = '<body><joint/><geom size="0.1"/></body>'


@pytest.mark.parametrize(
    "content",
    [
        f'<replicate count="1000000" offset="0 0 1">{PAIR}</replicate>',
        '<replicate count="200000"><geom size="0.1"/></replicate>',
        f'<replicate count="90"><replicate count="90">{PAIR}</replicate></replicate>',
        '<replicate count="90"><include file="row.xml"/></replicate>',
        '<composite type="cable" count="1000000 1 1" curve="s" size="1" prefix="c"/>',
        '<flexcomp name="f" type="grid" count="900 900 900"/>',
    ],
)
def test_hostile_counts_are_refused_at_once(load, tmp_path, content):
    (tmp_path / "row.xml").write_text(
        f'<mujocoinclude><replicate count="90">{PAIR}</replicate></mujocoinclude>'
    )
    started = time.monotonic()
    with pytest.raises(ValueError, match="make more than 1000 elements; lower the count"):
        load(world('<body name="a"><joint/></body>' + content))
    assert time.monotonic() - started < 1


def test_a_row_of_bodies_loads(load, tmp_path):
    (tmp_path / "row.xml").write_text(
        f'<mujocoinclude><replicate count="9">{PAIR}</replicate></mujocoinclude>'
    )
    assert load(world('<include file="row.xml"/>'), tips=["body_9"]).dof == 9


def test_a_faulty_include_is_named(load, tmp_path):
    (tmp_path / "row.xml").write_text("<mujocoinclude>")
    with pytest.raises(ValueError, match="in the included row.xml: this is not well-formed XML"):
        load(world('<include file="row.xml"/>'))


# Contents that MuJoCo does not check


@pytest.mark.parametrize("outer", ["frame", "replicate"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('pos="1 0 0"', 'poss="1 0 0"'),
            "inside of a <frame> or <replicate>: .*unrecognized attribute: 'poss'",
        ),
        (('axis="0 1 0"', 'axes="0 1 0"'), "unrecognized attribute: 'axes'"),
        (('offset="1 0 0"', 'ofset="1 0 0"'), "has ofset; known: "),
    ],
)
def test_misspelt_attributes_in_frames_and_copies(load, outer, change, message):
    turn = '<joint name="turn" axis="0 1 0"/><geom size="0.1" class="small"/>'
    own = 'count="2" offset="1 0 0"' if outer == "replicate" else 'pos="0 0 1" childclass="small"'
    inner = f'<frame name="f"><body name="post" pos="1 0 0"><frame>{turn}</frame></body></frame>'
    content = world(f"<{outer} {own}>{inner}</{outer}>", '<default><default class="small"/></default>')
    assert load(content).dof == (2 if outer == "replicate" else 1)
    if change[0] in content:
        with pytest.raises(ValueError, match=message):
            load(content.replace(*change))
