"""Hypothesis strategies for Arrow arrays of every type that can be written."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

# Whole numbers that are cast to the type: seconds of years that Python's datetime has, in any unit.
_TICKS = st.sampled_from([0, 1, -1, 2**31 + 1]) | st.integers(-(2**33), 2**33)
_ZONES = (None, "UTC", "Europe/Berlin", "+05:30")

FLOATS = [np.dtype(name) for name in ("float16", "float32", "float64")]
WHOLE = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TIMES = [
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in _ZONES),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
]
HOURS = [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary_view()]


def arrays(length: int, depth: int = 2) -> st.SearchStrategy[pa.Array]:
    """Arrays of so many values, of any type that Parquet and Arrow IPC both hold, there or back."""
    flat = st.one_of(_whole(length), _floats(length), _ticks(length), _objects(length), _dictionaries(length))
    if depth == 0:
        return flat
    return st.one_of(flat, flat, _lists(length, depth), _structs(length, depth), _tensors(length))


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """Columns, and row groups of them."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    columns = draw(st.lists(arrays(sum(sizes)), min_size=1, max_size=3))
    names = [f"{'né.x '[place]}{place}" for place in range(len(columns))]
    whole = pa.RecordBatch.from_arrays(columns, names=names)
    ends = np.cumsum(sizes).tolist()
    return whole.schema, [whole.slice(end - size, size) for size, end in zip(sizes, ends, strict=True)]


def contents(array: pa.Array) -> tuple[pa.DataType, str]:
    """Type and values, floats by sign and NaN too."""
    return array.type, repr(array.to_pylist())


def elsewhere(array: pa.Array) -> pa.Array:
    """Lay the same values out as a slice of something larger."""
    return pa.concat_arrays([array.slice(0, 3), array]).slice(min(3, len(array)))


def _masked(draw: st.DrawFn, values: pa.Array) -> pa.Array:
    """Let some values be null."""
    if not draw(st.booleans()):
        return values
    keep = draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    places = [place if is_kept else None for place, is_kept in enumerate(keep)]
    return values.take(pa.array(places, pa.int64()))


def _listed(draw: st.DrawFn, values: st.SearchStrategy[Any], length: int) -> list[Any]:
    return draw(st.lists(values, min_size=length, max_size=length))


@st.composite
def _whole(draw: st.DrawFn, length: int) -> pa.Array:
    kind = draw(st.sampled_from(WHOLE))
    low = 0 if pa.types.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
    values = st.integers(low, low + 2**kind.bit_width - 1) | st.sampled_from(
        [low, low + 2**kind.bit_width - 1, 1]
    )
    return _masked(draw, pa.array(_listed(draw, values, length), kind))


@st.composite
def _floats(draw: st.DrawFn, length: int) -> pa.Array:
    dtype = draw(st.sampled_from(FLOATS))
    values = st.floats(width=dtype.itemsize * 8) | st.sampled_from([-0.0, float("nan"), float("inf")])  # type: ignore[arg-type]
    return _masked(draw, pa.array(np.array(_listed(draw, values, length), dtype)))


@st.composite
def _ticks(draw: st.DrawFn, length: int) -> pa.Array:
    kind: Any = draw(st.sampled_from([*TIMES, *HOURS, pa.date32(), pa.date64()]))
    ticks = _TICKS
    if kind in HOURS:
        ticks = st.integers(0, 86_399)
    elif pa.types.is_date(kind):
        ticks = st.integers(-700_000, 2_000_000)
    elif kind in (pa.timestamp("ns"), pa.duration("ns")):
        ticks = st.integers(-(2**63), 2**63 - 1)
    numbers = pa.array(_listed(draw, ticks, length), pa.int64())
    if kind == pa.date64():
        return _masked(draw, numbers.cast(pa.int32()).cast(pa.date32()).cast(kind))
    return _masked(draw, numbers.cast(f"int{kind.bit_width}").view(kind))


