"""Several arms with their own joint maps: one data set in the true joints, or a refusal that says what differs."""

from __future__ import annotations

import math
import shutil
import warnings
from dataclasses import replace

import pytest
import torch

from ikp import cli, load_dataset, load_policy
from ikp.data import DatasetError, Demonstrations, pooled, store_joint_map
from ikp.data.pool import arms_table, names_of_arms, warn_of_folders
from ikp.files import read_json
from ikp.joint_map import JointMap
from ikp.kinematics import Camera, ur5e
from ikp.policies.checkpoint import CONFIG_FILE, arms_of
from ikp.runs import policy_provenance
from ikp.spec import DataSpec
from ikp.tasks import InsertionEnv

ROBOT = ur5e()
JOINTS = ROBOT.joint_names
OFFSET = torch.deg2rad(torch.tensor([3.0, -4.0, 2.0, -3.0, 4.0, 1.0]))
CAMERA = Camera.look_at((-0.9, 0.0, 1.1), (-0.5, 0.0, 0.1), fovy=45, width=8, height=8)


def recorded(episodes: int = 6, length: int = 5, seed: int = 0, **changes) -> Demonstrations:
    """Demonstrations of an arm whose encoders are right, with grippers and an image that tells the frame."""
    generator = torch.Generator().manual_seed(seed)
    frames = episodes * length
    q = torch.randn(frames, 6, generator=generator)
    hand = torch.randint(0, 2, (frames, 1), generator=generator).float()
    spec = DataSpec(
        (*JOINTS, "hand"), (*JOINTS, "hand"), (), {"front": (8, 8, 3)},
        joint_dims=tuple(range(6)), discrete_dims=(6,), cameras={"front": CAMERA},
    )  # fmt: skip
    return Demonstrations(
        spec=replace(spec, **changes),
        state=torch.cat([q, hand], -1),
        action=torch.cat([q + 0.01, hand], -1),
        environment_state=torch.zeros(frames, 0),
        images={"front": torch.arange(frames)[:, None, None, None].expand(-1, 8, 8, 3).to(torch.uint8)},
        episode_index=torch.arange(episodes).repeat_interleave(length),
        frame_index=torch.arange(length).repeat(episodes),
        success=torch.ones(episodes, dtype=torch.bool),
    )


def of_arm(data: Demonstrations, q_offset: torch.Tensor) -> Demonstrations:
    """The same motions of an arm with other zeros, loaded with its joint map."""
    joint_map = data.spec.recorded_map(ROBOT).shifted(q_offset.tolist())
    shift = torch.cat([q_offset, torch.zeros(1)])
    return replace(data, state=data.state - shift, action=data.action - shift).mapped(joint_map)


def test_arms_behind_their_maps_are_one_data_set():
    left, right = recorded(), recorded(episodes=4, seed=1)
    every = pooled({"left": left, "right": of_arm(right, OFFSET)}, ROBOT)
    torch.testing.assert_close(every.state, torch.cat([left.state, right.state]))
    torch.testing.assert_close(every.action, torch.cat([left.action, right.action]))
    assert torch.equal(every.images["front"], torch.cat([left.images["front"], right.images["front"]]))
    assert every.arms == ("left",) * 6 + ("right",) * 4
    assert len(every.episode_index.unique()) == every.episodes == 10
    assert every.spec.joint_map == every.arm_maps["left"]
    assert every.arm_maps["left"].is_identity
    assert every.arm_maps["right"] == right.spec.recorded_map(ROBOT).shifted(OFFSET.tolist())
    assert "10 episodes of 2 arms" in repr(every)
    assert every.first(7).arms == every.arms[:7]
    table = arms_table(every, ROBOT).splitlines()
    assert table[1].split() == ["left", "6", *["0.00,"] * 5, "0.00"]
    assert table[2].split() == ["right", "4", "3.00,", "-4.00,", "2.00,", "-3.00,", "4.00,", "1.00"]


def test_one_arm_stays_as_it_is():
    data = recorded()
    assert pooled({"left": data}, ROBOT) is data
    assert data.arm_names == ()


