"""Recordings of others with a robot: the same numbers in any unit, maps that are stored, and what is refused."""

import json
import shutil
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import ikp
import ikp.data.episodes
from ikp import cli
from ikp.data import DatasetError, DatasetWriter, MapHints, load_dataset, store_joint_map
from ikp.data.check import check_dataset
from ikp.data.index import dim_names
from ikp.data.layout import IKP_PATH
from ikp.data.usage import usage
from ikp.joint_map import JointMap, Vector
from ikp.joint_map.names import is_unnamed
from ikp.kinematics import load_robot
from ikp.policies import PolicyConfig, make_policy
from ikp.spec import DataSpec


@pytest.fixture
def arm(arm_with_jaw):
    return arm_with_jaw


@pytest.fixture
def in_degrees(tmp_path, helpers):
    """A recording like that of an SO-101: degrees, a jaw from 0 to 100, two cameras of different size."""
    return helpers.so101_like(tmp_path / "degrees", in_degrees=True)


@pytest.fixture
def in_radians(tmp_path, helpers):
    """The same in the robot's units."""
    return helpers.so101_like(tmp_path / "radians", in_degrees=False)


def test_degrees_and_a_jaw_in_percent_are_the_same_data_as_radians(arm, in_degrees, in_radians):
    one = load_dataset(in_degrees, robot=arm, hints=MapHints(units="deg"))
    other = load_dataset(in_radians, robot=arm)
    torch.testing.assert_close(one.state, other.state, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.action, other.action, rtol=1e-5, atol=1e-5)
    assert one.spec.joint_dims == other.spec.joint_dims == tuple(range(6))
    assert one.spec.action_names == arm.joint_names
    assert one.spec.recorded_action_names[0] == "shoulder_pan.pos"
    assert one.spec.image_shapes == {"front": (24, 32, 3), "wrist": (16, 16, 3)}
    for camera, images in one.images.items():
        assert torch.equal(images, other.images[camera])


def test_degrees_without_a_word_are_refused_before_any_image_is_decoded(arm, in_degrees, monkeypatch):
    monkeypatch.setattr("ikp.data.reader.decode_image", lambda *_: pytest.fail("an image was decoded"))
    with pytest.raises(DatasetError, match="--units deg or --units signed-percent"):
        load_dataset(in_degrees, robot=arm)


def test_rad_that_are_said_to_be_degrees_are_doubted(tmp_path, arm, helpers):
    names = [f"{joint}.pos" for joint in (*helpers.JOINTS, "gripper")]
    state, action = helpers.motion(6, frames=60)
    root = helpers.write_recording(tmp_path / "data", names, action, state, (30, 30), {})
    hints = MapHints(units="deg")
    with pytest.warns(UserWarning, match="joints in degrees move by 2.4 at most in all episodes"):
        load_dataset(root, robot=arm, hints=hints)
    doubt = "the joints in degrees move by 2.4 at most in all episodes; if these numbers are rad, it is 13"
    assert doubt in str(check_dataset(root, robot=arm, hints=hints))
    assert "in degrees" not in str(check_dataset(root, robot=arm, hints=MapHints(units="rad")))
    degrees = helpers.so101_like(tmp_path / "degrees", in_degrees=True)
    assert "in degrees" not in str(check_dataset(degrees, robot=arm, hints=hints))


def test_a_command_of_a_joint_that_follows_another_is_doubted(tmp_path, helpers):
    text = helpers.arm_urdf(hand=dict(kind="prismatic", axis="1 0 0", lower=0.0, upper=0.04))
    thumb = """<link name="thumb"/><joint name="thumb_joint" type="prismatic"><parent link="base"/>
    <child link="thumb"/><axis xyz="1 0 0"/><limit lower="0" upper="0.04" velocity="1" effort="9"/>
    <mimic joint="gripper"/></joint></robot>"""
    (tmp_path / "arm.urdf").write_text(text.replace("</robot>", thumb))
    robot = load_robot(tmp_path / "arm.urdf", tips=["gripper_link"])
    values = helpers.motion(7, frames=60)[1]
    values[:, 5:] = np.where(values[:, 5:6] > 0, 0.04, 0.0)
    root = helpers.write_recording(
        tmp_path / "data", [*helpers.JOINTS, "gripper", "thumb_joint"], values, values, (30, 30), {}
    )
    report = str(check_dataset(root, robot=robot, hints=MapHints(gripper={"thumb_joint": None})))
    assert "dimension 'thumb_joint' follows joint 'gripper' in the robot" in report
    left_out = str(check_dataset(root, robot=robot, hints=MapHints(ignore=["thumb_joint"])))
    assert "follows joint" not in left_out


