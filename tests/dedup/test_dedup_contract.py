"""Loaders after `dedup` keep the whole contract; reports do not depend on how they came about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dedup_data import write_shards

import headrace as hr
from headrace.execution.executors import Executor
from headrace.testing import LoaderTests

WORDS = ["sun", "moon", "star", "sky", "sea", "land", "tree", "stone"]
SAMPLES = 90


def columns(seed: int = 0) -> dict[str, Any]:
    """Texts of ten words, some of them again with another word or none changed, and a quality."""
    draw = np.random.default_rng(seed)
    texts: list[str] = []
    for _ in range(SAMPLES):
        words = draw.choice(WORDS, 12).tolist()
        if texts and draw.random() < 0.4:
            words = texts[draw.integers(len(texts))].split()
            if draw.random() < 0.5:
                words[draw.integers(12)] = "new"
        texts.append(" ".join(words))
    return {"text": texts, "x": range(SAMPLES), "quality": draw.permutation(SAMPLES)}


@pytest.fixture
def shards(tmp_path: Path) -> hr.Dataset:
    """90 samples in row groups of 7, in three shards."""
    return write_shards(tmp_path / "data", columns(), shards=3)


class ShuffledTests(LoaderTests):
    """The contract for the order that users choose most."""

    @pytest.fixture(params=[True], ids=str)
    def shuffle(self, request: pytest.FixtureRequest) -> Any:
        return request.param


class TestFirstKept(ShuffledTests):
    """Equal texts, the first of each kept."""

    @pytest.fixture
    def dataset(self, shards: hr.Dataset) -> hr.Dataset:
        return shards.dedup("text", warn_above=None).select(["x"])


class TestNearTexts(ShuffledTests):
    """Near texts, the best of each kept, after another verb."""

    @pytest.fixture
    def dataset(self, shards: hr.Dataset) -> hr.Dataset:
        chosen = shards.sample(n=60, seed=2)
        method = hr.MinHash(threshold=0.5, ngram=2)
        return chosen.dedup("text", method, priority="quality", warn_above=None).select(["x"])


class TestRepeats(ShuffledTests):
    """A bag without duplicates still repeats what it drew twice."""

    @pytest.fixture
    def dataset(self, shards: hr.Dataset) -> hr.Dataset:
        bag = shards.sample(fraction=0.5, replace=True, seed=4)
        return bag.dedup("text", keep="last", warn_above=None).select(["x"])


METHODS = {
    "exact": hr.Exact(),
    "verified": hr.Exact(verify=True),
    "bloom": hr.Bloom(error_rate=0.5),
    "minhash": hr.MinHash(threshold=0.5, ngram=2),
    "simhash": hr.SimHash(distance=8, ngram=1),
}
EXECUTORS: dict[str, Executor] = {"serial": hr.Serial(), "threads": hr.Threads(3)}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "options", [{"keep": "first"}, {"keep": "last"}, {"keep": "none"}, {"priority": "quality"}], ids=str
)
def test_the_same_report_however_it_came(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """Executors, row groups, shards and memory change nothing."""
    whole = write_shards(tmp_path / "whole", columns(), row_group=SAMPLES)
    expected = hr.find_duplicates(whole, "text", METHODS[name], executor=hr.Serial(), **options)
    assert expected.pairs.height > 5

    for shards, row_group in ((1, 1), (4, 5)):
        ds = write_shards(tmp_path / f"{shards}", columns(), shards, row_group)
        for executor in EXECUTORS.values():
            for memory_limit in (None, 1000):
                report = hr.find_duplicates(
                    ds, "text", METHODS[name], executor=executor, memory_limit=memory_limit, **options
                )
                assert report.edges.equals(expected.edges)
                assert report.pairs.equals(expected.pairs)


def test_processes_find_the_same(shards: hr.Dataset) -> None:
    """Signatures are made in other processes, values read again there, and decided here."""
    found = hr.find_duplicates(shards, "text", METHODS["verified"], executor=hr.Processes(1))

    assert found.edges.equals(hr.find_duplicates(shards, "text", METHODS["verified"]).edges)


@pytest.mark.parametrize("name", METHODS)
def test_no_order_of_shards_changes_what_the_best_is(tmp_path: Path, name: str) -> None:
    """Kept by a column whose values all differ, the same samples stay in any order of shards and rows."""
    table = pq.read_table(
        write_shards(tmp_path / "one", columns(), row_group=SAMPLES).manifest.shards[0].name
    )
    shuffled = table.take(np.random.default_rng(5).permutation(SAMPLES))
    pq.write_table(shuffled, tmp_path / "shuffled.parquet", row_group_size=11)
    kept = [
        set(ds.dedup("text", METHODS[name], priority="quality", warn_above=None).to_polars()["x"])
        for ds in (hr.open(tmp_path / "one"), hr.open(tmp_path / "shuffled.parquet"))
    ]

    assert kept[0] == kept[1]
