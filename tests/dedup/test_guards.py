"""Guards: too large a share of a source is warned of, and a far too large one is refused."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dedup_data import write_shards

import headrace as hr


def shares(*dropped: int, samples: int = 100) -> dict[str, Any]:
    """Sources of 100 samples, so many of each of which are copies within it."""
    x = [np.arange(samples) + 1000 * number for number in range(len(dropped))]
    for values, count in zip(x, dropped, strict=True):
        values[samples - count :] = values[0]
    source = np.repeat([f"source {number}" for number in range(len(dropped))], samples)
    return {"x": np.concatenate(x), "source": source.tolist()}


def dedup(dataset: hr.Dataset, **options: Any) -> list[str]:
    """Leave out duplicates, and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset.dedup("x", **options)
    assert all(warning.category is hr.DuplicateShareWarning for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


def test_the_worst_sources_are_named(tmp_path: Path) -> None:
    """One warning names three shards, the worst one first, and counts the rest."""
    ds = write_shards(tmp_path, shares(21, 20, 50, 19, 30, 40), shards=6, row_group=60)
    (text,) = dedup(ds)

    assert text.startswith("more than 20.0 % of a source is left out as duplicates (`warn_above=0.2`): ")
    named = re.findall(r"(\d+\.0) % of \S*(\d{3})\.parquet \((\d+) of 100 samples\)", text)
    assert named == [("50.0", "002", "50"), ("40.0", "005", "40"), ("30.0", "004", "30")]
    assert " and 1 more" in text


@pytest.mark.parametrize(("warn_above", "count"), [(0.2, 0), (0.19, 1), (0.0, 1), (1.0, 0), (None, 0)])
def test_a_share_on_the_limit_passes(warn_above: float | None, count: int) -> None:
    """Only a larger share than the setting is warned of."""
    assert len(dedup(hr.from_arrays(shares(20)), warn_above=warn_above)) == count


def test_far_too_much_is_refused(tmp_path: Path) -> None:
    """The error names source, share, setting, what the largest clusters hold, and what to do."""
    ds = write_shards(tmp_path, shares(10, 95), shards=2, row_group=60)
    with pytest.raises(hr.DuplicateShareError) as caught:
        ds.dedup("x")

    text = str(caught.value)
    assert re.match(
        r"at most 90\.0 % of a source may be left out as duplicates \(`stop_above=0\.9`\), got 95\.0 % of "
        r"\S*001\.parquet \(95 of 100 samples\); the largest clusters hold 96 samples like sample 100 "
        r"\(1000\), 11 samples like sample 0 \(0\); .*`stop_above=None`",
        text,
    )
    assert isinstance(caught.value, ValueError)
    assert len(dedup(ds, stop_above=None)) == 1
    assert dedup(ds, stop_above=0.95, warn_above=None) == []
    assert hr.find_duplicates(ds, "x").share == 105 / 200  # neither warns nor stops


def test_long_values_are_cut_short() -> None:
    """A text of a thousand letters does not flood the message."""
    ds = hr.from_arrays({"text": ["long " * 200] * 60})
    pattern = r"like sample 0 \('long long [long ]*\.\.\.\); compare"
    with pytest.raises(hr.DuplicateShareError, match=pattern) as caught:
        ds.dedup()
    assert len(str(caught.value)) < 600


def test_by_the_values_of_a_column() -> None:
    """Sources that lie mixed in one shard are judged by what a column says."""
    columns = shares(5, 95, 5, 5)
    order = np.random.default_rng(0).permutation(400)
    ds = hr.from_arrays({name: np.array(values)[order] for name, values in columns.items()})
    assert len(dedup(ds)) == 1  # 27.5 % of all
    assert dedup(ds, warn_above=0.3) == []
    (text,) = dedup(ds, guard_by="source", stop_above=None)
    assert "95.0 % of `source` 'source 1' (95 of 100 samples);" in text
    with pytest.raises(hr.DuplicateShareError, match="`source` 'source 1'"):
        ds.dedup("x", guard_by="source")
    with pytest.raises(hr.UnknownColumnError, match="no column `sources`"):
        ds.dedup("x", guard_by="sources")


def test_null_is_a_source() -> None:
    """Samples without a source are judged like those of one."""
    columns = {"x": [1] * 60 + list(range(2, 62)), "source": [None] * 60 + ["a"] * 60}
    ds = hr.from_arrow(pa.table(columns))
    with pytest.raises(hr.DuplicateShareError, match=r"98\.3 % of `source` None \(59 of 60 samples\)"):
        ds.dedup("x", guard_by="source")


def test_small_sources_are_judged_together(tmp_path: Path) -> None:
    """A share of few samples says nothing; of many such sources it does."""
    few = write_shards(tmp_path / "few", shares(48, samples=49), shards=1)
    assert dedup(few) == []
    many = write_shards(tmp_path / "many", shares(48, 48, samples=49), shards=2)
    with pytest.raises(
        hr.DuplicateShareError,
        match=r"98\.0 % of all sources of fewer than 50 samples \(96 of 98 samples\)",
    ):
        many.dedup("x")


@pytest.mark.parametrize("name", ["warn_above", "stop_above"])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "0.2", True])
def test_shares_that_are_none(name: str, share: Any) -> None:
    """A setting outside of 0..1 is refused before anything is read."""
    with pytest.raises(hr.OptionError, match=rf"`{name}` must be a share in 0\.\.1, or None"):
        hr.from_arrays({"x": [1]}).dedup(**{name: share})


def test_values_that_cannot_be_shown() -> None:
    """Too much is refused as such, though no frame holds the values, or the column is gone."""
    x = pa.array([(1, 2, 3)] * 100, pa.month_day_nano_interval())
    with pytest.raises(
        hr.DuplicateShareError, match=r"hold 100 samples like sample 0; compare other columns"
    ):
        hr.from_arrow(pa.table({"x": x})).dedup()
    ds = hr.from_arrays({"x": ["a"] * 100, "y": range(100)})
    report = hr.find_duplicates(ds, "x")
    with pytest.raises(
        hr.DuplicateShareError, match=r"hold 100 samples like sample 0; compare other columns"
    ):
        ds.select(["y"]).dedup(report=report)
