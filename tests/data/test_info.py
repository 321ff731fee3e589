"""Damaged meta/info.json and meta/ikp.json: one clear error each, whatever JSON they hold."""

import copy
import json
import math
import re

import pytest

from ikp.data import DatasetError, DatasetWriter, load_dataset
from ikp.data.check import check_dataset

NAMES = ("meta/info.json", "meta/ikp.json")
VALUES = [None, True, -1, 3, 0.5, 10**12, math.nan, 10**400, "x", [], [[]], [10**12], {}, {"a": None}]


@pytest.fixture
def small(tmp_path, helpers):
    root = tmp_path / "small"
    with DatasetWriter(root, helpers.spec, units={"action": ["rad", "rad", ""]}) as writer:
        helpers.add_episode(writer, 0, 2)
    return root


def places(value, place=()):
    """The place of each value in nested JSON."""
    if place:
        yield place
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*place, key))


def changed(value, place, new, *, delete=False):
    value = copy.deepcopy(value)
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    if delete:
        del inner[place[-1]]
    else:
        inner[place[-1]] = new
    return value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("new", [*VALUES, "delete"], ids=lambda value: repr(value)[:12])
def test_any_value_in_any_place(small, name, new):
    """Loads, or raises a DatasetError of one line that names the file; nothing else, and nothing takes long."""
    path = small / name
    whole = json.loads(path.read_text())
    errors = {}
    for place in places(whole):
        path.write_text(json.dumps(changed(whole, place, new, delete=new == "delete")))
        try:
            load_dataset(small, progress=False)
        except DatasetError as error:
            errors[place] = str(error)
    assert len(errors) > 5
    for place, error in errors.items():
        assert "\n" not in error, place
        assert len(error) < 1000, place
        assert str(small) in error or path.name in error, place


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("fps",), None, r"info\.json: fps is None, expected frames per second, a number above 0"),
        (("features",), None, r"info\.json: features is None, expected an object such as"),
        (("total_episodes",), None, r"info\.json: total_episodes is None, expected a whole number"),
        (("total_episodes",), 2.5, r"info\.json: total_episodes is 2\.5"),
        (("features",), {"action": {"shape": [1]}}, r"features, 'action' is .*expected the keys \['dtype'\]"),
        (("features",), {"action": {"dtype": "float32"}}, r"features, 'action' is .*the keys \['shape'\]"),
        (("features", "action", "shape"), [10**9], r"features, 'action', shape is \[1000000000\]"),
        (
            ("features", "action", "joint_dims"),
            [7],
            r"'action', joint_dims is \[7\], expected different dimensions",
        ),
        (
            ("features", "observation.images.top", "shape"),
            [16, 24],
            r"'observation\.images\.top', shape is \[16, 24\]",
        ),
        (("features", "observation.images.top", "dtype"), "video", r"info\.json: video_path is None"),
        (("codebase_version",), "v2.0", r"v2\.0.*convert to v2\.1 with a LeRobot of before 0\.4"),
        (("codebase_version",), "v2.1", r"v2\.1, v3\.0 is needed: convert it with"),
    ],
)
def test_the_error_names_file_key_and_fix(small, place, value, message):
    path = small / "meta/info.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), place, value)))
    with pytest.raises(DatasetError, match=message):
        load_dataset(small)
    assert re.search(message, str(check_dataset(small)))


@pytest.mark.parametrize(
    "pattern",
    [
        "{x}.mp4",
        "{video_key.__class__}",
        "{chunk_index:99999999d}",
        "../{video_key}.mp4",
        "/etc/{video_key}",
        "{",
        3,
    ],
)
def test_patterns_of_video_paths_stay_inside_the_folder(small, pattern):
    path = small / "meta/info.json"
    info = json.loads(path.read_text()) | {"video_path": pattern}
    info["features"]["observation.images.top"]["dtype"] = "video"
    path.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r"info\.json: video_path is .*videos/\{video_key\}"):
        load_dataset(small)


@pytest.mark.parametrize("text", ["", "3", "null", "[]", "{", "{}", "[" * 100_000, '{"fps": 1'])
@pytest.mark.parametrize("name", NAMES)
def test_files_that_hold_something_else(small, name, text):
    (small / name).write_text(text)
    with pytest.raises(DatasetError, match=name.replace(".", r"\.")):
        load_dataset(small)


def test_names_of_an_image_may_be_an_object(small):
    path = small / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["observation.images.top"]["names"] = {"height": 12, "width": 16, "channels": 3}
    path.write_text(json.dumps(info))
    assert load_dataset(small).images["top"].shape == (2, 12, 16, 3)


def test_two_frame_rates_are_a_contradiction(small):
    path = small / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fps": 20}))
    with pytest.raises(
        DatasetError, match="has 20 frames per second, .* 10: correct the one that was changed"
    ):
        load_dataset(small)
