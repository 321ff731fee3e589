"""Conversion there and back, JSON, and what a map refuses."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ikp import JointMap
from ikp.joint_map import EXTRA, GRIPPER, IGNORED, JOINT, Dimension

UNITS = {"rad": 1.0, "deg": math.pi / 180, "m": 1.0, "mm": 1e-3}
NAMES = ("a", "b", "c", "d")
numbers = st.floats(-3, 3)


def entry(name, **changes):
    return Dimension(name, JOINT, **{"joint": name, "unit": "rad", **changes})


@given(
    order=st.permutations(NAMES),
    signs=st.lists(st.sampled_from((1, -1)), min_size=4, max_size=4),
    units=st.lists(st.sampled_from(sorted(UNITS)), min_size=4, max_size=4),
    offsets=st.lists(numbers, min_size=4, max_size=4),
    values=st.lists(numbers, min_size=4, max_size=4),
)
def test_joints_in_any_order_unit_sign_and_zero(order, signs, units, offsets, values):
    parts = zip(order, signs, units, offsets, strict=True)
    entries = [entry(n, sign=s, unit=u, scale=UNITS[u], offset=o) for n, s, u, o in parts]
    joint_map = JointMap(NAMES, tuple(entries), tuple(reversed(entries)))
    recorded = torch.tensor(values, dtype=torch.float64)
    model = joint_map.actions.to_model(recorded)
    for i, joint in enumerate(order):
        q = signs[i] * UNITS[units[i]] * values[i] + offsets[i]
        assert float(model[NAMES.index(joint)]) == pytest.approx(q, abs=1e-12)
    torch.testing.assert_close(joint_map.actions.to_recorded(model), recorded, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(joint_map.states.to_model(recorded.flip(0)), model)
    assert joint_map.actions.names == joint_map.states.names == NAMES


@given(
    opened=st.sampled_from((0.0, 1.0, -1.0, 100.0, 0.08)),
    closed=st.sampled_from((0.0, 1.0, -1.0, 100.0, 0.08)),
)
def test_a_gripper_of_any_two_values_is_0_or_1_to_the_model(opened, closed):
    if opened == closed:
        with pytest.raises(ValueError, match="two different values"):
            Dimension("g", GRIPPER, open=opened, closed=closed)
        return
    grip = Dimension("g", GRIPPER, open=opened, closed=closed)
    joint_map = JointMap(("a",), (grip, entry("a")), (entry("a"), grip))
    recorded = torch.tensor([[opened, 0.5], [closed, 0.5]], dtype=torch.float64)
    model = joint_map.actions.to_model(recorded)
    torch.testing.assert_close(model, torch.tensor([[0.5, 0.0], [0.5, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(joint_map.actions.to_recorded(model), recorded)
    half = torch.tensor([[0.5, (opened + closed) / 2]], dtype=torch.float64)
    assert float(joint_map.states.to_model(half)[0, 1]) == pytest.approx(0.5)
    nearly = opened + 0.8 * (closed - opened)
    assert float(joint_map.actions.to_model(torch.tensor([[nearly, 0.5]]))[0, 1]) == 1.0


def test_extras_come_last_and_ignored_dimensions_come_back_filled():
    action = (Dimension("mode", IGNORED, fill=3.0), entry("a"))
    state = (Dimension("width", EXTRA), Dimension("skip", IGNORED), entry("a"))
    joint_map = JointMap(("a",), action, state)
    assert joint_map.states.names == ("a", "width")
    assert joint_map.states.to_model(torch.tensor([7.0, 8.0, 9.0])).tolist() == [9.0, 7.0]
    assert joint_map.actions.to_recorded(torch.tensor([[9.0]])).tolist() == [[3.0, 9.0]]


def test_constants_are_made_once_per_device_and_serve_training(monkeypatch):
    action = (Dimension("mode", IGNORED, fill=3.0), entry("b", unit="deg", scale=0.5, offset=1.0), entry("a"))
    actions = JointMap(("a", "b"), action, (entry("a"), entry("b"))).actions
    recorded = torch.tensor([[3.0, 4.0, 5.0]])
    with torch.inference_mode():
        assert actions.to_recorded(actions.to_model(recorded)).tolist() == recorded.tolist()
        assert actions.to_model(recorded.to("meta")).shape == (1, 2)
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: pytest.fail("a constant was made again"))
    for shape in ((3,), (1, 3), (2, 1, 3), (0, 3)):
        values = recorded[0].expand(shape).clone().requires_grad_()
        there_and_back = actions.to_recorded(actions.to_model(values))
        assert torch.equal(there_and_back, values)
        there_and_back.sum().backward()
        assert values.grad is not None
    assert actions.to_recorded(torch.ones(4, 2, device="meta")).shape == (4, 3)


def test_the_identity_changes_nothing(arm):
    joint_map = JointMap.identity(arm, grippers=["gripper"], extras=["width"])
    assert joint_map.is_identity
    state = torch.randn(3, arm.dof + 2)
    assert torch.equal(joint_map.states.to_model(state), state)
    assert not JointMap(("a",), (entry("a", offset=0.1),), (entry("a"),)).is_identity


def test_json_there_and_back(tmp_path):
    entries = (
        entry("a", sign=-1, unit="deg", scale=math.pi / 180, offset=0.25),
        Dimension("g", GRIPPER, open=100.0, closed=0.0),
    )
    joint_map = JointMap(
        ("a",), (*entries, Dimension("i", IGNORED, fill=2.0)), (*entries, Dimension("w", EXTRA))
    )
    assert JointMap.load(joint_map.save(tmp_path / "map.json")) == joint_map


def test_an_edited_unit_of_a_saved_map_counts(tmp_path):
    degrees = entry("a", unit="deg", scale=math.pi / 180, offset=0.25)
    percent = entry("b", unit="percent", scale=0.03, offset=-1.0)
    path = JointMap(("a", "b"), (degrees, percent), (degrees, percent)).save(tmp_path / "map.json")
    path.write_text(path.read_text().replace('"deg"', '"rad"'))
    for entries in (JointMap.load(path).action, JointMap.load(path).state):
        assert entries == (entry("a", unit="rad", scale=1.0, offset=0.25), percent)


def test_a_map_by_hand_needs_little(arm_with_jaw):
    common = {"role": "joint", "unit": "deg"}
    named = [common | {"name": f"{joint}.pos", "joint": joint} for joint in arm_with_jaw.joint_names]
    named[-1]["unit"] = "percent"
    joint_map = JointMap.from_json({"action": named, "state": named}, arm_with_jaw)
    model = joint_map.actions.to_model(torch.tensor([90.0, 0, 0, 0, 0, 50.0], dtype=torch.float64))
    assert float(model[0]) == pytest.approx(math.pi / 2)
    assert float(model[5]) == pytest.approx(0.8)  # half of -0.2 to 1.8
    named[-1]["unit"] = "signed-percent"
    joint_map = JointMap.from_json({"action": named, "state": named}, arm_with_jaw)
    assert float(joint_map.actions.to_model(torch.tensor([0, 0, 0, 0, 0, -100.0]))[5]) == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"unit": "grad"}, "'unit' is 'grad'; choose one of rad, deg"),
        ({"sign": 2}, "'sign' is 2; give 1 or -1"),
        ({"scale": -1.0}, "'scale' is -1.0; give a number from 1e-09 to 1000, .* and 'sign' -1"),
        ({"scale": 1e-45}, "'scale' is 1e-45; give a number from 1e-09 to 1000"),
        ({"scale": 1e4}, "'scale' is 10000.0; give a number from 1e-09 to 1000"),
        ({"scale": math.nan}, "give a finite number"),
        ({"scale": 10**400}, "'scale' is too large"),
        ({"offset": "0"}, "'offset' is '0'; give a number"),
        ({"role": "wheel"}, "choose one of joint, gripper, extra, ignored"),
        ({"joint": ""}, "'joint' is missing"),
        ({"turns": 1}, r"unknown keys \['turns'\]"),
    ],
)
def test_a_wrong_entry_is_named(changes, says):
    good = {"name": "a", "role": "joint", "joint": "a", "unit": "rad"}
    with pytest.raises(ValueError, match=f"my.json: action: dimension 'a'.*{says}"):
        JointMap.from_json({"joints": ["a"], "action": [good | changes], "state": [good]}, where="my.json")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (3, "not an object"),
        ({"joints": "a"}, "'joints' is 'a'; give a list"),
        ({"action": [3]}, "needs a 'name' and a 'role'"),
        ({"joints": ["a"], "arms": 1}, "unknown keys"),
        ({"format": 9}, "format 9"),
        ({"joints": [], "action": []}, "has no action"),
    ],
)
def test_a_wrong_file_is_named(values, says, tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"map.json.*{says}"):
        JointMap.load(path)


def test_a_missing_file_says_what_writes_one():
    with pytest.raises(FileNotFoundError, match="ikp data check FOLDER --robot ARM --save"):
        JointMap.load("nowhere.json")


def test_maps_that_do_not_fit_are_refused():
    a, b = entry("a"), entry("b")
    with pytest.raises(ValueError, match=r"no dimension for the robot's joints \['b'\]"):
        JointMap(("a", "b"), (a,), (a, b))
    with pytest.raises(ValueError, match="more than once"):
        JointMap(("a",), (a, entry("b", joint="a")), (a,))
    with pytest.raises(ValueError, match="which the robot does not have"):
        JointMap(("a",), (a, b), (a,))
    with pytest.raises(ValueError, match="same 'joint' as in the action"):
        JointMap(("a",), (a, Dimension("g", GRIPPER)), (a, Dimension("h", GRIPPER)))
    joint_map = JointMap(("a",), (a,), (a,))
    with pytest.raises(ValueError, match="expected 1 numbers in the last dimension"):
        joint_map.actions.to_model(torch.zeros(3))
    with pytest.raises(ValueError, match=r"action dimensions \['a'\], here has \['b'\]"):
        joint_map.check_names(["b"], ["a"], "here")


def test_the_table_says_unit_sign_and_zero():
    d = entry("a.pos", joint="a", unit="deg", scale=math.pi / 180, sign=-1, offset=-0.5)
    half = entry("b", unit="percent", scale=0.03, offset=-1.0)
    action = (d, half, Dimension("g", GRIPPER, open=100, closed=0), Dimension("lamp", IGNORED, fill=7))
    lines = str(JointMap(("a", "b"), action, (entry("a"), half))).splitlines()
    assert [line.split() for line in lines] == [
        ["recorded", "in", "becomes", "by", "because"],
        ["a.pos", "action", "joint", "a", "deg", "reversed", "-", "0.5"],
        ["b", "action,", "state", "joint", "b", "percent", "of", "-1", "to", "2"],
        ["g", "action", "gripper", "100", "open,", "0", "closed"],
        ["lamp", "action", "ignored", "returned", "as", "7"],
        ["a", "state", "joint", "a", "rad"],
    ]
