"""Pages: the rows of an entry as bytes, which come back as they were or are refused."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.stores.paged.pages import from_page, to_page

KEY = "0123456789abcdef" * 2
SECRET = b"nobody knows it"
ROWS = 5

ARROW = {
    "text": pa.array(["a", "", None, "\U0001f600", "b" * 70]),
    "bytes": pa.array([b"", b"\0", None, b"x" * 40, b"y"], pa.large_binary()),
    "lists": pa.array([[1], [], [2, 3], [4] * 9, [5]]),
    "nested": pa.array([[["a"], []], [], None, [[None]], [["b", "c"]]]),
    "structs": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 3, "b": None}, {}]),
    "dictionary": pa.array(["a", "b", None, "a", "b"]).dictionary_encode(),
    "nothing": pa.nulls(ROWS),
    "views": pa.array(["abc", None, "d" * 40, "", "e" * 13], pa.string_view()),
    "slice": pa.array(["left out", "a", None, "b", "c", "d", "left out"]).slice(1, ROWS),
    "flags": pa.array([True, None, False, True, True]),
    "decimals": pa.array([1, None, 3, 4, 5], pa.decimal128(9, 2)),
    "tensors": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(20.0).reshape(ROWS, 2, 2)),
}
NUMPY = {
    "flags": np.array([True, False, True, True, False]),
    "times": np.array(["2020-01-01", "NaT", "1969-12-31", "2262-04-11", "0001-01-01"], "M8[D]"),
    "spans": np.arange(ROWS).astype("m8[ns]"),
    "images": np.arange(ROWS * 12, dtype=np.uint8).reshape(ROWS, 2, 2, 3),
    "empty": np.empty((ROWS, 0), np.float32),
    "turned": np.arange(ROWS * 3.0).reshape(3, ROWS).T,
    "halves": np.linspace(0, 1, ROWS, dtype=np.float16),
}
MIXED = {**NUMPY, "text": ARROW["text"], "surrogate \ud800": ARROW["lists"]}


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    return left.type == right.type and left.equals(right)


@pytest.mark.parametrize("secret", [None, SECRET, b"long" * 100])
@pytest.mark.parametrize("columns", [{}, ARROW, NUMPY, MIXED], ids=["none", "arrow", "numpy", "mixed"])
def test_rows_come_back_as_they_were(columns: dict[str, Any], secret: bytes | None) -> None:
    """Values, types, shapes and the order of the names survive, for all kinds of columns."""
    found = from_page(to_page(columns, KEY, secret), KEY, secret)

    assert list(found) == list(columns)
    assert all(same(columns[name], found[name]) for name in columns)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["?", "i1", "u2", "<i4", "<u8", "<f2", "<f4", "<f8", "<c16", "<M8[us]", "<m8[ns]"]),
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
    ),
    st.text(max_size=8),
    st.sampled_from([None, SECRET]),
)
def test_any_array_comes_back(array: Any, name: str, secret: bytes | None) -> None:
    """An array of any shape and allowed type survives, bit for bit."""
    assert same(array, from_page(to_page({name: array}, KEY, secret), KEY, secret)[name])


def test_equal_rows_make_equal_pages() -> None:
    """Two who compute the same rows write the same bytes."""
    assert to_page(MIXED, KEY, SECRET).tobytes() == to_page(MIXED, KEY, SECRET).tobytes()


def test_views_are_not_copies_and_cannot_be_written() -> None:
    """What comes back looks into the page, at addresses that are multiples of 64 bytes."""
    page = to_page({"x": NUMPY["images"], "t": ARROW["text"]}, KEY)
    found = from_page(page, KEY)

    assert np.shares_memory(found["x"], page)
    assert not found["x"].flags.writeable
    assert found["x"].ctypes.data % 64 == 0
    first, end = page.ctypes.data, page.ctypes.data + page.nbytes
    assert all(first <= part.address < end for part in found["t"].buffers() if part is not None)


@pytest.mark.parametrize(
    "column",
    [
        np.array(["a"]),
        np.array([object()]),
        np.zeros(2, ">i4"),
        np.zeros(2, "i4,f8"),
        np.array(3),
        np.zeros(2, np.longdouble),
    ],
)
def test_other_types_are_refused(column: Any) -> None:
    """Objects, text of fixed width, records, other byte orders and single numbers have no place in a page."""
    with pytest.raises(ValueError, match="`odd` of type"):
        to_page({"odd": column}, KEY)


@pytest.mark.parametrize("secret", [None, SECRET])
def test_every_flipped_byte_is_seen(secret: bytes | None) -> None:
    """A page with any one byte changed is refused, with a MAC and without."""
    page = to_page({"x": np.arange(4), "t": pa.array(["a", "b", None, "c"])}, KEY, secret)
    for place in range(len(page)):
        page[place] ^= 0x10
        with pytest.raises(ValueError, match=r"."):
            from_page(page, KEY, secret)
        page[place] ^= 0x10
    from_page(page, KEY, secret)


def test_every_truncation_is_seen() -> None:
    """A page that ends too soon, or goes on too long, is refused even where the checksum is not looked at."""
    page = to_page({"x": np.arange(4)}, KEY).tobytes()
    for wrong in [*(page[:end] for end in range(len(page))), page + b"\0"]:
        with pytest.raises(ValueError, match=r"."):
            from_page(wrong, KEY, check=False)


def test_the_page_of_another_entry_is_refused() -> None:
    """Sound pages that changed places are not believed."""
    with pytest.raises(ValueError, match="another entry"):
        from_page(to_page(NUMPY, "f" * 32), KEY)


@pytest.mark.parametrize("made", [None, b"another secret"])
def test_a_page_without_the_right_mac_is_refused(made: bytes | None) -> None:
    """Where there is a secret, a page that was made without it is refused; its absence asks for nothing."""
    page = to_page(NUMPY, KEY, made)

    with pytest.raises(ValueError, match="MAC"):
        from_page(page, KEY, SECRET)
    assert len(from_page(page, KEY)) == len(NUMPY)


def craft(columns: Any, body: bytes = b"", **header: Any) -> bytes:
    """Make a page with any header; its checksum is wrong, so that it is read without."""
    text = json.dumps({"key": KEY, "columns": columns, **header}).encode()
    begin = -(-(64 + len(text)) // 64) * 64 if columns else 64 + len(text)
    total = begin + len(body)
    page = struct.pack("<8sIIQ", b"HRpage\r\n", 1, len(text), total) + bytes(40) + text
    return page.ljust(begin, b"\0") + body


HOSTILE = {
    "object type": craft([["x", "|O", [1], 8]], bytes(8)),
    "text type": craft([["x", "<U2", [1], 8]], bytes(8)),
    "records": craft([["x", "i4,i4", [1], 8]], bytes(8)),
    "name of a type": craft([["x", "object", [1], 8]], bytes(8)),
    "unit that is none": craft([["x", "<M8[0s]", [1], 8]], bytes(8)),
    "type that is a list": craft([["x", ["|O"], [1], 8]], bytes(8)),
    "huge shape": craft([["x", "|u1", [1 << 61], 1 << 61]], bytes(8)),
    "huge number": craft([["x", "|u1", [10**400], 10**400]], bytes(8)),
    "shape that wraps around": craft([["x", "<i8", [1 << 32, 1 << 32], 8]], bytes(8)),
    "huge and empty": craft([["x", "<i8", [0, 1 << 61, 1 << 61], 0]]),
    "negative": craft([["x", "|i1", [-1], -1]], bytes(8)),
    "no shape": craft([["x", "|u1", [], 1]], bytes(1)),
    "many dimensions": craft([["x", "|u1", [1] * 65, 1]], bytes(1)),
    "fractions": craft([["x", "|u1", [8.0], 8]], bytes(8)),
    "truth": craft([["x", "|u1", [True], 1]], bytes(1)),
    "size and shape differ": craft([["x", "|u1", [4], 8]], bytes(8)),
    "rows differ": craft([["x", "|u1", [64], 64], ["y", "|u1", [8], 8]], bytes(72)),
    "one name twice": craft([["x", "|u1", [64], 64], ["x", "|u1", [64], 64]], bytes(128)),
    "more than is named": craft([["x", "|u1", [4], 4]], bytes(8)),
    "another header": craft([], more=1),
    "no list": craft({"x": 1}),
    "deep": struct.pack("<8sIIQ", b"HRpage\r\n", 1, 1 << 18, 64 + (1 << 18)) + bytes(40) + b"[" * (1 << 18),
    "arrow that is none": craft([["x", "arrow", [8], 8]], bytes(8)),
    "arrow of two dimensions": craft([["x", "arrow", [8, 1], 8]], bytes(8)),
    "header beyond the page": struct.pack("<8sIIQ", b"HRpage\r\n", 1, 1 << 31, 64) + bytes(40),
    "nothing": b"",
}


@pytest.mark.parametrize("page", HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_are_refused(page: bytes) -> None:
    """What a header claims is held against the page before anything is made of it, and nothing large is."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"."):
            from_page(page, KEY, check=False)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def stream(array: pa.Array, **options: Any) -> bytes:
    schema = pa.schema([pa.field("", array.type)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([array], schema=schema))
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("kind", ["plain", "dictionary"])
def test_compressed_streams_are_refused(kind: str) -> None:
    """A small page never becomes many bytes."""
    array = pa.array(["a" * (1 << 16)] * 8)
    body = stream(array.dictionary_encode() if kind == "dictionary" else array, compression="zstd")

    with pytest.raises(ValueError, match="compressed"):
        from_page(craft([["x", "arrow", [8], len(body)]], body), KEY, check=False)


def test_damaged_streams_are_refused_or_read() -> None:
    """Offsets that lead astray are found before anybody follows them, without a checksum too."""
    body = stream(pa.array(["first", "second", None, "third"]))
    for place in range(len(body)):
        damaged = bytearray(body)
        damaged[place] ^= 0xFF
        page = craft([["x", "arrow", [4], len(body)]], bytes(damaged))
        try:
            assert len(from_page(page, KEY, check=False)["x"].to_pylist()) == 4
        except ValueError as error:
            assert "`x`" in str(error) or "utf-8" in str(error)
