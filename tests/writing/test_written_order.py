"""Which sample lies where in what is written: as the loader would deliver it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.writing import sorting


def shards_of_numbers(folder: Path, sizes: list[list[int]]) -> hr.Dataset:
    """Write numbers into shards with row groups of these sizes, counted through."""
    folder.mkdir(exist_ok=True)
    first = 0
    for number, groups in enumerate(sizes):
        with pq.ParquetWriter(
            folder / f"in-{number}.parquet", pl.DataFrame(schema=SCHEMA).to_arrow().schema
        ) as out:
            for rows in groups:
                x = np.arange(first, first + rows)
                frame = pl.DataFrame({"x": x, "text": [f"n{value}" for value in x], "odd": x % 2 == 1})
                out.write_table(frame.to_arrow())
                first += rows
    return hr.open(folder)


SCHEMA = {"x": pl.Int64, "text": pl.String, "odd": pl.Boolean}


def numbers_in(folder: Path) -> list[int]:
    return hr.open(folder).to_polars()["x"].to_list()


def delivered(ds: hr.Dataset, epochs: int = 1, **arguments: Any) -> list[int]:
    loader = ds.loader(1, output="numpy", **arguments)
    return [int(x) for _ in range(epochs) for batch in loader for x in batch["x"]]


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    return shards_of_numbers(tmp_path_factory.mktemp("numbers"), [[40, 33], [50], [7, 1, 60]])


@pytest.mark.parametrize(
    "cut",
    [
        {},
        {"shards": 1},
        {"shards": 4, "row_group_rows": 10},
        {"rows_per_shard": 7},
        {"rows_per_shard": 100, "row_group_rows": 100},
        {"row_group_rows": 1000},
    ],
)
@pytest.mark.parametrize("executor", [hr.Serial(), hr.Threads(3)], ids=["serial", "threads"])
def test_any_cut_holds_the_samples_in_order(
    numbers: hr.Dataset, tmp_path: Path, cut: dict[str, int], executor: hr.Executor
) -> None:
    """However it is cut, samples lie as in the source, and row groups have the size asked for."""
    written = numbers.write(tmp_path / "out", executor=executor, **cut)
    assert numbers_in(tmp_path / "out") == list(range(191))
    files = sorted((tmp_path / "out").glob("*.parquet"))
    assert written.shards == written.written == len(files)
    if "row_group_rows" in cut:
        groups = [pq.ParquetFile(file).metadata for file in files]
        sizes = [[it.row_group(n).num_rows for n in range(it.num_row_groups)] for it in groups]
        assert all(size == cut["row_group_rows"] for shard in sizes for size in shard[:-1])
    if not cut:
        assert [pq.ParquetFile(file).metadata.num_rows for file in files] == [73, 50, 68]


SELECTIONS = {
    "filtered": lambda ds: ds.filter(pl.col("x") % 7 == 0),
    "listed": lambda ds: ds.rows([190, 3, 3, 77, 0, 190]),
    "repeated": lambda ds: ds.rows(sorted([5, 5, 5, 80, 81, 190])),
    "sampled": lambda ds: ds.sample(n=300, replace=True, seed=3),
    "none": lambda ds: ds.filter(pl.col("x") < 0),
}


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize("cut", [{}, {"rows_per_shard": 5, "row_group_rows": 2}])
def test_selections_keep_their_order(
    numbers: hr.Dataset, tmp_path: Path, name: str, cut: dict[str, int]
) -> None:
    """A selection is written in its own order, repeats included; none gives a data set of zero rows."""
    ds = SELECTIONS[name](numbers)
    ds.write(tmp_path / "out", **cut)
    assert numbers_in(tmp_path / "out") == ds.to_polars()["x"].to_list()
    assert hr.open(tmp_path / "out").schema == ds.schema


@pytest.mark.parametrize("shuffle", ["global", hr.BlockShuffle(lanes=3, window=6)], ids=["global", "blocks"])
def test_shuffled_output_is_the_first_epoch_of_a_loader(
    numbers: hr.Dataset, tmp_path: Path, shuffle: Any
) -> None:
    """What is written in shuffled order is what a loader with that shuffle and seed delivers first."""
    numbers.write(tmp_path / "out", shuffle=shuffle, seed=11, rows_per_shard=30, row_group_rows=8)
    expected = delivered(numbers, shuffle=shuffle, seed=11)
    assert numbers_in(tmp_path / "out") == expected
    assert expected != list(range(191))


def test_a_mix_is_written_in_its_order(numbers: hr.Dataset, tmp_path: Path) -> None:
    """A mix takes turns as its loader does."""
    other = hr.from_arrow(numbers.to_arrow().slice(0, 40))
    mixed = hr.mix({"a": numbers, "b": other}, weights={"a": 3, "b": 1})
    mixed.write(tmp_path / "out", rows_per_shard=50)
    assert numbers_in(tmp_path / "out") == delivered(mixed)


def test_small_shards_of_large_row_groups_decode_each_once(tmp_path: Path) -> None:
    """Shards that are smaller than a row group share what was prepared of it."""
    read: list[int] = []

    def count(frame: pl.DataFrame) -> pl.DataFrame:
        if frame.height:
            read.append(frame.height)
        return frame

    ds = shards_of_numbers(tmp_path / "in", [[100], [100]]).map(count, version="1")
    ds.write(tmp_path / "out", rows_per_shard=10, executor=hr.Serial())
    assert read == [100, 100]


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_any_order_and_any_cut(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Random row groups, selections and cuts: the rows are those of the selection, in its order."""
    folder = tmp_path_factory.mktemp("any")
    sizes = data.draw(st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=3), min_size=1, max_size=3))
    total = sum(sum(groups) for groups in sizes)
    ids = data.draw(st.lists(st.integers(0, total - 1), max_size=60))
    ds = shards_of_numbers(folder / "in", sizes).rows(ids)
    shuffle = data.draw(st.sampled_from([None, "global"]))
    ds.write(
        folder / "out",
        rows_per_shard=data.draw(st.integers(1, 40)),
        row_group_rows=data.draw(st.integers(1, 40)),
        shuffle=shuffle,
    )
    expected = delivered(ds, shuffle="global") if shuffle and ids else ids
    assert numbers_in(folder / "out") == expected


def test_samples_that_come_often_are_spilled_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the samples of a row group are asked for, a part of them is in memory at a time."""
    monkeypatch.setattr(sorting, "_SPILL_BYTES", 400)
    ds = shards_of_numbers(tmp_path / "in", [[12, 7], [3], [20]])
    often = ds.rows(np.random.default_rng(2).integers(0, 42, 600))
    written = often.write(tmp_path / "out", shuffle="global", seed=3, shards=4, executor=hr.Serial())
    assert numbers_in(tmp_path / "out") == delivered(often, shuffle="global", seed=3)
    (sort,) = [stage for stage in written.stages if stage.name == "sort"]
    assert sort.total > len(ds.manifest)
    assert sort.rows == 600
