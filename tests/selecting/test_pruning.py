"""Row groups whose statistics tell the outcome are not read; whatever is uncertain is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr
from headrace.sources.bloom import BloomFilter, xxh64
from headrace.sources.parquet import ParquetSource


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the row groups that are decoded, as they are."""
    seen: list[int] = []
    decode = ParquetSource.read

    def read(self: ParquetSource, row_group: hr.RowGroup, columns: Any) -> pa.RecordBatch:
        seen.append(row_group.number)
        return decode(self, row_group, columns)

    monkeypatch.setattr(ParquetSource, "read", read)
    return seen


@pytest.fixture
def open_groups(tmp_path: Path) -> Callable[..., hr.Dataset]:
    """Writes a column `x` with a row group for each list of values."""

    def write(groups: list[list[Any]], kind: pa.DataType, **options: Any) -> hr.Dataset:
        schema = pa.schema([pa.field("x", kind)])
        with pq.ParquetWriter(tmp_path / "x.parquet", schema, **options) as writer:
            for values in groups:
                writer.write_table(pa.table({"x": pa.array(values, kind)}))
        return hr.open(tmp_path / "x.parquet")

    return write


def day(number: int) -> dt.date:
    return dt.date(2020, 1, 1) + dt.timedelta(days=number)


def moment(number: int) -> dt.datetime:
    return dt.datetime(2020, 1, 1) + dt.timedelta(days=number)