def test_a_stored_map_is_found_and_survives_what_tools_drop(arm, in_degrees, in_radians):
    mapped = load_dataset(in_degrees, robot=arm, hints=MapHints(units="deg"))
    assert mapped.spec.joint_map is not None
    store_joint_map(in_degrees, mapped.spec.joint_map)
    again = load_dataset(in_degrees, robot=arm)
    assert again.spec == mapped.spec
    torch.testing.assert_close(again.state, mapped.state)
    info = json.loads((in_degrees / "meta/info.json").read_text())
    assert set(info["features"]["action"]) == {"dtype", "shape", "names", "joint_map"}
    names = {"dtype": "float32", "shape": [6], "names": [f"m{i}" for i in range(6)]}
    change_feature(in_radians, "action", names)
    with pytest.raises(DatasetError, match=r"radians has \['m0', 'm1'"):
        store_joint_map(in_radians, mapped.spec.joint_map)


@pytest.mark.parametrize("fix", ["replace", "take out"])
def test_a_damaged_stored_map_is_mended_as_the_error_says(arm, in_radians, fix, tmp_path, helpers):
    right = load_dataset(in_radians, robot=arm).spec.joint_map
    store_joint_map(in_radians, right)
    path = in_radians / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["action"]["joint_map"]["action"][0]["unit"] = "turns"
    path.write_text(json.dumps(info))
    with pytest.raises(
        DatasetError, match=r"'unit' is 'turns'.*check FOLDER --joint-map FILE --store.*take 'joint_map' out"
    ):
        load_dataset(in_radians, robot=arm)
    if fix == "replace":
        right.save(tmp_path / "map.json")
        (tmp_path / "arm.urdf").write_text(helpers.arm_urdf(hand=helpers.JAW))
        check = ["data", "check", str(in_radians), "--robot", str(tmp_path / "arm.urdf")]
        assert cli.main([*check, "--joint-map", str(tmp_path / "map.json"), "--store"]) == 0
    else:
        for feature in info["features"].values():
            feature.pop("joint_map", None)
        path.write_text(json.dumps(info))
    assert load_dataset(in_radians, robot=arm).spec.joint_map == right


def add_episode(writer):
    for _ in range(4):
        writer.add_frame(
            {"state": np.zeros(writer.spec.state_dim), "images": {}}, np.zeros(writer.spec.action_dim)
        )
    writer.save_episode(success=True)


def test_roles_and_maps_of_our_own_data_live_in_the_features(tmp_path, helpers):
    root = tmp_path / "own"
    spec = DataSpec(("a", "b", "grip"), ("b", "c"), joint_dims=(1, 0), discrete_dims=(2,))
    with DatasetWriter(root, spec) as writer:
        add_episode(writer)
    before = load_dataset(root).spec
    (root / IKP_PATH).unlink()
    assert load_dataset(root).spec == before


def test_a_writer_keeps_a_stored_map_and_takes_recorded_numbers_only(tmp_path, helpers, arm):
    spec = DataSpec(arm.joint_names, arm.joint_names, joint_dims=tuple(range(6)))
    with DatasetWriter(tmp_path / "a", spec) as writer:
        add_episode(writer)
    joint_map = JointMap.identity(arm)
    store_joint_map(tmp_path / "a", joint_map)
    with DatasetWriter(tmp_path / "a", spec) as writer:
        add_episode(writer)
    assert load_dataset(tmp_path / "a").spec.joint_map == joint_map
    with pytest.raises(DatasetError, match="records numbers as they come"):
        DatasetWriter(tmp_path / "b", spec.with_joint_map(joint_map))


