"""Steps that look at earlier samples of a group: equal to the whole table's, or refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared import assert_foretold, assert_same_elsewhere, bits, columns_read, events, fit, transform

import headrace as hr

ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from("pq"),
        st.integers(0, 4),
        st.one_of(st.none(), st.just(float("nan")), st.integers(-9, 9).map(float)),
    ),
    min_size=1,
    max_size=25,
)
FRAME = pl.DataFrame(
    {
        "store": [1, 1, 1, 2, 2, 3, 4, 4, 4, 4],
        "day": [3, 1, 2, 1, 2, 9, 4, 3, 2, 1],
        "sold": [5, 7, None, 9, 1, 2, 3, 4, 5, 6],
        "price": [0.1, 0.2, 0.7, None, 1e16, 2.0, 0.3, 0.1, 0.7, -1e16],
        "name": list("abcdefghij"),
    }
)
STEPS = [
    hr.Lag(by="store"),
    hr.Lag(2, by=["store"], order="day", columns=["sold", "name"]),
    *(
        hr.Rolling(3, function, by="store", order="day", min_samples=2)
        for function in ("mean", "sum", "min", "max")
    ),
]


def table(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {"g": pl.Int64, "h": pl.String, "o": pl.Int64, "x": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def history(rows: list[tuple[Any, ...]], row: int) -> list[Any] | None:
    """Return the values of a sample's group up to itself, in order; None without a group."""
    group = rows[row][:2]
    if None in group:
        return None
    ordered = sorted((it[2], place) for place, it in enumerate(rows) if it[:2] == group)
    return [rows[place][3] for _, place in ordered[: ordered.index((rows[row][2], row)) + 1]]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 3))
def test_lag_is_the_value_n_places_before(rows: list[tuple[Any, ...]], n: int) -> None:
    """Held against a search through the group of each sample."""
    after = transform(table(rows), hr.Lag(n, by=["g", "h"], order="o", columns="x"))[f"x_lag_{n}"]

    for row in range(len(rows)):
        values = history(rows, row)
        expected = values[-1 - n] if values is not None and len(values) > n else None
        assert repr(after[row]) == repr(expected)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 4), st.sampled_from(["mean", "sum", "min", "max"]), st.data())
def test_rolling_is_a_statistic_of_the_last_samples(
    rows: list[tuple[Any, ...]], window: int, function: Any, data: st.DataObject
) -> None:
    """Held against Python's own functions of the known values of each window."""
    least = data.draw(st.one_of(st.none(), st.integers(1, window)))
    step = hr.Rolling(window, function, min_samples=least, by=["g", "h"], order="o", columns="x")

    after = transform(table(rows), step)[f"x_rolling_{function}_{window}"]

    for row in range(len(rows)):
        known = [
            value
            for value in (history(rows, row) or [])[-window:]
            if value is not None and not math.isnan(value)
        ]
        if not known or len(known) < (window if least is None else least):
            assert after[row] is None
        else:
            oracle = {"mean": lambda it: sum(it) / len(it), "sum": sum, "min": min, "max": max}[function]
            assert after[row] == oracle(known)


@pytest.mark.parametrize("step", STEPS, ids=lambda it: repr(it)[:60])
def test_groups_within_row_groups_give_what_the_whole_table_gives(step: Any, tmp_path: Path) -> None:
    """Cut between groups, in any number of row groups: the same bits, in frames, data sets and batches."""
    whole = transform(FRAME, step)

    for cuts in ([5, 10], [3, 5, 6, 10], [10]):
        paths = [tmp_path / f"{len(cuts)}-{part}.parquet" for part in range(len(cuts))]
        for path, begin, end in zip(paths, [0, *cuts], cuts, strict=False):
            FRAME.slice(begin, end - begin).write_parquet(path)
        ds = hr.open(paths)
        for executor in (hr.Serial(), hr.Threads(2)):
            pipe = hr.Pipeline([step], dtype="float64").fit(ds, executor=executor, progress=False)
            assert bits(ds.prepare(pipe).to_polars()) == bits(whole)
        with ds.prepare(pipe).loader(
            batch_size=3, shuffle=True, output="arrow", threads=0, with_ids=True
        ) as loader:
            batches = pl.concat([pl.from_arrow(batch) for batch in loader]).sort("sample_id")
        assert bits(batches.select(whole.columns)) == bits(whole)
    assert_foretold(FRAME, step)
    assert_same_elsewhere(FRAME, pipe, tmp_path)


