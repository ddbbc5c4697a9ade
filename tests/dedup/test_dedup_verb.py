"""`ds.dedup`: in a recipe, on mixes, lists and parts, by a search and by a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from dedup_data import NearNumbers, write_shards

import headrace as hr

X = [5.0, 20.0, 40.0, 5.0, 5.0, 20.0, 21.0, 5.0]


@pytest.fixture
def dataset() -> hr.Dataset:
    return hr.from_arrays({"x": np.array(X), "y": list("abcdefgh")})


def test_by_default_all_columns_are_compared(dataset: hr.Dataset) -> None:
    """A sample goes only if it is equal in everything."""
    assert len(dataset.dedup()) == 8
    assert dataset.dedup("x").sample_ids.tolist() == [0, 1, 2, 6]
    assert dataset.dedup(["x"], keep="last").sample_ids.tolist() == [2, 5, 6, 7]
    assert dataset.dedup("x", keep="none").sample_ids.tolist() == [2, 6]
    assert dataset.dedup("x", hr.Exact(), "last").sample_ids.tolist() == [2, 5, 6, 7]
    assert dataset.select(["x"]).dedup().sample_ids.tolist() == [0, 1, 2, 6]


def test_the_recipe_and_the_ids_stay(dataset: hr.Dataset) -> None:
    """Only the selection changes; columns that the recipe computes are compared as well."""
    steps = dataset.with_columns(tens=(pl.col("x") // 10).cast(pl.Int64)).pack(tens=["tens"])
    found = steps.dedup("tens")

    assert found.sample_ids.tolist() == [0, 1, 2]
    assert found.take([2])["tens"].tolist() == [[4]]
    assert found.recipe is steps.recipe
    assert len(steps) == 8


def test_a_list_keeps_its_order_and_its_repeats(dataset: hr.Dataset) -> None:
    """A sample that is repeated is no duplicate of itself; all of its repeats go, or none."""
    listed = dataset.rows([7, 0, 7, 2, 1, 2, 5])

    assert listed.dedup("x").sample_ids.tolist() == [0, 2, 1, 2]
    assert listed.dedup("x", keep="last").sample_ids.tolist() == [7, 7, 2, 2, 5]
    assert hr.find_duplicates(listed, "x").search.samples == 5
    assert hr.find_duplicates(listed, "x").share == 2 / 5


def test_parts_of_a_data_set(dataset: hr.Dataset) -> None:
    """What does not take part is no duplicate of anything."""
    assert dataset.slice(3).dedup("x").sample_ids.tolist() == [3, 5, 6]
    assert dataset.filter(pl.col("y").is_in(["d", "e", "g"])).dedup("x").sample_ids.tolist() == [3, 6]
    parts = dataset.split(train=0.5, test=0.5, seed=3, by="x")
    assert sum(len(part.dedup("x")) for part in parts.values()) == 4
    assert dataset.dedup("x").dedup("x").sample_ids.tolist() == [0, 1, 2, 6]


def test_nothing_to_compare(dataset: hr.Dataset) -> None:
    """No samples, one sample, a data set without any rows."""
    assert len(dataset.rows([]).dedup()) == 0
    assert dataset.rows([3]).dedup("x").sample_ids.tolist() == [3]
    assert len(hr.from_arrays({"x": np.zeros(0)}).dedup(priority="x", guard_by="x")) == 0


def test_a_mix_stays_a_mix(dataset: hr.Dataset) -> None:
    """Duplicates within and between the parts go; the proportions hold for what stays."""
    one = hr.from_arrays({"x": np.arange(40)})
    other = hr.from_arrays({"x": np.arange(20, 60)})
    mixed = hr.mix({"one": one, "other": other}, weights={"one": 2, "other": 1}).dedup(warn_above=None)

    assert mixed.sample_ids.tolist() == [*range(40), *range(60, 80)]
    loader = mixed.loader(6, output="numpy", with_ids=True)
    first = next(iter(loader))["sample_id"]
    assert (first < 40).sum() == 4
    twice = hr.mix({"one": one, "two": one}).dedup(keep="last", stop_above=None, warn_above=None)
    assert twice.sample_ids.tolist() == list(range(40, 80))


def test_by_a_report(dataset: hr.Dataset, tmp_path: Path) -> None:
    """A report, or the file that it was saved to, stands for the search; nothing is compared again."""
    report = hr.find_duplicates(dataset, "x", NearNumbers(0.8), keep="last")
    report.save(tmp_path / "report.parquet")

    for given in (report, tmp_path / "report.parquet", str(tmp_path / "report.parquet")):
        assert dataset.dedup(report=given).sample_ids.tolist() == [2, 6, 7]
        assert dataset.dedup(report=given, threshold=0.95).sample_ids.tolist() == [2, 5, 6, 7]
        changed = dataset.rows([6, 5, 2, 6, 7, 4, 3, 1, 0]).with_columns(x=pl.lit(0))
        assert changed.dedup(report=given).sample_ids.tolist() == [6, 2, 6, 7]


def test_a_report_of_other_samples(dataset: hr.Dataset) -> None:
    """It would drop what it never saw."""
    report = hr.find_duplicates(dataset, "x")
    with pytest.raises(hr.StateError, match="about other samples"):
        dataset.slice(1).dedup(report=report)
    with pytest.raises(hr.StateError, match="about other data"):
        hr.from_arrays({"x": np.array(X)}).dedup(report=report)


@pytest.mark.parametrize(
    "options",
    [
        {"on": "x"},
        {"method": hr.Exact()},
        {"keep": "last"},
        {"priority": "x"},
        {"cache": "kept"},
        {"memory_limit": 9},
    ],
    ids=str,
)
def test_a_report_has_settled_the_search(dataset: hr.Dataset, options: dict[str, Any]) -> None:
    """What a search would take is refused beside a report, by name."""
    report = hr.find_duplicates(dataset, "x")
    with pytest.raises(hr.OptionError, match=f"`report` has settled `{next(iter(options))}`; leave"):
        dataset.dedup(report=report, **options)


def test_arguments_that_cannot_be_right(dataset: hr.Dataset) -> None:
    """Each is refused by name."""
    with pytest.raises(hr.OptionError, match="`threshold` goes with `report`"):
        dataset.dedup(threshold=0.9)
    with pytest.raises(hr.OptionError, match="`report` must be what"):
        dataset.dedup(report=3)  # type: ignore[arg-type]
    with pytest.raises(hr.OptionError, match=r"`threshold` must lie in 1\.0\.\.1"):
        dataset.dedup(report=hr.find_duplicates(dataset), threshold=0.5)
    with pytest.raises(hr.OptionError, match="one column or more, each once"):
        dataset.dedup([])
    with pytest.raises(hr.OptionError, match="one column or more, each once"):
        dataset.dedup(["x", "x"])
    with pytest.raises(hr.UnknownColumnError, match="no column `z`"):
        dataset.dedup("z")
    with pytest.raises(hr.OptionError, match="wrap a frame by"):
        hr.find_duplicates(pl.DataFrame({"x": [1]}))  # type: ignore[arg-type]


def test_the_guards_see_a_report(tmp_path: Path) -> None:
    """What a report drops is judged as what a search drops is."""
    ds = write_shards(tmp_path, {"x": [1.0] * 60, "y": range(60)}, row_group=60)
    report = hr.find_duplicates(ds, "x", NearNumbers(0.8))
    with pytest.raises(hr.DuplicateShareError, match="like sample 0"):
        ds.dedup(report=report)
    with pytest.raises(hr.DuplicateShareError, match="60 samples like sample 0;"):
        ds.drop(["x"]).dedup(report=report)
    assert len(ds.dedup(report=report, warn_above=None, stop_above=None)) == 1


def test_the_documented_duplicates_of_the_census() -> None:
    """24 and 5 records of the two files come twice; they are found, and none goes unless it is asked for."""
    folder = Path(__file__).parents[2] / "examples" / "census" / "raw"
    for name, samples, duplicates in (("train", 32_561, 24), ("test", 16_281, 5)):
        ds = hr.open(next(folder.glob(f"*{name}*")))
        report = hr.find_duplicates(ds)
        assert (len(ds), report.pairs.height) == (samples, duplicates)
        assert len(ds.dedup()) == samples - duplicates
        assert len(ds) == samples
        frame = ds.to_polars()
        first, copies = frame[report.pairs["kept_id"]], frame[report.pairs["dropped_id"]]
        assert first.equals(copies)
        assert hr.find_duplicates(ds, method=hr.Exact(verify=True)).pairs.equals(report.pairs)
        assert frame.unique().height == samples - duplicates
