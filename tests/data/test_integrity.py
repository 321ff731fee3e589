"""Damage that a reader must find: changed bits, files of other kinds, images that are not what they should be."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ikp.data import DatasetError, DatasetWriter, load_dataset
from ikp.data.index import all_cameras
from ikp.data.layout import data_path
from ikp.data.parquet import decode_image
from ikp.spec import DataSpec

COLUMN = "observation.images.top"


def test_changed_bits_are_found(tmp_path, helpers):
    spec = DataSpec(("a", "b", "c"), ("a", "b", "c"))
    with DatasetWriter(tmp_path, spec) as writer:
        helpers.add_episode(writer, seed=0, length=1000)
    path, rng = tmp_path / data_path(0), np.random.default_rng(0)
    whole, right = path.read_bytes(), load_dataset(tmp_path)
    passed, flips = 0, 150
    for position, bit in zip(rng.integers(0, len(whole), flips), rng.integers(0, 8, flips), strict=True):
        changed = bytearray(whole)
        changed[position] ^= 1 << bit
        path.write_bytes(changed)
        try:
            loaded = load_dataset(tmp_path)
            passed += not (
                torch.equal(loaded.state, right.state) and torch.equal(loaded.action, right.action)
            )
        except DatasetError:
            pass
    assert passed <= 0.01 * flips


def test_every_file_has_checksums(dataset):
    """A file that says so is read with a page changed, and the change is found."""
    root, _ = dataset
    for path in root.rglob("*.parquet"):
        whole = path.read_bytes()
        group = pq.ParquetFile(path).metadata.row_group(0)
        found = False
        for number in range(group.num_columns):
            changed = bytearray(whole)
            column = group.column(number)
            changed[column.data_page_offset + column.total_compressed_size - 1] ^= 1
            path.write_bytes(changed)
            try:
                pq.ParquetFile(path, page_checksum_verification=True).read()
            except (OSError, pa.ArrowException) as error:
                found |= "could not verify page integrity" in str(error)
        path.write_bytes(whole)
        assert found, path


def test_no_image_lies_outside_the_checksums(dataset):
    """Least and largest values, which a file repeats in places without a checksum, are of single numbers."""
    root, _ = dataset
    group = pq.ParquetFile(root / data_path(0)).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    repeated = {column.path_in_schema for column in columns if column.is_stats_set}
    assert "frame_index" in repeated
    assert not [path for path in repeated if "." in path and not path.startswith("next.")]


def test_a_changed_footer_is_named(dataset):
    """Counts of rows, and the information that a writer stores with an episode."""
    root, _ = dataset
    path = root / data_path(0)
    whole, footer, right = path.read_bytes(), pq.ParquetFile(path).metadata, load_dataset(root)
    start = len(whole) - 8 - footer.serialized_size
    assert footer.num_rows < 64, "a number of this size takes one byte, twice its value"
    flips = [(place, 5) for place in range(start, len(whole) - 8) if whole[place] == 2 * footer.num_rows]
    info = whole.index(b'{"', start)
    said = []
    for place, bit in (*flips, (info, 0), (info + 1, 7)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        try:
            loaded = load_dataset(root)
        except DatasetError as error:
            said.append(str(error))
        else:
            assert torch.equal(loaded.state, right.state)
    assert all(path.name in words for words in said)
    assert len(said) >= 4, (
        "the counts of the file and of its group of rows, and both changes of the information"
    )


def test_hidden_files_are_not_read(dataset):
    root, _ = dataset
    for path in list(root.rglob("*.parquet")):
        path.with_name(f"._{path.name}").write_bytes(bytes(100))
    assert load_dataset(root).episodes == 4
    with DatasetWriter.reopen(root) as writer:
        assert writer.episodes == 4


@pytest.mark.parametrize("name", ["meta/info.json", "data/chunk-000/file-002.parquet"])
def test_content_that_git_lfs_has_not_fetched(dataset, name):
    root, _ = dataset
    (root / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DatasetError, match=r"pointer of Git LFS.*git lfs pull"):
        load_dataset(root)


def test_the_advice_for_a_damaged_file_works(dataset):
    root, _ = dataset
    path = root / data_path(2)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(
        DatasetError, match=r"file-002\.parquet is damaged.*episodes=\[\.\.\.\].*ikp data check"
    ):
        load_dataset(root)
    assert load_dataset(root, episodes=[0, 1, 3]).episodes == 3


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def with_image(root, content: bytes) -> None:
    path = root / data_path(2)
    table = pq.read_table(path)
    rows = table.column(COLUMN).to_pylist()
    rows[3] = {"bytes": content, "path": None}
    position = table.column_names.index(COLUMN)
    pq.write_table(table.set_column(position, COLUMN, pa.array(rows, table.schema.field(COLUMN).type)), path)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_other_image_formats_are_not_opened(dataset, kind):
    with_image(dataset[0], encoded(Image.new("RGB", (16, 12)), kind))
    with pytest.raises(
        DatasetError, match=r"frame 3 of episode 2 cannot be decoded \(it is not PNG or JPEG\)"
    ):
        load_dataset(dataset[0])


def test_jpeg_is_read(dataset):
    with_image(dataset[0], encoded(Image.new("RGB", (16, 12), (200, 200, 200)), "JPEG"))
    assert load_dataset(dataset[0]).images["top"][9].unique().tolist() == [200]


@pytest.mark.parametrize("side", [3000, 13000, 30000])
def test_the_size_is_checked_before_an_image_is_decoded(side, monkeypatch):
    content = encoded(Image.new("RGB", (16, 12)), "PNG")
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    decoded = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded.append)
    with pytest.raises(ValueError, match=r"info\.json says,? 12 x 16"):
        decode_image(content, 12, 16)
    assert not decoded


def info_of(*keys: str) -> dict:
    return {"features": {key: {"dtype": "image", "shape": [8, 8, 3], "names": None} for key in keys}}


@pytest.mark.parametrize("order", [1, -1])
def test_cameras_with_one_short_name_are_all_kept(order):
    keys = ["observation.image", "observation.images.image", "observation.images.top"][::order]
    found = all_cameras(info_of(*keys))
    assert sorted(camera["key"] for camera in found.values()) == sorted(keys)
    assert "top" in found


def test_cameras_that_cannot_be_told_apart_are_refused():
    with pytest.raises(DatasetError, match="two cameras have the name 'image'"):
        all_cameras(info_of("observation.image", "image"))
