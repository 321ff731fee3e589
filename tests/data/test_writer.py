"""The writer: bit-exact, crash-safe, appendable, and in LeRobot's layout."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ikp import files
from ikp.data import DatasetError, DatasetWriter, EpisodeRecorder, load_dataset
from ikp.data.layout import data_path
from ikp.kinematics import Camera


def folder_content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_round_trip_is_bit_exact(dataset):
    root, episodes = dataset
    demonstrations = load_dataset(root)
    frames = [frame for episode in episodes for frame in episode]
    assert len(demonstrations) == len(frames) == 16
    assert np.array_equal(demonstrations.state, np.stack([observation["state"] for observation, _ in frames]))
    assert np.array_equal(
        demonstrations.environment_state,
        np.stack([observation["environment_state"] for observation, _ in frames]),
    )
    assert np.array_equal(demonstrations.action, np.stack([action for _, action in frames]))
    for camera, images in demonstrations.images.items():
        assert np.array_equal(images, np.stack([observation["images"][camera] for observation, _ in frames]))
    assert demonstrations.episode_index.tolist() == [0] * 5 + [1] + [2] * 7 + [3] * 3
    assert demonstrations.frame_index.tolist() == [*range(5), 0, *range(7), *range(3)]
    assert demonstrations.success.all()
    assert [info["seed"] for info in demonstrations.info] == [0, 1, 2, 3]


def test_specification_survives(dataset, helpers):
    assert load_dataset(dataset[0]).spec == helpers.spec


def test_layout_is_lerobot_v3(dataset):
    root, _ = dataset
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (4, 16, 10)
    assert info["splits"] == {"train": "0:4"}
    table = pq.read_table(root / "data/chunk-000/file-002.parquet")
    assert set(table.column_names) == set(info["features"])
    assert str(table.schema.field("observation.state").type) == "fixed_size_list<element: float>[3]"
    assert str(table.schema.field("observation.images.top").type) == "struct<bytes: binary, path: string>"
    assert table["index"].to_pylist() == list(range(6, 13))
    assert table["next.done"].to_pylist() == [False] * 6 + [True]
    np.testing.assert_allclose(table["timestamp"].to_numpy(), np.arange(7) / 10, rtol=1e-6)
    rows = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [
        (0, 5),
        (5, 6),
        (6, 13),
        (13, 16),
    ]
    assert [row["data/file_index"] for row in rows] == [0, 1, 2, 3]
    tasks = pq.read_table(root / "meta/tasks.parquet")
    assert tasks.to_pylist() == [{"task_index": 0, "task": "lift"}]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_of_the_whole(dataset):
    root, _ = dataset
    stats = json.loads((root / "meta/stats.json").read_text())
    demonstrations = load_dataset(root)
    action, images = demonstrations.action.double(), demonstrations.images["top"].double() / 255
    assert stats["action"]["count"] == [16]
    np.testing.assert_allclose(stats["action"]["mean"], action.mean(0), rtol=1e-9)
    np.testing.assert_allclose(stats["action"]["std"], action.std(0, unbiased=False), rtol=1e-9)
    np.testing.assert_allclose(stats["action"]["min"], action.amin(0))
    top = stats["observation.images.top"]
    assert np.shape(top["q50"]) == (3, 1, 1)
    np.testing.assert_allclose(np.squeeze(top["mean"]), images.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(np.squeeze(top["std"]), images.flatten(0, 2).std(0, unbiased=False), rtol=1e-9)
    np.testing.assert_allclose(np.squeeze(top["max"]), images.amax((0, 1, 2)))


def test_image_quantiles_are_exact(helpers):
    recorder = EpisodeRecorder(helpers.spec)
    frames = helpers.make_frames(0, 20)
    for observation, action in frames:
        recorder.add(observation, action)
    stats = recorder.finish().image_stats["observation.images.wrist"]
    values = np.stack([observation["images"]["wrist"] for observation, _ in frames]).reshape(-1, 3) / 255
    for key, quantile in {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}.items():
        expected = np.quantile(values, quantile, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(stats[key].squeeze(), expected)


def test_continued_data_set_equals_one_written_in_one_go(tmp_path, helpers, monkeypatch):
    monkeypatch.setattr("ikp.data.metadata.EPISODES_PER_FILE", 2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with DatasetWriter(whole, helpers.spec) as writer:
        for seed in range(7):
            helpers.add_episode(writer, seed, 3)
    for seed in range(7):
        with DatasetWriter(parts, helpers.spec) as writer:
            assert writer.episodes == seed
            helpers.add_episode(writer, seed, 3)
    assert folder_content(whole) == folder_content(parts)


def test_metadata_are_rebuilt_from_the_data_files(dataset):
    root, _ = dataset
    before = folder_content(root)
    for path in (root / "meta").rglob("*"):
        if path.is_file() and path.name != "ikp.json":
            path.unlink()
    DatasetWriter.reopen(root).close()
    assert folder_content(root) == before


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("stats/action/mean", lambda column: None),
        ("stats/action/q10", lambda column: pa.array(["text"] * len(column))),
        ("stats/observation.state/std", lambda column: pa.nulls(len(column))),
        ("stats/observation.images.top/min", lambda column: pa.array([[[[0.0]]]] * len(column))),
        ("tasks", lambda column: pa.array([3] * len(column))),
        ("dataset_to_index", lambda column: pa.array([1] * len(column))),
    ],
)
def test_damaged_rows_of_the_table_of_episodes_are_rebuilt(dataset, column, change):
    root, _ = dataset
    before = folder_content(root)
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    values, place = change(table.column(column)), table.column_names.index(column)
    pq.write_table(
        table.drop_columns([column]) if values is None else table.set_column(place, column, values), path
    )
    DatasetWriter.reopen(root).close()
    assert folder_content(root) == before


def test_tasks_of_episodes(tmp_path, helpers):
    with DatasetWriter(tmp_path / "a", helpers.spec, task="lift") as writer:
        for task in (None, "push", "lift"):
            for observation, action in helpers.make_frames(0, 2):
                writer.add_frame(observation, action)
            writer.save_episode(task=task)
    assert [
        pq.read_table(tmp_path / "a" / data_path(episode))["task_index"].to_pylist()[0]
        for episode in range(3)
    ] == [0, 1, 0]


KILLED_WRITER = """
import sys
import numpy as np
from ikp.data import DatasetWriter
from ikp.spec import DataSpec

