"""What cannot be right is refused in words, and warnings name the line that called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import headrace as hr

DS = hr.from_arrays({"text": ["a", "b", "a"], "n": [1, 2, 3]})


@pytest.mark.parametrize("on", [5, pl.col("text"), [["text"]], [None], b"text"])
def test_columns_are_named_by_texts(on: Any) -> None:
    """Whatever else is refused as such."""
    for search in (lambda: hr.find_duplicates(DS, on), lambda: hr.overlap(DS, DS, on=on)):
        with pytest.raises(hr.OptionError, match="a column is named by a text, got"):
            search()


@pytest.mark.parametrize("method", ["exact", hr.MinHash, 5, object()])
def test_a_method_comes_with_its_settings(method: Any) -> None:
    """Its name, or its class, is none."""
    for search in (
        lambda: hr.find_duplicates(DS, "text", method),
        lambda: DS.dedup("text", method),
        lambda: hr.overlap(DS, DS, method, "text"),
    ):
        with pytest.raises(hr.OptionError, match=r"`method` must be a method .*, like `hr.MinHash\(\)`, got"):
            search()


@pytest.mark.parametrize("unit", ["word", "char"])
def test_no_text_is_as_long(unit: Any) -> None:
    """A shingle of more tokens than there are bytes leaves equality, however large the number."""
    ds = hr.from_arrays({"text": ["a b c", "A b c", "a b c"]})
    for method in (hr.MinHash(ngram=10**30, unit=unit), hr.MinHash(ngram=2**63, unit=unit)):
        assert hr.find_duplicates(ds, "text", method).pairs.rows() == [(2, 0, 1.0)]
    assert hr.find_duplicates(ds, "text", hr.SimHash(ngram=10**30, unit=unit)).pairs.rows() == [(2, 0, 1.0)]


def test_signatures_have_a_largest_length() -> None:
    """A number that no machine holds is refused at once."""
    assert hr.MinHash(permutations=1 << 16).banding.bands > 1
    for bands in (None, 3):
        with pytest.raises(hr.OptionError, match=r"`permutations` must be at most 65,536, got 1,000,000,000"):
            hr.MinHash(bands=bands, permutations=10**9)


def test_largest_takes_one_column_by_its_name() -> None:
    """As `on` does."""
    report = hr.find_duplicates(DS, "text")
    assert report.largest(1, "text", members=1).rows() == [(0, 2, 0, None, "a")]
    assert report.largest(1, []).columns == ["kept_id", "size", "sample_id", "score"]


class Counting(hr.Serial):
    """Counts what runs."""

    def __init__(self) -> None:
        self.count = 0

    def map(
        self, function: Callable[[Any], Any], items: Iterable[Any], ahead: int | None = None
    ) -> Iterator[Any]:
        """Count each item."""
        for item in items:
            self.count += 1
            yield function(item)


def test_a_tiny_limit_does_not_take_for_ever() -> None:
    """Codes are read as a whole for each part of them: so there are no more parts than some."""
    ds = hr.from_arrays({"text": [f"{number} to {number * number} and on" for number in range(300)] * 2})
    counting = Counting()
    tiny = hr.find_duplicates(ds, "text", hr.SimHash(), memory_limit=1, executor=counting)

    assert tiny.edges.equals(hr.find_duplicates(ds, "text", hr.SimHash()).edges)
    assert counting.count < 10_000


def test_a_table_that_is_no_report(tmp_path: Path) -> None:
    """The message tells so."""
    path = tmp_path / "table.parquet"
    pl.DataFrame({"x": [1]}).write_parquet(path)
    with pytest.raises(hr.CorruptSourceError, match=r"table.parquet: a report .* it holds 'another table'"):
        DS.dedup(report=path)


def test_a_filter_with_any_byte_damaged(tmp_path: Path) -> None:
    """Each is either told or of no effect, wherever in the file it lies."""
    path = tmp_path / "known.bloom"
    known = hr.BloomFilter(50)
    known.add({"x": range(50)})
    known.save(path)
    sound, told = path.read_bytes(), 0
    for place in range(0, len(sound), 3):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ (1 << place % 8)]) + sound[place + 1 :])
        try:
            assert hr.BloomFilter.load(path).contains({"x": range(50)}).all()
        except hr.CorruptSourceError as error:
            told += 1
            assert str(path) in str(error)
    assert told > 50


LONG = " ".join(f"w{number}" for number in range(120))


@pytest.mark.parametrize(
    ("method", "start", "text"),
    [
        (hr.MinHash(0.9, 1, bands=4), LONG, "groups of candidates have more than"),
        (hr.SimHash(10), "a b c d e f g h", "groups of codes that are equal in some bits"),
    ],
)
def test_warnings_name_the_line_that_searched(method: Any, start: str, text: str) -> None:
    """Not one inside of the package."""
    ds = hr.from_arrays({"text": [f"{start} {number}" for number in range(3000)]})
    for search in (lambda: hr.find_duplicates(ds, "text", method), lambda: hr.overlap(ds, ds, method)):
        with pytest.warns(UserWarning, match=text) as told:
            search()
        assert [each.filename for each in told] == [__file__]


def test_warnings_of_the_cache_name_the_line_that_searched(tmp_path: Path) -> None:
    """Those of a damaged entry, and those of a folder that takes nothing."""
    hr.find_duplicates(DS, "text", cache=tmp_path)
    for entry in (tmp_path / "signatures").iterdir():
        entry.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="the entry cannot be read") as told:
        hr.find_duplicates(DS, "text", cache=tmp_path)
    assert [each.filename for each in told] == [__file__]
    (tmp_path / "in the way").write_text("")
    with pytest.warns(UserWarning, match="signatures cannot be kept") as told:
        hr.find_duplicates(DS, "text", cache=tmp_path / "in the way")
    assert [each.filename for each in told] == [__file__]
