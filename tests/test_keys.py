"""128-bit keys of values, and comparing the values: equal ones however held, and all others apart."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from headrace.errors import SchemaError
from headrace.hashing.equality import equal_values
from headrace.hashing.forms import Kind, check_type
from headrace.hashing.keys import key_column, row_keys

NAN = float("nan")
MOMENTS = [dt.datetime(1969, 3, 1, 12, 0, 1), dt.datetime(2262, 1, 1), None]
WHOLE = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64()]


def keys(column: pa.Array) -> list[tuple[int, ...]]:
    return [tuple(key) for key in key_column(column).tolist()]


def tensor(values: Any, shape: list[int], **order: Any) -> pa.Array:
    kind = pa.fixed_shape_tensor(pa.float32(), shape, **order)
    storage = pa.array([row and list(row) for row in values], kind.storage_type)
    return pa.ExtensionArray.from_storage(kind, storage)


# Columns whose values equal each other row by row.
SAME: list[list[pa.Array]] = [
    [pa.array([0, 1, 127, None], kind) for kind in WHOLE],
    [pa.array([0.5, NAN, -2.0, None], kind) for kind in (pa.float16(), pa.float32(), pa.float64())],
    [pa.array([0.0, -0.0]), pa.array([-0.0, 0.0])],
    [pa.array(["", "a", "bb", None], kind) for kind in (pa.string(), pa.large_string(), pa.string_view())],
    [
        pa.array(["a", None, "a"]),
        pa.array(["a", None, "a"]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([1, 0, 2]), pa.array([None, "a", "a"])),
    ],
    [
        pa.array([b"ab", b"cd", None], kind)
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2))
    ],
    [pa.array(MOMENTS, pa.timestamp(unit)) for unit in ("s", "ms", "us")]
    + [pa.array(MOMENTS, pa.timestamp("us", "UTC"))],
    [pa.array([dt.date(1969, 1, 1), None], kind) for kind in (pa.date32(), pa.date64())],
    [pa.array([dt.timedelta(seconds=-3)], pa.duration(unit)) for unit in ("s", "ms", "us", "ns")],
    [
        pa.array([Decimal("1.50"), Decimal(-7), Decimal(0), None], kind)
        for kind in (pa.decimal32(9, 2), pa.decimal64(9, 2), pa.decimal128(20, 4), pa.decimal256(60, 9))
    ],
    [
        pa.array([[1, 2], [], None, [None, 3]], kind)
        for kind in (
            pa.list_(pa.int8()),
            pa.large_list(pa.int8()),
            pa.list_view(pa.int8()),
            pa.large_list_view(pa.int8()),
        )
    ],
    [
        pa.array([[0.0, NAN], [None, 1.0], None], kind)
        for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2))
    ],
    [pa.array([["a", None], None], kind) for kind in (pa.list_(pa.string()), pa.list_(pa.large_string(), 2))],
    [
        tensor([range(6), None], [2, 3]),
        pa.array([[[0, 1, 2], [3, 4, 5]], None], pa.list_(pa.list_(pa.float32(), 3), 2)),
    ],
    [tensor([range(6)], [2, 3], permutation=[0, 1]), tensor([range(6)], [2, 3])],
    [
        pa.array([{"a": 1, "b": "x"}, None]),
        pa.array([{"a": 1, "b": "x"}, None], pa.struct({"a": pa.int8(), "b": pa.large_string()})),
    ],
    [pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([1, None])), pa.array([1, 1, None])],
    [
        pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
        pa.array([[("a", 1)], None], pa.map_(pa.large_string(), pa.int64())),
    ],
]

# Values that all differ from each other, across kinds and within.
APART: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int64(), [-1, 0, 1, None]),
    (pa.uint64(), [2**64 - 1, 2**63]),
    (pa.float64(), [0.0, 1.0, NAN, float("inf")]),
    (pa.bool_(), [True, False]),
    (pa.string(), ["", "1", "é", "e\u0301", "a" * 300, "a" * 301]),
    (pa.binary(), [b"", b"1", b"\0"]),
    (pa.timestamp("s"), [dt.datetime(1970, 1, 1), dt.datetime(1970, 1, 2)]),
    (pa.date32(), [dt.date(1970, 1, 1)]),
    (pa.time32("s"), [dt.time(0)]),
    (pa.duration("s"), [dt.timedelta(0)]),
    (pa.month_day_nano_interval(), [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]),
    (pa.decimal128(9, 1), [Decimal(0), Decimal(1), Decimal(-1), Decimal("0.1"), Decimal(10)]),
    (pa.list_(pa.int64()), [[], [0], [0, 0], [None], [None, 0], [0, None]]),
    (pa.list_(pa.int32()), [[0], [1]]),
    (pa.list_(pa.bool_()), [[False], [True]]),
    (pa.list_(pa.float64()), [[0.0], [NAN]]),
    (pa.list_(pa.string()), [[""], ["", ""], ["", None], ["a", "b"], ["ab"]]),
    (pa.list_(pa.list_(pa.int64())), [[[]], [[], []], [None], [[0]], [[0], [0]], [[0, 0]]]),
    (pa.list_(pa.list_(pa.int8(), 2)), [[[0, 0]], [None], [[None, None]], [[0, None]], [[0, 0], [0, 0]]]),
    (pa.list_(pa.list_(pa.int8(), 4)), [[[0, 0, 0, 0]]]),
    (pa.struct({"x": pa.int64()}), [{"x": 0}, {"x": None}]),
    (
        pa.struct({"x": pa.int64(), "y": pa.int64()}),
        [{"x": 0, "y": 0}, {"x": 0, "y": None}, {"x": None, "y": 0}],
    ),
    (pa.struct([]), [{}]),
]


@pytest.mark.parametrize("columns", SAME, ids=lambda columns: str(columns[0].type))
def test_equal_values_have_equal_keys(columns: list[pa.Array]) -> None:
    """However they are held, from any row on; and comparing them says the same."""
    first, *others = columns
    for other in others:
        assert keys(other) == keys(first)
        assert equal_values(first, other).tolist() == [True] * len(first)
    for column in columns:
        assert keys(column.slice(1)) == keys(column)[1:]
        assert keys(column.slice(0, 1)) == keys(column)[:1]


def test_values_that_differ_have_other_keys() -> None:
    """1, 1.0, True, "1" and the like are not one value; null inside of a list is a value."""
    found = [key for kind, values in APART for key in keys(pa.array(values, kind))]

    assert len(set(found)) == len(found)


@pytest.mark.parametrize(("kind", "values"), APART, ids=[str(kind) for kind, _ in APART])
def test_values_that_differ_compare_as_such(kind: pa.DataType, values: list[Any]) -> None:
    """Each value equals itself alone."""
    first = pa.array([one for one in values for _ in values], kind)
    second = pa.array([other for _ in values for other in values], kind)

    expected = np.eye(len(values), dtype=bool).reshape(-1).tolist()
    assert equal_values(first, second).tolist() == expected


def test_values_of_different_kinds_are_not_equal() -> None:
    """Comparing does not convert."""
    for kind, values in APART:
        for other, others in APART:
            if kind is not other:
                pair = pa.array(values[:1], kind), pa.array(others[:1], other)
                assert equal_values(*pair).tolist() == [False]


def test_tensors_of_other_shapes_differ() -> None:
    """The same numbers in another shape, or in another order of dimensions, are another array."""
    shapes = [tensor([range(6)], shape) for shape in ([6], [2, 3], [3, 2], [1, 6], [6, 1])]
    turned = tensor([range(6)], [2, 3], permutation=[1, 0])

    assert len({keys(column)[0] for column in (*shapes, turned)}) == 6


def test_what_lies_under_null_does_not_matter() -> None:
    """Two columns that differ under null alone have equal keys and compare equal."""
    mask = np.array([False, True])
    for first, second in (
        (pa.array([1, 2], mask=mask), pa.array([1, 3], mask=mask)),
        (pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4]), 2, mask=pa.array(mask)),
         pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 5, 6]), 2, mask=pa.array(mask))),
        (pa.FixedSizeListArray.from_arrays(pa.array([1, 2], mask=mask), 2),
         pa.FixedSizeListArray.from_arrays(pa.array([1, 9], mask=mask), 2)),
        (pa.StructArray.from_arrays([pa.array([1, 2])], ["x"], mask=pa.array(mask)),
         pa.StructArray.from_arrays([pa.array([1, 3])], ["x"], mask=pa.array(mask))),
    ):  # fmt: skip
        assert keys(first) == keys(second)
        assert equal_values(first, second).all()


def test_many_members_are_hashed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are cut between rows; a list longer than a part is one."""
    lists = pa.array([["a"], [], ["b", "c"], None, ["d"] * 7, ["e", None], []])
    whole = keys(lists)
    monkeypatch.setattr("headrace.hashing.forms._MOST_MEMBERS", 3)

    assert keys(lists) == whole


