"""Hashes of column values: published vectors, values that never change, equal values however held."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selecting_data import some

from headrace.errors import SchemaError
from headrace.hashing.columns import hash_column, hash_columns, hash_ids, keyed
from headrace.hashing.forms import Kind
from headrace.hashing.kernels import hash_bytes, hash_pairs, hash_words, reference

# From the page of the algorithm and the readme of its Python binding.
PUBLISHED = [
    (b"", 0, 0xEF46DB3751D8E999),
    (b"", 2654435761, 0xAC75FDA2929B17EF),
    (b"a", 0, 0xD24EC4F1A98C6E5B),
    (b"abc", 0, 0x44BC2CF5AD770999),
    (b"xxhash", 20141025, 0xB559B98D844E0635),
    (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
]


def hashes(values: list[Any], kind: pa.DataType | None = None) -> list[int]:
    return hash_column(pa.array(values, kind)).tolist()


@pytest.mark.parametrize(("data", "seed", "expected"), PUBLISHED)
def test_published_vectors(data: bytes, seed: int, expected: int) -> None:
    """Kernel and plain twin are XXH64."""
    compiled = hash_bytes(np.frombuffer(data, np.uint8), np.array([0, len(data)]), seed)

    assert compiled.tolist() == [expected]
    assert reference(data, seed) == expected


@some
@given(st.lists(st.binary(max_size=100), max_size=20), st.integers(0, 2**64 - 1))
def test_the_kernel_equals_its_twin(texts: list[bytes], seed: int) -> None:
    """Runs of any length at any place of the buffer, and words as their bytes."""
    offsets = np.cumsum([0, *map(len, texts)])
    data = np.frombuffer(b"".join(texts), np.uint8)
    words = np.frombuffer(b"".join(text.ljust(16, b"\0")[:16] for text in texts), np.uint64).reshape(-1, 2)

    assert hash_bytes(data, offsets, seed).tolist() == [reference(text, seed) for text in texts]
    first, second = words[:, 0].copy(), words[:, 1].copy()
    assert hash_words(first, seed).tolist() == [reference(word.tobytes(), seed) for word in first]
    assert hash_pairs(first, second, seed).tolist() == [reference(word.tobytes(), seed) for word in words]


def pack(*words: int) -> bytes:
    return b"".join((word % 2**64).to_bytes(8, "little") for word in words)


@some
@given(st.lists(st.lists(st.integers(-9, 9), max_size=5), max_size=10))
def test_lists_are_hashed_by_their_members(lists: list[list[int]]) -> None:
    """Length and members, one after the other, in plain Python."""
    expected: list[int] = []
    for members in lists:
        state = reference(pack(len(members)), Kind.LIST)
        for member in members:
            state = reference(pack(state, reference(pack(member), Kind.WHOLE)), Kind.LIST)
        expected.append(state)

    assert hashes(lists, pa.list_(pa.int32())) == expected


@some
@given(st.lists(st.integers(-(10**38) + 1, 10**38 - 1)), st.integers(0, 9))
def test_decimals_are_hashed_by_their_digits(wholes: list[int], scale: int) -> None:
    """Sign, exponent and digits without trailing zeros, 32 bits at a time, in plain Python."""
    expected: list[int] = []
    for whole in wholes:
        digits, exponent = abs(whole), -scale if whole else 0
        while digits and digits % 10 == 0:
            digits, exponent = digits // 10, exponent + 1
        state = reference(pack(exponent, whole < 0), Kind.DECIMAL)
        while digits:
            state = reference(pack(state, digits % 2**32), Kind.DECIMAL)
            digits >>= 32
        expected.append(state)
    with localcontext(prec=100):
        values = [Decimal(whole).scaleb(-scale) for whole in wholes]

    assert hashes(values, pa.decimal128(38, scale)) == expected


def test_hashes_never_change() -> None:
    """These values were written down; another hash would move samples between parts."""
    moment = dt.datetime(2013, 1, 31, 23, 59, 59, 250_000)
    columns = [
        pa.array([-7]), pa.array([2**63 + 1], pa.uint64()), pa.array([1.5]), pa.array([float("nan")]),
        pa.array([True]), pa.array(["späť"]), pa.array([b"\0\1"]), pa.array([moment]),
        pa.array([moment.date()]), pa.array([moment.time()]), pa.array([dt.timedelta(days=-1)]),
        pa.array([Decimal("-12.50")]), pa.array([[1, None]]), pa.array([{"a": 1, "b": "x"}]),
        pa.array([None]), pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    ]  # fmt: skip
    found = [hash_column(column)[0] for column in columns]
    found += [hash_ids(np.array([5]))[0], hash_columns([columns[0], columns[5]], ["b", "a"])[0][0]]
    found.append(keyed(np.array([5], np.uint64), 7)[0])

    assert [f"{value:016x}" for value in found] == GOLDEN


GOLDEN = [
    "8f5f65632de859eb",
    "e993241daa9a3e39",
    "22fe84b9f850a80f",
    "334f270b624923df",
    "60482ababfd0ba32",
    "fde03f87f2ea93c8",
    "068e4e065bcd7be8",
    "fde02aca0c8f9b9d",
    "58257921ba414bad",
    "d82f9e701a3b6661",
    "5eab0a95dc47be68",
    "b6f463a5edf4a87a",
    "572cd70190edacbe",
    "ab85fe8643a74a6e",
    "22c76afd15f0110f",
    "2df5efddfc5573f5",
    "4d9e297e11e35df7",
    "d55cef69c98b9699",
    "d945dc087052fec4",
]

WHOLE = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64()]
DECIMALS = [Decimal("1.50"), Decimal(-7), Decimal(0), None, Decimal(1200), Decimal("-0.07")]
MOMENTS = [dt.datetime(1969, 3, 1, 12, 0, 1), dt.datetime(2262, 1, 1), None]


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([0, 1, 127, None], WHOLE),
        ([-1, -128], WHOLE[:4]),
        ([0.5, float("nan"), -2.0, None], [pa.float32(), pa.float64()]),
        (["", "a", "bb", None], [pa.string(), pa.large_string(), pa.string_view()]),
        ([b"ab", b"cd", None], [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)]),
        (MOMENTS, [pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")]),
        (MOMENTS, [pa.timestamp("us"), pa.timestamp("us", "UTC")]),
        ([dt.timedelta(seconds=-3)], [pa.duration(unit) for unit in ("s", "ms", "us", "ns")]),
        ([dt.date(1969, 12, 31), None], [pa.date32(), pa.date64()]),
        ([dt.time(23, 59)], [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]),
        (DECIMALS, [pa.decimal32(9, 3), pa.decimal64(12, 2), pa.decimal128(30, 5), pa.decimal256(60, 2)]),
        ([Decimal(-(10**30))], [pa.decimal128(38, 0), pa.decimal256(70, 9)]),
        ([[1, 2], [], None, [None]], [pa.list_(pa.int8()), pa.large_list(pa.int64())]),
        ([[1, 2], [], [3]], [pa.list_view(pa.int8()), pa.large_list_view(pa.int16()), pa.list_(pa.int8())]),
        ([[1, 2], None, [3, 4]], [pa.list_(pa.int8(), 2), pa.list_(pa.int64())]),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_equal_values_have_equal_hashes(values: list[Any], kinds: list[pa.DataType]) -> None:
    """Width, unit, scale and layout do not matter, and different values differ."""
    expected = hashes(values, kinds[0])

    assert len(set(expected)) == len(values)
    for kind in kinds[1:]:
        assert hashes(values, kind) == expected, kind


def test_zero_nan_and_null() -> None:
    """Both zeros are one value, so are all NaN, and null is one in every type."""
    strange = np.array([0xFFF8000000000001, 0x7FF0000000000001], np.uint64).view(np.float64)

    assert hashes([-0.0, 0.0, float("nan")]) == [*hashes([0.0]) * 2, hash_column(pa.array(strange))[0]]
    assert len(set(hash_column(pa.array(strange)).tolist())) == 1
    nulls = {hashes([None], kind)[0] for kind in (pa.int8(), pa.string(), pa.null(), pa.list_(pa.int8()))}
    assert len(nulls) == 1


def test_kinds_of_values_differ() -> None:
    """1, 1.0, True, "1", its bytes, lists and structs of it are different values."""
    columns = [
        [1],
        [1.0],
        [True],
        ["1"],
        [b"1"],
        [Decimal(1)],
        [dt.date(1970, 1, 2)],
        [[1]],
        [{"a": 1}],
        [None],
    ]
    columns += [
        [dt.timedelta(seconds=1)],
        [dt.time(0, 0, 1)],
        [dt.datetime(1970, 1, 1, 0, 0, 1)],
        [[[1]]],
        [""],
    ]

    assert len({hashes(column)[0] for column in columns}) == len(columns)
    assert hashes([2**64 - 1], pa.uint64()) != hashes([-1])


def test_dictionaries_and_runs_are_their_values() -> None:
    """Encoded columns have the hashes of what they stand for, nulls in either place included."""
    texts = pa.array(["a", "b", None])
    codes = pa.array([0, 1, 2, None, 0])
    plain = hashes(["a", "b", None, None, "a"])

    assert hash_column(pa.DictionaryArray.from_arrays(codes, texts)).tolist() == plain
    assert (
        hash_column(pa.RunEndEncodedArray.from_arrays([1, 2, 4, 5], ["a", "b", None, "a"])).tolist() == plain
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, 5] * 5), pa.array([True, None, False] * 5), pa.array(["a", None, "ccc"] * 5),
        pa.array([[1], None, [3, 4]] * 5), pa.array([{"a": ["x"]}, None, {"a": None}] * 5),
        pa.array([[1, 2], None, [3, 4]] * 5, pa.list_(pa.int8(), 2)),
        pa.array([b"ab", None, b"cd"] * 5, pa.binary(2)), pa.array(DECIMALS * 3),
        pa.array(["a", None, "b"] * 5).dictionary_encode(),
        pa.array([[("x", 1)], None, [("y", 2), ("z", 3)]] * 5, pa.map_(pa.string(), pa.int8())),
        pa.array([(1, 2, 3), None] * 7, pa.month_day_nano_interval()),
        pa.array([0.5, None] * 7, pa.float16()),
        pa.array([[1, 2], None, []] * 5, pa.list_view(pa.int8())), pa.array([None] * 15),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(60).reshape(15, 2, 2)),
    ],
    ids=lambda column: str(column.type),
)  # fmt: skip
def test_slices_have_the_hashes_of_the_whole(column: pa.Array) -> None:
    """Where in its buffers a value lies does not matter, and equal values alone are equal."""
    whole = hash_column(column).tolist()

    assert len(set(whole)) == len(set(map(str, column.to_pylist())))
    for begin in range(len(column)):
        for end in range(begin, len(column) + 1):
            assert hash_column(column.slice(begin, end - begin)).tolist() == whole[begin:end]


def test_many_members_are_hashed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group of images is hashed some at a time, with the same result."""
    column = pa.array([[number] * (number % 5) for number in range(50)])
    whole = hash_column(column).tolist()
    monkeypatch.setattr("headrace.hashing.forms._MOST_MEMBERS", 3)

    assert hash_column(column).tolist() == whole


