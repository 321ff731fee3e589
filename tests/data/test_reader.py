"""The reader: data sets written here and elsewhere, and errors that name the place."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ikp.data import DatasetError, DatasetWriter, load_dataset
from ikp.data.layout import data_path
from ikp.spec import DataSpec


def test_some_episodes_and_cameras(dataset):
    root, _ = dataset
    whole, some = (
        load_dataset(root),
        load_dataset(root, episodes=[3, 1], cameras=["observation.images.wrist"]),
    )
    assert some.episode_index.tolist() == [1, 3, 3, 3]
    assert list(some.images) == ["wrist"]
    assert torch.equal(some.images["wrist"], whole.images["wrist"][[5, 13, 14, 15]])
    assert load_dataset(root, episodes=2).episode_index.tolist() == [0] * 5 + [1]
    assert load_dataset(root, cameras=()).spec.image_shapes == {}
    with pytest.raises(
        DatasetError, match=r"camera 'side' is not in the data set: it has \['top', 'wrist'\]"
    ):
        load_dataset(root, cameras=["side"])
    with pytest.raises(DatasetError, match="5 episodes are requested: .* has 4"):
        load_dataset(root, episodes=5)


def test_images_are_resized(dataset):
    demonstrations = load_dataset(dataset[0], image_size=(4, 6))
    assert demonstrations.images["top"].shape == (16, 4, 6, 3)
    assert demonstrations.spec.image_shapes["top"] == (4, 6, 3)


def test_failures_are_told(tmp_path, helpers):
    with DatasetWriter(tmp_path / "a", helpers.spec) as writer:
        for success in (True, False):
            helpers.add_episode(writer, 0, 2, success)
    assert load_dataset(tmp_path / "a").success.tolist() == [True, False]


class Foreign:
    """As LeRobot writes it: several episodes per file, chunks, lists, names in groups, extra columns."""

    lengths = (4, 3, 5, 2, 6)
    files = (("data/chunk-000/file-000.parquet", (0, 1, 2)), ("data/chunk-001/file-000.parquet", (3, 4)))

    def __init__(self, root: Path, video: bool = False) -> None:
        rng = np.random.default_rng(0)
        frames = sum(self.lengths)
        self.root = root
        self.state = rng.normal(size=(frames, 2))
        self.action = rng.normal(size=(frames, 2)).astype(np.float32)
        self.action[:, 1] = self.action[:, 1] > 0
        self.images = rng.integers(0, 256, (frames, 10, 14, 3)).astype(np.uint8)
        self.episode = np.repeat(np.arange(len(self.lengths)), self.lengths)
        starts = np.cumsum((0, *self.lengths))
        for path, episodes in self.files:
            rows = slice(starts[episodes[0]], starts[episodes[-1] + 1])
            columns = {
                "observation.state": self.state[rows].tolist(),
                "action": self.action[rows].tolist(),
                "observation.depth": [[1.0]] * (rows.stop - rows.start),
                "episode_index": self.episode[rows],
            }
            if not video:
                columns["observation.image"] = [
                    {"bytes": png(image), "path": None} for image in self.images[rows]
                ]
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(columns), root / path, row_group_size=3)
        names = ["height", "width", "channels"]
        camera = {"dtype": "video" if video else "image", "shape": [10, 14, 3], "names": names}
        self.info = {
            "codebase_version": "v3.0",
            "fps": 10,
            "total_episodes": len(self.lengths),
            "total_frames": frames,
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
            "features": {
                "observation.state": {"dtype": "float64", "shape": [2], "names": {"motors": ["pan", "lift"]}},
                "observation.image": camera,
                "action": {"dtype": "float32", "shape": [2], "names": None},
                "episode_index": {"dtype": "int64", "shape": [1], "names": None},
            },
        }
        self.write_info()

    def write_info(self) -> None:
        (self.root / "meta").mkdir(exist_ok=True)
        (self.root / "meta/info.json").write_text(json.dumps(self.info))


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def test_foreign_data_set_with_several_episodes_per_file(tmp_path):
    foreign = Foreign(tmp_path)
    demonstrations = load_dataset(tmp_path, discrete_dims=[1])
    assert demonstrations.spec == DataSpec(
        action_names=("action_0", "action_1"),
        state_names=("pan", "lift"),
        image_shapes={"image": (10, 14, 3)},
        joint_dims=(0,),
        discrete_dims=(1,),
    )
    np.testing.assert_array_equal(demonstrations.state, foreign.state.astype(np.float32))
    np.testing.assert_array_equal(demonstrations.action, foreign.action)
    np.testing.assert_array_equal(demonstrations.images["image"], foreign.images)
    assert demonstrations.success.all()
    some = load_dataset(tmp_path, episodes=[1, 4], joint_dims=[1, 0])
    keep = np.isin(foreign.episode, [1, 4])
    np.testing.assert_array_equal(some.images["image"], foreign.images[keep])
    np.testing.assert_array_equal(some.action, foreign.action[keep])
    assert some.spec.joint_dims == (1, 0)


def test_foreign_data_set_is_not_continued(tmp_path):
    Foreign(tmp_path)
    with pytest.raises(DatasetError, match="was not written by ikp"):
        DatasetWriter(tmp_path, DataSpec(("a",)))


def write_video(path: Path, levels: list[int], fps: int = 10) -> None:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 32, "yuv420p", 4
        for level in levels:
            image = np.full((32, 32, 3), level, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture
def video_dataset(tmp_path):
    """Episodes 0 to 3 in one video, 4 in another; the brightness of a frame is 10 times its number."""
    foreign = Foreign(tmp_path, video=True)
    foreign.info["features"]["observation.image"]["shape"] = [32, 32, 3]
    foreign.write_info()
    levels = [10 * frame for frame in range(20)]
    for file, part in enumerate((levels[:14], levels[14:])):
        write_video(tmp_path / f"videos/observation.image/chunk-000/file-00{file}.mp4", part)
    starts = [0.0, 0.4, 0.7, 1.2, 0.0]
    columns = {
        "episode_index": [0, 1, 2, 3, 4],
        "videos/observation.image/chunk_index": [0] * 5,
        "videos/observation.image/file_index": [0, 0, 0, 0, 1],
        "videos/observation.image/from_timestamp": starts,
    }
    path = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path)
    return tmp_path


def test_videos(video_dataset):
    demonstrations = load_dataset(video_dataset)
    levels = demonstrations.images["image"].double().mean((1, 2, 3))
    np.testing.assert_allclose(levels, 10.0 * np.arange(20), atol=4)
    some = load_dataset(video_dataset, episodes=[2, 4], image_size=(8, 8))
    assert some.images["image"].shape == (11, 8, 8, 3)
    np.testing.assert_allclose(
        some.images["image"].double().mean((1, 2, 3)), [*range(70, 120, 10), *range(140, 200, 10)], atol=4
    )


def test_video_with_fewer_frames_than_rows(video_dataset):
    """Without the listed times, the last images of an episode would be those of the next one."""
    path = video_dataset / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    ends = pa.array([0.4, 0.6, 1.2, 1.4, 0.6])
    pq.write_table(table.append_column("videos/observation.image/to_timestamp", ends), path)
    with pytest.raises(DatasetError, match=r"episode 1: 3 rows, 2 frames of video in 'observation.image'"):
        load_dataset(video_dataset)
    assert load_dataset(video_dataset, episodes=[0, 2, 3, 4]).episodes == 4
    assert load_dataset(video_dataset, cameras=()).episodes == 5


def test_short_or_missing_video(video_dataset):
    video = video_dataset / "videos/observation.image/chunk-000/file-001.mp4"
    write_video(video, [0] * 4)
    with pytest.raises(
        DatasetError, match=r"file-001\.mp4 has no frame at 0\.400 s \(frame 4 of an episode of 6 frames\)"
    ):
        load_dataset(video_dataset)
    video.write_bytes(b"no video")
    with pytest.raises(DatasetError, match=r"file-001\.mp4 is damaged"):
        load_dataset(video_dataset)
    video.unlink()
    with pytest.raises(DatasetError, match=r"file-001\.mp4 is missing"):
        load_dataset(video_dataset)
    assert load_dataset(video_dataset, cameras=()).images == {}


def edit_info(root: Path, **values) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_missing_folder_and_wrong_version(tmp_path, dataset):
    with pytest.raises(DatasetError, match=r"info\.json is missing: .* is not a LeRobot data set"):
        load_dataset(tmp_path / "nowhere")
    edit_info(dataset[0], codebase_version="v2.1")
    with pytest.raises(DatasetError, match=r"format v2\.1.*convert_dataset_v21_to_v30"):
        load_dataset(dataset[0])
    edit_info(dataset[0], codebase_version="v4.0")
    with pytest.raises(DatasetError, match=r"codebase_version 'v4\.0'"):
        load_dataset(dataset[0])
    (dataset[0] / "meta/info.json").write_text('{"codebase')
    with pytest.raises(DatasetError, match=r"info\.json is not valid JSON"):
        load_dataset(dataset[0])


@pytest.mark.parametrize("episode", [1, 3])
def test_half_copied_data_set(dataset, episode):
    root, _ = dataset
    (root / data_path(episode)).unlink()
    with pytest.raises(
        DatasetError, match=rf"1 of 4 episodes are missing, first episode {episode} .*file-00{episode}"
    ):
        load_dataset(root)
    kept = [index for index in range(4) if index != episode]
    assert load_dataset(root, episodes=kept).episodes == 3


@pytest.mark.parametrize("damage", ["cut", "empty", "middle"])
def test_damaged_data_file(dataset, damage):
    root, _ = dataset
    path = root / data_path(2)
    content = bytearray(path.read_bytes())
    if damage == "middle":
        content[40:4000] = bytes(3960)
    path.write_bytes({"cut": content[:-20], "empty": b"", "middle": content}[damage])
    with pytest.raises(DatasetError, match=r"file-002\.parquet.*(damaged|restore)"):
        load_dataset(root)
    assert load_dataset(root, episodes=[0, 1, 3]).episodes == 3


def rewrite(path: Path, name: str, values) -> None:
    table = pq.read_table(path)
    position = table.column_names.index(name)
    pq.write_table(table.set_column(position, name, values(table.column(name))), path)


def test_values_that_are_not_finite(dataset):
    root, _ = dataset

    def spoil(column):
        rows = column.to_pylist()
        rows[4] = [0.0, float("nan"), 0.0]
        return pa.array(rows, column.type)

    rewrite(root / data_path(2), "action", spoil)
    with pytest.raises(
        DatasetError, match=r"file-002\.parquet: 'action' in frame 4 of episode 2 .* dimensions \[1\]"
    ):
        load_dataset(root)


def test_wrong_columns(dataset):
    root, _ = dataset
    rewrite(
        root / data_path(0),
        "action",
        lambda column: pa.array([[0.0, 1.0]] * len(column), pa.list_(pa.float32(), 2)),
    )
    with pytest.raises(
        DatasetError, match=r"file-000\.parquet: column 'action' is .* info\.json says 3 numbers"
    ):
        load_dataset(root)
    rewrite(root / data_path(0), "action", lambda column: pa.array(["a"] * len(column)))
    with pytest.raises(DatasetError, match=r"column 'action' is string"):
        load_dataset(root)
    table = pq.read_table(root / data_path(0)).drop_columns(["action"])
    pq.write_table(table, root / data_path(0))
    with pytest.raises(DatasetError, match=r"file-000\.parquet lacks the columns \['action'\]"):
        load_dataset(root)


def test_wrong_images(dataset):
    root, _ = dataset

    def replace(row, value):
        def change(column):
            rows = column.to_pylist()
            rows[row] = {"bytes": value, "path": None}
            return pa.array(rows, column.type)

        return change

    rewrite(root / data_path(2), "observation.images.top", replace(3, b"no image"))
    with pytest.raises(DatasetError, match=r"camera 'top' in frame 3 of episode 2 cannot be decoded"):
        load_dataset(root)
    rewrite(root / data_path(2), "observation.images.top", replace(3, png(np.zeros((5, 5, 3), np.uint8))))
    with pytest.raises(DatasetError, match=r"frame 3 of episode 2 is 5 x 5, info\.json says 12 x 16"):
        load_dataset(root)
    rewrite(root / data_path(2), "observation.images.top", replace(3, None))
    with pytest.raises(DatasetError, match=r"row 3 of 'observation\.images\.top' has no image"):
        load_dataset(root)


def test_numbers_without_images(dataset):
    """The cameras stay in the specification, their images on disk."""
    root, _ = dataset
    whole, numbers = load_dataset(root), load_dataset(root, images=False)
    assert numbers.images == {}
    assert numbers.spec == whole.spec
    assert torch.equal(numbers.state, whole.state)
    assert torch.equal(numbers.action, whole.action)