KINDS: dict[str, tuple[pa.DataType, Callable[[int], Any]]] = {
    "int8": (pa.int8(), int),
    "int64": (pa.int64(), lambda n: n + 2**62),
    "uint8": (pa.uint8(), lambda n: n + 200),
    "uint32": (pa.uint32(), lambda n: n + 2**31),
    "uint64": (pa.uint64(), lambda n: n + 2**63),
    "float32": (pa.float32(), lambda n: n + 0.5),
    "float64": (pa.float64(), float),
    "bool": (pa.bool_(), lambda n: n >= 10),
    "string": (pa.string(), lambda n: f"{n:03d}"),
    "large_string": (pa.large_string(), lambda n: f"{n:03d}"),
    "binary": (pa.binary(), lambda n: bytes([n + 120])),
    "date": (pa.date32(), day),
    "timestamp_us": (pa.timestamp("us"), moment),
    "timestamp_ms": (pa.timestamp("ms"), moment),
    "timestamp_ns": (pa.timestamp("ns"), moment),
    "duration": (pa.duration("us"), lambda n: dt.timedelta(hours=n)),
    "time": (pa.time64("us"), dt.time),
    "decimal": (pa.decimal128(20, 2), Decimal),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_each_type_is_pruned(name: str, reads: list[int], open_groups: Any) -> None:
    """Of three row groups with rising values only the one in doubt is read."""
    kind, make = KINDS[name]
    groups = [[make(n) for n in (0, 4)], [make(n) for n in (8, 12)], [make(n) for n in (16, 20)]]
    ds = open_groups(groups, kind)
    frame = ds.to_polars().with_row_index("n")
    below, equal = pl.col("x") < make(10), pl.col("x") == make(18)
    reads.clear()

    assert ds.filter(below).sample_ids.tolist() == frame.filter(below)["n"].to_list()
    # The first matches wholly, unless its numbers may be NaN, and the last nowhere.
    assert set(reads) <= ({0, 1} if name.startswith("float") else {1})
    reads.clear()
    assert ds.filter(equal).sample_ids.tolist() == frame.filter(equal)["n"].to_list()
    assert set(reads) <= ({1} if name == "bool" else {2})


SMALL: dict[str, tuple[pa.DataType, list[Any]]] = {
    "numbers": (pa.int16(), [None, 0, 1, 2]),
    "floats": (pa.float64(), [None, float("nan"), 0.0, 1.0, 2.0]),
    "texts": (pa.string(), [None, "", "a", "b"]),
}


@pytest.mark.parametrize("name", SMALL)
def test_every_pair_of_values_and_every_question(name: str, reads: list[int], open_groups: Any) -> None:
    """All row groups of two of some values, asked all there is to ask: the answers are those of Polars."""
    kind, values = SMALL[name]
    ds = open_groups([[one, two] for one in values for two in values], kind)
    frame = ds.to_polars().with_row_index("n")
    x = pl.col("x")
    literals = [pl.lit(value, dtype=frame["x"].dtype) for value in values[1:]]
    operations = ("eq", "ne", "lt", "le", "gt", "ge", "eq_missing", "ne_missing")
    asked = [getattr(x, name)(literal) for name in operations for literal in literals]
    asked += [x.is_null(), x.is_in(pl.Series([*values[1:3], None], dtype=frame["x"].dtype), nulls_equal=True)]
    asked += [x.is_in(pl.Series(values[part:], dtype=frame["x"].dtype)) for part in range(len(values))]
    asked += [x.is_between(literals[0], literals[1], closed=closed) for closed in ("both", "left", "right")]
    asked += [pl.when(x == literals[0]).then(None).otherwise(x == literals[1])]
    reads.clear()
    for predicate in [*asked, *(~predicate for predicate in asked)]:
        found = ds.filter(predicate, executor=hr.Serial()).sample_ids.tolist()
        assert found == frame.filter(predicate)["n"].to_list(), str(predicate)
    assert len(reads) < 0.7 * 2 * len(asked) * len(ds.manifest), "a third is told by statistics"


def test_a_row_group_that_matches_wholly_is_not_read(reads: list[int], open_groups: Any) -> None:
    """Bounds within a range, a constant, and counts of nulls can all tell that every row matches."""
    ds = open_groups([[1, 2], [3, 3], [None, 3], [None, None]], pa.int32())

    assert ds.filter(pl.col("x").is_between(1, 2)).sample_ids.tolist() == [0, 1]
    assert ds.filter(pl.col("x").is_not_null()).sample_ids.tolist() == [0, 1, 2, 3, 5]
    assert ds.filter(pl.col("x").is_null()).sample_ids.tolist() == [4, 6, 7]
    assert reads == [2, 2]
    reads.clear()
    assert ds.filter(pl.col("x") == 3).sample_ids.tolist() == [2, 3, 5]
    assert reads == [2]
    reads.clear()
    assert ds.drop_nulls().sample_ids.tolist() == [0, 1, 2, 3, 5]
    assert ds.filter(pl.col("x").is_in([7, 3, 9]), pl.col("x") * 2 == 6).sample_ids.tolist() == [2, 3, 5]
    assert reads == [2, 2]


def test_joined_predicates_are_judged_together(reads: list[int], open_groups: Any) -> None:
    """And, or, not and lists of values narrow the row groups as they narrow the samples."""
    ds = open_groups([[0, 9], [10, 19], [20, 29], [30, 39]], pa.int64())
    x = pl.col("x")
    for predicate, wanted in [
        ((x > 12) & (x < 15), [1]),
        ((x < 5) | (x > 35), [0, 3]),
        (~((x < 10) | (x > 29)) & (x != 15), [1]),
        (x.is_in([5, 25]), [0, 2]),
        (~x.is_in([5, 25]), [0, 2]),
        (x.is_in(list(range(1000, 2000))), []),
        (pl.lit(20) <= x, []),
        (x.is_between(9, 10, closed="left"), [0]),
        (pl.any_horizontal(x == 9, x == 25), [0, 2]),
    ]:  # fmt: skip
        reads.clear()
        assert len(ds.filter(predicate)) == len(ds.to_polars().filter(predicate))
        read = sorted(set(reads[: len(reads) - 4]))
        assert read == wanted, str(predicate)


def test_nan_counts_as_the_largest(reads: list[int], open_groups: Any) -> None:
    """Statistics pass over NaN, so the bounds of floats rule out nothing that NaN would match."""
    nan = float("nan")
    ds = open_groups([[1.0, nan], [1.0, 2.0], [nan, nan], [-0.0, 0.0]], pa.float64())
    x = pl.col("x")

    assert ds.filter(x > 5).sample_ids.tolist() == [1, 4, 5]
    assert ds.filter(x == nan).sample_ids.tolist() == [1, 4, 5]
    assert ds.filter(x.is_nan()).sample_ids.tolist() == [1, 4, 5]
    assert ds.filter(~(x < 5)).sample_ids.tolist() == [1, 4, 5]
    assert ds.filter(x == 0).sample_ids.tolist() == [6, 7]
    assert ds.filter(1 / x > 0).sample_ids.tolist() == [0, 1, 2, 3, 4, 5, 7], "-0.0 is another value"
    reads.clear()
    assert ds.filter(x.is_between(5, 9)).sample_ids.tolist() == []
    assert reads == [2], "NaN lies in no range; only the row group without bounds is in doubt"


def test_long_text_has_inexact_bounds(reads: list[int], open_groups: Any) -> None:
    """Text that writers leave out of statistics, or cut, is found all the same."""
    long = ["a" * 5000 + "b", "a" * 5000 + "c"]
    ds = open_groups([long, ["b", "c"]], pa.string())

    assert ds.filter(pl.col("x") == long[1]).sample_ids.tolist() == [1]
    assert ds.filter(pl.col("x") > "a" * 5001).sample_ids.tolist() == [0, 1, 2, 3]
    assert 1 not in reads[:1]


def test_only_row_groups_with_samples_are_read(reads: list[int], open_groups: Any) -> None:
    """A filter of a filtered data set passes over what is not selected."""
    ds = open_groups([[1, 5], [2, 6], [3, 7]], pa.int64())
    few = ds.rows([4, 4, 1])
    reads.clear()

    assert few.filter(pl.col("x") % 2 == 1).sample_ids.tolist() == [4, 4, 1]
    assert sorted(reads) == [0, 2]


def test_only_needed_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that no predicate needs are not decoded, nor computed."""
    pq.write_table(pa.table({name: list(range(10)) for name in "abcd"}), tmp_path / "x.parquet")
    ds = hr.open(tmp_path).with_columns(e=pl.col("a") + pl.col("b"), f=pl.col("c").cast(pl.String))
    seen: list[list[str]] = []
    decode = ParquetSource.read
    monkeypatch.setattr(
        ParquetSource,
        "read",
        lambda self, group, columns: (seen.append(list(columns)), decode(self, group, columns))[1],
    )

    assert ds.filter(pl.col("e") > 15, pl.col("d") < 9).sample_ids.tolist() == [8]
    assert seen == [["a", "b", "d"]]


def test_columns_computed_from_a_stored_one_are_not_judged_by_it(reads: list[int], open_groups: Any) -> None:
    """A column of the same name with other values has no statistics; a renamed one keeps them."""
    ds = open_groups([[1, 2], [3, 4]], pa.int64())

    assert ds.with_columns(x=-pl.col("x")).filter(pl.col("x") < -3).sample_ids.tolist() == [3]
    assert reads == [0, 1]
    reads.clear()
    assert ds.rename({"x": "y"}).filter(pl.col("y") > 3).sample_ids.tolist() == [3]
    assert ds.map(lambda frame: frame * -1).filter(pl.col("x") < -3).sample_ids.tolist() == [3]
    assert reads == [1, 0, 1]


def test_folders_prune(tmp_path: Path, reads: list[int]) -> None:
    """A column that the folders' names give is one value for each shard, null included."""
    for year, values in {"2019": [1, 2], "2020": [3, 4], "__HIVE_DEFAULT_PARTITION__": [5, 6]}.items():
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"x": values}), tmp_path / f"year={year}" / "part.parquet")
    ds = hr.open(tmp_path)

    assert ds.filter(pl.col("year") == 2020).sample_ids.tolist() == [2, 3]
    assert ds.filter(pl.col("year").is_null()).sample_ids.tolist() == [4, 5]
    assert reads == []
    assert ds.filter(pl.col("year") == 2020, pl.col("x") > 3).sample_ids.tolist() == [3]
    assert reads == [1]


