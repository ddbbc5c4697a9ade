"""Outcomes kept in a folder: used again, never wrong, never in the way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two shards in a folder of their own."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "ab":
        pq.write_table(pa.table({"x": np.arange(1000) % 13, "y": range(1000)}), folder / f"{name}.parquet")
    return folder


class Reads:
    """Counts the row groups that a filter reads."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, done: int, total: int) -> None:
        self.count = done


def run(ds: hr.Dataset, predicate: pl.Expr, cache: object) -> tuple[list[int], int]:
    reads = Reads()
    found = ds.filter(predicate, cache=cache, progress=reads)  # type: ignore[arg-type]
    assert found.sample_ids.tolist() == ds.filter(predicate).sample_ids.tolist()
    return found.sample_ids.tolist(), reads.count


PREDICATES = {
    "bits": pl.col("x") % 2 == 0,
    "runs": pl.col("y") % 1000 > 10,
    "few": (pl.col("x") == 7) & (pl.col("y") % 500 == 7),
    "none": (pl.col("x") + 0) > 99,
    "all": (pl.col("x") + 0) < 99,
}


@pytest.mark.parametrize("name", PREDICATES)
def test_an_outcome_is_used_again(data: Path, tmp_path: Path, name: str) -> None:
    """The second time nothing is read, also after the data has moved."""
    first = run(hr.open(data), PREDICATES[name], tmp_path / "kept")
    shutil.move(data, tmp_path / "moved")
    second = run(hr.open(tmp_path / "moved"), PREDICATES[name], str(tmp_path / "kept"))

    assert first[0] == second[0]
    assert (first[1], second[1]) == (2, 0)


def test_beside_the_data(data: Path) -> None:
    """True keeps the outcome where opening the folder passes it over."""
    run(hr.open(data), PREDICATES["bits"], True)

    assert len(list((data / "_headrace").iterdir())) == 1
    assert len(hr.open(data)) == 2000
    assert run(hr.open(data), PREDICATES["bits"], True)[1] == 0
    with pytest.raises(hr.OptionError, match="name a folder"):
        hr.from_arrays({"x": [1]}).filter(pl.col("x") > 0, cache=True)
    with pytest.raises(hr.OptionError, match="must be a folder"):
        hr.open(data).filter(pl.col("x") > 0, cache=3)  # type: ignore[arg-type]


def test_whatever_changes_the_outcome_is_asked_anew(data: Path, tmp_path: Path) -> None:
    """Another predicate, another step before it, other row groups with samples, other data."""
    kept = tmp_path / "kept"
    ds = hr.open(data)
    x = pl.col("x")
    run(ds, x % 2 == 0, kept)
    for other, predicate in [
        (ds, x % 2 == 1),
        (ds.with_columns(x=pl.col("x") + 1), x % 2 == 0),
        (ds.slice(0, 500), x % 2 == 0),
        (hr.open([data / "b.parquet", data / "a.parquet"]).map(lambda frame: frame), x % 2 == 0),
    ]:
        assert run(other, predicate, kept)[1] > 0
    assert run(ds.with_columns(z=pl.col("y") * 2), x % 2 == 0, kept)[1] == 0, "`z` has no part in it"
    assert run(ds.slice(0, 1500), x % 2 == 0, kept)[1] == 0, "both row groups have samples"
    pq.write_table(pa.table({"x": np.arange(1000) % 11, "y": range(1000)}), data / "b.parquet")
    assert run(hr.open(data), x % 2 == 0, kept)[1] == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "other", "forged", "pickle"])
def test_a_damaged_entry_is_made_again(data: Path, tmp_path: Path, damage: str) -> None:
    """Nothing of a damaged entry is believed; it is replaced, with a warning."""
    ds, kept = hr.open(data), tmp_path / "kept"
    expected, _ = run(ds, PREDICATES["bits"], kept)
    (entry,) = kept.iterdir()
    content = bytearray(entry.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "other":
        run(ds, PREDICATES["runs"], tmp_path / "others")
        content = bytearray(next((tmp_path / "others").iterdir()).read_bytes())[:-1]
    elif damage == "forged":  # whole as a file, with another id in it
        with np.load(entry) as whole:
            parts = {name: whole[name] for name in whole.files}
        parts["array_0"] = parts["array_0"] ^ np.uint64(2)
        np.savez(entry, **parts)
        content = bytearray(entry.read_bytes())
    elif damage == "pickle":
        np.savez(entry, kind=np.array([object()]), total=2000, digest="", array_0=np.zeros(1))
        content = bytearray(entry.read_bytes())
    else:
        content = {"cut": content[:-50], "empty": bytearray(), "text": bytearray(b"bits")}[damage]
    entry.write_bytes(content)

    with pytest.warns(UserWarning, match="made again"):
        assert run(ds, PREDICATES["bits"], kept) == (expected, 2)
    assert run(ds, PREDICATES["bits"], kept) == (expected, 0)
    assert len(list(kept.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_warned_of(data: Path, tmp_path: Path) -> None:
    """The outcome is right all the same."""
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.warns(UserWarning, match="cannot be kept"):
        assert run(hr.open(data), PREDICATES["bits"], blocked / "below")[1] == 2


def test_functions_are_part_of_the_key(data: Path, tmp_path: Path) -> None:
    """A function before the filter is known by its code and what it closes over."""
    ds = hr.open(data)
    for number in (2, 3):
        mapped = ds.map(lambda frame, number=number: frame.with_columns(z=pl.col("x") * number))
        assert run(mapped, pl.col("z") > 12, tmp_path)[1] == 2
    assert len(list(tmp_path.glob("*.npz"))) == 2
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
