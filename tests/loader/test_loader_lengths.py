"""`batch_by` and `bucket_by` in a loader: lengths are read once, batches follow the budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.testing import LoaderTests

ROWS = 300


def texts(folder: Path) -> hr.Dataset:
    """Token lists of 1 to 30 tokens in five row groups."""
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 99, rng.integers(1, 31)).tolist() for _ in range(ROWS)]
    table = pa.table({"tokens": tokens, "length": [len(one) for one in tokens], "number": range(ROWS)})
    pq.write_table(table, folder / "texts.parquet", row_group_size=60)
    return hr.open(folder / "texts.parquet")


@pytest.mark.parametrize("column", ["length", "tokens"])
def test_batches_hold_at_most_the_budget(tmp_path: Path, column: str) -> None:
    """Lists count by their lengths, whole numbers by themselves; `len` is exact before the first batch."""
    ds = texts(tmp_path)
    loader = ds.loader(100, batch_by=column, shuffle=True, output="numpy")
    steps = len(loader)
    batches = list(loader)
    assert len(batches) == steps
    assert all(batch["length"].sum() <= 100 for batch in batches)
    assert sorted(np.concatenate([batch["number"] for batch in batches]).tolist()) == list(range(ROWS))
    assert all(np.diff(batch["tokens"].offsets).tolist() == batch["length"].tolist() for batch in batches)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_resume_with_another_world(tmp_path: Path, size: int) -> None:
    """A state saved after any step goes on with the samples that were missing, on any number of ranks."""
    ds = texts(tmp_path)
    options = {
        "batch_by": "length",
        "bucket_by": hr.Buckets("length", 20, 3),
        "shuffle": True,
        "output": "numpy",
    }
    loader = ds.loader(100, **options)
    seen: list[int] = []
    for step, batch in enumerate(loader):
        seen.extend(batch["number"].tolist())
        if step == 7:
            break
    state = json.loads(json.dumps(loader.state_dict()))
    for rank in range(size):
        other = ds.loader(60, world=hr.World(rank, size), **options)
        other.load_state_dict(state)
        for batch in other:
            seen.extend(batch["number"].tolist())
    assert sorted(seen) == list(range(ROWS))


def test_batches_by_step_are_those_of_iterating(tmp_path: Path) -> None:
    """Random access, threads and torch agree with the plain loop."""
    ds = texts(tmp_path).select(["length", "number"])
    options = {"batch_by": "length", "bucket_by": "length", "shuffle": True}
    expected = [batch["number"].tolist() for batch in ds.loader(80, output="numpy", threads=0, **options)]
    loader = ds.loader(80, threads=2, **options)
    assert [batch["number"].tolist() for batch in loader] == expected
    loader.set_epoch(0)
    assert [loader.batch(step)["number"].tolist() for step in range(len(loader))] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_by": "no"}, "no column `no`"),
        ({"batch_by": "length", "tail": "pad"}, "steps of tokens are not padded"),
        ({"batch_by": "length", "batch_size": 10}, "does not fit into a rank's share of 10"),
        ({"bucket_by": "half"}, "lengths must be whole numbers, lists or text, got double"),
        ({"bucket_by": "gaps"}, "1 lengths are null"),
    ],
)
def test_lengths_that_cannot_be(options: dict[str, object], message: str) -> None:
    """What cannot count tokens is refused with the column."""
    ds = hr.from_arrow(pa.table({"length": [3, 20, 5], "half": [0.5, 1.0, 2.0], "gaps": [1, None, 2]}))
    with pytest.raises(hr.HeadraceError, match=message):
        len(ds.loader(**{"batch_size": 40, **options}))  # type: ignore[arg-type]


class ShuffledTests(LoaderTests):
    """The contract for the order that users choose most."""

    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param


class TestBuckets(ShuffledTests):
    """Buckets change the order, and nothing else of what a loader promises."""

    @pytest.fixture
    def dataset(self) -> hr.Dataset:
        return hr.from_arrays({"length": np.arange(40) * 7 % 11 + 1, "x": np.arange(40)})

    def make(self, dataset: hr.Dataset, shuffle: Any, **options: Any) -> hr.Loader:
        return super().make(dataset, shuffle, bucket_by=hr.Buckets("length", chunk=6, window=3), **options)

    def source_order(self, dataset: hr.Dataset) -> list[int]:
        """Windows of 18 samples, each from short to long."""
        lengths = np.arange(40) * 7 % 11 + 1
        windows = np.split(np.arange(40), [18, 36])
        return [int(id) for window in windows for id in window[np.argsort(lengths[window], kind="stable")]]
