"""Samples that were left out may hold what no array can: the others of their row groups are delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr

ROWS = 300
NULLS = np.arange(0, ROWS, 7)


def shards(folder: Path, row_group: int) -> hr.Dataset:
    """Whole numbers, truth values, lists and arrays, all null in the same rows."""
    is_null = np.isin(np.arange(ROWS), NULLS)
    pairs = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(2 * ROWS).reshape(ROWS, 2))
    tensors = pa.ExtensionArray.from_storage(
        pairs.type, pa.array([None if null else [k, k] for k, null in enumerate(is_null)], pairs.storage.type)
    )
    table = pa.table(
        {
            "number": pa.array(np.arange(ROWS), mask=is_null),
            "truth": pa.array(np.arange(ROWS) % 2 == 0, mask=is_null),
            "list": pa.array([None if null else [k] * (k % 3) for k, null in enumerate(is_null)]),
            "pair": tensors,
        }
    )
    pq.write_table(table, folder / "a.parquet", row_group_size=row_group)
    return hr.open(folder / "a.parquet")


@pytest.mark.parametrize("row_group", [10, 64, ROWS])
@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_the_others_are_delivered(tmp_path: Path, row_group: int, shuffle: Any) -> None:
    """After `drop_nulls` each other sample comes once, with its own values."""
    ds = shards(tmp_path, row_group).drop_nulls(["number"], progress=False)
    found: list[int] = []
    for batch in ds.loader(16, shuffle=shuffle, output="numpy", with_ids=True):
        np.testing.assert_array_equal(batch["number"], batch["sample_id"])
        np.testing.assert_array_equal(batch["truth"], batch["sample_id"] % 2 == 0)
        np.testing.assert_array_equal(batch["pair"], np.stack([batch["sample_id"]] * 2, 1))
        found += batch["sample_id"].tolist()
    assert sorted(found) == np.setdiff1d(np.arange(ROWS), NULLS).tolist()


def test_by_id_and_side_by_side(tmp_path: Path) -> None:
    """Also of `take`, of packed columns and of torch's own samplers."""
    ds = shards(tmp_path, 64)
    assert ds.take([5, 1, 299])["number"].tolist() == [5, 1, 299]
    packed = ds.rows([8, 3]).pack(x=["number", "number"], flag="truth")
    assert next(iter(packed.loader(2, output="numpy")))["x"].tolist() == [[8, 8], [3, 3]]
    samples = ds.drop_nulls(["number"], progress=False).select(["number"]).to_torch_map()
    assert [int(samples[k]["number"]) for k in (0, 6, 5)] == [1, 8, 6]


def test_a_null_that_takes_part_is_refused(tmp_path: Path) -> None:
    """One selected null among many samples is an error that names its column."""
    ds = shards(tmp_path, 64)
    with pytest.raises(hr.SchemaError, match="column `number`: 10 of 64 values"):
        ds.take([5, 7, 6])
    with pytest.raises(hr.SchemaError, match="column `number`"):
        list(ds.rows(np.arange(1, 8)).loader(4, output="numpy"))