def test_shards_of_other_types_or_columns(tmp_path: Path, reads: list[int]) -> None:
    """A column that a shard lacks is null there; one that is cast is read."""
    pq.write_table(pa.table({"x": pa.array([1, 2], pa.int32())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": pa.array([3, 4], pa.int64()), "y": [1, 2]}), tmp_path / "b.parquet")
    ds = hr.open(tmp_path, options=hr.ParquetOptions(on_schema_change="cast"))

    assert ds.filter(pl.col("y") > 0).sample_ids.tolist() == [2, 3]
    assert ds.filter(pl.col("y").is_null()).sample_ids.tolist() == [0, 1]
    assert reads == []
    assert ds.filter(pl.col("x") > 3).sample_ids.tolist() == [3]
    assert reads == [0, 1]


BLOOM = {
    "int64": (pa.int64(), lambda n: n * 7919),
    "int32": (pa.int32(), lambda n: n * 7919),
    "uint8": (pa.uint8(), lambda n: n * 3),
    "uint64": (pa.uint64(), lambda n: n + 2**63),
    "string": (pa.string(), lambda n: f"user-{n * 7919}" * (1 + n % 5)),
    "binary": (pa.binary(), lambda n: bytes([n] * n)),
    "date": (pa.date32(), day),
    "timestamp": (pa.timestamp("us"), moment),
}


@pytest.mark.parametrize("name", BLOOM)
def test_bloom_filters_rule_out_row_groups(name: str, reads: list[int], open_groups: Any) -> None:
    """Keys spread over all row groups, where bounds tell nothing, are found without reading them all."""
    kind, make = BLOOM[name]
    keys = [make(n) for n in range(80)]
    groups = [keys[number::4] for number in range(4)]
    options = {"bloom_filter_options": {"x": {"ndv": 100, "fpp": 0.001}}}
    ds = open_groups(groups, kind, **options)
    for place in (22, 41, 63):
        number, row = place % 4, place // 4
        found = ds.filter(pl.col("x") == keys[place])
        assert found.sample_ids.tolist() == [number * 20 + row]
    assert len(reads) < 6, "three are needed, a false positive may add one"
    reads.clear()
    assert sorted(ds.filter(pl.col("x").is_in([keys[22], keys[42]])).sample_ids.tolist()) == [45, 50]
    assert set(reads) <= {2}
    assert len(ds.filter((pl.col("x") == keys[22]) | (pl.col("x") == keys[41]))) == 2


def test_bloom_filters_of_numbers_compared_as_floats_are_left_alone(open_groups: Any) -> None:
    """Two whole numbers may equal one float, so a float says nothing of what lies in the filter."""
    options = {"bloom_filter_options": {"x": {"ndv": 100, "fpp": 0.001}}}
    ds = open_groups([[2**53 + 1, 0, 2**60]], pa.int64(), **options)
    predicate = pl.col("x") == 2.0**53

    assert len(ds.filter(predicate)) == len(ds.to_polars().filter(predicate))


def test_a_damaged_bloom_filter_is_left_alone(tmp_path: Path) -> None:
    """A header that is not what the format promises rules nothing out."""
    good = tmp_path / "good"
    header = bytes.fromhex("15401c1c00001c1c00001c1c000000")
    good.write_bytes(header + bytes(32))
    assert BloomFilter.read(str(good), 0) is not None
    for damaged in (
        b"",
        header[:9],
        header,
        b"\x00" * 60,
        b"\x15\x42" + header[2:] + bytes(33),
        b"\xff" * 300,
    ):
        good.write_bytes(damaged)
        assert BloomFilter.read(str(good), 0) is None
    assert BloomFilter.read(str(tmp_path / "missing"), 0) is None


def test_the_hash_of_bloom_filters() -> None:
    """Values of XXH64 that its author published, for each way in which a text may end."""
    assert xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64(b"a") == 0xD24EC4F1A98C6E5B
    assert xxh64(b"abc") == 0x44BC2CF5AD770999
    assert xxh64(b"Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1


def test_statistics_that_cannot_be_right_are_left_alone() -> None:
    """A lower bound above the upper one, or too few null counts, means that a row group is read."""
    from headrace.selecting.predicates import parse
    from headrace.selecting.pruning import judge
    from headrace.sources.statistics import Statistics

    known = Statistics(pa.array([5, None, 1]), pa.array([1, 3, 3]), pl.Series([-1, 0, 0]).to_numpy())
    verdict = judge([parse(pl.col("x") > 7)], {"x": known}, pl.Series([2, 2, 2]).to_numpy())

    assert verdict.may.tolist() == [True, True, False]
    assert verdict.must.tolist() == [False, False, False]