def test_a_map_and_hints_exclude_each_other(arm, in_degrees):
    joint_map = load_dataset(in_degrees, robot=arm, hints=MapHints(units="deg")).spec.joint_map
    with pytest.raises(DatasetError, match="give either --joint-map, or --units"):
        load_dataset(in_degrees, robot=arm, joint_map=joint_map, hints=MapHints(units="deg"))
    with pytest.raises(DatasetError, match="give the robot of these data"):
        load_dataset(in_degrees, robot=ikp.load_robot("ur5e"), joint_map=joint_map)
    with pytest.raises(DatasetError, match="give the robot \\(--robot\\)"):
        load_dataset(in_degrees, hints=MapHints(units="deg"))


def test_another_robot_of_the_same_size_is_refused(in_radians):
    with pytest.raises(DatasetError, match="no dimension for the joints .*or give the robot of these data"):
        load_dataset(in_radians, robot=ikp.load_robot("ur5e"))


@pytest.mark.parametrize(
    ("shape", "names", "size"),
    [
        ((3, 24, 32), ["height", "width", "channel"], (24, 32, 3)),
        ((24, 32, 3), ["channels", "height", "width"], (24, 32, 3)),
        ((24, 32, 4), ["height", "width", "channels"], (24, 32, 3)),
        ((3, 24, 32), None, (24, 32, 3)),
    ],
)
def test_cameras_described_in_other_ways_are_used(in_radians, shape, names, size):
    feature = {"dtype": "image", "shape": list(shape), "names": names}
    change_feature(in_radians, "observation.images.front", feature)
    assert load_dataset(in_radians).images["front"].shape[1:] == size


@pytest.mark.parametrize(("dtype", "shape"), [("image", [24, 32, 1]), ("uint8", [24, 32, 3])])
def test_a_camera_that_is_left_out_is_named(in_radians, dtype, shape):
    feature = {"dtype": dtype, "shape": shape, "names": ["height", "width", "channels"]}
    change_feature(in_radians, "observation.images.front", feature)
    with pytest.warns(UserWarning, match=r"not used: .*front.*\(24, 32, [13]\)"):
        assert load_dataset(in_radians).spec.camera_names == ("wrist",)


def test_a_camera_that_the_description_has_lost_is_named(in_radians):
    change_feature(in_radians, "observation.images.front", None)
    lines = usage(in_radians, load_dataset(in_radians))
    assert "left out: observation.images.front, which info.json does not describe" in lines


def change_feature(root, key, feature):
    info = json.loads((root / "meta/info.json").read_text())
    info["features"][key] = feature
    if feature is None:
        del info["features"][key]
    (root / "meta/info.json").write_text(json.dumps(info))


def test_check_says_what_is_understood(arm, in_degrees):
    report = check_dataset(in_degrees, robot=arm, hints=MapHints(units="deg"))
    assert not report.refused
    assert not report.doubts
    text = str(report)
    assert "shoulder_pan.pos action, state joint shoulder_pan deg by name; as given" in " ".join(text.split())
    assert "used: cameras front 32 x 24, wrist 16 x 16" in text
    assert "left out" not in text
    assert "the measured joints follow the actions after 1 frame (0.1 s)" in text
    assert text.endswith("a training can use these data")


def shift_a_joint(state, action):
    state[:, 2] += 2.5
    action[:, 2] += 2.5


def hurry_a_joint(state, action):
    state[:, 1] += 0.5 * (-1.0) ** np.arange(len(state))


def turn_the_joints(state, action):
    action[:] = -action


def lean_on_the_stop(state, action):
    state[:, 2] = action[:, 2] = 2.0  # the limit is 1.9 rad


