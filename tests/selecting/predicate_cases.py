"""Random frames with everything that statistics may get wrong, and random predicates over them."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import strategies as st

FLOATS = [0.0, -0.0, 1.5, -1.5, 2.0**53, math.inf, -math.inf, math.nan]
WHOLE = [-3, 0, 1, 2, 127]
LARGE = [-(2**63), -(2**53) - 1, 0, 2**53 + 1, 2**63 - 1]
UNSIGNED = [0, 1, 2**31, 2**63, 2**64 - 1]
TEXTS = ["", "a", "ab", "b", "é", "\U0001f600", "z" * 70]
TIMES = [dt.datetime(1969, 12, 31, 23), dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, 0, 0, 0, 1)]
DATES = [dt.date(1960, 2, 29), dt.date(2020, 1, 1), dt.date(2020, 1, 2)]
DECIMALS = [Decimal("-1.50"), Decimal("0.00"), Decimal("1.25")]

COLUMNS: dict[str, tuple[Any, list[Any]]] = {
    "double": (pl.Float64, FLOATS),
    "single": (pl.Float32, FLOATS),
    "small": (pl.Int8, WHOLE),
    "large": (pl.Int64, LARGE),
    "unsigned": (pl.UInt64, UNSIGNED),
    "text": (pl.String, TEXTS),
    "binary": (pl.Binary, [text.encode() for text in TEXTS] + [b"\xff\x00"]),
    "time": (pl.Datetime("us"), TIMES),
    "nanos": (pl.Datetime("ns", "UTC"), TIMES),
    "date": (pl.Date, DATES),
    "price": (pl.Decimal(12, 2), DECIMALS),
    "flag": (pl.Boolean, [False, True]),
    "label": (pl.Categorical, ["a", "b", "z"]),
}


@st.composite
def frames(draw: st.DrawFn) -> tuple[pl.DataFrame, int]:
    """A frame of some columns, and how many rows a row group has.

    Values come in stretches, so that row groups hold few of them and can be told apart.
    """
    names = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=3, unique=True))
    group = draw(st.integers(1, 4))
    groups = draw(st.integers(1, 5))
    columns: dict[str, pl.Series] = {}
    for name in names:
        dtype, values = COLUMNS[name]
        rows: list[Any] = []
        for _ in range(groups):
            few = draw(st.lists(st.sampled_from([*values, None]), min_size=1, max_size=2))
            rows += draw(st.lists(st.sampled_from(few), min_size=group, max_size=group))
        given = pl.Series(name, rows, dtype=dtype.base_type() if dtype == pl.Datetime else dtype)
        columns[name] = (
            given.dt.cast_time_unit("ns").dt.replace_time_zone("UTC") if name == "nanos" else given
        )
    frame = pl.DataFrame(columns)
    return frame.head(draw(st.integers(max(1, len(frame) - group), len(frame)))), group


@st.composite
def literals(draw: st.DrawFn, name: str) -> Any:
    """A value to compare a column with, not always of the column's own type."""
    values = list(COLUMNS[name][1])
    if name in ("double", "single"):
        values += [1, -2]
    if name in ("small", "large", "unsigned"):
        values += [0.5, 1.0, 300, -1, 2.0**53, math.inf, math.nan]
    if name == "time":
        values += DATES
    value = draw(st.sampled_from(values))
    if name == "nanos":
        return pl.lit(value).dt.cast_time_unit("ns").dt.replace_time_zone("UTC")
    return value


def tests_of(name: str) -> st.SearchStrategy[pl.Expr]:
    """A question about one column."""
    column = pl.col(name)
    fixed = [column.is_null(), column.is_not_null(), column.is_null().is_null()]
    if name in ("double", "single"):
        fixed += [column.is_nan(), column.is_not_nan(), column.is_finite(), column + 1 > 2]
    others = {
        "text": column.str.starts_with("a"), "flag": column, "small": column * 2 > 100,
        "date": column.dt.year() == 2020, "large": column % 2 == 0,
    }  # fmt: skip
    fixed += [others[name]] if name in others else []
    asked = [comparisons(name), comparisons(name), st.sampled_from(fixed)]
    asked += [memberships(name)] if name != "nanos" else []
    asked += [ranges(name)] if name != "label" else []
    return st.one_of(asked)


@st.composite
def comparisons(draw: st.DrawFn, name: str) -> pl.Expr:
    """A column beside a value, on either side."""
    column, other = pl.col(name), draw(literals(name))
    operation = draw(st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge", "eq_missing", "ne_missing"]))
    if draw(st.booleans()) and not isinstance(other, pl.Expr):
        return getattr(pl.lit(other), operation)(column)
    return getattr(column, operation)(other)


@st.composite
def memberships(draw: st.DrawFn, name: str) -> pl.Expr:
    """A column looked for in a list of values, null among them."""
    dtype, values = COLUMNS[name]
    listed = draw(st.lists(st.sampled_from([*values, None] if name != "price" else values), max_size=4))
    return pl.col(name).is_in(pl.Series(listed, dtype=dtype), nulls_equal=draw(st.booleans()))


@st.composite
def ranges(draw: st.DrawFn, name: str) -> pl.Expr:
    """A column between two values, which may lie in the wrong order."""
    low, high = (
        it if isinstance(it, pl.Expr) else pl.lit(it) for it in draw(st.tuples(*[literals(name)] * 2))
    )
    return pl.col(name).is_between(low, high, closed=draw(st.sampled_from(["both", "left", "right", "none"])))


def predicates(names: list[str]) -> st.SearchStrategy[pl.Expr]:
    """Questions joined by and, or, not."""
    leaves = st.sampled_from(names).flatmap(tests_of)
    return st.recursive(
        leaves,
        lambda parts: st.one_of(
            st.tuples(parts, parts).map(lambda pair: pair[0] & pair[1]),
            st.tuples(parts, parts).map(lambda pair: pair[0] | pair[1]),
            st.lists(parts, min_size=1, max_size=3).map(pl.all_horizontal),
            st.lists(parts, min_size=1, max_size=3).map(pl.any_horizontal),
            parts.map(lambda part: ~part),
        ),
        max_leaves=4,
    )
