"""Near duplicates of texts: held against brute force, on real texts and on planted ones."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from near_data import (
    NOTICES,
    check_validity,
    draw_texts,
    jaccard,
    linked_pairs,
    shingle_set,
    similar_pairs,
    some,
)

import headrace as hr
from headrace.dedup.text.bands import Banding

SHARDS = sorted(map(str, NOTICES.glob("notices-*.parquet")))
ORDERS = {"forwards": SHARDS, "backwards": SHARDS[::-1]}


@cache
def notices(order: str) -> tuple[hr.Dataset, hr.DuplicateReport]:
    ds = hr.open(ORDERS[order])
    return ds, hr.find_duplicates(ds, "text", hr.MinHash(threshold=0.8), progress=False)


@cache
def truth(order: str) -> dict[tuple[int, int], float]:
    """Return all pairs of notices at 0.8 or above, of ids, with their similarity, six digits of it."""
    ds, _ = notices(order)
    ids = {rule: id for id, rule in enumerate(ds.to_polars()["rule"])}
    pairs = pl.read_parquet(NOTICES / "truth" / "pairs-jaccard5-ge-0.8.parquet")
    pairs = pairs.select("rule_a", "rule_b", "jaccard5")
    return {tuple(sorted((ids[one], ids[other]))): score for one, other, score in pairs.rows()}


def report_of(texts: list[Any] | pa.Array, method: Any, **options: Any) -> hr.DuplicateReport:
    ds = hr.from_arrow(pa.table({"text": pa.array(texts)}))
    return hr.find_duplicates(ds, "text", method, progress=False, **options)


@pytest.mark.parametrize("order", ORDERS)
def test_notices_found_are_true_pairs(order: str) -> None:
    """No pair is linked that is not one of the known pairs, and each score is the exact similarity."""
    ds, report = notices(order)
    known = truth(order)
    texts = ds.to_polars()["text"]
    edges = report.edges.select("id", "preferred_id", "score").rows()

    assert len(edges) > 60_000
    assert all(tuple(sorted(edge[:2])) in known for edge in edges)
    assert all(abs(known[tuple(sorted(edge[:2]))] - edge[2]) < 1e-6 for edge in edges)
    for one, other, score in edges[::200]:
        assert score == jaccard(shingle_set(texts[one], 5), shingle_set(texts[other], 5))


def test_notices_at_the_threshold_are_found() -> None:
    """Of 64,818 known pairs 99 % are linked; those that are lost lie near the threshold, as bands promise."""
    _, report = notices("forwards")
    known = truth("forwards")
    found = linked_pairs(report, known)
    lost = [score for pair, score in known.items() if pair not in found]

    assert len(known) == 64_818
    assert len(found) >= 0.99 * len(known)
    assert max(lost) < 0.87


@pytest.mark.parametrize("order", ORDERS)
def test_every_dropped_notice_has_a_kept_one(order: str) -> None:
    """In either order of the shards each dropped text is similar to one that stays; no chain leads away."""
    ds, report = notices(order)

    check_validity(report, ds.to_polars()["text"].to_list(), 0.8, 5)


@pytest.mark.parametrize("order", ORDERS)
def test_notices_are_dropped_greedily(order: str) -> None:
    """About as many go as by all known pairs, first come first kept; that is 1,562 in the shards' order."""
    _, report = notices(order)
    others: dict[int, list[int]] = {}
    for one, other in truth(order):
        others.setdefault(other, []).append(one)
    gone: set[int] = set()
    for id in sorted(others):
        if not gone.issuperset(others[id]):
            gone.add(id)

    if order == "forwards":
        assert len(gone) == 1562
    assert len(gone) - 5 <= report.pairs.height <= len(gone)


def test_a_higher_threshold_keeps_its_promise() -> None:
    """Looked at with 0.9, no text goes without a kept one at 0.9 or above."""
    ds, report = notices("forwards")
    higher = report.at(0.9)

    assert 0 < higher.pairs.height < report.pairs.height
    check_validity(higher, ds.to_polars()["text"].to_list(), 0.9, 5)


