"""Data sets as dask collections, and dask collections as data sets."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.errors import CorruptSourceError, OptionError, SchemaError, SourceError
from headrace.sources.base import Source
from headrace.testing import SourceTests

TABLE = pa.table(
    {
        "id": [0, 1, None, 3, 2**53 + 1, 5, 6],
        "name": ["a", None, "c", "d", "ä", "", "g"],
        "tokens": [[1], [], None, [2, 3], [4], [5], [6]],
        "at": pa.array([0, 1, 2, None, 4, 5, 6], pa.timestamp("us", "Europe/Zurich")),
        "kind": pa.array(["x", "y", "x", None, "x", "y", "y"]).dictionary_encode(),
        "gain": [0.5, 1e300, None, float("inf"), -0.0, 1.0, 2.0],
    }
)
CUTS = (0, 3, 3, 5, 7)  # the second partition is empty


def pieces() -> list[pa.Table]:
    return [TABLE[begin:end] for begin, end in pairwise(CUTS)]


def delayed(values: list[Any]) -> list[Any]:
    return [dask.delayed(pickle.loads)(pickle.dumps(value)) for value in values]


@pytest.fixture
def ds(tmp_path: Path) -> hr.Dataset:
    """Seven samples in row groups of two."""
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=2)
    return hr.open(tmp_path / "a.parquet")


class TestPartitions(SourceTests):
    """The contract of sources, on partitions that are computed anew each time."""

    @pytest.fixture
    def expected(self) -> pa.Table:
        return TABLE

    @pytest.fixture
    def source(self) -> Source:
        return hr.from_dask(delayed(pieces()), scheduler="synchronous").recipe.source


def test_delayed_parts_are_the_row_groups(ds: hr.Dataset) -> None:
    """Each part is a table of one row group, in the recipe's columns, in order."""
    made = ds.with_columns(double=pl.col("id") * 2).drop(["tokens"])
    parts = made.to_dask("delayed")
    tables = dask.compute(*parts, scheduler="threads")

    assert [table.num_rows for table in tables] == [2, 2, 2, 1]
    assert repr(pa.concat_tables(tables).to_pylist()) == repr(made.to_arrow().to_pylist())
    assert {table.schema.remove_metadata() for table in tables} == {made.schema.remove_metadata()}


def test_only_selected_samples_are_there(ds: hr.Dataset) -> None:
    """Row groups without a selected sample are left out, and repeats in the order of the data are kept."""
    chosen = ds.rows([0, 0, 5])
    tables = dask.compute(*chosen.to_dask("delayed"), scheduler="synchronous")

    assert [table["id"].to_pylist() for table in tables] == [[0, 0], [5]]
    assert chosen.to_dask().compute(scheduler="synchronous")["id"].tolist() == [0, 0, 5]


def test_a_dataframe_keeps_exact_values(ds: hr.Dataset) -> None:
    """Whole numbers with nulls stay whole, and the types are known before anything is read."""
    frame = ds.to_dask()
    got = frame.compute(scheduler="threads")

    assert frame.npartitions == 4
    assert frame.dtypes.to_dict() == got.dtypes.to_dict()
    assert pa.array(got["id"]).to_pylist() == TABLE["id"].to_pylist()
    assert pa.array(got["at"]).to_pylist() == TABLE["at"].to_pylist()
    assert frame["id"].max().compute(scheduler="threads") == 2**53 + 1


def test_packed_and_nd_columns_come_flat() -> None:
    """What `pack` does is left out, and a tensor is a list of its numbers."""
    made = hr.from_arrays({"x": np.arange(12, dtype=np.float32).reshape(3, 2, 2)}).pack(y="x")
    frame = made.to_dask().compute(scheduler="synchronous")

    assert np.stack(frame["x"].tolist()).tolist() == np.arange(12).reshape(3, 4).tolist()


def test_no_samples_make_an_empty_dataframe(ds: hr.Dataset) -> None:
    """The columns are there, without a row."""
    empty = ds.rows([])

    assert empty.to_dask("delayed") == []
    assert list(empty.to_dask().compute(scheduler="synchronous").columns) == TABLE.schema.names


def test_an_order_of_its_own_is_refused(ds: hr.Dataset) -> None:
    """Samples in another order than the data's cannot be cut into row groups."""
    with pytest.raises(OptionError, match="sort the ids"):
        ds.rows([5, 0]).to_dask()
    with pytest.raises(OptionError, match="'bag'"):
        ds.to_dask("bag")  # pyright: ignore[reportArgumentType]


def test_a_dataframe_becomes_a_data_set_and_comes_back(ds: hr.Dataset) -> None:
    """Every value survives the way to dask and back."""
    back = hr.from_dask(ds.to_dask(), scheduler="threads")

    assert [row_group.rows for row_group in back.manifest] == [2, 2, 2, 1]
    for name in TABLE.schema.names:
        assert back.select([name]).to_polars()[name].to_list() == TABLE[name].to_pylist()