def test_rows_are_hashed_by_their_columns_in_the_order_of_names() -> None:
    """The keys of the columns one behind the other, whatever order the columns come in."""
    text, number = pa.array(["a", None, "a"]), pa.array([1, 1, None])
    together, has_null = row_keys([text, number], ["b", "a"])
    parts = np.concatenate([key_column(number), key_column(text)], axis=1)
    digests = [xxhash.xxh3_128_intdigest(row.tobytes(), Kind.COLUMNS) for row in parts]

    assert [low + (high << 64) for low, high in together.tolist()] == digests
    assert has_null.tolist() == [False, True, True]
    assert (row_keys([number, text], ["a", "b"])[0] == together).all()
    assert (row_keys([text], ["b"])[0] == key_column(text)).all()


def test_keys_are_those_of_the_library() -> None:
    """Texts, words and lists of numbers are hashed as plain bytes."""
    texts, words = ["", "a", "späť" * 50], [-1, 0, 2**62]
    for column, contents, kind in (
        (pa.array(texts), [text.encode() for text in texts], Kind.TEXT),
        (pa.array(words), [word.to_bytes(8, "little", signed=True) for word in words], Kind.WHOLE),
    ):
        digests = [xxhash.xxh3_128_intdigest(content, kind) for content in contents]
        assert [low + (high << 64) for low, high in keys(column)] == digests