def test_candidates_follow_the_curve() -> None:
    """Of planted pairs of one similarity, the share that is found is 1 - (1 - s^rows)^bands."""
    method, each, texts = hr.MinHash(threshold=0.05, ngram=1, bands=16, permutations=128), 600, []
    levels = {0.4: (40, 30), 0.6: (60, 20), 0.7: (70, 15), 0.8: (80, 10), 0.9: (90, 5)}
    for shared, own in levels.values():
        for pair in range(each):
            common = [f"{shared}_{pair}_{word}" for word in range(shared)]
            sides = ([f"{shared}_{pair}_{side}_{word}" for word in range(own)] for side in "ab")
            texts += [" ".join([*common, *side]) for side in sides]
    edges = report_of(texts, method).edges

    assert {round(score, 9) for score in edges["score"]} == set(levels)
    for place, level in enumerate(levels):
        ids = edges.filter((pl.col("id") // (2 * each)) == place)
        assert (ids["id"] // 2 == ids["preferred_id"] // 2).all()
        chance = method.probability(level)
        assert abs(ids.height - each * chance) <= 4 * np.sqrt(each * chance * (1 - chance)) + 0.5


@some
@given(st.floats(0.05, 1.0), st.integers(1, 300))
def test_bands_are_chosen_by_the_threshold(threshold: float, permutations: int) -> None:
    """Texts at the threshold are found with 98 %, and not with one row more."""
    chosen = Banding.choose(threshold, permutations)
    more = Banding(permutations // (chosen.rows + 1), chosen.rows + 1)

    assert chosen.bands * chosen.rows <= permutations
    assert chosen.probability(threshold) >= 0.98 or chosen.rows == 1
    assert not more.bands or more.probability(threshold) < 0.98


def test_bands_that_are_given_are_taken() -> None:
    """Given bands and permutations decide the rows; their curve is shown."""
    assert hr.MinHash(bands=16).banding == Banding(16, 8)
    assert hr.MinHash(bands=20, permutations=260).banding == Banding(20, 13)
    assert hr.MinHash(0.5, permutations=64).banding.bands <= 64
    assert round(hr.MinHash(bands=20, permutations=260).probability(0.8), 3) == 0.677
    assert "16 bands of 8 rows" in hr.MinHash(bands=16).describe()
    assert "16 bands of 8 rows" in str(report_of(["a", "b"], hr.MinHash(bands=16)))


def test_short_texts_are_told_by_equality() -> None:
    """A text of fewer words than a shingle equals the same bytes alone; null and long texts are apart."""
    long = "a b c d e f g"
    texts = ["a b", None, "A b", "a b", None, "", long, "", "a b ", long[:-2], "a  b", "日本", "日本"]
    report = report_of(texts, hr.MinHash(threshold=0.1))

    assert report.pairs.rows() == [(3, 0, 1.0), (7, 5, 1.0), (9, 6, 2 / 3), (12, 11, 1.0)]
    assert dict(report.methods.rows()) == {"exact": 3, "minhash": 1}


def test_equal_sets_are_the_same() -> None:
    """Texts that differ in case, marks and repeats alone have one set, and are one to the method."""
    texts = ["The cat sat.", "THE CAT: SAT", "the cat sat the cat sat", "the cat ran"]
    edges = report_of(texts, hr.MinHash(threshold=0.9, ngram=1)).edges

    expected = [(1, 0, 1.0, True), (2, 0, 1.0, True)]
    assert edges.select("id", "preferred_id", "score", "is_same").rows() == expected


def test_characters_can_be_compared() -> None:
    """By characters, texts of one word are compared, and blanks count as one."""
    texts = [
        "Donaudampfschifffahrt",
        "donaudampfschiffahrt",
        "  Donau\tdampfschifffahrt ",
        "donau dampfschifffahrt",
    ]
    method = hr.MinHash(threshold=0.7, ngram=3, unit="char")
    expected = similar_pairs([shingle_set(text, 3, "char") for text in texts[:3]], 0.7)
    report = report_of(texts, method)

    assert report.edges.select("id", "preferred_id", "score").rows() == [
        (1, 0, expected[0, 1]),
        (2, 0, expected[0, 2]),
        (2, 1, expected[1, 2]),
        (3, 2, 1.0),
    ]


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("priority", [None, "quality"])
def test_any_preference_is_valid(keep: Any, priority: str | None) -> None:
    """Whoever is preferred, each dropped text has a kept one that is preferred to it."""
    texts = draw_texts(500, seed=8)
    quality = np.random.default_rng(0).integers(0, 50, len(texts))
    ds = hr.from_arrow(pa.table({"text": texts, "quality": quality}))
    report = hr.find_duplicates(ds, "text", hr.MinHash(0.6, 3), keep, priority=priority, progress=False)

    check_validity(report, texts, 0.6, 3)
    sign = -1 if keep == "last" else 1
    for dropped, kept, _ in report.pairs.rows():
        assert (priority and quality[kept] > quality[dropped]) or sign * kept < sign * dropped or priority
        assert not priority or quality[kept] >= quality[dropped]
    assert report.pairs.height > 100


def test_all_texts_with_duplicates_can_go() -> None:
    """With `keep="none"` every text of a pair goes, and no other one."""
    texts = draw_texts(300, seed=9)
    report = report_of(texts, hr.MinHash(0.6, 3, bands=128), keep="none")
    sets = [shingle_set(text, 3) for text in texts]
    expected = {id for pair in similar_pairs(sets, 0.6) for id in pair}
    expected |= {id for id, text in enumerate(texts) if not sets[id] and texts.count(text) > 1}

    assert set(report.pairs["dropped_id"]) == expected


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    texts = [
        None if number % 97 == 5 else text
        for number, text in enumerate(draw_texts(6000, 10, vocabulary=4000))
    ]
    for number in range(3):
        part = pa.table({"text": pa.array(texts[number * 2000 : number * 2000 + 2000])})
        pq.write_table(part, folder / f"{number}.parquet", row_group_size=300 + 400 * number)
    return folder


METHOD = hr.MinHash(0.7, 2)


@pytest.mark.parametrize(
    ("executor", "memory_limit"),
    [
        (hr.Serial(), None),
        (hr.Threads(3), None),
        (hr.Processes(1), None),
        (hr.Threads(2), 1),
        (hr.Serial(), "400kB"),
    ],
)
def test_where_it_runs_changes_nothing(shards: Path, executor: Any, memory_limit: Any) -> None:
    """Executors, row groups and memory that is too small for the signatures give the same edges."""
    whole = report_of(hr.open(shards).to_arrow()["text"].combine_chunks(), METHOD).edges
    found = hr.find_duplicates(
        hr.open(shards), "text", METHOD, executor=executor, memory_limit=memory_limit, progress=False
    ).edges

    assert whole.height > 2000
    assert found.equals(whole)


def test_signatures_do_not_depend_on_the_threshold() -> None:
    """Signatures that were kept serve any threshold, and bands of as many permutations."""
    schema = pa.schema({"text": pa.string()})
    signer = hr.MinHash(0.8).signer(schema)

    assert hr.MinHash(0.5, bands=32).signer(schema) == signer
    for other in (hr.MinHash(ngram=4), hr.MinHash(unit="char"), hr.MinHash(permutations=64)):
        assert other.signer(schema) != signer


def test_thousands_of_one_text_cost_nothing() -> None:
    """Copies are linked to the first one alone, which is compared for all of them."""
    texts = [f"the quick brown fox jumps over the lazy dog{'!' * number}" for number in range(5000)]
    edges = report_of([*texts, "a quick brown fox jumps over the lazy dog"], hr.MinHash(0.6, 2)).edges

    assert edges["is_same"].sum() == 4999
    assert edges.filter(~pl.col("is_same")).select("id", "preferred_id").rows() == [(5000, 0)]


def test_large_groups_are_told() -> None:
    """Of too many candidates for one another some are compared; that is told, and nothing goes wrongly."""
    base = " ".join(f"w{number}" for number in range(120))
    texts = [f"{base} own{number}" for number in range(1100)]
    with pytest.warns(UserWarning, match=r"groups of candidates have more than 1,000 texts") as told:
        report = report_of(texts, hr.MinHash(0.9, 1))

    assert len(told) == 1
    assert 1100 * 64 < report.edges.height < 1100 * 1099 / 2
    assert report.edges.select("id", "preferred_id").is_duplicated().sum() == 0
    check_validity(report, texts, 0.9, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report_of(texts[:1000], hr.MinHash(0.9, 1))


def test_pairs_left_out_of_a_large_group_are_found_in_another_band(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd in one band does not hide its pairs from other bands."""
    from headrace.dedup.text import near

    texts = draw_texts(400, 11)
    method = hr.MinHash(0.6, 3, bands=128)
    expected = report_of(texts, method).edges
    monkeypatch.setattr(near, "_CROWD", (12, 3))
    with pytest.warns(UserWarning, match="groups of candidates"):
        found = report_of(texts, method).edges

    assert 0.97 * expected.height < found.height <= expected.height
    check_validity(report_of(texts, replace(method, bands=16)), texts, 0.6, 3)


def test_any_text_column_will_do() -> None:
    """The only text column is chosen; categories and views are texts as well."""
    texts = pa.array(["a b c d", "a b c d e", "x", None])
    for column in (
        texts,
        texts.dictionary_encode(),
        texts.cast(pa.large_string()),
        texts.cast(pa.string_view()),
    ):
        ds = hr.from_arrow(pa.table({"number": [1, 2, 3, 4], "text": column}))
        report = hr.find_duplicates(ds, method=hr.MinHash(0.5, 2), progress=False)
        assert report.pairs.rows() == [(1, 0, 0.75)]
    holed = pa.DictionaryArray.from_arrays([0, 1, 0, 2, 2], pa.array([None, "a b c", "a b"]))
    assert report_of(holed, hr.MinHash(0.5, 2)).pairs.rows() == [(3, 1, 0.5), (4, 1, 0.5)]
    assert report_of(pa.array([], pa.string()), hr.MinHash()).pairs.height == 0
    assert report_of(pa.array([None], pa.string()), hr.MinHash()).pairs.height == 0


def test_columns_that_hold_no_texts_are_refused() -> None:
    """None, two and other columns are refused by name."""
    table = pa.table({"one": ["a"], "two": ["b"], "number": [1]})
    ds = hr.from_arrow(table)
    method = hr.MinHash()

    with pytest.raises(hr.OptionError, match="`one`, `two`"):
        hr.find_duplicates(ds, method=method)
    with pytest.raises(hr.OptionError, match="not just one: none"):
        hr.find_duplicates(ds.select(["number"]), method=method)
    with pytest.raises(hr.OptionError, match="compares one column"):
        hr.find_duplicates(ds, ["one", "two"], method)
    with pytest.raises(hr.SchemaError, match="column `number` must hold texts, got int64"):
        hr.find_duplicates(ds, "number", method)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "`threshold`"),
        ({"threshold": 1.5}, "`threshold`"),
        ({"threshold": float("nan")}, "`threshold`"),
        ({"threshold": True}, "`threshold`"),
        ({"threshold": "0.8"}, "`threshold`"),
        ({"ngram": 0}, "`ngram`"),
        ({"ngram": None}, "`ngram`"),
        ({"ngram": 2.0}, "`ngram`"),
        ({"unit": "byte"}, "`unit`"),
        ({"bands": 0}, "`bands`"),
        ({"permutations": -1}, "`permutations`"),
        ({"bands": 129}, "take bands=128 or permutations=129"),
        ({"bands": 15, "permutations": 128}, "take bands=16 or permutations=135"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(options: dict[str, Any], message: str) -> None:
    """Each setting is checked, and the message proposes one that would do."""
    with pytest.raises(hr.OptionError, match=message):
        hr.MinHash(**options)
