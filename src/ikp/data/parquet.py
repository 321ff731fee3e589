"""Data files: an episode is written as a parquet table, and columns are read as NumPy arrays."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ikp.data.damage import damaged
from ikp.data.layout import DatasetError

INFO_KEY = b"ikp"
"""Key of the information about an episode in the metadata of its data file."""
IMAGE_FORMATS = ("PNG", "JPEG")
"""Formats of images in data sets; files of other formats are not given to their decoders."""
_OTHER_EPISODES = (
    "restore it from a copy; without one, load the other episodes by number (episodes=[...], --episodes LIST): "
    "`ikp data check` lists them"
)
_IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def index_columns(
    length: int, episode: int, first_frame: int, fps: float, task_index: int
) -> dict[str, np.ndarray]:
    """The columns that place each frame: times from the start of the episode [s] and indices.

    Args:
        length: frames of the episode.
        episode: its index.
        first_frame: number of frames in all earlier episodes.
        fps: frames per second.
        task_index: index of its task.
    """
    frame = np.arange(length)
    return {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full_like(frame, episode),
        "index": frame + first_frame,
        "task_index": np.full_like(frame, task_index),
    }


def episode_table(
    columns: Mapping[str, np.ndarray],
    images: Mapping[str, Sequence[bytes]],
    features: Mapping[str, Any],
    info: Mapping[str, Any],
) -> pa.Table:
    """The table of one episode, its columns in the order of `features`.

    Args:
        columns: LeRobot key to (frame, dim) or (frame,).
        images: LeRobot key to one image file per frame.
        features: the features of info.json.
        info: anything JSON can hold, kept in the metadata of the file.
    """
    arrays = []
    for key, feature in features.items():
        if feature["dtype"] == "image":
            arrays.append(pa.array([{"bytes": file, "path": None} for file in images[key]], _IMAGE_TYPE))
        else:
            arrays.append(_array(columns[key], feature))
    return with_info(pa.table(arrays, names=list(features)), info)


def with_info(table: pa.Table, info: Mapping[str, Any]) -> pa.Table:
    """A table with information, anything JSON can hold, in the metadata of its file."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), INFO_KEY: json.dumps(dict(info))})


def _array(values: np.ndarray, feature: Mapping[str, Any]) -> pa.Array:
    dim = int(feature["shape"][0])
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), pa.type_for_alias(feature["dtype"]))
    return flat if dim == 1 else pa.FixedSizeListArray.from_arrays(flat, dim)


def write_table(table: pa.Table, path: Path, *, dictionary: bool = True) -> None:
    """Write a parquet file whose pages have checksums, so that a changed bit is found when it is read.

    Only columns of single numbers get the least and the largest value, by which readers choose rows: of images these
    would be whole images again, outside what the checksums cover.
    """
    scalars = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    pq.write_table(
        table,
        path,
        use_dictionary=dictionary,
        write_statistics=scalars,  # pyright: ignore[reportArgumentType]  the stub knows no list
        write_page_checksum=True,
    )


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file, or some of its columns, and verify the checksums of its pages where it has them.

    Raises:
        DatasetError: the file is missing, empty or damaged.
    """
    file = _opened(path, "restore it from a copy")
    try:
        return file.read(columns)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, error) from error


def open_data_file(path: Path) -> pq.ParquetFile:
    """Open a data file.

    Raises:
        DatasetError: the file is missing, empty or damaged.
    """
    return _opened(path, _OTHER_EPISODES)


def _opened(path: Path, fix: str) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, memory_map=False, page_checksum_verification=True)
        groups = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        if groups != file.metadata.num_rows:
            raise ValueError(f"its groups have {groups} rows, its footer says {file.metadata.num_rows}")
        return file
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: {fix}") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, error, fix) from error


def damaged_data(path: Path, error: object) -> DatasetError:
    """The error for a data file that cannot be read."""
    return damaged(path, error, _OTHER_EPISODES)


def episode_info(file: pq.ParquetFile, path: Path) -> dict[str, Any]:
    """The information stored with the episode of a data file; empty for files that ikp did not write.

    Raises:
        DatasetError: it is damaged.
    """
    try:
        info = json.loads((file.schema_arrow.metadata or {}).get(INFO_KEY, b"{}"))
    except ValueError as error:
        raise damaged_data(path, error) from error
    if not isinstance(info, dict):
        raise damaged_data(path, f"the information about its episode is {info!r}")
    return info


def numbers(column: pa.ChunkedArray | pa.Array, dim: int, key: str, path: Path) -> np.ndarray:
    """A numeric column as (frame, dim) in its own type.

    Raises:
        DatasetError: the column holds nulls, no numbers, or vectors of another length.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    rows = len(column)
    flat = column
    while isinstance(flat, (pa.ListArray, pa.FixedSizeListArray, pa.LargeListArray)):
        flat = flat.flatten()
    types = pa.types
    numeric = types.is_floating(flat.type) or types.is_integer(flat.type) or types.is_boolean(flat.type)
    if not numeric or column.null_count or flat.null_count or len(flat) != rows * dim:
        raise DatasetError(
            f"{path}: column {key!r} is {kind} with {len(flat)} values in {rows} frames and "
            f"{column.null_count + flat.null_count} nulls; info.json says {dim} numbers per frame: "
            "the file belongs to another data set or was written wrongly"
        )
    return flat.to_numpy(zero_copy_only=False).reshape(rows, dim)


def image_files(column: pa.ChunkedArray | pa.Array, key: str, path: Path) -> list[bytes]:
    """The encoded images of a column.

    Raises:
        DatasetError: the column does not hold image files.
    """
    kind = column.type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise DatasetError(f"{path}: column {key!r} is {kind}, not images (a struct with 'bytes' and 'path')")
    rows = column.to_pylist()
    files = [row["bytes"] for row in rows if row and row["bytes"]]
    if len(files) != len(rows):
        empty = next(number for number, row in enumerate(rows) if not (row and row["bytes"]))
        raise DatasetError(
            f"{path}: row {empty} of {key!r} has no image inside the file: "
            "write the data set again with the images embedded"
        )
    return files


def decode_image(file: bytes, height: int, width: int, resize: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image to (height, width, 3) uint8, resized to (height, width) `resize` if given.

    Raises:
        ValueError: the image is no PNG or JPEG file, is damaged, or does not have the size that info.json gives.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here
            picture = Image.open(io.BytesIO(file), formats=IMAGE_FORMATS)
        if picture.size != (width, height):  # known from the header, before anything is decoded
            raise ValueError(f"is {picture.size[1]} x {picture.size[0]}, info.json says {height} x {width}")
        picture.load()
    except Image.UnidentifiedImageError:
        raise ValueError(f"cannot be decoded (it is not {' or '.join(IMAGE_FORMATS)})") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"is larger than info.json says, {height} x {width} ({error})") from error
    except (OSError, SyntaxError, struct.error, zlib.error) as error:
        raise ValueError(f"cannot be decoded ({error})") from error
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    if resize and resize != (height, width):
        picture = picture.resize((resize[1], resize[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture)