def test_keys_never_change() -> None:
    """These were written down: kept signatures are found again by the next version."""
    columns = [
        pa.array([2**63 + 1], pa.uint64()),
        pa.array([NAN]),
        pa.array([True]),
        pa.array([b"\0\1"]),
        pa.array([MOMENTS[0]]),
        pa.array([Decimal("-12.50")]),
        pa.array([[1, None]]),
        pa.array([[1, 2]], pa.list_(pa.uint8())),
        pa.array([[[1, 2], None]], pa.list_(pa.list_(pa.float32(), 2))),
        pa.array([["x"]]),
        pa.array([{"a": 1, "b": "x"}]),
        pa.array([None]),
    ]

    assert [f"{high:016x}{low:016x}" for column in columns for low, high in keys(column)] == GOLDEN


GOLDEN = [
    "2be688ea633df9ce68d0287993d207ad",
    "1abffe5badb723bfde478d6d4f413764",
    "3d2bac930b95da46793e45d96dc61a03",
    "c07b23698018c3f1f950b550487f3e03",
    "987aab89cb1d1c04cd1b658b3a67fdd1",
    "c6a9142a0f9794a5353c690d64f43ec3",
    "b9c6d406fa83c020d020886cb865bae6",
    "df090f3b492601e9c1a66040b64f6171",
    "6ed6ccd1d00af562f81f00afee643c62",
    "aae5d8ff8f39dcc0eb03d94a29f52962",
    "cf24026b930da9cb1629b60ca64e5570",
    "4f83b3b7ca3641168c375ee0bb8b2e94",
]


@pytest.mark.parametrize(
    "nest", [lambda kind: kind, pa.list_, lambda kind: pa.struct({"x": pa.list_(kind, 2)})]
)
def test_types_without_a_hash_are_refused(nest: Any) -> None:
    """However deep they lie."""
    union = pa.sparse_union([pa.field("x", pa.int8())])

    with pytest.raises(SchemaError, match=r"`odd`.* no hash"):
        check_type(nest(union), "odd")
    for columns in SAME:
        check_type(columns[0].type, "fine")
