"""Lookups in a vocabulary: a dict of Python says the same, for values of any kind."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import SchemaError
from headrace.prepare.steps.categories import Keys
from headrace.prepare.steps.lookup import Lookup
from headrace.prepare.steps.lookup_kernels import find_texts, find_words, lay_out_texts, lay_out_words

some = settings(max_examples=60, deadline=None, derandomize=True)

# Short ones, ones that begin alike for more than the 8 bytes that a slot holds, zeros within and behind.
TEXTS = st.one_of(
    st.text(alphabet="ab\0é", max_size=10), st.sampled_from(["same beginning, " + "x" * k for k in range(4)])
)
KINDS: dict[str, Any] = {
    "text": (TEXTS, pl.String),
    "bytes": (st.binary(max_size=20), pl.Binary),
    "whole": (st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), pl.Int64),
    "small": (st.integers(-5, 5), pl.Int8),
    "large": (st.integers(2**63 - 2, 2**64 - 1), pl.UInt64),
    "float": (st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0]), pl.Float64),
    "truth": (st.booleans(), pl.Boolean),
    "day": (st.dates(), pl.Date),
    "time": (st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(1970, 1, 2)), pl.Datetime("us")),
}


@some
@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_a_dict_says_the_same(data: st.DataObject, kind: str) -> None:
    """Known values have their place, others the first behind it, missing ones the second."""
    values, dtype = KINDS[kind]
    vocabulary = data.draw(st.lists(values, unique=True, max_size=12))
    column = data.draw(st.lists(st.none() | st.sampled_from(vocabulary or [None]) | values, max_size=30))
    places = {value: place for place, value in enumerate(vocabulary)}
    expected = [len(places) + 1 if it is None else places.get(it, len(places)) for it in column]
    lookup = Lookup.of(pl.Series(vocabulary, dtype=dtype))

    assert lookup.find(pl.Series(column, dtype=dtype)).tolist() == expected
    padded = pl.concat([pl.Series(column[:1], dtype=dtype), pl.Series(column, dtype=dtype)])
    assert lookup.find(padded[len(column[:1]) :]).tolist() == expected


def test_values_with_one_hash_are_told_apart() -> None:
    """Where all hashes collide, the values themselves decide."""
    texts = ["", "a", "ab", "12345678", "123456789", "123456780"]
    keys, asked = Keys.of(pl.Series(texts[:5])), Keys.of(pl.Series([*texts, "9"]))
    same = np.zeros(16, np.uint64)
    slots = lay_out_texts(keys.texts, same[:5])
    found = find_texts(asked.texts, asked.known, same[:7], slots, keys.texts)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 5]

    words = np.arange(5, dtype=np.uint64)
    slots = lay_out_words(words, same[:5])
    found = find_words(np.array([4, 0, 7, 2], np.uint64), np.ones(4, np.bool_), same[:4], slots, 5)
    assert found.tolist() == [4, 0, 5, 2]


@pytest.mark.parametrize(
    ("vocabulary", "column", "expected"),
    [
        (pl.Series([1, 3]), pl.Series([3.0, float("nan"), None, 2.0]), [1, 3, 3, 2]),
        (pl.Series([1, 3]), pl.Series([3, 7], dtype=pl.UInt8), [1, 2]),
        (pl.Series([1.0, 3.0]), pl.Series([3, 7, None], dtype=pl.Int16), [1, 2, 3]),
        (pl.Series([1.0, 0.0]), pl.Series([-0.0, 1.0], dtype=pl.Float32), [1, 0]),
        (pl.Series(["a"]), pl.Series(["b", "a"], dtype=pl.Categorical), [1, 0]),
        (pl.Series(["a"]), pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])), [1, 0]),
        (pl.Series(["a"]), pl.Series([None, None]), [2, 2]),
        (pl.Series([], dtype=pl.Null), pl.Series(["a", None]), [0, 1]),
    ],
)
def test_types_may_change(vocabulary: pl.Series, column: pl.Series, expected: list[int]) -> None:
    """Numbers of another width or kind, and categoricals, are the values that they stand for."""
    assert Lookup.of(vocabulary).find(column).tolist() == expected


@pytest.mark.parametrize(
    ("vocabulary", "column", "message"),
    [
        (pl.Series([1]), pl.Series("c", [2.5]), "`c` must hold whole numbers, as in the fit, got 2.5"),
        (pl.Series([1]), pl.Series("c", [float("inf")]), "`c` must hold whole numbers"),
        (pl.Series([1]), pl.Series("c", ["1"]), "`c` must hold whole, as in the fit, got String"),
        (pl.Series(["1"]), pl.Series("c", [1]), "`c` must hold text, as in the fit, got Int64"),
        (pl.Series([1]), pl.Series("c", [2**63], dtype=pl.UInt64), "`c` must hold Int64, as in the fit"),
        (pl.Series([2**63], dtype=pl.UInt64), pl.Series("c", [-1]), "`c` must hold UInt64, as in the fit"),
        (pl.Series([dt.date(2020, 1, 1)]), pl.Series("c", [18262]), "`c` must hold Date"),
    ],
)
def test_other_values_are_refused(vocabulary: pl.Series, column: pl.Series, message: str) -> None:
    """A value that cannot be of the vocabulary's kind is named, with its column."""
    with pytest.raises(SchemaError, match=message):
        Lookup.of(vocabulary).find(column)