@pytest.mark.parametrize(
    ("change", "doubts"),
    [
        (shift_a_joint, ["joint 'elbow_flex' is beyond its limits -1.9 to 1.9 in "]),
        (hurry_a_joint, ["joint 'shoulder_lift' moves at 10.", "its limit is 3: check unit and frames"]),
        (turn_the_joints, ["actions lie", "from the measured joints, whose spread is"]),
        (lean_on_the_stop, []),
    ],
)
def test_check_doubts_what_looks_wrong(arm, tmp_path, helpers, change, doubts):
    state, action = (values.copy() for values in helpers.motion(6, frames=60))
    state[:, 5], action[:, 5] = 0.8 + state[:, 5] / 2, 0.8 + action[:, 5] / 2
    root = tmp_path / "data"
    change(state, action)
    helpers.write_recording(root, arm.joint_names, action, state, (25, 20, 15), {})
    report = check_dataset(root, robot=arm, hints=MapHints(units="rad"))
    assert not report.refused
    assert len(report.doubts) == bool(doubts)
    for words in doubts:
        assert words in report.doubts[0]


def test_check_refuses_a_stored_map_of_another_unit_as_a_training_does(arm, in_degrees, in_radians):
    store_joint_map(in_degrees, load_dataset(in_radians, robot=arm).spec.recorded_map(arm))
    report = check_dataset(in_degrees, robot=arm)
    assert not report.doubts
    (refused,) = report.refused
    assert "Are they degrees" in refused
    assert "--units UNIT --store" in refused
    data = load_dataset(in_degrees, robot=arm)
    with pytest.raises(ValueError, match="Are they degrees"):
        make_policy(arm, data.spec, PolicyConfig(width=16)).check_demonstrated(data.state)
    assert not check_dataset(in_degrees, robot=arm, hints=MapHints(units="deg")).refused


def test_check_doubts_times_with_gaps(arm, in_radians):
    path = in_radians / "data/chunk-000/file-001.parquet"
    table = pq.read_table(path)
    place, time = table.column_names.index("timestamp"), table["timestamp"].to_numpy()
    pq.write_table(table.set_column(place, "timestamp", [time * 2]), path)
    doubts = ["episodes [1]: the time between two frames is not 1/10 s: frames were lost"]
    assert check_dataset(in_radians, robot=arm).doubts == doubts
    texts = pa.array([str(second) for second in time])
    pq.write_table(table.set_column(place, "timestamp", texts), path)
    report = check_dataset(in_radians, robot=arm)
    assert "column 'timestamp' is string" in report.doubts[0]
    assert not report.refused


def test_a_check_scans_the_files_once(arm, in_radians, monkeypatch):
    scanned = []
    scan = ikp.data.episodes.scan_files
    for module in ("check", "episodes"):
        monkeypatch.setattr(
            f"ikp.data.{module}.scan_files", lambda paths: scanned.extend(paths) or scan(paths)
        )
    assert not check_dataset(in_radians, robot=arm).refused
    assert len(scanned) == 3


@pytest.mark.parametrize("is_raw", [True, False])
def test_numbers_are_copied_only_where_a_map_is_inferred(arm, in_radians, is_raw, monkeypatch):
    joint_map = None if is_raw else load_dataset(in_radians, robot=arm).spec.joint_map
    monkeypatch.setattr(Vector, "values", property(lambda _: pytest.fail("float64 numbers were made")))
    load_dataset(in_radians, joint_map=joint_map)


def test_check_names_damaged_files(arm, in_radians, helpers, tmp_path):
    doubts = check_dataset(in_radians, robot=arm).doubts
    assert not doubts
    (in_radians / "data/chunk-000/file-001.parquet").write_bytes(b"PAR1 cut")
    report = check_dataset(in_radians, robot=arm)
    assert "file-001.parquet is damaged" in report.refused[0]
    assert "--episodes 0,2" in report.refused[0]
    assert load_dataset(in_radians, robot=arm, episodes=[0, 2]).episodes == 2
    shutil.rmtree(in_radians / "data")
    assert check_dataset(in_radians, robot=arm).refused