@st.composite
def _objects(draw: st.DrawFn, length: int) -> pa.Array:
    texts, some = st.text(max_size=4), st.binary(max_size=4)
    decimals = st.decimals(-(10**5), 10**5, places=3, allow_nan=False)
    choices: list[tuple[Any, st.SearchStrategy[Any]]] = [
        *((kind, texts) for kind in TEXTS),
        *((kind, some) for kind in BYTES),
        (pa.binary(3), st.binary(min_size=3, max_size=3)),
        (pa.bool_(), st.booleans()),
        (pa.null(), st.none()),
        (pa.decimal32(9, 3), decimals),
        (pa.decimal64(18, 3), decimals),
        (pa.decimal128(38, 3), decimals.map(lambda value: value + Decimal(10) ** 34)),
        (pa.decimal256(60, 3), decimals),
    ]
    kind, values = draw(st.sampled_from(choices))
    array = pa.array(_listed(draw, values, length), kind)
    is_view = pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)
    return array if is_view else _masked(draw, array)


@st.composite
def _dictionaries(draw: st.DrawFn, length: int) -> pa.Array:
    kind = draw(st.sampled_from([*TEXTS[:2], *BYTES[:2], pa.int64(), pa.float64(), pa.timestamp("s")]))
    index = draw(st.sampled_from([pa.int8(), pa.uint8(), pa.int32(), pa.uint32(), pa.int64()]))
    is_text = kind in TEXTS
    count = draw(st.integers(1, 5))
    values = ["a", "", "é", "long " * 20, "b"] if is_text else [b"a", b"", b"\xff", b"b", b"c"]
    known = pa.array(values[:count] if kind in TEXTS + BYTES else list(range(count)), kind)
    codes = _masked(draw, pa.array(_listed(draw, st.integers(0, count - 1), length), index))
    return pa.DictionaryArray.from_arrays(codes, known, ordered=is_text and draw(st.booleans()))


@st.composite
def _lists(draw: st.DrawFn, length: int, depth: int) -> pa.Array:
    lengths = _listed(draw, st.none() | st.integers(0, 3), length)
    offsets = np.cumsum([0, *(count or 0 for count in lengths)]).tolist()
    values: Any = draw(arrays(offsets[-1], depth - 1))
    mask = pa.array([count is None for count in lengths], pa.bool_()) if None in lengths else None
    which = draw(st.sampled_from(["list", "large", "view", "large view", "fixed", "map"]))
    if which == "fixed":
        size = draw(st.integers(1, 3))
        inner = draw(arrays(size * length, depth - 1))
        return pa.FixedSizeListArray.from_arrays(inner, size, mask=mask)
    if which == "map":
        keys = pa.array([f"k{place}" for place in range(offsets[-1])], pa.string())
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, values, mask=mask)
    width: Callable[[], Any] = pa.int64 if which.startswith("large") else pa.int32
    if which.endswith("view"):
        sizes = pa.array([count or 0 for count in lengths], width())
        views: Any = pa.LargeListViewArray if which.startswith("large") else pa.ListViewArray
        return views.from_arrays(pa.array(offsets[:-1], width()), sizes, values, mask=mask)
    lists: Any = pa.LargeListArray if which == "large" else pa.ListArray
    return lists.from_arrays(pa.array(offsets, width()), values, mask=mask)


@st.composite
def _structs(draw: st.DrawFn, length: int, depth: int) -> pa.Array:
    parts = draw(st.lists(arrays(length, depth - 1), min_size=1, max_size=2))
    mask = pa.array(_listed(draw, st.booleans(), length), pa.bool_()) if draw(st.booleans()) else None
    return pa.StructArray.from_arrays(parts, names=[f"f{place}" for place in range(len(parts))], mask=mask)


@st.composite
def _tensors(draw: st.DrawFn, length: int) -> pa.Array:
    shape = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    size = int(np.prod(shape))
    kind = draw(st.sampled_from([pa.uint8(), pa.float32(), pa.int64(), pa.float16()]))
    numbers = pa.array(np.arange(length * size) % 250).cast(pa.int16()).cast(pa.float32()).cast(kind)
    storage = _masked(draw, pa.FixedSizeListArray.from_arrays(numbers, size))
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(kind, shape), storage)
