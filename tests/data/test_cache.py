"""Images that do not fit into memory: the cache on disk gives the same batches, and never half or old ones."""

import ctypes
import json
import math
import mmap
import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ikp.data import DatasetError, DatasetWriter, load_dataset
from ikp.data.cache import CameraImages, Origin, _mapped
from ikp.data.layout import data_path
from ikp.data.read_ahead import read_ahead
from ikp.spec import DataSpec


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr("ikp.data.reader.free_memory", lambda: 1000)


@pytest.fixture
def decoded(monkeypatch):
    """Counts the images that are decoded: its only entry."""
    import ikp.data.reader as reader

    count, decode = [0], reader.decode_image

    def counting(*args):
        count[0] += 1
        return decode(*args)

    monkeypatch.setattr("ikp.data.reader.decode_image", counting)
    return count


def cache_of(root: Path) -> Path:
    return root.with_name(root.name + ".cache")


def assert_same(one, other) -> None:
    indices = torch.tensor([3, 0, 15, 7])
    batch, same = one.batch(indices, history=2), other.batch(indices, history=2)
    assert list(batch) == list(same)
    for name, images in batch["images"].items():
        assert torch.equal(images, same["images"][name])
    assert torch.equal(batch["action"], same["action"])


def test_same_batches_as_in_memory(dataset, monkeypatch, decoded):
    root, _ = dataset
    in_memory = {size: load_dataset(root, image_size=size) for size in (None, (4, 6))}
    assert not cache_of(root).exists()
    monkeypatch.setattr("ikp.data.reader.free_memory", lambda: 1000)
    for size, whole in in_memory.items():
        assert_same(load_dataset(root, image_size=size), whole)
        decoded[0] = 0
        assert_same(load_dataset(root, image_size=size), whole)
        assert decoded == [0]
    assert len(list(cache_of(root).iterdir())) == 8  # two cameras in two sizes, with their lists


def test_the_share_of_memory_decides(dataset, monkeypatch):
    root, _ = dataset
    images = 16 * (12 * 16 + 8 * 8) * 3
    monkeypatch.setattr("ikp.data.reader.free_memory", lambda: 2 * images)
    load_dataset(root)
    assert not cache_of(root).exists()
    monkeypatch.setattr("ikp.data.reader.free_memory", lambda: images)
    load_dataset(root)
    assert cache_of(root).exists()


def test_videos_are_cached(tmp_path, monkeypatch):
    import av

    root = tmp_path / "filmed"
    video = root / "videos/observation.image/chunk-000/file-000.mp4"
    video.parent.mkdir(parents=True)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frames = [
            av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * i, np.uint8), format="rgb24")
            for i in range(8)
        ]
        for frame in (*frames, None):
            for packet in stream.encode(frame):
                container.mux(packet)
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    episode = np.repeat([0, 1], [3, 5])
    rows = {"action": [[0.0]] * 8, "episode_index": episode}
    pq.write_table(pa.table(rows), root / "data/chunk-000/file-000.parquet")
    key = "videos/observation.image/"
    places = {"chunk_index": [0, 0], "file_index": [0, 0], "from_timestamp": [0.0, 0.3]}
    columns = {"episode_index": [0, 1], **{key + name: values for name, values in places.items()}}
    pq.write_table(pa.table(columns), root / "meta/episodes/chunk-000/file-000.parquet")
    camera = {"dtype": "video", "shape": [32, 32, 3], "names": ["height", "width", "channels"]}
    info = {"codebase_version": "v3.0", "fps": 10, "total_episodes": 2, "total_frames": 8}
    info["video_path"] = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    info["features"] = {"observation.image": camera, "action": {"dtype": "float32", "shape": [1]}}
    (root / "meta/info.json").write_text(json.dumps(info))

    in_memory = load_dataset(root)
    monkeypatch.setattr("ikp.data.reader.free_memory", lambda: 1000)
    assert torch.equal(load_dataset(root).images["image"], in_memory.images["image"])
    with monkeypatch.context() as patch:
        patch.setattr("ikp.data.reader.decode_video", None)
        assert torch.equal(load_dataset(root).images["image"], in_memory.images["image"])
        assert torch.equal(load_dataset(root, episodes=[1]).images["image"], in_memory.images["image"][3:])
    os.utime(video, ns=(0, 0))
    with monkeypatch.context() as patch:
        patch.setattr("ikp.data.reader.decode_video", None)
        with pytest.raises(TypeError):  # a changed video is decoded again
            load_dataset(root)


