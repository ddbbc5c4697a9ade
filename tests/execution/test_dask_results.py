"""What comes out on a dask cluster is what comes out of `Serial`, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from dask_cluster import two_processes
from numpy.testing import assert_array_equal

import headrace as hr
from headrace.execution.measure import measure_lengths

ROWS = 240


@pytest.fixture(scope="module")
def executor() -> Iterator[hr.Dask]:
    with two_processes() as client:
        yield hr.Dask(client)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> hr.Dataset:
    """Three shards of four row groups: floats with nulls and NaN, large whole numbers, texts, lists."""
    folder, draw = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    income = draw.lognormal(3, 2, ROWS)
    income[::17] = np.nan
    frame = pl.DataFrame(
        {
            "income": pl.Series(income).set(pl.Series(draw.random(ROWS) < 0.1), None),
            "far": 1e8 + draw.normal(size=ROWS),
            "near": draw.normal(size=ROWS),
            "big": 2**53 + draw.integers(0, 9, ROWS),
            "city": pl.Series(draw.choice(["Bern", "Zürich", "Chur"], ROWS)).set(
                pl.Series(draw.random(ROWS) < 0.05), None
            ),
            "text": [
                f"the same long story about a flight {number // 4} times told" for number in range(ROWS)
            ],
            "tokens": [list(range(number % 5)) for number in range(ROWS)],
        }
    )
    for number in range(3):
        part = frame[number * ROWS // 3 : (number + 1) * ROWS // 3]
        pq.write_table(part.to_arrow(), folder / f"{number}.parquet", row_group_size=20)
    return hr.open(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder; what is kept of the time or of the process that wrote them is not there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def fitted(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    steps = [
        hr.FillMissing("median", columns=["income"]),
        hr.ClipOutliers(columns=["income"]),  # needs a second scan
        hr.StandardScaler(columns=["income", "far"]),
        hr.OrdinalEncoder(columns=["city"]),
        hr.TargetEncoder(columns=["text"], target="far"),
    ]
    pipe = hr.Pipeline(steps).fit(ds.drop(["tokens"]), executor=executor, progress=False)
    pipe.save(folder / "pipe.json")
    content = json.loads((folder / "pipe.json").read_text())
    del content["provenance"]["time"]
    return content, files_of(folder).get("pipe.arrow")


def filtered(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    rows = ds.filter(pl.col("big") % 2 == 0, executor=executor, progress=False)
    whole = ds.drop_nulls(["city", "income"], executor=executor, progress=False)
    return rows.fingerprint, whole.fingerprint


def without_outliers(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    methods = ("quantile", "iqr", "zscore", "mad")
    limits = [
        ds.outlier_limits(["income", "far"], it, executor=executor, progress=False)  # pyright: ignore
        for it in methods
    ]
    return limits, ds.drop_outliers(["far"], executor=executor, progress=False).fingerprint


def split(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    parts = ds.split(train=0.7, test=0.3, seed=1, by="text", executor=executor)
    even = ds.split(train=0.5, test=0.5, stratify="city", executor=executor)
    folds = ds.kfold(3, stratify="city", executor=executor)
    report = parts.report(by="text", executor=executor)
    datasets = [*parts.values(), *even.values(), *(fold.train for fold in folds)]
    return [it.fingerprint for it in datasets], str(report), ds.balance("city", executor=executor).fingerprint


def exact_duplicates(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    found = hr.find_duplicates(ds, "city", hr.Exact(), executor=executor, progress=False)
    return found.pairs.to_dict(as_series=False), found.selection.fingerprint


def near_duplicates(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    found = [
        hr.find_duplicates(ds, "text", method, executor=executor, cache=None, progress=False)
        for method in (hr.MinHash(threshold=0.6, ngram=2), hr.Bloom(error_rate=0.1))
    ]
    removed = found[0].removed("city", executor=executor)
    return [it.pairs.to_dict(as_series=False) for it in found], removed.to_dict(as_series=False)


def cached(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    made = ds.with_columns(far=pl.col("far") * 2).pack(x=["far"], big="big")
    done = made.materialize(folder / "cache", executor=executor, progress=False)
    loader = made.cache(folder / "cache").loader(7, output="numpy")
    batches = [(batch["x"].tobytes(), batch["big"].tobytes()) for batch in loader]
    assert loader.stats()["cache_misses"] == 0
    return done.built, done.rows, done.nbytes, batches


def indexed(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    for kind in ("hash", "btree", "bloom"):
        ds.index("text", kind=kind, path=folder / kind, executor=executor).close()
    ds.index(["far", "near"], kind="kdtree", path=folder / "kdtree", executor=executor).close()
    return files_of(folder)


def read(ds: hr.Dataset, executor: Any, folder: Path) -> object:
    return ds.rows([239, 0, 7, 7]).to_arrow(executor).to_pylist(), ds.to_polars(executor).to_dict(
        as_series=False
    )


JOBS: list[Callable[[hr.Dataset, Any, Path], object]] = [
    fitted,
    filtered,
    without_outliers,
    split,
    exact_duplicates,
    near_duplicates,
    cached,
    indexed,
    read,
]


@pytest.mark.parametrize("job", JOBS, ids=lambda it: it.__name__)
def test_results_are_those_of_serial(
    job: Callable[[hr.Dataset, Any, Path], object], people: hr.Dataset, executor: hr.Dask, tmp_path: Path
) -> None:
    """Artifacts, selections, reports, caches, indexes and tables are equal to the last bit."""
    (tmp_path / "serial").mkdir()
    (tmp_path / "dask").mkdir()
    expected = job(people, hr.Serial(), tmp_path / "serial")

    assert repr(job(people, executor, tmp_path / "dask")) == repr(expected)  # NaN is equal to itself here


def test_lengths_are_measured(people: hr.Dataset, executor: hr.Dask) -> None:
    """The lengths by which batches are cut are those that one thread finds."""
    arguments = (people.recipe, people.selection, "tokens")

    assert_array_equal(
        measure_lengths(*arguments, executor).values, measure_lengths(*arguments, hr.Serial()).values
    )
