"""`join` adds a table's columns by key: Polars' join is the oracle, whatever the row groups."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import headrace as hr

DAY = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
# A key's type to values of it, of which some are in no table.
KEYS: dict[Any, list[Any]] = {
    pl.Int8: [-3, 0, 1, 2],
    pl.Int64: [-(2**63), -1, 2**53, 2**53 + 1, 7],
    pl.UInt32: [0, 1, 2**32 - 1],
    pl.UInt64: [0, 5, 2**64 - 1, 2**63],
    pl.String: ["", "a", "b", "a text of more than twelve bytes", "a text of more than twelve bites"],
    pl.Categorical: ["a", "b", "c"],
    pl.Boolean: [False, True],
    pl.Binary: [b"", b"\0", b"\0\0"],
    pl.Date: [dt.date(2013, 1, 1), dt.date(1950, 1, 1)],
    pl.Datetime("us", "UTC"): [DAY + dt.timedelta(hours=hour) for hour in range(4)],
}


def keys_of(kind: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([*KEYS[kind], None])


@st.composite
def joins(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Draw a frame, a table of unique keys, and the names of the key columns."""
    kinds = {f"k{place}": draw(st.sampled_from(list(KEYS))) for place in range(draw(st.integers(1, 3)))}
    rows = st.tuples(*(keys_of(kind) for kind in kinds.values()))
    ours = draw(st.lists(rows, min_size=1, max_size=12))
    theirs = draw(st.lists(rows, max_size=8, unique_by=lambda row: object() if None in row else row))
    frame = pl.DataFrame(ours, kinds, orient="row").with_row_index("row")
    table = pl.DataFrame(theirs, kinds, orient="row").with_columns(
        number=pl.int_range(pl.len()), words=pl.concat_list(pl.int_range(pl.len()).cast(pl.String))
    )
    return frame, table, list(kinds)


@given(joins())
@settings(max_examples=40, deadline=None)
def test_join_equals_that_of_polars(drawn: tuple[pl.DataFrame, pl.DataFrame, list[str]]) -> None:
    """Left and inner joins by one or several keys of any type, nulls among them."""
    frame, table, keys = drawn
    ds = hr.from_polars(frame)

    left = ds.join(table, on=keys)
    inner = ds.join(table, on=keys, how="inner", progress=False)

    theirs = frame.join(table, on=keys, how="left", maintain_order="left")
    assert_frame_equal(left.to_polars(), theirs, categorical_as_str=True)
    kept = frame.join(table, on=keys, how="semi", maintain_order="left")["row"]
    assert inner.sample_ids.tolist() == kept.to_list()
    assert_frame_equal(inner.to_polars(), theirs.filter(pl.col("row").is_in(kept.implode())))


WIDTHS = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64]
EDGES = [0, 1, -1, 127, 128, 255, -128, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]


@pytest.mark.parametrize("ours", WIDTHS)
@pytest.mark.parametrize("theirs", WIDTHS)
def test_whole_numbers_of_any_width_are_compared_exactly(ours: Any, theirs: Any) -> None:
    """A number that the other type cannot hold equals none of it."""
    left = [number for number in EDGES if _fits(number, ours)]
    right = [number for number in EDGES if _fits(number, theirs)]
    table = pl.DataFrame({"k": pl.Series(right, dtype=theirs), "at": range(len(right))})

    found = hr.from_polars(pl.DataFrame({"k": pl.Series(left, dtype=ours)})).join(table, "k").to_polars()

    expected = [right.index(number) if number in right else None for number in left]
    assert found["at"].to_list() == expected


def _fits(number: int, kind: Any) -> bool:
    low, high = pl.select(low=kind.min(), high=kind.max()).row(0)
    return low <= number <= high


@pytest.fixture
def ds(tmp_path: Path) -> hr.Dataset:
    """A shard of nine samples in row groups of three."""
    path = tmp_path / "part.parquet"
    frame = pl.DataFrame({"city": list("abcabcabc"), "hour": [0, 0, 0, 1, 1, 1, 2, 2, None], "x": range(9)})
    frame.write_parquet(path, row_group_size=3, use_pyarrow=True)
    return hr.open(str(path))