def test_columns_together() -> None:
    """The names' order counts, not that of the columns; swapped values differ; one column is itself."""
    one, two = pa.array([1, 2, None]), pa.array([2, 1, 1])
    together, has_null = hash_columns([one, two], ["a", "b"])

    assert hash_columns([two, one], ["b", "a"])[0].tolist() == together.tolist()
    assert together[0] != together[1]
    assert has_null.tolist() == [False, False, True]
    assert hash_columns([one], ["a"])[0].tolist() == hash_column(one).tolist()


def test_hashes_are_spread_evenly() -> None:
    """Whole numbers in a row fall evenly into bins, for several keys, and keys do not agree."""
    raw = hash_column(pa.array(np.arange(200_000)))
    bins = [keyed(raw, key) >> np.uint64(60) for key in range(3)]
    for found in bins:
        counts = np.bincount(found.astype(np.int64), minlength=16)
        assert ((counts - 12_500) ** 2 / 12_500).sum() < 45  # chi-square of 15 degrees, p = 0.0001
    agreeing = [float((bins[0] == other).mean()) for other in bins[1:]]
    assert all(abs(share - 1 / 16) < 0.003 for share in agreeing)


def test_a_type_without_a_hash_is_named() -> None:
    """A union is refused with its column."""
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(SchemaError, match="`either` of type sparse_union"):
        hash_column(union, "either")
