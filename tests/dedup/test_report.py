"""Reports of duplicates: what they count and show, how they are kept, and what higher thresholds leave."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dedup_data import NearNumbers, some, write_shards
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr

# Samples 0, 3, 4 and 7 hold 5.0; 1 and 5 hold 20.0, and 6 holds 21.0, which is near to 20.0.
X = [5.0, 20.0, 40.0, 5.0, 5.0, 20.0, 21.0, 5.0]
SOURCES = ["a", "a", "b", "b", None, None, "a", None]


@pytest.fixture
def dataset(tmp_path: Path) -> hr.Dataset:
    """Two shards of four samples."""
    return write_shards(tmp_path / "data", {"x": X, "source": SOURCES}, shards=2, row_group=3)


@pytest.fixture
def report(dataset: hr.Dataset) -> hr.DuplicateReport:
    return hr.find_duplicates(dataset, "x", NearNumbers(0.8))


def test_pairs_and_counts(report: hr.DuplicateReport) -> None:
    """A row for each dropped sample; shares and cluster sizes follow from them."""
    assert report.pairs.columns == ["dropped_id", "kept_id", "score"]
    assert report.pairs.rows() == [(3, 0, 1.0), (4, 0, 1.0), (5, 1, 1.0), (6, 1, 0.9), (7, 0, 1.0)]
    assert report.edges.columns == ["id", "preferred_id", "method", "score", "is_same"]
    assert report.selection.ids.tolist() == [0, 1, 2]
    assert report.share == 5 / 8
    assert report.methods.rows() == [("near", 5)]
    assert report.clusters.rows() == [(0, 4), (1, 3)]
    assert report.clusters.columns == ["kept_id", "size"]


def test_shares_by_shard(dataset: hr.Dataset, report: hr.DuplicateReport) -> None:
    """Each shard that samples take part of, in the order of the data."""
    frame = report.removed()

    assert frame.columns == ["shard", "samples", "dropped", "share"]
    assert [(Path(name).name, *rest) for name, *rest in frame.rows()] == [
        ("000.parquet", 4, 1, 0.25),
        ("001.parquet", 4, 4, 1.0),
    ]
    part = hr.find_duplicates(dataset.rows([7, 4, 4]), "x").removed()
    assert part.select("samples", "dropped").rows() == [(2, 1)]


def test_shares_by_value(report: hr.DuplicateReport) -> None:
    """Null is a value, and the highest share comes first."""
    frame = report.removed("source")

    assert frame.columns == ["value", "samples", "dropped", "share"]
    assert frame.rows() == [(None, 3, 3, 1.0), ("b", 2, 1, 0.5), ("a", 3, 1, 1 / 3)]
    for executor in (hr.Serial(), hr.Threads(3)):
        assert report.removed("source", executor=executor).equals(frame)
    with pytest.raises(hr.UnknownColumnError, match="no column `sources`; did you mean `source`"):
        report.removed("sources")


VALUES: dict[str, pa.Array] = {
    "floats": pa.array([math.nan, 1.0, math.nan, None, -0.0, 0.0]),
    "lists": pa.array([[1], [1, 2], [1], None, [], []]),
    "kinds": pa.array(["a", "b", "a", None, "c", "c"]).dictionary_encode(),
    "structs": pa.array([{"a": 1}, {"a": 2}, {"a": 1}, None, {"a": None}, {"a": None}]),
    "nulls": pa.nulls(6),
    "bytes": pa.array([b"\xff", b"a", b"\xff", None, b"", b""]),
}


@pytest.mark.parametrize("name", VALUES)
def test_shares_by_values_of_any_type(name: str, tmp_path: Path) -> None:
    """Values are counted over row groups as they are over one; each group's counts are right."""
    columns = {"x": [0, 1, 0, 3, 4, 4], "by": VALUES[name]}
    one = hr.find_duplicates(write_shards(tmp_path / "one", columns), "x").removed("by")
    many = hr.find_duplicates(write_shards(tmp_path / "many", columns, 3, 1), "x").removed("by")

    counts = [(samples, dropped) for _, samples, dropped, _ in one.rows()]
    assert counts == ([(6, 2)] if name == "nulls" else [(2, 1), (2, 1), (1, 0), (1, 0)])
    assert many.equals(one)


def test_the_largest_clusters(report: hr.DuplicateReport) -> None:
    """The kept sample first, then the others from the most similar one down, with their values."""
    frame = report.largest(members=3)

    assert frame.columns == ["kept_id", "size", "sample_id", "score", "x"]
    assert frame.rows() == [
        (0, 4, 0, None, 5.0),
        (0, 4, 3, 1.0, 5.0),
        (0, 4, 4, 1.0, 5.0),
        (1, 3, 1, None, 20.0),
        (1, 3, 5, 1.0, 20.0),
        (1, 3, 6, 0.9, 21.0),
    ]
    assert report.largest(1, ["source"], members=1).rows() == [(0, 4, 0, None, "a")]
    assert report.largest(1, [], members=1).rows() == [(0, 4, 0, None)]
    assert report.largest(0).height == 0
    with pytest.raises(hr.OptionError, match="`members` must be a whole number of at least 1"):
        report.largest(members=0)
    with pytest.raises(hr.UnknownColumnError, match="no column `y`"):
        report.largest(columns=["y"])