def test_demonstrations_of_every_arm_are_held_out():
    every = pooled({"left": recorded(episodes=20), "right": recorded(episodes=2)}, ROBOT)
    training, held_out = every.split(0.1)
    for arm, count in (("left", 2), ("right", 1)):
        assert len(every.frames_of_arm(arm, held_out)) == 5 * count
    assert sorted(torch.cat([training, held_out]).tolist()) == list(range(len(every)))
    with pytest.raises(ValueError, match="1 episodes of the arm 'right' leaves none"):
        pooled({"left": recorded(), "right": recorded(episodes=1)}, ROBOT).split(0.1)


def renamed(part: Demonstrations, names: tuple[str, ...]) -> Demonstrations:
    return replace(part, spec=replace(part.spec, action_names=names, state_names=names))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (recorded(fps=30.0), "left has the frame rate 10.0, right has 30.0: record all arms at one rate"),
        (recorded(image_shapes={"wrist": (8, 8, 3)}, cameras={}), "--cameras NAME"),
        (recorded(image_shapes={"front": (16, 8, 3)}, cameras={}), "--image-size HEIGHTxWIDTH"),
        (recorded(discrete_dims=()), r"left has the grippers \['hand'\], right has \[\]"),
        (renamed(recorded(), (*JOINTS, "vacuum")), "the same 'joint' in all joint maps"),
        (recorded(state_names=JOINTS), "left has the state dimensions"),
    ],
)
def test_what_no_joint_map_converts_has_to_agree(other, message):
    with pytest.raises(DatasetError, match=message):
        pooled({"left": recorded(), "right": other}, None)


def with_dimension(**changes):
    """An arm whose hand is described otherwise in the action and the state of its map."""
    data = recorded()
    joint_map = data.spec.recorded_map(ROBOT)
    vectors = {
        name: tuple(replace(d, **changes) if d.name == "hand" else d for d in getattr(joint_map, name))
        for name in ("action", "state")
    }
    return data.mapped(replace(joint_map, **vectors))


