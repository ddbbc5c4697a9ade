"""`map` sends each row group through the user's function, and names it in whatever goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import headrace as hr


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A shard with row groups of three rows."""
    name = tmp_path / "part.parquet"
    pl.DataFrame({"x": list(range(9)), "y": [0.5] * 9}).write_parquet(
        name, row_group_size=3, use_pyarrow=True
    )
    return str(name)


def double(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("x") * 2)


def fails_on_four(frame: pl.DataFrame) -> pl.DataFrame:
    if 4 in frame["x"]:
        raise ZeroDivisionError("four is bad")
    return frame


def panics(frame: pl.DataFrame) -> pl.DataFrame:
    if 4 in frame["x"]:
        raise pl.exceptions.PanicException("the library gave up")
    return frame


def interrupts(frame: pl.DataFrame) -> pl.DataFrame:
    raise KeyboardInterrupt


def test_function_sees_each_row_group(path: str) -> None:
    """The function gets the frame of one row group, and what it returns is delivered."""
    ds = hr.open(path)

    assert ds.map(double).to_polars()["x"].to_list() == [2 * x for x in range(9)]
    assert ds.map(lambda frame: frame.with_columns(n=pl.len())).to_polars()["n"].to_list() == [3] * 9
    assert ds.map(double).map(double).take([8, 0])["x"].tolist() == [32, 0]


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize(
    ("function", "cause", "text"),
    [(fails_on_four, ZeroDivisionError, "four is bad"), (panics, pl.exceptions.PanicException, "gave up")],
)
def test_function_that_raises(
    path: str, function: Any, cause: type[BaseException], text: str, threads: int
) -> None:
    """What the function raises arrives once, named by function, file and row group, and is the cause."""
    ds = hr.open(path).map(function)
    message = (
        rf"part\.parquet, row group 1: map by `{function.__name__}` \(line \d+ of .*test_map\.py\).*{text}"
    )

    with pytest.raises(hr.PrepareError, match=message) as caught:
        list(ds.loader(2, output="numpy", threads=threads))
    assert type(caught.value.__cause__) is cause
    with pytest.raises(hr.PrepareError, match=message):
        ds.to_polars()
    assert ds.take([8])["x"].tolist() == [8]


def test_interrupt_is_no_failure_of_the_function(path: str) -> None:
    """Ctrl-C inside the function stays what it is."""
    with pytest.raises(KeyboardInterrupt):
        hr.open(path).map(interrupts).take([0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda frame: None, r"must return a Polars DataFrame, got NoneType"),
        (lambda frame: frame["x"], r"must return a Polars DataFrame, got Series"),
        (lambda frame: frame.lazy(), r"must return a Polars DataFrame, got LazyFrame"),
        (lambda frame: frame.head(2), r"must keep the number of rows, got 2 for 3; .*select them before"),
        (lambda frame: pl.concat([frame, frame]), r"must keep the number of rows, got 6 for 3"),
        (lambda frame: frame.select([]), r"must keep the number of rows, got 0 for 3"),
    ],
)
def test_function_that_returns_something_else(path: str, function: Any, message: str) -> None:
    """Anything but a frame of as many rows is refused, named by function, file and row group."""
    where = r"part\.parquet, row group 0: `.*<lambda>` \(line \d+ of .*test_map\.py\) "

    with pytest.raises(hr.PrepareError, match=where + message):
        hr.open(path).map(function).take([0])


def test_function_that_returns_other_columns(path: str) -> None:
    """A function whose columns or types depend on the row group is refused by name of the column."""
    ds = hr.open(path)

    def casts(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.cast({"x": pl.Float64}) if 0 in frame["x"] else frame

    def drops(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.drop("y") if 0 in frame["x"] else frame

    for function, column in ((casts, "x"), (drops, "y")):
        with pytest.raises(
            hr.SchemaError, match=rf"row group \d, column `{column}`: every row group must yield"
        ):
            ds.map(function).take(list(range(9)))


def test_function_that_makes_what_no_batch_can_hold(path: str) -> None:
    """Python objects and types without an Arrow equal are refused by name of the column."""

    def objects(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.Series("o", [object()] * frame.height, dtype=pl.Object))

    with pytest.raises(hr.SchemaError, match=r"part\.parquet, row group 0: column `o` holds Python objects"):
        hr.open(path).map(objects).take([0])


def test_what_is_no_function() -> None:
    """Only a function can be mapped."""
    with pytest.raises(hr.OptionError, match="takes a function of a Polars frame, got 3"):
        hr.from_arrays({"x": [1]}).map(3)  # type: ignore[arg-type]


def test_function_that_cannot_be_identified() -> None:
    """A function that closes over an open thing needs a version, which then stands for it."""
    with open(__file__) as file:

        def reads(frame: pl.DataFrame) -> pl.DataFrame:
            return frame.with_columns(closed=pl.lit(file.closed))

        ds = hr.from_arrays({"x": [1]})
        with pytest.raises(hr.FingerprintError, match="`version="):
            ds.map(reads)
        one, two = ds.map(reads, version="1"), ds.map(reads, version="2")
        assert one.fingerprint != two.fingerprint
        assert one.fingerprint == ds.map(reads, version="1").fingerprint
        assert one.to_polars()["closed"].to_list() == [False]


def test_library_that_panics() -> None:
    """A real panic of Polars is caught and named, though it passes `except Exception`."""
    if issubclass(pl.exceptions.PanicException, Exception):
        pytest.skip("this version of Polars has no panics that pass `except Exception`")

    def library(frame: pl.DataFrame) -> pl.DataFrame:
        raise pl.exceptions.PanicException("index out of bounds")

    ds = hr.from_arrays({"x": [1]}).map(library)
    for read in (
        ds.to_polars,
        lambda: ds.head(1),
        lambda: ds.take([0]),
        lambda: list(ds.loader(1, output="numpy")),
    ):
        with pytest.raises(hr.PrepareError, match=r"row group 0: map by `.*library`.*index out of bounds"):
            read()
