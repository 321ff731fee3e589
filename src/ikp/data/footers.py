"""Parquet files without their footer, which says where the columns are: a writer that was killed never wrote it.

The rows are on disk all the same, one group of rows after another, and each group column by column in pages. Each page
begins with a header that gives its size and number of values, but no column. The columns follow from their order and
from the number of values that each has per row, so that a new footer can be made, with which the file is read as any
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ikp.data.thrift import BINARY, I32, I64, LIST, STRUCT, Struct, ThriftError, read_struct, struct_bytes

MAGIC = b"PAR1"
"""The first and the last bytes of a Parquet file."""
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_DATA_HEADERS = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}
"""Field of a page header that holds the number of values, by the type of the page."""
_REPEATED = 2
_BOOLEAN = 0
_UNCOMPRESSED = 0
_CODECS = (1, 6, 2, 7, 4, _UNCOMPRESSED)
"""Numbers of compressions in the order in which they are tried: snappy, zstd, gzip, raw lz4, brotli, none."""
_ENCODINGS = (0, 3, 8)
"""Encodings that a footer has to name; readers take them from the pages."""


class _Page(NamedTuple):
    """A page: its place and size with its header [byte], its size when decompressed, type, and number of values."""

    start: int
    size: int
    decompressed: int
    kind: int
    values: int


class _Leaf(NamedTuple):
    """A column of numbers or bytes: its path in the schema, physical type, and number of values per row."""

    path: tuple[bytes, ...]
    kind: int
    values_per_row: int


def with_new_footer(content: bytes, sample: bytes, sizes: Mapping[str, int]) -> tuple[bytes, bool]:
    """A Parquet file with a footer for those groups of rows that are whole.

    Args:
        content: a file whose footer is missing or damaged, or that was cut.
        sample: a whole file, possibly without rows, with the columns of the other.
        sizes: numbers per row of each column that holds vectors.

    Returns:
        The file, and whether rows after those may be lost.

    Raises:
        ValueError: there is no whole group of rows of these columns.
    """
    if content[:4] != MAGIC:
        raise ValueError("it does not begin as a Parquet file")
    footer = _footer(sample)
    leaves = list(_leaves(footer, sizes))
    pages, after = _pages(content)
    groups, used = _groups(pages, leaves)
    if not groups:
        raise ValueError("it holds no whole group of rows")
    ends = groups[-1][1][-1][-1]
    body = content[: ends.start + ends.size]
    plain = all(page.size == page.decompressed for _, chunks in groups for chunk in chunks for page in chunk)
    for codec in (_UNCOMPRESSED, *_CODECS) if plain else _CODECS:
        rows = sum(count for count, _ in groups)
        made: Struct = footer | {
            3: (I64, rows),
            4: (LIST, (STRUCT, [_group(count, chunks, leaves, codec) for count, chunks in groups])),
        }
        text = struct_bytes(made)
        mended = body + text + len(text).to_bytes(4, "little") + MAGIC
        if _is_readable(mended):
            return mended, used < len(pages) or _is_cut(content, after)
    raise ValueError("its rows are compressed in an unknown way, or damaged")


def _is_cut(content: bytes, after: int) -> bool:
    """Whether what follows the last page is the beginning of a page: neither the end of the file nor of a footer."""
    if after == len(content):
        return False
    try:
        return content[after] != 0x15 or content[after + 2] != 0x19  # a footer: a version, then a list
    except IndexError:
        return True


def _footer(sample: bytes) -> Struct:
    size = int.from_bytes(sample[-8:-4], "little")
    return read_struct(sample[-8 - size : -8])[0]


def _leaves(footer: Struct, sizes: Mapping[str, int]) -> Iterator[_Leaf]:
    """The columns in the order in which a group of rows holds them."""
    elements = iter(footer[2][1][1])
    next(elements)  # the root
    for element in elements:
        yield from _leaves_of(element, elements, (), sizes, False)


def _leaves_of(
    element: Struct,
    others: Iterator[Struct],
    path: tuple[bytes, ...],
    sizes: Mapping[str, int],
    repeated: bool,
) -> Iterator[_Leaf]:
    path = (*path, element[4][1])
    repeated = repeated or element.get(3, (I32, 0))[1] == _REPEATED
    children = element.get(5, (I32, 0))[1]
    if not children:
        yield _Leaf(path, element[1][1], sizes.get(path[0].decode(), 1) if repeated else 1)
    for _ in range(children):
        yield from _leaves_of(next(others), others, path, sizes, repeated)


def _pages(content: bytes) -> tuple[list[_Page], int]:
    """The pages that follow each other from the beginning of a file, and the position after them."""
    pages: list[_Page] = []
    position = len(MAGIC)
    view = memoryview(content)
    while position < len(content):
        try:
            header, start = read_struct(view, position)
        except ThriftError:
            break
        page = _page(header, position, start - position)
        if page is None or position + page.size > len(content):
            break
        pages.append(page)
        position += page.size
    return pages, position


def _page(header: Struct, position: int, size: int) -> _Page | None:
    """The page of a header; None where the structure is no header of a page."""
    try:
        (kind_type, kind), (_, decompressed), (size_type, compressed) = header[1], header[2], header[3]
        values = header[_DATA_HEADERS[kind]][1][1][1]
    except (KeyError, TypeError, IndexError):
        return None
    numbers = (decompressed, compressed, values)
    if (kind_type, size_type) != (I32, I32) or not all(type(each) is int and each >= 0 for each in numbers):
        return None
    return _Page(position, size + compressed, size + decompressed, kind, values)


def _groups(
    pages: Sequence[_Page], leaves: Sequence[_Leaf]
) -> tuple[list[tuple[int, list[Sequence[_Page]]]], int]:
    """Groups of rows: the number of rows and the pages of each column; and the number of pages in them."""
    groups: list[tuple[int, list[Sequence[_Page]]]] = []
    position = 0
    while position < len(pages):
        found = _group_at(pages, position, leaves)
        if found is None:
            break
        groups.append(found)
        position += sum(map(len, found[1]))
    return groups, position


def _group_at(
    pages: Sequence[_Page], start: int, leaves: Sequence[_Leaf]
) -> tuple[int, list[Sequence[_Page]]] | None:
    """The group of rows that begins with a page: the first number of rows by which all columns end with a page."""
    for has_dictionaries in (True, False):
        values = 0
        for end in range(start, len(pages)):
            if pages[end].kind == _DICTIONARY_PAGE:
                if end > start:
                    break  # another column
                continue
            values += pages[end].values
            rows, rest = divmod(values, leaves[0].values_per_row)
            chunks = None if rest or not rows else _chunks(pages, start, leaves, rows, has_dictionaries)
            if chunks is not None:
                return rows, chunks
    return None


def _chunks(
    pages: Sequence[_Page], position: int, leaves: Sequence[_Leaf], rows: int, has_dictionaries: bool
) -> list[Sequence[_Page]] | None:
    """The pages of each column of a group with a number of rows; None where they do not fit.

    Args:
        has_dictionaries: each column begins with a dictionary, except truth values, which never have one.
    """
    chunks = []
    for leaf in leaves:
        first, missing = position, rows * leaf.values_per_row
        while missing > 0 and position < len(pages):
            is_dictionary = pages[position].kind == _DICTIONARY_PAGE
            expected = has_dictionaries and position == first and leaf.kind != _BOOLEAN
            if (is_dictionary and position > first) or (expected and not is_dictionary):
                return None
            missing -= 0 if is_dictionary else pages[position].values
            position += 1
        if missing:
            return None
        chunks.append(pages[first:position])
    return chunks


def _group(rows: int, chunks: Sequence[Sequence[_Page]], leaves: Sequence[_Leaf], codec: int) -> Struct:
    columns = [_column(chunk, leaf, rows, codec) for chunk, leaf in zip(chunks, leaves, strict=True)]
    total = sum(page.decompressed for chunk in chunks for page in chunk)
    return {1: (LIST, (STRUCT, columns)), 2: (I64, total), 3: (I64, rows)}


def _column(pages: Sequence[_Page], leaf: _Leaf, rows: int, codec: int) -> Struct:
    has_dictionary = pages[0].kind == _DICTIONARY_PAGE
    values: dict[int, tuple[int, Any]] = {
        1: (I32, leaf.kind),
        2: (LIST, (I32, list(_ENCODINGS))),
        3: (LIST, (BINARY, list(leaf.path))),
        4: (I32, codec),
        5: (I64, rows * leaf.values_per_row),
        6: (I64, sum(page.decompressed for page in pages)),
        7: (I64, sum(page.size for page in pages)),
        9: (I64, pages[1 if has_dictionary else 0].start),
    }
    if has_dictionary:
        values[11] = (I64, pages[0].start)
    return {2: (I64, 0), 3: (STRUCT, values)}


def _is_readable(content: bytes) -> bool:
    """Whether a group of rows can be decompressed."""
    file = pq.ParquetFile(pa.BufferReader(content))
    for group in range(file.num_row_groups):
        try:
            file.read_row_group(group)
        except (OSError, pa.ArrowException, ValueError):
            continue
        return True
    return False