def test_grippers_that_close_towards_other_ends_are_told():
    with pytest.warns(
        UserWarning, match=r"opens at 0 and closes at 1 in a, and opens at 0.8 and closes at 0 in b"
    ):
        pooled({"a": with_dimension(), "b": with_dimension(open=0.8, closed=0.0)}, ROBOT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pooled({"a": with_dimension(), "b": with_dimension(open=0.0, closed=0.8)}, ROBOT)


def test_extras_in_other_units_are_refused():
    width = {"role": "extra", "joint": ""}
    one, other = with_dimension(**width, unit="m"), with_dimension(**width, unit="mm")
    assert len(pooled({"a": one, "b": one}, ROBOT)) == 60
    with pytest.raises(DatasetError, match="a has the units of extras {'hand': 'm'}, b has {'hand': 'mm'}"):
        pooled({"a": one, "b": other}, ROBOT)


def test_a_camera_that_stands_elsewhere_has_no_model():
    moved = recorded(cameras={"front": CAMERA.displaced([0.1, 0.0, 0.0], [0.0, 0.0, 0.1])})
    assert pooled({"left": recorded(), "right": recorded()}).spec.cameras == {"front": CAMERA}
    assert pooled({"left": recorded(), "right": moved}).spec.cameras == {}


def test_images_that_do_not_fit_together_are_refused(monkeypatch):
    monkeypatch.setattr("ikp.data.pool.free_memory", lambda: 1000)
    with pytest.raises(DatasetError, match=r"the images of 2 arms take .* \(--image-size"):
        pooled({"left": recorded(), "right": recorded()})


def test_arms_are_named_after_their_folders(tmp_path):
    folders = [tmp_path / "a" / "data", tmp_path / "b" / "data", tmp_path / "data-2"]
    assert names_of_arms(folders) == ("data", "data-2", "data-2-2")
    with pytest.raises(ValueError, match="given twice"):
        names_of_arms([tmp_path / "a", tmp_path / "b", tmp_path / "a" / ".." / "a"])


@pytest.fixture
def two_arms(demonstrations, tmp_path):
    """A folder, and the same with a joint map of other zeros stored in it."""
    left, right = tmp_path / "left", tmp_path / "right"
    for folder in (left, right):
        shutil.copytree(demonstrations, folder)
    spec = load_dataset(left).spec
    store_joint_map(right, spec.recorded_map(InsertionEnv.robot).shifted(OFFSET.tolist()))
    return left, right


def test_the_command_trains_on_both_arms_and_writes_their_maps(two_arms, tiny, tmp_path, capsys):
    left, right = map(str, two_arms)
    run = tmp_path / "run"
    assert cli.main(["train", "--data", left, right, "--out", str(run), "--recipe", "tiny"]) == 0
    said = capsys.readouterr().out
    assert "used: 32 episodes" in said
    assert "right  16        3.00, -4.00, 2.00, -3.00, 4.00, 1.00" in said
    assert "of the arm right:" in said
    assert "drives the arm left" in said
    evaluate = ["evaluate", "--policy", str(run), "--episodes", "1"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*was trained on the arms")
        assert cli.main([*evaluate, "--joint-map", str(run / "joint_maps" / "right.json")]) == 0
    with pytest.warns(UserWarning, match="give its joint map .--joint-map FILE"):
        assert cli.main(evaluate) == 0
    with pytest.warns(UserWarning, match="on the arms left, right and drives left now"):
        policy = load_policy(run)
    other = load_policy(run, joint_map=run / "joint_maps" / "right.json")
    q = torch.zeros(policy.spec.state_dim)
    turned = other.spec.joint_map.states.to_model(q) - policy.spec.joint_map.states.to_model(q)
    torch.testing.assert_close(turned[:6], OFFSET)
    made = policy_provenance(run)
    assert arms_of(made) == ["left", "right"]
    assert (made["data"]["episodes"], made["data"]["arms"]["right"]) == (32, right)
    # the zeros of both are removed by the scales: half of the joints are OFFSET further
    before = load_dataset(left).state[:, :6]
    torch.testing.assert_close(policy.encoder.state.mean[:6], before.mean(0) + OFFSET / 2, atol=1e-4, rtol=0)


def test_a_deployment_has_to_say_which_arm_it_drives(two_arms, tiny, tmp_path, capsys):
    left, right = map(str, two_arms)
    run = str(tmp_path / "run")
    assert cli.main(["train", "--data", left, right, "--out", run, "--recipe", "tiny"]) == 0
    deploy = ["deploy", "--policy", run, "--out", str(tmp_path / "out"), "--bench", "lockstep:insertion"]
    assert cli.main(deploy) != 0
    assert "trained on the arms left, right" in capsys.readouterr().err
    assert arms_of(read_json(tmp_path / "run" / "policy" / CONFIG_FILE, fix="")["provenance"]) == [
        "left",
        "right",
    ]


def test_folders_that_do_not_go_together_are_refused(two_arms, pixel_demonstrations, tmp_path, capsys):
    left, right = map(str, two_arms)
    train = ["train", "--out", str(tmp_path / "run"), "--data", left]
    for given, message in (
        ([left], "is given twice"),
        (["--data", right], "--data is given twice: write all folders behind one"),
        ([right, "--units", "deg"], "store the map of each in its folder"),
        ([right, "--joint-map", "map.json"], "store the map of each in its folder"),
        ([str(pixel_demonstrations)], "the cameras []"),
        ([str(tmp_path / "none")], "not a LeRobot data set"),
    ):
        assert cli.main([*train, *given]) != 0
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "policy").exists()


def test_a_folder_without_a_map_and_a_copied_one_are_told(two_arms, pixel_demonstrations):
    left, right = map(str, two_arms)
    with pytest.warns(UserWarning, match=left) as told:
        warn_of_folders([left, right])
    assert [str(one.message).partition(",")[0] for one in told] == [
        f"{left} stores no joint map",
        f"{right} holds the same episodes as {left}",
    ]
    assert f"`ikp data check {left} --store`" in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_folders([right])
        warn_of_folders([left, pixel_demonstrations])


def test_a_shifted_map_moves_every_joint_of_state_and_action():
    joint_map = JointMap.identity(ROBOT, grippers=["hand"])
    moved = joint_map.shifted([math.radians(1.0)] * 6)
    q = torch.zeros(7)
    torch.testing.assert_close(moved.states.to_model(q)[:6], torch.full((6,), math.radians(1.0)))
    torch.testing.assert_close(moved.actions.to_model(q), moved.states.to_model(q))
    with pytest.raises(ValueError, match="1 numbers, and the joint map 6 joints"):
        joint_map.shifted([0.1])