TABLE = pl.DataFrame(
    {
        "city": ["a", "b", "b"],
        "hour": [0, 1, 2],
        "wind": [1.5, 2.5, 3.5],
        "x": [-1, -2, -3],
        "note": ["p", "q", "r"],
    },
    schema_overrides={"hour": pl.Int16},
)
WIND = [1.5, None, None, None, 2.5, None, None, 3.5, None]


def test_join_goes_wherever_a_recipe_goes(ds: hr.Dataset) -> None:
    """Loaders, samples by id, frames and other processes see the same columns."""
    joined = ds.join(TABLE, ["city", "hour"], columns=["wind"])

    assert joined.schema.names == ["city", "hour", "x", "wind"]
    assert joined.to_polars()["wind"].to_list() == WIND
    assert joined.take([7, 4])["wind"].tolist() == [3.5, 2.5]
    again = pickle.loads(pickle.dumps(joined))
    assert again.fingerprint == joined.fingerprint
    batches = list(again.pack(y="wind", null_mask=True).loader(4, output="numpy"))
    masks = np.concatenate([batch["y_null_mask"] for batch in batches])
    assert masks.tolist() == [wind is None for wind in WIND]
    known = joined.filter(pl.col("wind") > 2, pl.col("x") > 0, progress=False)
    assert known.sample_ids.tolist() == [4, 7]


@pytest.mark.parametrize("executor", [hr.Threads(2), hr.Processes(1)])
def test_inner_join_scans_the_samples_that_take_part(ds: hr.Dataset, executor: Any) -> None:
    """Those with a match stay, in their order and as often as they were there."""
    chosen = ds.rows([7, 0, 0, 8, 4, 1])

    inner = chosen.join(TABLE, {"hour": "hour", "city": "city"}, how="inner", suffix="_t", executor=executor)

    assert inner.sample_ids.tolist() == [7, 0, 0, 4]
    assert inner.to_polars(executor)["x_t"].to_list() == [-3, -1, -1, -2]


def test_table_may_be_a_data_set_or_an_arrow_table(ds: hr.Dataset) -> None:
    """They are read at the call; what becomes of them later does not matter."""
    table = TABLE.select("city", "hour", "wind")
    of_arrow = ds.join(
        pa.concat_tables([table.head(1).to_arrow(), table.tail(2).to_arrow()]), ["city", "hour"]
    )
    of_data = ds.join(hr.from_polars(table).filter(pl.col("wind") > 1, progress=False), ["city", "hour"])

    assert of_arrow.to_polars()["wind"].to_list() == WIND
    assert of_data.to_polars().equals(of_arrow.to_polars())
    assert of_data.fingerprint == of_arrow.fingerprint == ds.join(table, ["city", "hour"]).fingerprint
    assert ds.join(table.head(0), ["city", "hour"]).to_polars()["wind"].to_list() == [None] * 9
    assert len(ds.join(pl.DataFrame({"hour": [], "z": []}), "hour", how="inner")) == 0
    assert ds.join(table.with_columns(wind=0.0), ["city", "hour"]).fingerprint != of_data.fingerprint


def test_arrays_come_along(ds: hr.Dataset) -> None:
    """A column of any type is joined, N-d arrays included."""
    images = hr.from_arrays({"city": ["b", "a"], "image": np.arange(8, dtype=np.uint8).reshape(2, 2, 2)})

    found = ds.join(images, "city", how="inner").select(["image"]).take([0, 1])["image"]

    assert found.tolist() == [[[4, 5], [6, 7]], [[0, 1], [2, 3]]]


def test_only_what_is_wanted_is_read_and_joined(ds: hr.Dataset) -> None:
    """Keys are read for columns that are wanted; without such, the table is not looked at."""
    joined = ds.join(TABLE, {"city": "note"}, columns=["wind", "x"], suffix="_t")

    assert joined.select(["wind"]).recipe.columns == ("city",)
    (step, _) = joined.select(["x_t"]).recipe.needed
    assert step.output_names(("city",)) == ("city", "x_t")  # pyright: ignore
    assert joined.select(["hour"]).recipe.columns == ("hour",)
    assert len(joined.select(["hour"]).recipe.needed) == 1
    assert joined.drop(["x"]).to_polars().columns == ["city", "hour", "wind", "x_t"]


