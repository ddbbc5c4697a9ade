"""SimHash: codes by the votes of shingles, near copies of long texts, short texts and nulls."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distance_data import cut, edited, long_text
from numpy.typing import NDArray

import headrace as hr

NOTICES = Path(__file__).parents[2] / "examples" / "notices" / "*.parquet"
EXECUTORS = {"serial": hr.Serial(), "threads": hr.Threads(3), "processes": hr.Processes(1)}


def codes_of(texts: list[str], method: hr.SimHash) -> NDArray[np.uint64]:
    batch = pa.RecordBatch.from_pydict({"text": texts})
    return method.signer(batch.schema)(batch).arrays["codes"]


def edges_of(dataset: hr.Dataset, method: hr.SimHash, **options: Any) -> list[tuple[Any, ...]]:
    return hr.find_duplicates(dataset, "text", method, **options).edges.rows()


@pytest.mark.parametrize("unit", ["word", "char"])
@pytest.mark.parametrize("distance", [0, 3, 8])
def test_links_are_those_of_all_codes_with_all(unit: Any, distance: int) -> None:
    """Every two texts whose codes are near, equal ones through the first of them."""
    originals = [long_text(150, seed) for seed in range(25)]
    texts = originals + [edited(text, 1 + seed % 3, seed) for seed, text in enumerate(originals)]
    texts += [text.upper() for text in originals[:7]]
    method = hr.SimHash(distance, 2, unit)
    codes = [int(code) for code in codes_of(texts, method)]
    first = {code: codes.index(code) for code in codes}

    report = hr.find_duplicates(cut({"text": texts}), "text", method)

    expected = {(place, first[code], 1.0) for place, code in enumerate(codes) if first[code] != place}
    for one, other in combinations(sorted(first.values()), 2):
        differing = (codes[one] ^ codes[other]).bit_count()
        if differing <= distance:
            expected.add((other, one, 1 - differing / 64))
    assert set(report.edges.select("id", "preferred_id", "score").rows()) == expected
    assert len(expected) >= 7
    assert method.threshold == 1 - distance / 64


def test_near_copies_of_long_texts_are_found() -> None:
    """One word in 600 changed: most copies are found; other texts are not."""
    texts = [long_text(600, seed) for seed in range(60)]
    ds = cut({"text": texts + [edited(text, 1, seed) for seed, text in enumerate(texts)]})

    pairs = hr.find_duplicates(ds, "text", hr.SimHash()).pairs

    assert all(dropped - kept == 60 for dropped, kept, _ in pairs.rows())
    assert len(pairs) >= 54


def test_real_texts_that_are_linked_are_alike() -> None:
    """Licence notices: by their sets of five words, nearly all pairs have more in common than not."""
    ds = hr.open(NOTICES)
    texts = ds.to_polars()["text"].to_list()

    def shingles(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[place : place + 5]) for place in range(len(words) - 4)}

    pairs = hr.find_duplicates(ds, "text", hr.SimHash()).pairs
    sets = [(shingles(texts[one]), shingles(texts[other])) for one, other, _ in pairs.rows()]
    similarities = np.array([len(a & b) / len(a | b) for a, b in sets if a | b])

    assert len(pairs) > 1_000
    assert np.mean(similarities >= 0.8) > 0.7
    assert np.mean(similarities >= 0.5) > 0.98


def test_a_bit_differs_as_the_angle_says() -> None:
    """Over many pairs of texts, the share of bits that differ is acos(cosine of their shingles) / pi."""
    texts = [long_text(200, seed) for seed in range(200)]
    changed = [edited(text, 12, seed) for seed, text in enumerate(texts)]
    method = hr.SimHash(ngram=1)

    differing = np.bitwise_count(codes_of(texts, method) ^ codes_of(changed, method)).mean() / 64

    cosines = []
    for one, other in zip(texts, changed, strict=True):
        a, b = set(one.split()), set(other.split())
        cosines.append(len(a & b) / np.sqrt(len(a) * len(b)))
    assert differing == pytest.approx(np.mean(np.arccos(cosines)) / np.pi, abs=0.01)


def test_short_texts_are_told_by_equality() -> None:
    """Fewer words than a shingle: the same values alone; a score of 1 by the method "exact"."""
    texts = ["yes", "Yes", "yes", "", "no no", "", "!!", "??", "!!", None, None]

    report = hr.find_duplicates(cut({"text": texts}, 3), "text", hr.SimHash())

    assert report.pairs.rows() == [(2, 0, 1.0), (5, 3, 1.0), (8, 6, 1.0)]
    assert report.methods.rows() == [("exact", 3)]


@pytest.mark.parametrize("texts", [[], [None, None], ["a b c"], ["a", None, "b"]])
def test_few_texts_have_no_duplicates(texts: list[str | None]) -> None:
    """No samples, nulls alone and single texts are fine."""
    ds = cut({"text": pa.array(texts, pa.string())})

    assert hr.find_duplicates(ds, "text", hr.SimHash()).edges.is_empty()


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_all_kinds_of_texts_have_the_same_codes(kind: pa.DataType) -> None:
    """However a column holds its texts, and wherever its nulls lie."""
    texts = [None, long_text(30, 1), "short", None, "short", long_text(30, 1)]

    found = edges_of(hr.from_arrow(pa.table({"text": pa.array(texts).cast(kind)})), hr.SimHash())

    assert found == edges_of(cut({"text": texts}), hr.SimHash())
    assert [row[:2] for row in found] == [(4, 2), (5, 1)]


def test_nulls_among_the_values_of_a_dictionary_are_no_duplicates() -> None:
    """They are nulls, though the places that point to them are not."""
    held = pa.DictionaryArray.from_arrays([0, 1, 0, 2, 2, 1], pa.array([None, long_text(30, 1), "short"]))

    found = edges_of(hr.from_arrow(pa.table({"text": held})), hr.SimHash())

    assert [row[:2] for row in found] == [(4, 3), (5, 1)]


@pytest.mark.parametrize(("name", "keep"), [("serial", "first"), ("threads", "last"), ("processes", "first")])
def test_every_executor_finds_the_same(tmp_path: Path, name: str, keep: Any) -> None:
    """Executors, row groups and memory do not matter, nor whether signatures were kept."""
    texts = [long_text(80, seed % 40) for seed in range(90)]
    expected = edges_of(cut({"text": texts}, 90), hr.SimHash(), keep=keep, executor=hr.Serial())
    frame = pl.DataFrame({"text": texts})
    for number in range(3):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(frame[30 * number : 30 * number + 30].to_arrow(), path, row_group_size=11)
    options = {"executor": EXECUTORS[name], "keep": keep, "memory_limit": 3_000, "cache": tmp_path / "kept"}

    assert edges_of(hr.open(tmp_path / "*.parquet"), hr.SimHash(), **options) == expected
    assert edges_of(hr.open(tmp_path / "*.parquet"), hr.SimHash(), **options) == expected
    assert len(expected) == 50


def test_another_distance_reads_nothing_again(tmp_path: Path) -> None:
    """Kept signatures depend on shingles alone."""
    ds = cut({"text": [long_text(60, seed % 5) for seed in range(20)]})
    done: list[int] = []
    hr.find_duplicates(ds, "text", hr.SimHash(2), cache=tmp_path)

    hr.find_duplicates(ds, "text", hr.SimHash(7), cache=tmp_path, progress=lambda now, _: done.append(now))
    assert done == []
    hr.find_duplicates(
        ds, "text", hr.SimHash(7, ngram=3), cache=tmp_path, progress=lambda now, _: done.append(now)
    )
    assert done != []


def test_columns_that_cannot_be_compared_are_refused() -> None:
    """One column of texts; the message says what there is instead."""
    ds = hr.from_arrays({"a": ["x"], "b": ["y"], "n": [1]})

    with pytest.raises(hr.OptionError, match=r"column of texts to compare, .*: `a`, `b`"):
        hr.find_duplicates(ds, method=hr.SimHash())
    with pytest.raises(hr.OptionError, match="compares one column"):
        hr.find_duplicates(ds, ["a", "b"], hr.SimHash())
    with pytest.raises(hr.SchemaError, match="column `n` must hold texts, got int64"):
        hr.find_duplicates(ds, "n", hr.SimHash())
    assert hr.find_duplicates(ds.select(["a", "n"]), method=hr.SimHash()).search.columns == ("a",)


@pytest.mark.parametrize("settings", [{"ngram": 0}, {"ngram": "2"}, {"unit": "words"}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(hr.OptionError, match=next(iter(settings))):
        hr.SimHash(**settings)
