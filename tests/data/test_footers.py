"""Parquet files without their footer: the rows come back, whatever wrote them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikp.data.footers import with_new_footer
from ikp.data.thrift import BINARY, DOUBLE, I32, I64, LIST, STRUCT, ThriftError, read_struct, struct_bytes

SIZES = {"action": 3, "observation.state": 2}


def episode(number: int, rows: int, with_images: bool) -> pa.Table:
    rng = np.random.default_rng(number)
    columns = {
        key: pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=rows * dim).astype("f4")), dim)
        for key, dim in SIZES.items()
    }
    if with_images:
        images = [{"bytes": rng.bytes(int(rng.integers(100, 4000))), "path": None} for _ in range(rows)]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        columns["observation.images.top"] = pa.array(images, kind)
    columns["next.done"] = pa.array(np.arange(rows) == rows - 1)
    columns["timestamp"] = pa.array((np.arange(rows) / 10).astype("f4"))
    columns["frame_index"] = pa.array(np.arange(rows))
    columns["episode_index"] = pa.array(np.full(rows, number))
    return pa.table(columns)


def written(tables: list[pa.Table], **options) -> tuple[bytes, bytes]:
    """The bytes before and after the file is closed."""
    file = io.BytesIO()
    writer = pq.ParquetWriter(file, tables[0].schema, **options)
    for table in tables:
        writer.write_table(table)
    unclosed = file.getvalue()
    writer.close()
    return unclosed, file.getvalue()


def recovered(content: bytes) -> list[pa.Table]:
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    return [file.read_row_group(group) for group in range(file.num_row_groups)]


CASES = [({"compression": name}, 5) for name in ("snappy", "none", "zstd", "gzip", "lz4", "brotli")] + [
    ({"data_page_version": "2.0"}, 300),
    ({"data_page_size": 1000, "write_batch_size": 64, "write_page_checksum": True}, 600),
    ({"compression": "none"}, 25_000),  # more rows than a page takes
]


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize(("options", "rows"), CASES)
def test_groups_of_rows_come_back(options, rows, dictionary):
    tables = [episode(number, rows + number, with_images=rows < 1000) for number in range(2)]
    unclosed, whole = written(tables, use_dictionary=dictionary, **options)
    sample = written([tables[0].slice(0, 0)])[1]
    cases = {
        "never closed": (unclosed, 2, False),
        "footer cut": (whole[:-30], 2, False),
        "cut": (unclosed[:-20], 1, True),
    }
    for name, (content, groups, is_cut) in cases.items():
        mended, cut = with_new_footer(content, sample, SIZES)
        assert recovered(mended) == tables[:groups], name
        assert cut == is_cut, name


def test_a_file_that_holds_no_group_of_rows():
    tables = [episode(0, 5, with_images=False)]
    unclosed, _ = written(tables)
    sample = written([tables[0].slice(0, 0)])[1]
    for content in (b"", b"PAR1", unclosed[:-10], b"x" * 500, unclosed[4:]):
        with pytest.raises(ValueError, match="no whole group of rows|does not begin as a Parquet file"):
            with_new_footer(content, sample, SIZES)
    with pytest.raises(ValueError, match="no whole group of rows"):
        with_new_footer(unclosed, written([tables[0].select(["action"])])[1], {"action": 4})


numbers = st.integers(-(2**63), 2**63 - 1).map(lambda value: (I64, value))
texts = st.binary(max_size=200).map(lambda value: (BINARY, value))
lists = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40).map(lambda value: (LIST, (I32, value)))
reals = st.floats(allow_nan=False).map(lambda value: (DOUBLE, value))
truths = st.booleans().map(lambda value: (1 if value else 2, value))
structs = st.recursive(
    st.dictionaries(st.integers(1, 300), numbers | texts | lists | reals | truths, max_size=6),
    lambda inner: st.dictionaries(
        st.integers(1, 30),
        inner.map(lambda value: (STRUCT, value))
        | st.lists(inner, max_size=20).map(lambda value: (LIST, (STRUCT, value))),
        max_size=4,
    ),
    max_leaves=6,
)


@given(structs)
def test_structures_are_read_as_they_were_written(values):
    text = struct_bytes(values)
    assert read_struct(b"..." + text + b"...", 3) == (values, 3 + len(text))


@given(st.binary(max_size=100))
def test_bytes_that_are_no_structure(content):
    try:
        _, end = read_struct(content)
    except ThriftError:
        return
    assert end <= len(content)


def test_nesting_has_a_bound():
    with pytest.raises(ThriftError, match="too deep"):
        read_struct(b"\x1c" * 10_000)