@pytest.mark.parametrize("step", [hr.Lag(by="store"), hr.Rolling(2, by="store", columns="sold")])
@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_a_group_in_several_row_groups_is_refused(step: Any, size: int, tmp_path: Path) -> None:
    """A value at the beginning of a row group would be wrong in silence; the error names the group."""
    path = tmp_path / "x.parquet"
    FRAME.write_parquet(path, row_group_size=size)
    divided = {1: 1, 2: 1, 4: 2, 7: 4}[size]

    for executor in (hr.Serial(), hr.Threads(2)):
        pipe = hr.Pipeline([step])
        with pytest.raises(
            hr.PrepareError, match=rf"{{'store': {divided}}} lies in several.*sort the data by \['store'\]"
        ):
            pipe.fit(hr.open(path), executor=executor, progress=False)


def test_only_the_samples_of_the_fit_are_looked_at(tmp_path: Path) -> None:
    """A group that a selection leaves out may lie anywhere; samples without a group too."""
    path = tmp_path / "x.parquet"
    FRAME.write_parquet(path, row_group_size=5)
    nameless = FRAME.with_columns(store=pl.lit(None, pl.Int64))
    nameless.write_parquet(tmp_path / "y.parquet", row_group_size=5)
    some = hr.open(path).filter(pl.col("store") == 2)

    pipe = hr.Pipeline([hr.Lag(by="store", columns="sold")]).fit(some, progress=False)
    assert some.prepare(pipe).to_polars()["sold_lag_1"].to_list() == [None, 9]
    nowhere = hr.open(tmp_path / "y.parquet")
    pipe = hr.Pipeline([hr.Lag(by="store", columns="sold")]).fit(nowhere, progress=False)
    assert nowhere.prepare(pipe).to_polars()["sold_lag_1"].null_count() == 10


def test_a_divided_group_is_found_behind_a_cache(tmp_path: Path) -> None:
    """What a fit keeps of a shard is cut into row groups again, so that a second attempt is refused too."""
    path = tmp_path / "x.parquet"
    FRAME.write_parquet(path, row_group_size=4)
    steps = [hr.StandardScaler(columns="sold"), hr.Lag(by="store", columns="sold")]

    for _ in range(2):
        with pytest.raises(hr.PrepareError, match="lies in several"):
            hr.Pipeline(steps).fit(hr.open(path), cache=tmp_path / "kept", progress=False)
        with pytest.raises(hr.PrepareError, match="lies in several"):
            hr.Pipeline(steps[1:]).fit(hr.open(path), cache=tmp_path / "other", progress=False)


def test_a_scan_for_a_window_reads_what_the_scan_before_has_kept(tmp_path: Path) -> None:
    """A lag of scaled numbers waits for the scale; what it needs is kept, so the data is read once."""
    path = tmp_path / "x.parquet"
    FRAME.sort("store").write_parquet(path, row_group_size=3)
    steps = [hr.StandardScaler(columns="sold"), hr.Lag(by="day", columns="sold")]
    one_each = hr.open(path).filter(pl.col("store") == 1)

    report = hr.Pipeline(steps).fit(one_each, progress=False).fit_report

    assert (report.scans, report.row_groups) == (1, 1)


def test_groups_that_a_step_before_makes_are_looked_at() -> None:
    """The groups are those that come to the step."""
    frame = pl.DataFrame({"g": ["A", "a", "b"], "x": [1, 2, 3]})

    assert transform(frame, hr.Casefold(), hr.Lag(by="g"))["x_lag_1"].to_list() == [None, 1, None]