def test_columns_called_like_those_of_the_report() -> None:
    """They get another name, and nothing is lost."""
    ds = hr.from_arrays({"score": [1, 1], "size": ["s", "t"]})
    frame = hr.find_duplicates(ds, "score").largest(columns=["score", "size"])

    assert frame.columns == ["kept_id", "size", "sample_id", "score", "score_value", "size_value"]
    assert frame.rows() == [(0, 2, 0, None, 1, "s"), (0, 2, 1, 1.0, 1, "t")]


def test_keep_none(dataset: hr.Dataset) -> None:
    """Whatever has a duplicate goes; clusters are what is connected."""
    report = hr.find_duplicates(dataset, "x", NearNumbers(0.8), keep="none")

    assert report.selection.ids.tolist() == [2]
    assert report.pairs["kept_id"].null_count() == 7
    assert report.clusters.rows() == [(0, 4), (1, 3)]
    assert report.largest(1, members=2).rows() == [(0, 4, 0, None, 5.0), (0, 4, 3, 1.0, 5.0)]


def test_nothing_found() -> None:
    """Without duplicates, and without samples, all is empty and of the right columns."""
    for values in ([1, 2, 3], []):
        report = hr.find_duplicates(hr.from_arrays({"x": np.array(values, np.int64)}))
        assert (report.pairs.height, report.share, report.clusters.height) == (0, 0.0, 0)
        assert report.pairs.schema == {"dropped_id": pl.Int64, "kept_id": pl.Int64, "score": pl.Float64}
        assert report.largest().height == report.largest(columns=[]).height == 0
        assert report.selection.ids.tolist() == list(range(len(values)))
        assert report.removed("x")["dropped"].sum() == 0
        assert "clusters  none" in str(report)


def test_the_printed_summary(report: hr.DuplicateReport) -> None:
    """What was compared, how, what came of it, and where most of it lies."""
    lines = str(report).splitlines()

    assert lines[:-1] == [
        "samples   8",
        "dropped   5 (62.5 %)",
        "found by  NearNumbers(threshold=0.8)",
        "          compares all with all",
        "columns   `x`",
        "keep      first",
        "scores    0.8 and above",
        "clusters  2; the largest holds 4 samples (sample 0 and its like), the next 3",
    ]
    assert lines[-1].startswith("by shard  at most 100.0 % (4 of 4 in ")
    assert lines[-1].endswith("001.parquet)")


def test_the_printed_summary_of_many_columns() -> None:
    """Six columns are named, and a priority is told."""
    ds = hr.from_arrays({f"c{number}": [1, 1] for number in range(8)})
    text = str(hr.find_duplicates(ds, priority="c3"))

    assert "`c5` and 2 more" in text
    assert "keep      highest `c3`, then first" in text
    assert "by shard" not in text


@some
@given(values=st.lists(st.integers(0, 30), max_size=25), threshold=st.sampled_from([0.7, 0.8, 0.95, 1.0]))
def test_a_higher_threshold_is_that_of_a_new_search(values: list[int], threshold: float) -> None:
    """Re-thresholding finds what a search with that threshold finds, and reads nothing."""
    ds = hr.from_arrays({"x": np.array(values, np.float64)})
    found = hr.find_duplicates(ds, method=NearNumbers(0.7)).at(threshold)
    searched = hr.find_duplicates(ds, method=NearNumbers(threshold))

    assert found.pairs.equals(searched.pairs)
    assert found.edges.equals(searched.edges)
    assert found.search.threshold == threshold


@pytest.mark.parametrize("threshold", [0.79, 1.01, -1, math.nan, "0.9", None])
def test_what_was_not_found_cannot_come_back(report: hr.DuplicateReport, threshold: Any) -> None:
    """A threshold below that of the search, or that is none, is refused; so it is after another one."""
    with pytest.raises(hr.OptionError, match=r"`threshold` must lie in 0\.8\.\.1.* got .*search again"):
        report.at(threshold)
    with pytest.raises(hr.OptionError, match=r"must lie in 0\.9\.\.1"):
        report.at(0.9).at(0.85)


def test_saved_and_loaded(dataset: hr.Dataset, report: hr.DuplicateReport, tmp_path: Path) -> None:
    """All of it comes back, for the same samples in any order and with any steps."""
    path = tmp_path / "new" / "report.parquet"
    report.save(path)
    loaded = hr.DuplicateReport.load(path, dataset)

    assert loaded.search == report.search
    assert loaded.edges.equals(report.edges)
    assert loaded.pairs.equals(report.pairs)
    assert str(loaded) == str(report)
    assert loaded.at(0.95).pairs.equals(report.at(0.95).pairs)
    report.save(path)  # over itself
    backwards = dataset.rows(range(7, -1, -1)).drop(["x"])
    assert hr.DuplicateReport.load(path, backwards).selection.ids.tolist() == [2, 1, 0]
    assert [file.name for file in path.parent.iterdir()] == ["report.parquet"]