def test_filters_after_a_join_are_still_pruned_by_statistics(
    ds: hr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A join leaves the data set's own columns as they are."""
    seen: list[object] = []
    joined = ds.join(TABLE, ["city", "hour"], columns=["wind"])
    read = type(ds.recipe.source).read
    monkeypatch.setattr(
        type(ds.recipe.source), "read", lambda it, group, names: seen.append(group) or read(it, group, names)
    )

    assert joined.filter(pl.col("x") > 6, progress=False).sample_ids.tolist() == [7, 8]
    assert len(seen) == 1


def hour_as_text(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("hour").cast(pl.String if 7 in frame["x"] else pl.Int64))


def test_type_that_changes_on_the_way_is_named(ds: hr.Dataset) -> None:
    """A function that returns another type for one row group stops there, with its place."""
    joined = ds.map(hour_as_text).join(TABLE.select("hour", "wind"), "hour")

    assert joined.take([0])["wind"].tolist() == [1.5]
    with pytest.raises(hr.SchemaError, match=r"row group 2: keys must be of one type.*`hour`.*String.*Int16"):
        joined.to_polars()


REFUSED: list[tuple[Callable[[hr.Dataset], object], type[Exception], str]] = [
    (lambda ds: ds.join(TABLE, "city"), hr.OptionError, r"unique.*1 of them.*'city': 'b'\} in 2 rows"),
    (lambda ds: ds.join(TABLE, {"city": "hour"}), hr.SchemaError, r"`city`.*String.*`hour`.*Int16; cast"),
    (lambda ds: ds.join(TABLE, {"x": "wind"}), hr.SchemaError, r"`wind` of the table holds Float64.*key"),
    (lambda ds: ds.join(TABLE, ["city", "hour"]), hr.OptionError, r"`x` already.*`suffix=`"),
    (lambda ds: ds.join(TABLE, "town"), hr.UnknownColumnError, "the data set has no column `town`"),
    (lambda ds: ds.join(TABLE, {"city": "town"}), hr.UnknownColumnError, "the table has no column `town`"),
    (lambda ds: ds.join(TABLE, "hour", columns=["z"]), hr.UnknownColumnError, "the table has no column `z`"),
    (lambda ds: ds.join(TABLE, "hour", columns=["hour"]), hr.OptionError, "`hour` is a key"),
    (lambda ds: ds.join(TABLE, "hour", columns=["x", "x"]), hr.OptionError, "named once"),
    (lambda ds: ds.join(TABLE, []), hr.OptionError, "`on` must be a name"),
    (lambda ds: ds.join(TABLE, 3), hr.OptionError, "`on` must be a name"),  # pyright: ignore
    (lambda ds: ds.join(TABLE, {"x": "hour", "hour": "hour"}), hr.OptionError, "named once"),
    (lambda ds: ds.join(TABLE, "hour", how="outer"), hr.OptionError, '"left" or "inner"'),  # pyright: ignore
    (lambda ds: ds.join(TABLE.lazy(), "hour"), hr.OptionError, "LazyFrame; collect it"),  # pyright: ignore
    (lambda ds: ds.join("t.csv", "hour"), hr.OptionError, "got str"),  # pyright: ignore
    (
        lambda ds: ds.join(TABLE.rename({"note": "x_t"}), "hour", columns=["x", "x_t"], suffix="_t"),
        hr.OptionError,
        "two named `x_t`",
    ),
    (lambda ds: ds.pack(x="x").join(TABLE, "hour", columns=["note"]), hr.OptionError, "before `pack`"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_what_cannot_be_joined_is_refused_at_the_call(
    ds: hr.Dataset, call: Callable[[hr.Dataset], object], error: type[Exception], text: str
) -> None:
    """The message names the key, the column or the argument, and what to do."""
    with pytest.raises(error, match=text):
        call(ds)


def test_a_join_without_columns_only_chooses() -> None:
    """With `how="inner"` and no columns, samples without a match go and nothing is added."""
    ds = hr.from_arrays({"k": [1, 2, 3, 2]}).join(pl.DataFrame({"k": [2, 3]}), "k", how="inner", columns=[])

    assert ds.to_polars().rows() == [(2,), (3,), (2,)]
