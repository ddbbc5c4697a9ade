"""Where all rows lie in arrays, batches are gathered from them, and are the same as those that are read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.stores.memory import MemoryStore, MemoryTable

ROWS = 203


def columns(rows: int = ROWS) -> dict[str, np.ndarray]:
    """Columns of many widths, none of which looks like another."""
    rng = np.random.default_rng(5)
    return {
        "x": rng.random((rows, 13), np.float32),
        "image": rng.integers(0, 256, (rows, 3, 16, 32), np.uint8),
        "id": np.arange(rows),
        "a": rng.random(rows),
        "b": rng.random(rows),
        "small": rng.integers(0, 99, rows).astype(np.int16),
        "length": rng.integers(1, 9, rows),
    }


class Shards:
    """Columns in row groups of several sizes, which are read and never looked at as a whole."""

    def __init__(self, arrays: dict[str, np.ndarray], sizes: Sequence[int] = (50, 1, 70, 40, 42)) -> None:
        self._source: Any = hr.from_arrays(arrays).recipe.source
        self.schema: pa.Schema = self._source.schema
        nbytes = tuple(800 * size for size in sizes)
        self.manifest = Manifest((Shard("shards", tuple(sizes), nbytes, "00"),))
        self.reads = 0
        self._lock = threading.Lock()

    def read(self, row_group: RowGroup, names: Sequence[str]) -> pa.RecordBatch:
        with self._lock:
            self.reads += 1
        return self._source.read(row_group, names)


def stream(dataset: hr.Dataset, begin: dict[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
    loader = dataset.loader(output="numpy", with_ids=True, **options)
    if begin is not None:
        loader.load_state_dict(begin)
    return list(loader)


def assert_equal(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert list(one) == list(other)
        for name, array in one.items():
            assert array.dtype == other[name].dtype
            assert array.shape == other[name].shape
            assert array.tobytes() == other[name].tobytes()


orders = st.sampled_from([False, True, "global", hr.BlockShuffle(3, 4), hr.BlockShuffle(2, 2)])
kinds = st.sampled_from(["all", "half", "repeats", "one group"])


def chosen(dataset: hr.Dataset, kind: str) -> hr.Dataset:
    rng = np.random.default_rng(1)
    if kind == "all":
        return dataset
    if kind == "one group":
        return dataset.rows(range(51, 121))
    if kind == "half":
        return dataset.rows(np.flatnonzero(rng.random(ROWS) < 0.5))
    return dataset.rows(rng.integers(0, ROWS, 150))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kind=kinds,
    shuffle=orders,
    batch_size=st.sampled_from([1, 7, 32, 64, 500]),
    tail=st.sampled_from(["keep", "drop", "pad"]),
    world=st.sampled_from([hr.World(), hr.World(1, 3), hr.World(2, 3)]),
    threads=st.sampled_from([0, 2]),
    ahead=st.integers(0, 3),
    epoch=st.integers(0, 1),
    cursor=st.sampled_from([0, 21, 64]),
    is_packed=st.booleans(),
)
def test_gathered_batches_are_those_that_are_read(
    kind: str, shuffle: Any, is_packed: bool, epoch: int, cursor: int, **options: Any
) -> None:
    """Arrays in memory, a full cache, and row groups that are read yield the same bytes in the same order."""
    arrays = columns()
    read = chosen(hr.Dataset.of(Shards(arrays)), kind)
    memory = chosen(hr.Dataset.of(_InMemory(arrays)), kind)
    if is_packed:
        read, memory = (each.pack(ab=["a", "b"], x="x", y="small") for each in (read, memory))
    cached = read.cache(MemoryStore())
    options |= {"shuffle": shuffle, "seed": 9}
    if options["tail"] == "drop":
        options["batch_size"] = min(options["batch_size"], 20)
    state = read.loader(shuffle=shuffle, seed=9, batch_size=1).state_dict() | {
        "epoch": epoch,
        "cursor": cursor,
    }
    expected = stream(read, state, **options)

    assert_equal(stream(memory, state, **options), expected)
    assert_equal(stream(cached, state, **options), expected)
    for _ in cached.loader(50, output="numpy"):
        pass
    assert_equal(stream(cached, state, **options), expected)


class _InMemory(Shards):
    """The same row groups, and all rows as a whole."""

    @property
    def whole(self) -> dict[str, pa.Array]:
        return self._source.columns


@pytest.mark.parametrize("lengths", [{"batch_by": "length"}, {"bucket_by": hr.Buckets("length", 20, 3)}])
@pytest.mark.parametrize("shuffle", [True, "global"])
def test_lengths_decide_batches_as_they_do_when_read(lengths: dict[str, Any], shuffle: Any) -> None:
    """Budgets of tokens and buckets of like length cut the same batches."""
    arrays = columns()
    options = {"batch_size": 30, "shuffle": shuffle, **lengths}

    got = stream(hr.Dataset.of(_InMemory(arrays)), **options)

    assert_equal(got, stream(hr.Dataset.of(Shards(arrays)), **options))


@pytest.mark.parametrize("stop", ["first", "all", "cycle"])
def test_a_cached_mix_is_gathered_as_it_is_read(stop: Any) -> None:
    """The parts of a mix take their turns, listed samples and repeats included."""
    left = hr.Dataset.of(Shards(columns())).select(["x", "id"])
    right = left.rows(np.random.default_rng(2).integers(0, ROWS, 70))
    mix = hr.mix({"left": left, "right": right}, {"left": 2, "right": 1}, stop=stop)
    cached = mix.cache(MemoryStore())
    for _ in cached.loader(64, output="numpy"):
        pass

    for shuffle in (False, True, "global"):
        loader = cached.loader(9, shuffle=shuffle, output="numpy", with_ids=True)
        assert_equal(list(loader), stream(mix, batch_size=9, shuffle=shuffle))
        # A mix that stops with its first part leaves samples out, and with them a row group.
        assert loader.stats()["seconds"]["read"] == 0 or stop == "first"


def room_seconds(dataset: hr.Dataset, **options: Any) -> dict[str, float]:
    loader = dataset.loader(16, output="numpy", **options)
    for _ in loader:
        pass
    return loader.stats()["seconds"]


@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_a_full_cache_reads_nothing(shuffle: Any) -> None:
    """The second epoch neither asks the source nor waits for row groups; each entry is one hit."""
    source = Shards(columns())
    loader = hr.Dataset.of(source).cache(MemoryStore()).loader(16, shuffle=shuffle, output="numpy")
    first = list(loader)
    reads, hits = source.reads, loader.stats()["cache_hits"]
    spent = loader.stats()["seconds"]["read"]
    second = list(loader)

    assert len(first) == len(second)
    assert source.reads == reads == 5
    assert loader.stats()["cache_hits"] == hits + 5
    assert loader.stats()["seconds"]["read"] == spent


def test_what_lies_in_memory_is_not_read() -> None:
    """Numbers, tensors, columns side by side, Arrow tables and frames are gathered from where they lie."""
    arrays = columns()
    table = pa.table({name: arrays[name] for name in ("a", "b", "id")})
    datasets = [
        hr.from_arrays(arrays),
        hr.from_arrays(arrays).select(["x", "image"]).rename({"x": "y"}),
        hr.from_arrays(arrays).pack(ab=["a", "b"], y="small"),
        hr.from_arrow(table),
        hr.from_polars(pl.DataFrame({"a": arrays["a"], "b": arrays["b"]})),
    ]
    for dataset in datasets:
        assert room_seconds(dataset, shuffle="global")["read"] == 0.0


@pytest.mark.parametrize(
    "dataset",
    [
        hr.from_arrays({"x": [1.0, None, 3.0]}),
        hr.from_arrays({"x": np.array([True, False, True])}),
        hr.from_arrays({"x": ["a", "b", "c"]}),
        hr.from_arrays({"x": [[1], [2, 3], []]}),
        hr.from_arrays({"x": np.array([1, 2, 3])}).with_columns(y=pl.col("x") * 2),
        hr.from_arrays({"x": np.array([1, 2, 3]), "y": np.array([1.5, 2, 3])}).pack(xy=["x", "y"]),
        hr.from_arrays({"x": np.array([1, 2, 3])}).pack(x="x", dtype={"x": "float32"}),
        hr.from_arrays({"x": np.array(["2020-01-01", "2020-01-02", "2021-05-05"], "datetime64[D]")}),
    ],
    ids=["nulls", "booleans", "text", "lists", "computed", "promoted", "cast", "dates"],
)
def test_what_has_to_be_made_first_is_read(dataset: hr.Dataset) -> None:
    """Values that do not lie in memory as they are delivered take the usual way, and arrive all the same."""
    loader = dataset.loader(2, shuffle="global", output="numpy", with_ids=True)
    batches = list(loader)

    assert sorted(np.concatenate([batch["sample_id"] for batch in batches]).tolist()) == [0, 1, 2]
    assert loader.stats()["seconds"]["read"] > 0


class _Damaged(MemoryTable):
    """A table one of whose entries goes bad while it is in use."""

    bad = -1
    checked: list[int]

    def check(self, number: int) -> bool:
        self.checked.append(number)
        return number != self.bad and super().check(number)

    def get(self, number: int) -> Any:
        return None if number == self.bad else super().get(number)


class _Store(MemoryStore):
    def open(self, layout: Any) -> Any:
        table = super().open(layout)
        table.__class__ = _Damaged
        table.checked = []  # type: ignore[attr-defined]
        self.table: Any = table
        return table


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("bad", range(5))
@pytest.mark.parametrize("shuffle", [False, "global"])
def test_rows_that_are_not_sound_are_prepared_again(threads: int, bad: int, shuffle: Any) -> None:
    """From the first batch that needs a damaged entry on, row groups are read; no batch changes."""
    store = _Store()
    source = Shards(columns())
    loader = (
        hr.Dataset.of(source)
        .cache(store)
        .loader(8, shuffle=shuffle, threads=threads, output="numpy", with_ids=True)
    )
    first = list(loader)
    store.table.bad = bad
    before = source.reads
    loader.set_epoch(0)

    assert_equal(list(loader), first)
    assert source.reads > before


def test_an_entry_is_checked_once_in_an_epoch() -> None:
    """Batches do not pay for checks that were made; the next epoch asks the store again."""
    store = _Store()
    loader = (
        hr.Dataset.of(Shards(columns())).cache(store).loader(8, shuffle="global", threads=0, output="numpy")
    )
    for _ in loader:
        pass
    for epoch in (1, 2):
        for _ in loader:
            pass
        assert sorted(store.table.checked) == sorted([*range(5)] * epoch)


def test_a_kept_batch_is_never_written_again() -> None:
    """Batches of two epochs, all held, still are what they were; small ones share no memory with others."""
    rng = np.random.default_rng(0)
    dataset = hr.from_arrays({"x": rng.random((6000, 8)), "y": rng.integers(0, 9, 6000)})
    for size in (10, 700):
        loader = dataset.loader(size, shuffle="global", output="numpy", threads=2)
        kept = [(epoch, batch) for epoch in range(2) for batch in loader]
        for place, (epoch, batch) in enumerate(kept):
            loader.set_epoch(epoch)
            again = loader.batch(place % len(loader))
            assert (again["x"] == batch["x"]).all()
            assert (again["y"] == batch["y"]).all()


def test_a_dropped_iterator_stops_its_threads() -> None:
    """Nothing is left behind after an iteration that was not finished."""
    before = threading.active_count()
    loader = hr.from_arrays({"x": np.zeros((5000, 3))}).loader(7, shuffle="global", output="numpy", threads=3)
    iterator = iter(loader)
    next(iterator)
    assert threading.active_count() > before
    del iterator
    assert threading.active_count() == before
