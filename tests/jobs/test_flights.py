"""The example job over two real months: what Polars makes of them, and the same bytes on Dask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from distributed import LocalCluster

import headrace as hr
from headrace.execution.stages import Stages
from headrace.jobs.file import read_job
from headrace.jobs.run import run
from headrace.jobs.summary import JobSummary

EXAMPLES = Path(__file__).parents[2] / "examples"
MONTHS = [str(EXAMPLES / "flights" / "data" / f"flights-2013-{month:02}.parquet") for month in (6, 7)]
DAY, FLIGHT = ["year", "month", "day"], ["year", "month", "day", "carrier", "flight", "tailnum"]
WEATHER = ["temp", "humid", "wind_speed", "precip", "visib"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


def perform(out: Path, *overrides: str) -> JobSummary:
    given = [f"source.path={MONTHS}", f"write.path={out}", *overrides]
    return run(read_job(EXAMPLES / "flights.toml", given), Stages())


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_flights_are_written_as_polars_prepares_them_on_threads_and_on_dask(
    tmp_path: Path, address: str
) -> None:
    """Joined, cleaned, clipped and scaled by what `train` tells, without duplicates, days kept together."""
    summary = perform(tmp_path / "threads", "write.drop=[]")
    weather = pl.read_parquet(EXAMPLES / "flights" / "weather" / "*.parquet")
    flights = pl.concat(map(pl.read_parquet, MONTHS)).join(
        weather, on=["origin", "time_hour"], how="left", maintain_order="left"
    )
    arrived = flights.filter(pl.col("arr_delay").is_not_null())
    kept = arrived.unique(FLIGHT, keep="first", maintain_order=True)
    parts = {output.name: hr.open(output.path).to_polars() for output in summary.outputs}
    days = {name: set(part.select(DAY).unique().rows()) for name, part in parts.items()}
    expected = {name: kept.filter(pl.struct(DAY).is_in(list(map(day_of, days[name])))) for name in days}
    train = expected["train"]

    assert list(parts) == ["train", "validation", "test"]
    assert len(set.union(*days.values())) == sum(map(len, days.values())) == 61
    assert sum(map(len, parts.values())) == len(kept)
    assert summary.counts.dropped == len(flights) - len(arrived)
    assert summary.counts.duplicates == len(arrived) - len(kept) > 0
    for name, part in parts.items():
        assert part.select(*DAY, "flight").equals(expected[name].select(*DAY, "flight"))
        assert part["late"].equals((expected[name]["arr_delay"] > 15).alias("late"))
        for column in WEATHER:
            wanted = prepared(expected[name][column], train[column], column in ("wind_speed", "precip"))
            assert (part[column] - wanted).abs().max() < 1e-4, (name, column)

    perform(tmp_path / "dask", "write.drop=[]", "executor.kind=dask", f"executor.address={address}")
    assert files_of(tmp_path / "dask") == files_of(tmp_path / "threads")


def day_of(row: tuple[int, int, int]) -> dict[str, int]:
    return dict(zip(DAY, row, strict=True))


def prepared(column: pl.Series, train: pl.Series, is_clipped: bool) -> pl.Series:
    """Fill, clip and scale as the file says, in float64."""
    middle = train.median()
    column, train = column.fill_null(middle), train.fill_null(middle)
    if is_clipped:
        low, high = (train.quantile(share, "linear") for share in (0.001, 0.999))
        column, train = column.clip(low, high), train.clip(low, high)
    return (column - train.mean()) / train.std(ddof=0)