@pytest.mark.usefixtures("little_memory")
def test_episodes_that_follow_each_other_need_no_cache_of_their_own(dataset, decoded):
    root, _ = dataset
    whole = load_dataset(root)
    decoded[0] = 0
    assert torch.equal(load_dataset(root, episodes=[1, 2]).images["top"], whole.images["top"][5:13])
    assert decoded == [0]
    assert torch.equal(
        load_dataset(root, episodes=[0, 2]).images["wrist"],
        whole.images["wrist"][[*range(5), *range(6, 13)]],
    )
    assert decoded == [2 * 12]


@pytest.mark.usefixtures("little_memory")
def test_a_longer_data_set_replaces_its_cache(tmp_path, helpers):
    root = tmp_path / "a"
    for seed in range(2):
        with DatasetWriter(root, helpers.spec) as writer:
            frames = helpers.add_episode(writer, seed, 4)
        np.testing.assert_array_equal(
            load_dataset(root).images["top"][-4:], [observation["images"]["top"] for observation, _ in frames]
        )
        assert len(list(cache_of(root).iterdir())) == 4


@pytest.mark.usefixtures("little_memory")
def test_changed_files_are_decoded_again(dataset):
    root, _ = dataset
    old = load_dataset(root)
    path = root / data_path(2)
    table = pq.read_table(path)
    position = table.column_names.index("observation.images.top")
    column = table.column(position).to_pylist()
    pq.write_table(
        table.set_column(
            position, "observation.images.top", pa.array(column[::-1], table.schema[position].type)
        ),
        path,
    )
    new = load_dataset(root)
    assert torch.equal(new.images["top"][6:13], old.images["top"][6:13].flip(0))
    assert torch.equal(new.images["wrist"], old.images["wrist"])
    assert len(list(cache_of(root).iterdir())) == 4  # the old ones are gone


@pytest.mark.parametrize("damage", ["cut", "no list", "list"])
@pytest.mark.usefixtures("little_memory")
def test_damaged_caches_are_made_again(dataset, damage):
    root, _ = dataset
    images = load_dataset(root).images["top"].clone()
    (cache,) = cache_of(root).glob("top*.images")
    if damage == "cut":
        cache.write_bytes(cache.read_bytes()[:-100])
    else:
        cache.write_bytes(bytes(cache.stat().st_size))
        listed = cache.with_name(cache.name + ".json")
        listed.unlink() if damage == "no list" else listed.write_text('{"format": 1, "origins": [[1]]}')
    assert torch.equal(load_dataset(root).images["top"], images)


KILLED = """
import os, signal, sys
import ikp.data.reader as reader
reader.free_memory = lambda: 1000
reader.ROWS_PER_TASK = 1
decode, done = reader.decode_image, []
def killing(*args):
    done.append(1)
    if len(done) == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(*args)
reader.decode_image = killing
reader.load_dataset(sys.argv[1], progress=False)
"""


def test_a_kill_leaves_nothing_that_is_taken_for_whole(dataset, monkeypatch, decoded):
    root, _ = dataset
    in_memory = load_dataset(root)
    script = KILLED.format(after=20)
    result = subprocess.run([sys.executable, "-c", script, str(root)], check=False)
    assert result.returncode == -9
    left = list(cache_of(root).iterdir())
    assert left
    assert all(path.name.endswith(".tmp") for path in left)
    monkeypatch.setattr("ikp.data.reader.free_memory", lambda: 1000)
    decoded[0] = 0
    assert_same(load_dataset(root), in_memory)
    assert decoded == [32]
    assert not set(left) & set(cache_of(root).iterdir())