spec = DataSpec(("a",), ("a",), (), {"top": (32, 32, 3)})
rng = np.random.default_rng(0)
with DatasetWriter(sys.argv[1], spec) as writer:
    while True:
        for _ in range(5):
            image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            writer.add_frame({"state": [1.0], "images": {"top": image}}, [float(writer.episodes)])
        writer.save_episode()
        print(writer.episodes, flush=True)
"""


def test_killed_writer_loses_at_most_the_open_episode(tmp_path):
    root = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED_WRITER, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        finished = next(int(line) for line in process.stdout if int(line) >= 12)
        os.kill(process.pid, signal.SIGKILL)
        finished = max([finished, *(int(line) for line in process.stdout)])
    assert load_dataset(root).episodes >= finished
    (root / "data/chunk-000/.file-999.parquet.tmp").write_bytes(b"half an episode")
    with DatasetWriter.reopen(root) as writer:
        assert writer.episodes >= finished
        kept = writer.episodes
        writer.add_frame({"state": [1.0], "images": {"top": np.zeros((32, 32, 3), np.uint8)}}, [float(kept)])
        writer.save_episode()
    assert not list(root.rglob("*.tmp"))
    demonstrations = load_dataset(root)
    assert (
        demonstrations.episodes
        == kept + 1
        == json.loads((root / "meta/info.json").read_text())["total_episodes"]
    )
    assert demonstrations.action[:, 0].tolist() == demonstrations.episode_index.tolist()


def test_full_disk_keeps_everything_and_the_open_episode(dataset, helpers, monkeypatch):
    root, _ = dataset

    def fail(path, flags):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with DatasetWriter.reopen(root) as writer:
        for observation, action in helpers.make_frames(9, 4):
            writer.add_frame(observation, action)
        with monkeypatch.context() as patch:
            patch.setattr(files, "_flush", fail)
            with pytest.raises(
                OSError, match=r"file-004\.parquet.*free some space.*the 4 finished episodes are kept"
            ):
                writer.save_episode()
        assert writer.open_frames == 4
        assert load_dataset(root).episodes == 4
        assert writer.save_episode() == 4
    assert load_dataset(root).episodes == 5
    assert not list(root.rglob("*.tmp"))


def test_metadata_that_cannot_be_written_do_not_repeat_the_episode(dataset, helpers, monkeypatch):
    root, _ = dataset
    monkeypatch.setattr("ikp.data.writer.METADATA_INTERVAL", -1.0)

    def fail(metadata):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with DatasetWriter.reopen(root) as writer:
        with monkeypatch.context() as patch:
            patch.setattr("ikp.data.metadata.Metadata.write", fail)
            with pytest.raises(OSError, match="No space left"):
                helpers.add_episode(writer, 9, 4)
        assert (writer.episodes, writer.open_frames) == (5, 0)
    assert load_dataset(root).episodes == 5


def test_second_writer_is_refused(dataset):
    root, _ = dataset
    with DatasetWriter.reopen(root), pytest.raises(OSError, match="another process is writing"):
        DatasetWriter.reopen(root)
    DatasetWriter.reopen(root).close()


def test_frames_of_another_kind_are_refused(dataset, helpers):
    root, _ = dataset
    with pytest.raises(DatasetError, match=r"cannot be continued: fps was 10\.0, is 20\.0"):
        DatasetWriter(root, replace(helpers.spec, fps=20.0), robot_type="arm")
    with pytest.raises(DatasetError, match="robot_type was 'arm', is 'leg'"):
        DatasetWriter(root, helpers.spec, robot_type="leg")


def test_camera_models_survive_and_older_data_continue_without_them(dataset, helpers, tmp_path):
    camera = Camera.look_at((1.0, 0.0, 1.0), (0.0, 0.0, 0.0), fovy=30.0, width=16, height=12)
    spec = replace(helpers.spec, cameras={"top": camera})
    root, _ = dataset
    with DatasetWriter(root, spec, robot_type="arm", task="lift") as writer:
        helpers.add_episode(writer, seed=9, length=2)
    assert load_dataset(root).spec.cameras == {}  # as it was described at first
    with DatasetWriter(tmp_path / "new", spec, robot_type="arm", task="lift") as writer:
        helpers.add_episode(writer, seed=9, length=2)
    assert load_dataset(tmp_path / "new").spec == spec
    assert load_dataset(tmp_path / "new", cameras=["wrist"]).spec.cameras == {}
    with pytest.raises(DatasetError, match="cameras.top was"):
        DatasetWriter(tmp_path / "new", helpers.spec, robot_type="arm", task="lift")


def test_other_folders_are_refused(tmp_path, helpers, dataset):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DatasetError, match=r"already holds .*was not written by ikp"):
        DatasetWriter(tmp_path, helpers.spec)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_missing_file_is_named_when_continuing(dataset):
    root, _ = dataset
    (root / data_path(3)).unlink()
    with pytest.raises(DatasetError, match=r"file-003\.parquet is missing, of 4 episodes"):
        DatasetWriter.reopen(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": np.zeros(4)}, r"state of frame 1 has the shape \(4,\): it must be \(3,\)"),
        ({"state": np.array([0, np.nan, 0])}, r"state of frame 1 is not finite in dimensions \[1\]"),
        ({"images": {"top": np.zeros((12, 16, 3), np.uint8)}}, "frame 1 has no 'wrist': it holds"),
        (
            {"images": {"top": np.zeros((12, 16, 3)), "wrist": np.zeros((8, 8, 3), np.uint8)}},
            r"image 'top' of frame 1 is float64 \(12, 16, 3\): it must be uint8",
        ),
    ],
)
def test_wrong_frames_are_refused_and_not_added(tmp_path, helpers, change, message):
    (first, action), (second, _) = helpers.make_frames(0, 2)
    with DatasetWriter(tmp_path / "a", helpers.spec) as writer:
        writer.add_frame(first, action)
        with pytest.raises(ValueError, match=message):
            writer.add_frame(second | change, action)
        with pytest.raises(ValueError, match="action of frame 1 is not finite"):
            writer.add_frame(second, [np.inf, 0, 0])
        assert writer.open_frames == 1
        writer.save_episode()
    assert len(load_dataset(tmp_path / "a")) == 1


def test_a_folder_to_which_another_tool_has_appended_is_not_continued(dataset):
    root, _ = dataset
    table = pq.read_table(root / data_path(3)).replace_schema_metadata({})
    for name, value in (("episode_index", [4] * 3), ("index", [16, 17, 18])):
        table = table.set_column(table.column_names.index(name), name, [value])
    pq.write_table(table, root / data_path(4))
    before = folder_content(root)
    with pytest.raises(DatasetError, match=r"file-004\.parquet was not written by ikp: another tool"):
        DatasetWriter.reopen(root)
    assert folder_content(root) == before
    assert load_dataset(root).episodes == 5


def test_discarded_and_unfinished_episodes_leave_nothing(tmp_path, helpers):
    with DatasetWriter(tmp_path / "a", helpers.spec) as writer:
        for observation, action in helpers.make_frames(0, 2):
            writer.add_frame(observation, action)
        writer.discard_episode()
        with pytest.raises(ValueError, match="no frame"):
            writer.save_episode()
        writer.add_frame(observation, action)
    with pytest.raises(ValueError, match="is closed"):
        writer.add_frame(observation, action)
    with pytest.raises(DatasetError, match="holds no finished episode"):
        load_dataset(tmp_path / "a")


def test_units_are_declared(tmp_path, helpers):
    units = {"action": ["rad", "rad", ""]}
    DatasetWriter(tmp_path / "a", helpers.spec, units=units).close()
    assert (
        json.loads((tmp_path / "a/meta/info.json").read_text())["features"]["action"]["units"]
        == units["action"]
    )
    with pytest.raises(ValueError, match="3 dimensions but 1 units"):
        DatasetWriter(tmp_path / "b", helpers.spec, units={"action": ["rad"]})