def test_check_on_the_command_line_refuses_mends_and_stores(arm, in_degrees, helpers, tmp_path, capsys):
    (tmp_path / "arm.urdf").write_text(helpers.arm_urdf(hand=helpers.JAW))
    check = ["data", "check", str(in_degrees), "--robot", str(tmp_path / "arm.urdf")]
    with pytest.raises(SystemExit) as ended:
        cli.main(check)
    assert ended.value.code == 1
    assert "refused: " in capsys.readouterr().out
    assert cli.main([*check, "--units", "deg", "--save", "map.json", "--store"]) == 0
    assert "stored the joint map" in capsys.readouterr().out
    assert cli.main(check) == 0
    assert JointMap.load("map.json").joints == arm.joint_names
    assert cli.main([*check, "--joint-map", "map.json"]) == 0


@pytest.mark.parametrize(
    "names",
    [
        {"arm": {"a": 0, "b": 1}, "gripper": "c"},
        {"c": 2, "a": 0, "b": 1},
        {"motors": ["a", "b", "c"]},
        {"motors": ["a", "b"], "c": 2},
        {"motors": [["a", "b", "c"]]},
        [["a", "b", "c"]],
        ["a", "b", "c"],
    ],
)
def test_names_are_read_from_lists_groups_and_places(names):
    assert dim_names({"action": {"shape": [3], "names": names}}, "action") == ("a", "b", "c")


@pytest.mark.parametrize("names", [None, ["a", "b"], ["a", "a", "a"], {"a": 0, "b": 1}])
def test_dimensions_without_a_name_for_each_are_counted(names):
    found = dim_names({"action": {"shape": [3], "names": names}}, "action")
    assert found == ("action_0", "action_1", "action_2")
    assert all(map(is_unnamed, found))


def test_repeated_names_do_not_take_the_others_away():
    for names in (["a", "gripper", "gripper"], {"motors": ["a", "gripper", "gripper"]}):
        feature = {"shape": [3], "names": names}
        assert dim_names({"action": feature}, "action") == ("a", "action_1", "action_2")
    feature = {"shape": [4], "names": {"left": ["a", "b"], "right": ["a", "b"]}}
    assert dim_names({"action": feature}, "action") == ("left_a", "left_b", "right_a", "right_b")


def test_units_of_another_number_are_refused(arm, in_radians):
    info = json.loads((in_radians / "meta/info.json").read_text())
    info["features"]["action"]["units"] = ["deg"]
    (in_radians / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(
        DatasetError, match="'action' has 6 dimensions and the 'units' .'deg'.: give one for each"
    ):
        load_dataset(in_radians, robot=arm)


def test_data_of_another_built_in_robot_are_doubted(in_radians):
    # the file says so101_follower
    with pytest.warns(UserWarning, match="with the robot 'so101_follower', and the robot given is 'so100'"):
        load_dataset(in_radians, robot=load_robot("so100"), hints=MapHints(units="rad"))
    with warnings.catch_warnings():  # data of other joints are no data of the robot that the file names
        warnings.simplefilter("error")
        load_dataset(
            in_radians,
            robot=load_robot("so100", locked={"gripper": 0.0}),
            hints=MapHints(units="rad", ignore=["gripper.pos"]),
        )
    report = check_dataset(in_radians, robot=load_robot("so100"), hints=MapHints(units="rad"))
    assert any("check that it is theirs (--robot so101" in line for line in report.doubts)
    own = check_dataset(in_radians, robot=load_robot("so101"), hints=MapHints(units="rad"))
    assert not any("so101_follower" in line for line in own.doubts)


def test_loading_warns_of_actions_that_are_far_from_the_measured_joints(arm, tmp_path, helpers):
    state, action = (values.copy() for values in helpers.motion(6, frames=60))
    state[:, 5], action[:, 5] = 0.8 + state[:, 5] / 2, 0.8 + action[:, 5] / 2
    turn_the_joints(state, action)
    helpers.write_recording(tmp_path / "data", arm.joint_names, action, state, (25, 20, 15), {})
    with pytest.warns(UserWarning, match="actions lie .* from the measured joints"):
        load_dataset(tmp_path / "data", robot=arm, hints=MapHints(units="rad"))