def test_windows_forget_what_has_left_them() -> None:
    """A sum is made anew for each sample, so that no large value leaves an error behind."""
    frame = pl.DataFrame({"g": [1] * 4, "x": [0.1, 1e16, 0.1, 0.2]})

    assert transform(frame, hr.Rolling(2, "sum", by="g"))["x_rolling_sum_2"][3] == 0.1 + 0.2


def test_a_long_window_over_many_groups() -> None:
    """As many groups as samples, and a window longer than any of them."""
    numbers = np.random.default_rng(0).permutation(2000)
    frame = pl.DataFrame({"g": numbers // 4, "x": numbers.astype(float)})

    after = transform(frame, hr.Rolling(50, "max", by="g", order="x", min_samples=1, columns="x"))

    assert after["x_rolling_max_50"].to_list() == after["x"].to_list()


def test_lag_keeps_types_and_rolling_makes_floats() -> None:
    """Earlier values are of the column's type, statistics of the pipeline's; the columns themselves stay."""
    step, other = (
        hr.Lag(by="store", columns=["sold", "name", "price"]),
        hr.Rolling(2, by="store", columns="price"),
    )

    after = transform(FRAME, step, other, dtype="float32").schema

    assert [after[name] for name in ("sold_lag_1", "name_lag_1", "price_lag_1")] == [
        pl.Int64,
        pl.String,
        pl.Float64,
    ]
    assert (after["price"], after["price_rolling_mean_2"]) == (pl.Float64, pl.Float32)


def test_every_event_is_counted() -> None:
    """Samples without an earlier one, and windows that know too little."""
    assert events(FRAME, hr.Lag(2, by="store", columns="sold")) == {"sold_lag_2": {"no_earlier": 7}}
    assert events(FRAME, hr.Rolling(2, by="store", columns="sold")) == {"sold_rolling_mean_2": {"too_few": 5}}


def test_columns_that_nobody_wants_are_not_read() -> None:
    """A lag needs its column, the group and the order."""
    step = hr.Lag(by="store", order="day")

    assert columns_read(FRAME, step, "sold_lag_1") == ("store", "day", "sold")
    assert columns_read(FRAME, step, "price") == ("price",)
    assert "store_lag_1" not in transform(FRAME, step).columns


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({}, hr.OptionError, "needs `by`"),
        ({"by": []}, hr.OptionError, "needs `by`"),
        ({"by": "shop"}, hr.UnknownColumnError, "`shop`"),
        ({"by": "store", "order": "dy"}, hr.UnknownColumnError, "did you mean `day`"),
        ({"by": "price"}, hr.SchemaError, "`by` cannot be column `price` of type Float64"),
        ({"by": "store", "n": 0}, hr.OptionError, "`n`"),
        ({"by": "store", "order": "sold"}, hr.PrepareError, "`sold` orders samples, but holds nulls"),
    ],
)
def test_settings_that_order_nothing_are_refused(
    settings: dict[str, Any], error: type[Exception], reason: str
) -> None:
    """A group, and an order without nulls, must be there."""
    with pytest.raises(error, match=reason):
        transform(FRAME, hr.Lag(**settings))


@pytest.mark.parametrize(
    "settings", [{"window": 0}, {"window": 2, "min_samples": 3}, {"window": 2, "function": "std"}]
)
def test_windows_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    """A window holds the sample at least, and no fewer than are needed."""
    with pytest.raises(hr.OptionError):
        hr.Rolling(by="store", **settings)


def test_one_sample_has_no_history() -> None:
    """Who serves one row gives the rows before it too: alone, it has none."""
    pipe = fit(FRAME, hr.Lag(by="store", columns="sold"))

    assert pipe.transform(FRAME.row(1, named=True))["sold_lag_1"] is None
    assert pipe.transform(FRAME.head(2))["sold_lag_1"][1] == 5
