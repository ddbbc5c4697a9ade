"""Bloom filters: no false negatives, the error rate that was promised, and the answer of an exact search."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.dedup.bloom.kernels import add_keys, places_reference
from headrace.dedup.bloom.stages import KeyFilter, StageSize

RATES = (0.1, 0.01, 0.001, 0.0001)


def some_keys(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), dtype=np.uint64)


@pytest.fixture(scope="module")
def numbers() -> hr.Dataset:
    """500,000 numbers, 285,357 of them distinct."""
    return hr.from_arrays({"key": np.random.default_rng(0).integers(0, 400_000, 500_000)})


@pytest.fixture(scope="module")
def exact(numbers: hr.Dataset) -> pl.DataFrame:
    return hr.find_duplicates(numbers, on="key", progress=False).pairs


word = st.integers(0, 2**64 - 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(word, word), max_size=20), st.integers(1, 40), st.integers(1, 9))
def test_bits_are_those_of_plain_python(keys: list[tuple[int, int]], words: int, hashes: int) -> None:
    """Each key sets the bits that double hashing tells, and is known if all of them were set."""
    bits, known = np.zeros(words, np.uint64), np.zeros(len(keys), np.bool_)
    add_keys(np.array(keys, np.uint64).reshape(-1, 2), bits, hashes, len(keys), known)

    were_set: set[int] = set()
    for key, is_known in zip(keys, known.tolist(), strict=True):
        places = set(places_reference(key, words * 64, hashes))
        assert is_known == (places <= were_set)
        were_set |= places
    assert set(np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")).tolist()) == were_set


@pytest.mark.parametrize("grow", [False, True])
@pytest.mark.parametrize("rate", RATES)
def test_the_error_rate_holds_at_full_capacity(rate: float, grow: bool) -> None:
    """At exactly its capacity, a filter errs as often as was said, within five standard deviations."""
    capacity, asked = 50_000, 2_000_000
    full = KeyFilter(capacity, rate, grow)
    keys = some_keys(capacity * 2)
    rows = 0
    while full.count < capacity:  # a key that is taken for a known one takes no room
        missing = capacity - full.count
        full.add(keys[rows : rows + missing])
        rows += missing
    found = full.contains(some_keys(asked, seed=1)).mean()

    expected = full.expected_error_rate()
    assert full.count == capacity
    assert full.contains(keys[:rows]).all()
    assert abs(found - expected) < 5 * (expected / asked) ** 0.5
    promised = rate / 2 if grow else rate  # a filter that grows keeps half for what is to come
    assert found < promised + 5 * (promised / asked) ** 0.5
    assert full.nbytes * 8 / capacity < 1.45 * -np.log2(promised) * 1.04


@pytest.mark.parametrize("rate", RATES)
def test_a_grown_filter_keeps_its_error_rate(rate: float) -> None:
    """Ten times the capacity, in parts of any size: no key is lost, and errors stay below what was said."""
    grown, keys = KeyFilter(5000, rate, grow=True), some_keys(50_000)
    for begin in range(0, 50_000, 7777):
        grown.add(keys[begin : begin + 7777])

    assert grown.contains(keys).all()
    assert [stage.size.capacity for stage in grown.stages] == [5000, 10_000, 20_000, 40_000]
    assert all(stage.count <= stage.size.capacity for stage in grown.stages)
    assert grown.contains(some_keys(1_000_000, seed=1)).mean() < rate
    assert grown.expected_error_rate() < rate


def test_parts_do_not_matter() -> None:
    """A filter holds the same bits however its keys were put together, also where it grows in between."""
    keys = some_keys(5000)
    whole, parts = KeyFilter(100, 0.01, grow=True), KeyFilter(100, 0.01, grow=True)
    hits = whole.add(keys)
    found = np.concatenate([parts.add(keys[begin : begin + 33]) for begin in range(0, 5000, 33)])

    assert (hits == found).all()
    for one, other in zip(whole.stages, parts.stages, strict=True):
        assert one.count == other.count
        assert (one.words == other.words).all()


def test_a_filter_that_must_not_grow_refuses_before_it_is_too_full() -> None:
    """It takes what there is room for, and known samples further on; what it promised still holds."""
    full = hr.BloomFilter(1000, 0.01, grow=False)
    frame = {"key": np.arange(3000)}
    with pytest.raises(hr.CapacityError, match="for 1,000 keys is full") as it:
        full.add(frame)

    assert isinstance(it.value, OverflowError)
    assert full.count == 1000
    assert full.expected_error_rate() < 0.012
    full.add({"key": np.arange(900)})
    found = full.contains(frame)
    assert found[:1000].all()
    assert found[1100:].mean() < 0.03


@pytest.mark.parametrize("rate", RATES)
def test_the_answer_is_that_of_an_exact_search(rate: float, numbers: hr.Dataset, exact: pl.DataFrame) -> None:
    """Of 500,000 samples all 285,357 distinct ones stay, whatever the error rate."""
    report = hr.find_duplicates(numbers, on="key", method=hr.Bloom(rate), progress=False)

    assert report.pairs.equals(exact)
    assert report.selection.ids.size == 285_357


@pytest.mark.parametrize(
    ("executor", "memory_limit"),
    [
        *((hr.Serial(), limit) for limit in ("2kB", "60kB", "100kB", "1MB")),
        (hr.Threads(3), "60kB"),
        (hr.Processes(1), "1MB"),
    ],
    ids=lambda it: it if isinstance(it, str) else type(it).__name__,
)
def test_neither_executor_nor_memory_matters(
    executor: Any, memory_limit: str, numbers: hr.Dataset, exact: pl.DataFrame
) -> None:
    """Also where the filter does not fit into the limit, or what it finds does not."""
    some = numbers.filter(pl.col("key") < 40_000, progress=False)
    method = hr.Bloom(0.01, capacity=20_000)  # 27 kB, and another stage as large again
    report = hr.find_duplicates(
        some, on="key", method=method, executor=executor, memory_limit=memory_limit, progress=False
    )
    chosen = set(some.sample_ids.tolist())
    assert report.pairs.equals(exact.filter(pl.col("dropped_id").is_in(list(chosen))))


def test_a_capacity_ten_times_too_small(numbers: hr.Dataset, exact: pl.DataFrame) -> None:
    """The filter grows and the answer is the same; or it must not, and refuses."""
    rolled = hr.find_duplicates(numbers, on="key", method=hr.Bloom(capacity=28_535), progress=False)

    assert rolled.pairs.equals(exact)
    with pytest.raises(hr.CapacityError, match="28,535"):
        hr.find_duplicates(numbers, method=hr.Bloom(capacity=28_535, grow=False), progress=False)


def test_which_one_stays_is_chosen_as_by_an_exact_search() -> None:
    """`keep`, `priority` and samples with nulls."""
    ds = hr.from_arrays({"text": ["a", None, "a", "b", None, "a"], "score": [1, 2, 3, 4, 5, 2]})
    for settings_ in ({"keep": "last"}, {"keep": "none"}, {"priority": "score"}, {}):
        for nulls_equal in (False, True):
            found = [
                hr.find_duplicates(ds, "text", method, progress=False, **settings_).pairs
                for method in (hr.Exact(nulls_equal=nulls_equal), hr.Bloom(0.5, nulls_equal=nulls_equal))
            ]
            assert found[0].height == found[1].height > 0
            assert found[0].equals(found[1])


def test_frames_of_any_form_are_alike() -> None:
    """Polars, Arrow and dicts; values are equal whatever their width; other columns do not matter."""
    known = hr.BloomFilter(100, columns=["text", "number"])
    known.add(pl.DataFrame({"text": ["a", "b"], "number": pl.Series([1, 2], dtype=pl.Int8)}))
    table = pa.table({"number": [1, 3], "other": [0, 0], "text": pa.array(["a", "b"]).dictionary_encode()})

    for frame in (table, table.to_batches()[0], pl.DataFrame(table), {"number": [1, 3], "text": ["a", "b"]}):
        assert known.contains(frame).tolist() == [True, False]
    assert known.columns == ("text", "number")


def test_nulls_are_never_found_unless_asked_for() -> None:
    """A sample with a null is not added; with `nulls_equal` it is."""
    frame = {"x": [1, None, 2]}
    plain, equal = hr.BloomFilter(10), hr.BloomFilter(10, nulls_equal=True)
    for each in (plain, equal):
        each.add(frame)

    assert (plain.count, equal.count) == (2, 3)
    assert plain.contains(frame).tolist() == [True, False, True]
    assert equal.contains({"x": pa.nulls(2)}).tolist() == [True, True]


def test_texts_are_made_alike_as_by_an_exact_search(tmp_path: Path) -> None:
    """A filter normalises what is added and what is asked, also after it was saved."""
    known = hr.BloomFilter(10, normalize=["casefold", "whitespace"])
    known.add({"text": ["A  cat"]})
    known.save(tmp_path / "known.bloom")
    ds = hr.from_arrays({"text": ["A cat", "a  cat", "a dog"]})

    assert hr.BloomFilter.load(tmp_path / "known.bloom").contains(ds.to_arrow()).tolist() == [
        True,
        True,
        False,
    ]
    assert hr.find_duplicates(ds, method=hr.Bloom(normalize="casefold"), progress=False).pairs.height == 0
    alike = hr.Bloom(normalize=["casefold", "whitespace"])
    assert hr.find_duplicates(ds, method=alike, progress=False).pairs.rows() == [(1, 0, 1.0)]


def test_what_cannot_be_compared_is_refused() -> None:
    """Not answered by "surely not": another kind of value, a column that is not there, no frame."""
    known = hr.BloomFilter(10)
    assert known.contains({"x": [1]}).tolist() == [False]
    assert known.columns is None
    known.add({"x": [1, 2]})

    with pytest.raises(hr.SchemaError, match="`x` must hold values of kind whole number"):
        known.contains({"x": [1.0]})
    with pytest.raises(hr.UnknownColumnError, match="no column `x`"):
        known.contains({"y": [1]})
    with pytest.raises(hr.SchemaError):
        known.contains(7)
    assert known.count == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"capacity": 0},
        {"capacity": 2.5},
        {"error_rate": 0},
        {"error_rate": 0.6},
        {"error_rate": float("nan")},
        {"grow": "yes"},
        {"capacity": 10**18},
        {"normalize": "upper"},
        {"nulls_equal": 1},
    ],
    ids=str,
)
def test_settings_that_cannot_be_right_are_refused(arguments: dict[str, Any]) -> None:
    """By the filter and by the method, before anything is read."""
    with pytest.raises(hr.OptionError):
        hr.BloomFilter(**{"capacity": 10} | arguments)
    with pytest.raises(hr.OptionError):
        hr.Bloom(**arguments)
    with pytest.raises(hr.OptionError, match="columns"):
        hr.BloomFilter(10, columns=["a", "a"])


READER = """
import sys, headrace as hr
known = hr.BloomFilter.load(sys.argv[1])
print(known.contains({"text": [f"text {number}" for number in range(1500)]}).sum(), known.count)
known.add({"text": ["one more"]})
known.save(sys.argv[1])
"""


def test_a_saved_filter_serves_another_process(tmp_path: Path) -> None:
    """Made of a data set, read where Python hashes differently, added to there, and read again."""
    path = tmp_path / "known.bloom"
    ds = hr.from_arrays({"text": [f"text {number}" for number in range(1000)] * 2, "other": range(2000)})
    made = hr.BloomFilter.of(ds, on="text", error_rate=0.0001, capacity=300, progress=False)
    made.save(path)
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)],
        env={"PYTHONHASHSEED": "77", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout.split() == ["1000", "1000"]
    again = hr.BloomFilter.load(path)
    assert (again.count, again.capacity, again.error_rate) == (1001, 300, 0.0001)
    assert again.contains({"text": ["one more", "text 7", "text 1000"]}).tolist() == [True, True, False]
    assert not made.contains({"text": ["one more"]})[0]


def test_bits_of_saved_filters_never_change() -> None:
    """The same keys set the same bits in every version, or saved filters would be worthless."""
    known = KeyFilter(100, 0.01, grow=False)
    known.add(np.arange(20, dtype=np.uint64).reshape(10, 2) * np.uint64(0x9E3779B97F4A7C15))

    assert known.stages[0].size == StageSize(100, 0.01, hashes=7, bits=1024)
    assert int(np.bitwise_xor.reduce(known.stages[0].words)) == 10737782227779854456
    assert places_reference((2**64 - 1, 5), 1024, 4) == [1023, 92, 817, 760]


def test_damage_is_told(tmp_path: Path) -> None:
    """A filter with a bit turned over is refused, as is another file; nothing is guessed."""
    path = tmp_path / "known.bloom"
    known = hr.BloomFilter(1000)
    known.add({"x": range(1000)})
    known.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)

    with pytest.raises(hr.CorruptSourceError, match="not what was written"):
        hr.BloomFilter.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(hr.CorruptSourceError, match="cannot be read"):
        hr.BloomFilter.load(path)
    with pytest.raises(FileNotFoundError):
        hr.BloomFilter.load(tmp_path / "nothing")