@pytest.mark.usefixtures("little_memory")
def test_images_that_cannot_be_decoded_leave_no_cache(dataset):
    root, _ = dataset
    path = root / data_path(3)
    table = pq.read_table(path)
    position = table.column_names.index("observation.images.wrist")
    rows = table.column(position).to_pylist()
    rows[1]["bytes"] = b"no image"
    kind = table.schema[position].type
    pq.write_table(table.set_column(position, "observation.images.wrist", pa.array(rows, kind)), path)
    with pytest.raises(DatasetError, match="camera 'wrist' in frame 1 of episode 3 cannot be decoded"):
        load_dataset(root)
    assert list(cache_of(root).iterdir()) == []


@pytest.mark.usefixtures("little_memory")
def test_a_disk_without_the_space_is_told_before_decoding(dataset, monkeypatch, decoded):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(9000, 0, 9000))
    needed = 16 * (12 * 16 + 8 * 8) * 3
    with pytest.raises(DatasetError, match=rf"{needed} bytes.* has .*9000 bytes.*--image-size"):
        load_dataset(dataset[0])
    assert decoded == [0]


@pytest.mark.usefixtures("little_memory")
def test_a_folder_that_cannot_be_written_is_told(dataset):
    root, _ = dataset
    cache_of(root).write_text("a file is in the way")
    with pytest.raises(DatasetError, match=r"demonstrations\.cache.*ln -s.*--image-size"):
        load_dataset(root)


def test_images_larger_than_the_memory_can_be_mapped(tmp_path):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    images = CameraImages("front", "", (1024, 1024), (Origin("a", 0, 0, 0, 3 * memory // (1024 * 1024 * 3)),))
    path = tmp_path / "a.images"
    with path.open("wb") as file:
        try:
            file.truncate(images.bytes)  # a hole: it takes no space
        except OSError as error:
            pytest.skip(f"the disk takes no file with a hole of this size: {error}")
    tensor = _mapped(path, 0, images)
    assert tensor[-1].sum() == 0
    assert tensor.nbytes > 2 * memory


BOUNDED = """
import resource, sys
import torch
import ikp.data.reader as reader
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader.free_memory = lambda: 1000
reader.load_dataset(sys.argv[2], progress=False).batch(torch.arange(4))
before = peak()
demonstrations = reader.load_dataset(sys.argv[1], progress=False)
demonstrations.batch(torch.arange(4))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_does_not_grow_with_the_images(tmp_path, dataset):
    spec = DataSpec(("a",), image_shapes={"front": (480, 640, 3)})
    frames = 80
    with DatasetWriter(tmp_path / "large", spec) as writer:
        for frame in range(frames):
            image = np.full((480, 640, 3), frame, np.uint8)
            writer.add_frame({"images": {"front": image}}, np.zeros(1, np.float32))
        writer.save_episode(success=True)
    command = [sys.executable, "-c", BOUNDED, str(tmp_path / "large"), str(dataset[0])]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < frames * 480 * 640 * 3 / 2, grown


def resident(address: int, size: int) -> list[bool]:
    """Which pages of mapped memory are in memory."""
    pages = -(-size // mmap.PAGESIZE)
    found = (ctypes.c_ubyte * pages)()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), found) == 0
    return [bool(page & 1) for page in found]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read_ahead does nothing elsewhere")
def test_images_are_read_ahead(tmp_path):
    shape = (8, 512, 512, 3)
    path = tmp_path / "images"
    path.write_bytes(np.random.default_rng(0).bytes(math.prod(shape)))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    images = torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=shape))
    frame = images[5]
    if any(resident(frame.data_ptr(), frame.nbytes)):
        pytest.skip("this file system keeps files in memory")
    read_ahead(images, [5])
    end = time.monotonic() + 20
    while not all(resident(frame.data_ptr(), frame.nbytes)):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("little_memory")
def test_only_images_on_disk_are_read_ahead(dataset, monkeypatch):
    root, _ = dataset
    asked = []
    monkeypatch.setattr(
        "ikp.data.demonstrations.read_ahead", lambda images, frames: asked.append((len(images), frames))
    )
    data = load_dataset(root)
    assert data.on_disk
    data.prefetch(torch.tensor([0, 7, 8]), history=2)
    assert asked == [(16, [0, 6, 7, 8])] * 2
    load_dataset(root, images=False).prefetch(torch.tensor([0, 7, 8]))
    assert len(asked) == 2
