"""A data set that grew or changed takes what did not change from its former table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr

ROWS, GROUPS = 20, 3


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        write(folder, number)
    return folder


def write(folder: Path, number: int, shift: int = 0) -> None:
    values = np.arange(ROWS * GROUPS) + 1000 * number + shift
    table = pa.table({"a": values, "b": values * 0.5, "text": [f"row {value}" for value in values]})
    pq.write_table(table, folder / f"{number}.parquet", row_group_size=ROWS)


def epoch(shards: Path, cache: Path | None, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    ds = hr.open(shards).pack(x=["a", "b"], text="text")
    with (ds if cache is None else ds.cache(cache, **options)).loader(
        7, shuffle="global", output="numpy"
    ) as loader:
        return [(batch["x"].tolist(), list(batch["text"])) for batch in loader], loader.stats()


def test_a_data_set_that_grew_prepares_what_is_new(shards: Path, tmp_path: Path) -> None:
    """Row groups of the shards before are found, wherever they lie among the shards now."""
    epoch(shards, tmp_path / "cache")
    for number in (3, 0):  # one behind the others, then one changed in front of them
        write(shards, number, shift=7)
        batches, stats = epoch(shards, tmp_path / "cache")

        assert batches == epoch(shards, None)[0]
        assert stats["cache_misses"] == GROUPS
        assert stats["cache_hits"] == GROUPS * (len(list(shards.iterdir())) - 1)
        assert epoch(shards, tmp_path / "cache")[1]["cache_misses"] == 0


def test_damage_is_not_taken_over(shards: Path, tmp_path: Path) -> None:
    """An entry of a former table is held against its checksum before it is used."""
    epoch(shards, tmp_path / "cache")
    (array,) = (tmp_path / "cache").glob("tables/*/0-x.npy")
    content = bytearray(array.read_bytes())
    content[-1] ^= 1  # in the last row group
    array.write_bytes(content)
    write(shards, 3)
    batches, stats = epoch(shards, tmp_path / "cache")

    assert batches == epoch(shards, None)[0]
    assert stats["cache_misses"] == GROUPS + 1


def test_a_former_table_may_be_evicted_meanwhile(shards: Path, tmp_path: Path) -> None:
    """Where the limit holds one table only, the former one makes room, and nothing is wrong."""
    _, first = epoch(shards, tmp_path / "cache")
    write(shards, 3)
    batches, stats = epoch(shards, tmp_path / "cache", limit=2 * first["cache_bytes"])

    assert batches == epoch(shards, None)[0]
    assert stats["cache_misses"] >= GROUPS
    assert epoch(shards, tmp_path / "cache")[0] == batches
