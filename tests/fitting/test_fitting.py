"""Fits: what is learned depends on the samples that take part, and on nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from census import ROWS, opened, people, write_shards

import headrace as hr
from headrace.fitting.engine import FitReport

STEPS = [hr.StandardScaler(), hr.StandardScaler(columns=["far", "age"], ddof=1)]


def learned(pipe: hr.Pipeline, folder: Path) -> str:
    """The text of a fitted pipeline, but for where it comes from."""
    pipe.save(folder / "pipe.json")
    content = json.loads((folder / "pipe.json").read_text())
    del content["provenance"]
    return json.dumps(content)


def fit(dataset: hr.Dataset, **options: Any) -> hr.Pipeline:
    return hr.Pipeline(STEPS).fit(dataset, progress=False, **options)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("expected")
    return learned(fit(hr.from_polars(people()), executor=hr.Serial()), folder)


@pytest.mark.parametrize("row_groups", [1, 3, 97, 1000])
def test_row_groups_do_not_matter(tmp_path: Path, expected: str, row_groups: int) -> None:
    """Fitted to 1 or 1,000 row groups, in shards of any order, a pipeline is the same to the last bit."""
    frame = people()
    assert learned(fit(opened(tmp_path / "a", frame, 1, -(-ROWS // row_groups))), tmp_path) == expected
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=row_groups)
    assert learned(fit(opened(tmp_path / "b", mixed, 7, -(-ROWS // row_groups))), tmp_path) == expected


@pytest.mark.parametrize(
    "executor", [hr.Serial(), hr.Threads(3), hr.Processes(2)], ids=["serial", "threads", "processes"]
)
def test_executors_do_not_matter(tmp_path: Path, expected: str, executor: Any) -> None:
    """Any executor gives the same bits."""
    assert learned(fit(opened(tmp_path, people(), 5, 100), executor=executor), tmp_path) == expected


def test_only_the_given_part_is_learned_from(tmp_path: Path) -> None:
    """Other samples of the same files do not leak into what is learned."""
    frame = people()
    dataset = opened(tmp_path / "data", frame, 3, 50)
    parts = dataset.split(train=0.7, test=0.3, seed=1)
    rows = parts["train"].sample_ids
    assert learned(fit(parts["train"]), tmp_path) == learned(fit(hr.from_polars(frame[rows])), tmp_path)


def test_a_repeated_sample_counts_as_often(tmp_path: Path) -> None:
    """A bag is fitted to with its repeats."""
    frame = people(50)
    bag = hr.from_polars(frame).sample(fraction=1.0, replace=True, seed=3)
    assert learned(fit(bag), tmp_path) == learned(fit(hr.from_polars(frame[bag.sample_ids])), tmp_path)


def test_scans_are_counted_and_shared(tmp_path: Path) -> None:
    """Independent steps share one scan, and a later step takes none while the columns fit in memory."""
    dataset = opened(tmp_path, people(), 4, 100)
    single = hr.Pipeline([hr.StandardScaler(columns="far"), hr.StandardScaler(columns="age")])
    assert single.fit(dataset, progress=False).fit_report == fit(dataset).fit_report
    assert single.fit_report == FitReport(scans=1, row_groups=len(dataset.manifest))
    tight = fit(dataset, memory_limit=100)
    assert tight.fit_report == FitReport(scans=2, row_groups=2 * len(dataset.manifest))
    assert learned(tight, tmp_path) == learned(fit(dataset), tmp_path)


def test_scans_are_foretold(tmp_path: Path) -> None:
    """The plan says how many scans a fit takes, and a fit that can keep nothing takes as many."""
    chain = [
        hr.FillMissing("mean", columns=["income", "height"]),
        hr.StandardScaler(columns="far"),
        hr.ClipOutliers(columns=["income", "far"]),
        hr.Polynomial(columns=["income", "height"]),
        hr.StandardScaler(columns=["income height"]),
        hr.OrdinalEncoder(columns="city"),
    ]
    dataset = opened(tmp_path, people(), 2, 500)
    pipe = hr.Pipeline(chain)
    plan = pipe.explain(dataset)

    assert plan.scans == (
        ("1: FillMissing", "2: StandardScaler", "6: OrdinalEncoder"),
        ("3: ClipOutliers",),
        ("5: StandardScaler",),
    )
    assert str(plan).startswith("scan 1  1: FillMissing, 2: StandardScaler")
    pipe.fit(dataset, memory_limit=100, progress=False)
    assert pipe.fit_report == FitReport(scans=3, row_groups=3 * len(dataset.manifest))
    assert str(hr.Pipeline([hr.Strip()]).explain(dataset)) == "no scan: no step learns from data"
    assert not hr.Pipeline([hr.OneHotEncoder(columns="city"), hr.StandardScaler()]).explain(dataset).is_exact


def count_read(dataset: hr.Dataset, folder: Path) -> tuple[int, hr.Pipeline]:
    pipe = fit(dataset, cache=folder)
    assert pipe.fit_report is not None
    return pipe.fit_report.row_groups, pipe


def test_a_refit_reads_only_new_shards(tmp_path: Path) -> None:
    """Adding, replacing and removing a shard cost that shard alone, and learn what a fresh fit does."""
    data, kept = tmp_path / "data", tmp_path / "kept"
    write_shards(data, people(), 5, 100)
    assert count_read(hr.open(data), kept)[0] == 20
    assert count_read(hr.open(data), kept)[0] == 0

    write_shards(tmp_path / "more", people(300, seed=5), 1, 100)
    (tmp_path / "more" / "0000.parquet").rename(data / "0005.parquet")
    read, pipe = count_read(hr.open(data), kept)
    assert read == 3
    assert learned(pipe, tmp_path) == learned(fit(hr.open(data)), tmp_path)

    write_shards(tmp_path / "other", people(250, seed=6), 1, 100)
    (tmp_path / "other" / "0000.parquet").replace(data / "0002.parquet")
    read, pipe = count_read(hr.open(data), kept)
    assert read == 3
    assert learned(pipe, tmp_path) == learned(fit(hr.open(data)), tmp_path)

    (data / "0000.parquet").unlink()
    read, pipe = count_read(hr.open(data), kept)
    assert read == 0
    assert learned(pipe, tmp_path) == learned(fit(hr.open(data)), tmp_path)


def test_a_damaged_entry_is_read_again(tmp_path: Path) -> None:
    """What is kept of a shard is believed only while it can be read, and its lack is told."""
    data = opened(tmp_path / "data", people(), 2, 500)
    pipe = count_read(data, tmp_path / "kept")[1]
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="read again"):
        read, again = count_read(data, tmp_path / "kept")
    assert read == 4
    assert learned(again, tmp_path) == learned(pipe, tmp_path)


def test_another_selection_is_another_entry(tmp_path: Path) -> None:
    """What is kept of one part of a shard is not taken for what another part holds."""
    data = opened(tmp_path / "data", people(), 2, 500)
    count_read(data, tmp_path / "kept")
    half = data.rows(data.sample_ids[::2])
    read, pipe = count_read(half, tmp_path / "kept")
    assert read == 4
    assert learned(pipe, tmp_path) == learned(fit(half), tmp_path)


def test_progress_is_told(tmp_path: Path) -> None:
    """A function hears of each row group."""
    heard: list[tuple[int, int]] = []
    dataset = opened(tmp_path, people(), 2, 500)
    hr.Pipeline([hr.StandardScaler()]).fit(dataset, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    """Infinity, no samples, and what is no data set: each by name."""
    frame = people(20).with_columns(far=pl.lit(float("inf")))
    with pytest.raises(hr.PrepareError, match="column `far`: 20 values are infinite"):
        fit(hr.from_polars(frame))
    with pytest.raises(hr.OptionError, match="at least one sample"):
        fit(hr.from_polars(people(20)).rows(np.array([], np.int64)))
    with pytest.raises(hr.OptionError, match="from_polars"):
        hr.Pipeline(STEPS).fit(people(20))  # pyright: ignore[reportArgumentType]
    with pytest.raises(hr.UnknownColumnError, match="wealth"):
        hr.Pipeline([hr.StandardScaler(columns=["wealth"])]).fit(hr.from_polars(people(20)))
    with pytest.raises(hr.SchemaError, match="column `city`"):
        hr.Pipeline([hr.StandardScaler(columns="city")]).fit(hr.from_polars(people(20)))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (None, ["income", "height", "far", "age"]),
        ("far", ["far"]),
        (["age", "far"], ["age", "far"]),
        ("^.*ar$", ["far"]),
        (pl.Float32, ["height"]),
        ([pl.Float32, pl.Int64], ["height", "age"]),
        (pl.selectors.float() - pl.selectors.by_name("far"), ["income", "height"]),
    ],
)
def test_columns_by_name_expression_type_or_selector(columns: Any, expected: list[str]) -> None:
    """All ways to name columns."""
    pipe = hr.Pipeline([hr.StandardScaler(columns=columns)]).fit(hr.from_polars(people(30)))
    assert list(pipe[0].mean_) == expected