@pytest.mark.parametrize("form", ["pandas", "polars", "batch"])
def test_partitions_of_any_form_are_taken(form: str) -> None:
    """Frames of pandas and Polars and record batches hold the same samples as tables."""
    plain = [table.select(["id", "name"]).combine_chunks() for table in pieces() if table.num_rows]
    forms: dict[str, Any] = {
        "pandas": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
        "polars": pl.from_arrow,
        "batch": lambda table: table.to_batches()[0],
    }
    ds = hr.from_dask(delayed([forms[form](table) for table in plain]), scheduler="synchronous")

    assert ds.to_polars().to_dicts() == TABLE.select(["id", "name"]).to_pylist()


def test_an_index_with_a_name_is_a_column() -> None:
    """What `set_index` took out of the columns is not lost."""
    frame = dd.from_pandas(pd.DataFrame({"key": [3, 1, 2], "x": [1.0, 2.0, 3.0]}), npartitions=2)
    ds = hr.from_dask(frame.set_index("key"), scheduler="synchronous")

    assert ds.to_polars().to_dicts() == [{"key": 1, "x": 2.0}, {"key": 2, "x": 3.0}, {"key": 3, "x": 1.0}]


def test_columns_without_a_value_take_the_type_of_the_others() -> None:
    """A partition whose texts are all null does not know that they are texts."""
    parts = delayed([pa.table({"x": pa.nulls(2)}), pa.table({"x": ["a"]}), pa.table({"x": pa.nulls(1)})])

    assert hr.from_dask(parts, scheduler="synchronous").to_polars()["x"].to_list() == [None, None, "a", None]


def test_identity_is_that_of_the_contents() -> None:
    """The fingerprint follows from the values and how they are cut, not from dask's names for tasks."""
    first, again = (hr.from_dask(delayed(pieces()), scheduler="synchronous") for _ in range(2))
    changed = hr.from_dask(delayed([*pieces()[:-1], pieces()[-1][::-1]]), scheduler="synchronous")

    assert first.fingerprint == again.fingerprint
    assert changed.fingerprint != first.fingerprint
    shards = [[it.content_identity for it in ds.manifest.shards] for ds in (first, changed)]
    assert [a == b for a, b in zip(*shards, strict=True)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (pa.table({"x": [1]}), r"dask partition 0.*2 rows.* 1 rows.*persist"),
        (pa.table({"x": ["a", "b"]}), "column `x` is of type string"),
        (pa.table({"y": [1, 2]}), "column `x` is gone"),
    ],
)
def test_a_partition_that_changes_is_an_error(tmp_path: Path, later: pa.Table, message: str) -> None:
    """Other rows or columns than those that were counted never pass in silence."""
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    ds = hr.from_dask([dask.delayed(pq.read_table)(tmp_path / "a.parquet")], scheduler="synchronous")
    pq.write_table(later, tmp_path / "a.parquet")

    with pytest.raises(CorruptSourceError, match=message):
        ds.to_arrow()


@pytest.mark.parametrize("library", ["dask", "distributed", "cloudpickle", "pandas", "dask.dataframe"])
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Without what the extra brings, the error says how to install it."""
    calls: dict[str, list[Callable[[], Any]]] = {
        "dask": [lambda: hr.from_dask([]), lambda: hr.from_arrays({"x": [1]}).to_dask("delayed")],
        "distributed": [lambda: hr.Dask("tcp://127.0.0.1:9").client, lambda: hr.Dask().map(len, ["a"])],
        "cloudpickle": [lambda: hr.Dask().map(len, ["a"])],
        "pandas": [lambda: hr.from_arrays({"x": [1]}).to_dask()],
        "dask.dataframe": [lambda: hr.from_arrays({"x": [1]}).to_dask()],
    }
    for name in [name for name in sys.modules if name.split(".")[0] == library] + [library]:
        monkeypatch.setitem(sys.modules, name, None)

    for call in calls[library]:
        with pytest.raises(hr.MissingDependencyError, match=r"headrace\[dask\]"):
            list(call())


def test_bad_collections_are_refused() -> None:
    """Each error says what was got, and which partition is at fault where that can be told."""

    def give(*values: Any) -> hr.Dataset:
        return hr.from_dask(delayed(list(values)), scheduler="synchronous")

    for nothing in (3, [], [1, 2], pa.table({"x": [1]})):
        with pytest.raises(OptionError, match=type(nothing).__name__):
            hr.from_dask(nothing)
    with pytest.raises(SchemaError, match="partition 1 has columns of other types"):
        give(pa.table({"x": [1]}), pa.table({"x": ["a"]}))
    with pytest.raises(SchemaError, match=r"partition 1 has the columns \['y', 'x'\]"):
        give(pa.table({"x": [1], "y": [1]}), pa.table({"y": [1], "x": [1]}))
    with pytest.raises(SchemaError, match="got list"):
        give([1, 2])
    with pytest.raises(SourceError, match="cannot be computed: FileNotFoundError"):
        hr.from_dask([dask.delayed(pq.read_table)("/nowhere.parquet")], scheduler="synchronous")
