"""Reading less never changes what comes out: steps leave unread what nobody wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr

FRAME = pl.DataFrame({name: [place * 10 + row for row in range(5)] for place, name in enumerate("abcde")})
NAMES = st.sampled_from(list("abcdefgh"))

Verb = tuple[str, Any]


@st.composite
def chains(draw: st.DrawFn) -> list[Verb]:
    """Draw a chain of verbs that all fit the columns at their place."""
    columns = list(FRAME.columns)
    chain: list[Verb] = []
    for _ in range(draw(st.integers(0, 6))):
        verb = draw(st.sampled_from(["select", "drop", "rename", "with_columns", "with_all", "map"]))
        some = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=len(columns), unique=True))
        if verb == "select":
            chain.append((verb, some))
            columns = some
        elif verb == "drop" and len(some) < len(columns):
            chain.append((verb, some))
            columns = [name for name in columns if name not in some]
        elif verb == "rename":
            new = draw(st.lists(NAMES, min_size=len(some), max_size=len(some), unique=True))
            mapping = dict(zip(some, new, strict=True))
            renamed = [mapping.get(name, name) for name in columns]
            if len(set(renamed)) == len(renamed):
                chain.append((verb, mapping))
                columns = renamed
        elif verb == "with_columns":
            names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
            roots = [draw(st.lists(st.sampled_from(columns), max_size=2)) for _ in names]
            chain.append((verb, list(zip(names, roots, strict=True))))
            columns = list(dict.fromkeys([*columns, *names]))
        elif verb == "with_all":
            chain.append((verb, None))
        elif verb == "map":
            name = draw(NAMES)
            chain.append((verb, name))
            columns = list(dict.fromkeys([*columns, name]))
    return chain


def expressions(specification: list[tuple[str, list[str]]]) -> list[pl.Expr]:
    return [
        pl.sum_horizontal(pl.lit(1), *(pl.col(root) for root in roots)).cast(pl.Int64).alias(name)
        for name, roots in specification
    ]


def add_sum(name: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.sum_horizontal(pl.all()).alias(name))


def apply(data: Any, chain: list[Verb]) -> Any:
    """Apply a chain to a data set or to a frame; both have the same verbs."""
    for verb, what in chain:
        if verb == "with_columns":
            data = data.with_columns(expressions(what))
        elif verb == "with_all":
            data = data.with_columns(cs.numeric() + 1)
        elif verb == "map":
            data = data.pipe(add_sum(what)) if isinstance(data, pl.DataFrame) else data.map(add_sum(what))
        else:
            data = getattr(data, verb)(what)
    return data


@settings(max_examples=300, deadline=None, derandomize=True)
@given(chains(), st.data())
def test_chains_equal_polars(chain: list[Verb], data: st.DataObject) -> None:
    """Any chain of verbs gives what Polars gives on the whole frame, by itself, selected and packed."""
    expected = apply(FRAME, chain)
    ds = apply(hr.from_polars(FRAME), chain)

    assert ds.to_polars().equals(expected)
    assert ds.schema.names == expected.columns
    some = data.draw(st.lists(st.sampled_from(expected.columns), min_size=1, unique=True))
    assert ds.select(some).to_polars().equals(expected.select(some))
    batch = ds.pack(x=some, y=some[0]).take([4, 0])
    assert batch["x"].tolist() == [list(row) for row in expected.select(some).rows()[4::-4]]
    assert batch["y"].tolist() == expected[some[0]].to_list()[4::-4]


@pytest.mark.parametrize(
    ("verbs", "read"),
    [
        (lambda ds: ds.select(["b"]), ("b",)),
        (lambda ds: ds.drop(["a", "c"]), ("b", "d", "e")),
        (lambda ds: ds.rename({"b": "z"}).select(["z"]), ("b",)),
        (lambda ds: ds.with_columns(z=pl.col("a") + 1, y=pl.col("b")).select(["z"]), ("a",)),
        (lambda ds: ds.with_columns(a=pl.col("b")).select(["a"]), ("b",)),
        (lambda ds: ds.with_columns(a=pl.col("b")).drop(["c"]), ("b", "d", "e")),
        (lambda ds: ds.pack(x=["d", "a"]), ("a", "d")),
        (lambda ds: ds.rename({"a": "b", "b": "a"}).pack(x="a"), ("b",)),
        (lambda ds: ds.with_columns(z=pl.col("a")).rename({"z": "a", "a": "y"}).select(["a"]), ("a",)),
        (lambda ds: ds.with_columns(z=pl.col("a")).rename({"z": "a", "a": "y"}).pack(x="a"), ("a",)),
        (lambda ds: ds.with_columns(one=pl.lit(1)).pack(x="one"), ("a",)),
        (lambda ds: ds.select(["c", "d"]).with_columns(one=pl.lit(1)).pack(x="one"), ("c",)),
        (lambda ds: ds.map(add_sum("z")).select(["z"]), ("a", "b", "c", "d", "e")),
        (lambda ds: ds.select(["a", "b"]).map(add_sum("z")).pack(x="z"), ("a", "b")),
        (lambda ds: ds.with_columns(z=pl.col("a")).map(add_sum("y")).drop(["a"]), ("a", "b", "c", "d", "e")),
    ],
)
def test_what_nobody_wants_is_not_read(
    verbs: Callable[[hr.Dataset], hr.Dataset], read: tuple[str, ...]
) -> None:
    """Only the columns that the result depends on are read, and one at least."""
    ds = verbs(hr.from_polars(FRAME))

    assert ds.recipe.columns == read
    assert len(ds.take([4, 0])) == 2


def test_damaged_column_that_nobody_wants(tmp_path: Path) -> None:
    """A column that cannot be read does no harm to a recipe without it."""
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    FRAME.write_parquet(path, use_pyarrow=True)
    chunk = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    content[chunk.dictionary_page_offset : chunk.dictionary_page_offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    ds = hr.open(path)

    assert ds.drop(["b"]).to_polars().equals(FRAME.drop("b"))
    with pytest.raises(hr.CorruptSourceError, match=r"row group 0, column `b`"):
        ds.to_polars()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda ds: ds.select(["x"]), hr.UnknownColumnError, "has no column `x`"),
        (lambda ds: ds.drop(["a", "x"]), hr.UnknownColumnError, "has no column `x`"),
        (lambda ds: ds.rename({"x": "y"}), hr.UnknownColumnError, "has no column `x`"),
        (lambda ds: ds.pack(x=["a", "x"]), hr.UnknownColumnError, "has no column `x`"),
        (lambda ds: ds.drop(["a"]).select(["a"]), hr.UnknownColumnError, "has no column `a`"),
        (lambda ds: ds.rename({"a": "z"}).drop(["a"]), hr.UnknownColumnError, "has no column `a`"),
        (lambda ds: ds.select([]), hr.OptionError, "at least one column must be kept"),
        (lambda ds: ds.drop(list("abcde")), hr.OptionError, "at least one column must be kept"),
        (lambda ds: ds.select(["a", "a"]), hr.OptionError, "named once"),
        (lambda ds: ds.rename({"a": "b"}), hr.OptionError, "names must be unique"),
        (lambda ds: ds.pack(x="a").select(["x"]), hr.OptionError, "before `pack`"),
    ],
)
def test_verbs_that_cannot_be_right(make: Any, error: type[Exception], message: str) -> None:
    """Names that are not there, no longer there, or given twice are refused when the data set is made."""
    with pytest.raises(error, match=message):
        make(hr.from_polars(FRAME))


def test_names_known_only_after_running() -> None:
    """After a step whose columns only running it can tell, wrong names are refused while reading."""
    ds = hr.from_polars(FRAME).map(add_sum("total"))

    with pytest.raises(hr.HeadraceError, match=r"memory, row group 0.*`totl`; did you mean `total`"):
        ds.pack(x="totl").take([0])
    with pytest.raises(hr.HeadraceError, match=r"totl"):
        ds.select(["totl"]).to_polars()
