"""Repair: every episode that is on disk comes back to the bit, and the others are named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ikp.cli import main
from ikp.data import DatasetError, DatasetWriter, load_dataset, repair
from ikp.data.check import check_dataset
from ikp.data.layout import data_path
from ikp.data.repair import repair_dataset
from ikp.spec import DataSpec

PLACES = ["episode_index", "index", "task_index"]
EPISODES = Path("meta/episodes/chunk-000/file-000.parquet")
LENGTHS = (5, 1, 7, 3)


def tables_of(root) -> dict[int, pa.Table]:
    """The rows of each episode, without their place in the data set."""
    found = {}
    for path in sorted(root.glob("data/*/*.parquet")):
        table = pq.read_table(path)
        for index in table["episode_index"].unique().to_pylist():
            rows = table.filter(pa.compute.equal(table["episode_index"], index))
            found[index] = rows.drop_columns(PLACES).replace_schema_metadata({})
    return found


def lerobot_style(root, *, closed: bool = True, listed: bool = True) -> None:
    """Put all episodes into one file, one group of rows for each, as LeRobot does; it may have been killed."""
    paths = sorted(root.glob("data/*/*.parquet"))
    tables = [pq.read_table(path).replace_schema_metadata({}) for path in paths]
    for path in paths:
        path.unlink()
    writer = pq.ParquetWriter(paths[0], tables[0].schema, compression="snappy", write_page_checksum=True)
    for table in tables:
        writer.write_table(table)
    unclosed = paths[0].read_bytes()
    writer.close()
    if not closed:
        paths[0].write_bytes(unclosed)
    if not listed:
        (root / EPISODES).unlink()
    (root / "meta/ikp.json").unlink(missing_ok=True)


def edit_info(root, **values) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_rows(path, change) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def repaired(root, right, lost=(), **options):
    """Repair into a new folder, compare every episode with what it was, and return the report."""
    out = root.with_name("repaired")
    report = repair_dataset(root, out, progress=False, **options)
    found = tables_of(out)
    assert set(report.lost) == set(lost)
    assert sorted(report.recovered.values()) == [index for index in sorted(right) if index not in lost]
    for new, old in report.recovered.items():
        assert found[new].equals(right[old]), old
    check_whole(out, report)
    return report


def check_whole(root, report) -> None:
    """The data set is whole: it loads, its lists agree, and there is nothing to repair."""
    data, info = load_dataset(root, progress=False), json.loads((root / "meta/info.json").read_text())
    assert data.episodes == info["total_episodes"] == len(report.recovered)
    assert len(data) == info["total_frames"] == report.frames
    assert info["splits"] == {"train": f"0:{data.episodes}"}
    listed = pq.read_table(root / EPISODES)
    assert listed["length"].to_pylist() == torch.bincount(data.episode_index).tolist()
    index = np.concatenate([pq.read_table(path)["index"] for path in sorted(root.glob("data/*/*.parquet"))])
    assert index.tolist() == list(range(len(data)))
    stats = json.loads((root / "meta/stats.json").read_text())
    np.testing.assert_allclose(stats["action"]["mean"], data.action.double().mean(0), rtol=1e-5)
    assert json.loads((root / "meta/repair.json").read_text())["frames"] == report.frames
    assert repair_dataset(root, progress=False).root is None


def test_a_whole_data_set_is_left_alone(dataset):
    root, _ = dataset
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    report = repair_dataset(root)
    assert str(report) == "nothing to repair: 4 episodes, 16 frames are whole"
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert not root.with_name("demonstrations.before-repair").exists()


@pytest.mark.parametrize("listed", [True, False])
def test_a_recording_that_was_killed(dataset, listed):
    root, _ = dataset
    right = tables_of(root)
    lerobot_style(root, closed=False, listed=listed)
    with pytest.raises(DatasetError, match="damaged"):
        load_dataset(root)
    assert any("ikp data repair" in line for line in check_dataset(root).refused)
    report = repaired(root, right)
    assert "data/chunk-000/file-000.parquet had no valid footer" in report.mended
    tasks = pq.read_table(root.with_name("repaired") / "meta/tasks.parquet")
    assert tasks["task"].to_pylist() == ["lift"]


@pytest.mark.parametrize("own", [True, False])
def test_rows_that_were_cut_off(dataset, own):
    root, _ = dataset
    right = tables_of(root)
    if not own:
        lerobot_style(root, closed=False)
    path = sorted(root.glob("data/*/*.parquet"))[-1]
    path.write_bytes(path.read_bytes()[: -40 if not own else len(path.read_bytes()) // 2])
    report = repaired(root, right, lost=[3])
    assert report.lost == {3: "none of its rows can be read"}


def offsets(path) -> list[int]:
    """Where the groups of rows of a file begin, and where the last one ends."""
    metadata = pq.read_metadata(path)
    starts = []
    for group in range(metadata.num_row_groups):
        column = metadata.row_group(group).column(0)
        starts.append(column.dictionary_page_offset or column.data_page_offset)
    last = metadata.row_group(metadata.num_row_groups - 1)
    column = last.column(last.num_columns - 1)
    return [
        *starts,
        (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size,
    ]


@given(data=st.data())
@settings(max_examples=25)
def test_every_episode_whose_rows_are_intact_comes_back(tmp_path_factory, data):
    """One file as LeRobot writes it, with or without its footer and lists, cut or with bytes that were overwritten."""
    base = tmp_path_factory.mktemp("repair")
    root = base / "recordings"
    spec = DataSpec(("a", "b"), ("a", "b"), image_shapes={"top": (6, 8, 3)})
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=6))
    rng = np.random.default_rng(len(lengths))
    with DatasetWriter(root, spec, task="lift") as writer:
        for length in lengths:
            for _ in range(length):
                image = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
                writer.add_frame({"state": rng.normal(size=2), "images": {"top": image}}, rng.normal(size=2))
            writer.save_episode()
    right = tables_of(root)
    lerobot_style(root, listed=data.draw(st.booleans()))
    path = root / data_path(0)
    whole, places = path.read_bytes(), offsets(path)
    start = data.draw(st.integers(places[0], places[-1] - 1))
    group = next(number for number in range(len(lengths)) if start < places[number + 1])
    if data.draw(st.booleans()):
        path.write_bytes(whole[:start])
        lost = range(group, len(lengths))
    else:
        size = data.draw(st.integers(1, places[group + 1] - start))
        path.write_bytes(
            whole[:start] + bytes(255 - byte for byte in whole[start : start + size]) + whole[start + size :]
        )
        lost = [group]
    try:
        report = repair_dataset(root, base / "out", progress=False)
    except DatasetError:
        assert len(lost) == len(lengths)
        return
    # a byte on which no value depends, as in the statistics of a page, loses nothing
    assert set(right) - set(lost) <= set(report.recovered.values())
    found = tables_of(base / "out")
    assert all(found[new].equals(right[old]) for new, old in report.recovered.items())
    check_whole(base / "out", report)


@pytest.mark.parametrize("rows", [[0, 1, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [*range(7), *range(7)]])
def test_repeated_and_shuffled_rows(dataset, rows):
    root, _ = dataset
    right = tables_of(root)
    change_rows(root / data_path(2), lambda table: table.take(rows))
    (root / EPISODES).unlink()
    report = repaired(root, right)
    assert any("repeated rows were left out" in line for line in report.mended) == (len(rows) > 7)


@pytest.mark.parametrize("rows", [[0, 1, 2], [3, 4, 5, 6], [0, 1, 2, 4, 5, 6], [0]])
@pytest.mark.parametrize("listed", [True, False])
def test_rows_that_are_missing(dataset, rows, listed):
    root, _ = dataset
    right = tables_of(root)
    change_rows(root / data_path(2), lambda table: table.take(rows))
    if not listed:
        (root / EPISODES).unlink()
    report = repaired(root, right, lost=[2])
    assert "missing" in report.lost[2]


def test_the_last_rows_of_a_file_that_was_cut_are_not_trusted(dataset):
    """Without a list and a next episode nothing tells whether an episode is whole, unless each has its own group."""
    root, _ = dataset
    right = tables_of(root)
    paths = sorted(root.glob("data/*/*.parquet"))
    table = pa.concat_tables([pq.read_table(path).replace_schema_metadata({}) for path in paths])
    for path in paths:
        path.unlink()
    pq.write_table(table, paths[0], row_group_size=4)
    paths[0].write_bytes(paths[0].read_bytes()[: offsets(paths[0])[2] + 30])  # rows 0 to 7 are left
    shutil.copytree(root, root.with_name("unlisted"))
    repaired(root, right, lost=[2, 3])
    (root.with_name("unlisted") / EPISODES).unlink()
    shutil.rmtree(root.with_name("repaired"))
    found = repair_dataset(root.with_name("unlisted"), root.with_name("repaired"))
    assert found.lost == {2: "its last rows may be missing: 2 can be read"}
    assert found.recovered == {0: 0, 1: 1}


def test_copies_and_other_versions_of_an_episode(dataset):
    root, _ = dataset
    right = tables_of(root)
    other = root / "data/chunk-000/file-009.parquet"
    shutil.copy(root / data_path(1), other)
    report = repaired(root, right)
    assert report.mended == ["left out: a copy of episode 1 in data/chunk-000/file-009.parquet"]
    shutil.rmtree(root.with_name("repaired"))
    change_rows(
        other,
        lambda table: table.set_column(
            table.column_names.index("next.reward"), "next.reward", pa.array([2.0], pa.float32())
        ),
    )
    assert repair_dataset(root, root.with_name("repaired")).recovered == {0: 0, 1: 1, 2: 1, 3: 2, 4: 3}


def set_value(path, key, row, value) -> None:
    table = pq.read_table(path)
    values = table[key].to_pylist()
    values[row] = value
    place = table.column_names.index(key)
    pq.write_table(table.set_column(place, key, pa.array(values, table.schema.field(key).type)), path)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("observation.images.top", {"bytes": b"no image", "path": None}, "an image cannot be decoded"),
        ("observation.images.top", {"bytes": None, "path": "a.png"}, "has no image inside the file"),
        ("action", [0.0, float("nan"), 0.0], "'action' is not finite in frame 3"),
        ("observation.state", None, "1 nulls"),
    ],
)
def test_episodes_whose_values_are_damaged_are_lost(dataset, key, value, reason):
    root, _ = dataset
    right = tables_of(root)
    set_value(root / data_path(2), key, 3, value)
    report = repaired(root, right, lost=[2])
    assert reason in report.lost[2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta/stats.json", b"{"),
        ("meta/tasks.parquet", b"PAR1"),
        (str(EPISODES), b""),
        (str(EPISODES), None),
        ("meta/stats.json", None),
        ("meta/info.json", None),
        ("meta/info.json", b"{"),
    ],
)
def test_metadata_are_made_again(dataset, name, content):
    root, _ = dataset
    right = tables_of(root)
    (root / name).unlink() if content is None else (root / name).write_bytes(content)
    repaired(root, right)
    tasks = pq.read_table(root.with_name("repaired") / "meta/tasks.parquet")
    assert tasks["task"].to_pylist() == ["lift"]


@pytest.mark.parametrize(
    "counts",
    [
        {"total_episodes": 3},
        {"total_frames": 10**12},
        {"total_episodes": None, "total_frames": -1},
        {"total_episodes": "x"},
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_wrong_counts(dataset, counts, own):
    root, _ = dataset
    right = tables_of(root)
    if not own:
        lerobot_style(root)
    edit_info(root, **counts)
    refused = any("ikp data repair" in line for line in check_dataset(root).refused)
    assert refused == any(type(value) is not int or value < 0 for value in counts.values())
    repaired(root, right)


def test_other_keys_and_files_are_kept(dataset):
    root, _ = dataset
    right = tables_of(root)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["action"]["calibration"] = {"kept": True}
    edit_info(root, features=info["features"], mine=[1, 2], robot_type=None)
    (root / "README.md").write_text("about")
    (root / "meta/.hidden").write_text("left out")
    (root / data_path(3)).unlink()
    repaired(root, right, lost=[3])
    out = root.with_name("repaired")
    found = json.loads((out / "meta/info.json").read_text())
    assert found["features"] == info["features"]
    assert (found["mine"], found["robot_type"]) == ([1, 2], None)
    assert (out / "README.md").read_text() == "about"
    assert (out / "meta/ikp.json").read_bytes() == (root / "meta/ikp.json").read_bytes()
    assert not (out / "meta/.hidden").exists()


def test_a_repaired_data_set_can_be_continued(dataset, helpers):
    root, _ = dataset
    lost = root / data_path(1)
    lost.write_bytes(lost.read_bytes()[:60])
    last = root / data_path(3)
    last.write_bytes(last.read_bytes()[:-30])  # its footer, with the task and the seed
    report = repair_dataset(root)
    assert report.recovered == {0: 0, 1: 2, 2: 3}
    assert report.backup == root.with_name("demonstrations.before-repair")
    with DatasetWriter.reopen(root) as writer:
        assert writer.episodes == 3
        helpers.add_episode(writer, 9, 4)
    data = load_dataset(root)
    assert (data.episodes, len(data)) == (4, 19)
    assert pq.read_table(root / EPISODES)["tasks"].to_pylist() == [["lift"]] * 4


def test_in_place_the_folder_as_it_was_is_kept(dataset):
    root, _ = dataset
    (root / data_path(1)).unlink()
    before = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    report = repair_dataset(root)
    kept = {
        path.relative_to(report.backup): path.read_bytes()
        for path in report.backup.rglob("*")
        if path.is_file()
    }
    assert kept == before
    assert sorted(path.name for path in root.parent.iterdir()) == [
        "demonstrations",
        "demonstrations.before-repair",
    ]
    (root / data_path(1)).unlink()
    with pytest.raises(FileExistsError, match=r"before-repair exists: move it away"):
        repair_dataset(root)


@pytest.mark.parametrize("out", [None, "new"])
def test_a_failure_changes_nothing(dataset, monkeypatch, out):
    root, _ = dataset
    (root / data_path(1)).unlink()
    before = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def full(*_):
        raise OSError(28, "the disk is full")

    monkeypatch.setattr(repair, "write_json", full)
    with pytest.raises(OSError, match="the disk is full"):
        repair_dataset(root, out and root.with_name(out))
    assert {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert [path.name for path in root.parent.iterdir()] == [root.name]


def test_a_repair_that_was_killed_starts_again(dataset):
    root, _ = dataset
    (root / data_path(1)).unlink()
    left = root.with_name(".demonstrations.tmp")
    (left / "data").mkdir(parents=True)
    root.rename(root.with_name("demonstrations.before-repair"))  # just before the result took the name
    assert repair_dataset(root).recovered == {0: 0, 1: 2, 2: 3}
    assert not left.exists()


def test_what_cannot_be_repaired_is_told(dataset, tmp_path):
    root, _ = dataset
    with pytest.raises(DatasetError, match="is no folder"):
        repair_dataset(tmp_path / "missing")
    with pytest.raises(FileExistsError, match="exists"):
        repair_dataset(root, tmp_path)
    with pytest.raises(ValueError, match="is inside of"):
        repair_dataset(root, root / "new")
    path = root / data_path(1)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DatasetError, match="git lfs pull"):
        repair_dataset(root)
    for path in root.glob("data/*/*.parquet"):
        path.write_bytes(b"PAR1")
    with pytest.raises(
        DatasetError, match=r"no episode of .* can be recovered .*file-000\.parquet cannot be read"
    ):
        repair_dataset(root)
    (root / "meta/ikp.json").unlink()
    (root / "meta/info.json").unlink()
    with pytest.raises(DatasetError, match=r"info\.json is missing"):
        repair_dataset(root)


def test_command_line(dataset, capsys):
    root, _ = dataset
    (root / data_path(1)).unlink()
    with pytest.raises(SystemExit):
        main(["data", "check", str(root)])
    assert f"ikp data repair {root}" in " ".join(capsys.readouterr().out.split())
    assert main(["data", "repair", str(root), "--save", "map.json"]) == 1
    assert main(["data", "check", str(root), "--out", "new"]) == 1
    assert main(["data", "repair", str(root), "--out", "new", "--cameras", "top"]) == 0
    printed = capsys.readouterr().out
    assert "lost: episode 1: none of its rows can be read" in printed
    assert "camera observation.images.wrist is left out" in printed
    assert "2 episodes have another number now: meta/repair.json lists them" in printed
    assert list(load_dataset("new").images) == ["top"]
    assert main(["data", "check", "new"]) == 0
    assert main(["data", "repair", str(root)]) == 0
    assert main(["data", "check", str(root)]) == 0


def write_videos(root, *, files=((0, 1), (2, 3))) -> None:
    """Turn the camera "top" into videos of several episodes each; the brightness tells episode and frame."""
    import av

    info = json.loads((root / "meta/info.json").read_text())
    key = "observation.images.top"
    features = info["features"] | {key: {"dtype": "video", "shape": [32, 32, 3], "names": None}}
    edit_info(
        root,
        features=features,
        video_path="videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    )
    for path in root.glob("data/*/*.parquet"):
        change_rows(path, lambda table: table.drop_columns([key]))
    listed = pq.read_table(root / EPISODES)
    columns = {name: [] for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")}
    for number, episodes in enumerate(files):
        path = root / f"videos/{key}/chunk-000/file-{number:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = 0
        with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 32, "yuv420p", 1
            for episode in episodes:
                for frame in range(LENGTHS[episode]):
                    image = np.full((32, 32, 3), level(episode, frame), np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
                row = (0, number, frames / 10, (frames + LENGTHS[episode]) / 10)
                for values, value in zip(columns.values(), row, strict=True):
                    values.append(value)
                frames += LENGTHS[episode]
            container.mux(stream.encode())
    for name, values in columns.items():
        listed = listed.append_column(f"videos/{key}/{name}", pa.array(values))
    pq.write_table(listed, root / EPISODES)
    (root / "meta/ikp.json").unlink()


def level(episode: int, frame: int) -> int:
    return 10 * (sum(LENGTHS[:episode]) + frame)


def check_video(root, report) -> None:
    data = load_dataset(root, cameras=["top"], progress=False)
    before = [report.recovered[int(index)] for index in data.episode_index]
    expected = [level(episode, int(frame)) for episode, frame in zip(before, data.frame_index, strict=True)]
    np.testing.assert_allclose(data.images["top"].double().mean((1, 2, 3)), expected, atol=4)
    stats = json.loads((root / "meta/stats.json").read_text())["observation.images.top"]
    np.testing.assert_allclose(np.ravel(stats["mean"]), np.mean(expected) / 255, atol=0.02)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("lost", [[], [1]])
def test_videos_are_kept(dataset, listed, lost):
    root, _ = dataset
    write_videos(root)
    right = tables_of(root)
    if lost:
        set_value(root / data_path(1), "action", 0, [0.0, float("inf"), 0.0])
    lerobot_style(root, closed=False, listed=listed)
    report = repaired(root, right, lost=lost)
    check_video(root.with_name("repaired"), report)
    videos = sorted(root.rglob("*.mp4"))
    copies = sorted(root.with_name("repaired").rglob("*.mp4"))
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in videos]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("damage", ["missing", "cut", "not a video"])
def test_episodes_whose_video_is_damaged(dataset, listed, damage):
    root, _ = dataset
    write_videos(root)
    right = tables_of(root)
    path = root / "videos/observation.images.top/chunk-000/file-001.mp4"
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:-20] if damage == "cut" else b"x" * 100)
    if not listed:
        (root / EPISODES).unlink()
    report = repaired(root, right, lost=[3] if damage == "cut" else [2, 3])
    check_video(root.with_name("repaired"), report)
    assert "observation.images.top" in report.lost[3]
    shutil.rmtree(root.with_name("repaired"))
    repaired(root, right, cameras=["wrist"])


def test_videos_with_gaps_are_not_counted(dataset):
    """After an episode was lost its frames are still in the video: counting would show those of another episode."""
    root, _ = dataset
    write_videos(root, files=((0, 1, 2, 3),))
    right = tables_of(root)
    (root / data_path(1)).unlink()
    repaired(root, right, lost=[1])
    out = root.with_name("repaired")
    (out / EPISODES).unlink()
    with pytest.raises(DatasetError, match="nothing tells where its frames are"):
        repair_dataset(out)


def test_two_versions_of_an_episode_with_one_video(dataset):
    root, _ = dataset
    write_videos(root)
    right = tables_of(root)
    other = root / "data/chunk-000/file-009.parquet"
    shutil.copy(root / data_path(1), other)
    set_value(other, "next.reward", 0, 2.0)
    report = repaired(root, right, lost=[1])
    assert "two files hold other rows of it" in report.lost[1]