def test_what_the_file_holds(report: hr.DuplicateReport, tmp_path: Path) -> None:
    """Any reader of Parquet sees the links, and what is decided of them."""
    report.save(tmp_path / "report.parquet")
    frame = pl.read_parquet(tmp_path / "report.parquet")

    assert frame.columns == [*report.edges.columns, "kept_id", "is_dropped"]
    assert frame.select(report.edges.columns).equals(report.edges)
    assert frame["is_dropped"].all()
    assert (
        frame.select("id", "kept_id").unique().sort("id").rows()
        == report.pairs.select("dropped_id", "kept_id").rows()
    )


def test_reports_of_something_else(dataset: hr.Dataset, report: hr.DuplicateReport, tmp_path: Path) -> None:
    """Other samples, other data: the error says which."""
    report.save(tmp_path / "report.parquet")
    with pytest.raises(hr.StateError, match=r"about other samples: it compared 8 samples, .* holds 7"):
        hr.DuplicateReport.load(tmp_path / "report.parquet", dataset.slice(1))
    other = write_shards(tmp_path / "other", {"x": [*X[:-1], 6.0], "source": SOURCES}, 2, 3)
    with pytest.raises(hr.StateError, match="about other data"):
        hr.DuplicateReport.load(tmp_path / "report.parquet", other)
    with pytest.raises(FileNotFoundError):
        hr.DuplicateReport.load(tmp_path / "nowhere.parquet", dataset)


def test_files_that_are_no_reports(dataset: hr.Dataset, tmp_path: Path) -> None:
    """Another Parquet file, text, nothing at all, a folder."""
    path = tmp_path / "file"
    for content in (b"", b"PAR1", b"text", b"PAR1" * 100):
        path.write_bytes(content)
        with pytest.raises(hr.CorruptSourceError, match="a report of duplicates is needed"):
            hr.DuplicateReport.load(path, dataset)
    pq.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(hr.CorruptSourceError, match="a report of duplicates is needed"):
        hr.DuplicateReport.load(path, dataset)
    with pytest.raises(IsADirectoryError):
        hr.DuplicateReport.load(tmp_path, dataset)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"version": 1', b'"version": 2', "its version is 2, and this headrace reads 1"),
        (b'"kind": "duplicates"', b'"kind": "duplicatez"', "it holds 'duplicatez'"),
        (b'"keep": "first"', b'"keep": "worst"', "not what was written"),
        (b'"samples": 8', b'"samples": 9', "not what was written"),
        (b'"samples": 8', b'"samplez": 8', "samplez"),
    ],
)
def test_files_of_other_kinds(
    dataset: hr.Dataset, report: hr.DuplicateReport, tmp_path: Path, old: bytes, new: bytes, reason: str
) -> None:
    """What is said beside the columns is held against them."""
    path = tmp_path / "report.parquet"
    report.save(path)
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))

    with pytest.raises(hr.CorruptSourceError, match=reason):
        hr.DuplicateReport.load(path, dataset)


def test_columns_of_other_types(dataset: hr.Dataset, report: hr.DuplicateReport, tmp_path: Path) -> None:
    """A file that another program wrote again, with what is said beside the columns, is told as such."""
    path = tmp_path / "report.parquet"
    report.save(path)
    with pq.ParquetFile(path) as file:
        table, meta = file.read(), file.metadata.metadata
    for number, kind in ((0, pa.int32()), (2, pa.binary()), (3, pa.float32())):
        name = table.schema.names[number]
        other = table.set_column(number, name, table[name].cast(kind)).replace_schema_metadata(meta)
        pq.write_table(other, path)
        with pytest.raises(hr.CorruptSourceError, match="its columns are"):
            hr.DuplicateReport.load(path, dataset)


def test_damage_is_found_or_has_no_effect(
    dataset: hr.Dataset, report: hr.DuplicateReport, tmp_path: Path
) -> None:
    """With a byte changed, or the end cut off, the file is refused, or all that counts is as written."""
    path = tmp_path / "report.parquet"
    report.save(path)
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            loaded = hr.DuplicateReport.load(path, dataset)
        except hr.CorruptSourceError:
            refused += 1
        else:
            assert loaded.search == report.search
            assert loaded.edges.equals(report.edges)
    assert refused > len(content) / 7 / 2
    for length in (0, 8, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(hr.CorruptSourceError):
            hr.DuplicateReport.load(path, dataset)


def test_a_report_that_cannot_be_written(report: hr.DuplicateReport, tmp_path: Path) -> None:
    """The error comes through, and nothing stays behind."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        report.save(tmp_path / "file" / "report.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "file"]
