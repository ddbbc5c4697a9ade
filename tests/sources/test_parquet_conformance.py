"""The Parquet project's own test files, from many writers: each gives its values or one error."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace as hr

HERE = Path(__file__).parents[1]
FOLDER = HERE / "data" / "parquet-conformance"
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.parquet"))
# What each file gives: rows, columns, row groups and a digest of the values, or the error with its place.
# Made by running this file as a script, after its tests have shown that the values are pyarrow's.
GOLDEN = HERE / "golden" / "parquet-conformance.json"


def outcome(name: str) -> dict[str, Any]:
    path = str(FOLDER / name)
    try:
        ds = hr.open(path)
        table = ds.to_arrow()
    except hr.HeadraceError as error:
        text = str(error).replace(path, name).split(": cannot be decoded")[0]
        return {"error": type(error).__name__, "where": text.split(": the footer")[0]}
    values = hashlib.sha256(repr(values_of(table)).encode()).hexdigest()[:16]
    return {
        "rows": table.num_rows,
        "columns": {field.name: str(field.type) for field in table.schema},
        "row_groups": [row_group.rows for row_group in ds.manifest],
        "values": values,
    }


def values_of(table: pa.Table) -> list[list[Any]]:
    return [[plain(value) for value in column] for column in table.itercolumns()]


def plain(value: pa.Scalar) -> Any:
    """Make a value comparable: every NaN is equal to every other, and moments are whole numbers."""
    if not value.is_valid:
        return None
    if isinstance(value, pa.StructScalar):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar | pa.MapScalar):
        return [plain(member) for member in value.values]
    if pa.types.is_temporal(value.type):
        return value.value  # Python's own types hold no nanoseconds
    found = value.as_py()
    return "NaN" if isinstance(found, float) and math.isnan(found) else found


@pytest.mark.parametrize("name", FILES)
def test_outcome_is_the_golden_one(name: str) -> None:
    """Each file opens with the rows, columns and values on record, or gives the error on record."""
    assert outcome(name) == json.loads(GOLDEN.read_text())[name]


@pytest.mark.parametrize("name", FILES)
def test_values_are_those_of_pyarrow(name: str) -> None:
    """What opens has the values that pyarrow reads; what does not is one error that names the file."""
    path = FOLDER / name
    try:
        table = hr.open(path).to_arrow()
    except hr.CorruptSourceError as error:
        assert name in str(error)
        with pytest.raises(OSError, match=r"."):
            pq.ParquetFile(path, page_checksum_verification=True).read()
        return
    expected = pq.ParquetFile(path).read()
    assert table.schema.equals(expected.schema)
    assert values_of(table) == values_of(expected)


def test_all_files_are_there() -> None:
    """The corpus and its table are complete."""
    assert len(FILES) == 59
    assert sorted(json.loads(GOLDEN.read_text())) == FILES


def test_rows_of_the_row_groups_count() -> None:
    """A total of 0 in the footer does not hide the rows of its row group."""
    path = FOLDER / "data" / "repeated_no_annotation.parquet"

    assert pq.read_metadata(path).num_rows == 0
    assert len(hr.open(path)) == 6


def test_wrong_checksum_only_matters_when_verified() -> None:
    """The file with a wrong checksum reads once verification is switched off."""
    path = FOLDER / "data" / "datapage_v1-corrupt-checksum.parquet"

    with pytest.raises(hr.CorruptSourceError, match=r"row group 0, column `a`: .*CRC"):
        hr.open(path).to_arrow()
    table = hr.open(path, options=hr.ParquetOptions(verify_checksums=False)).to_arrow()
    assert isinstance(table, pa.Table)
    assert table.num_rows == 5120


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("data/")])
def test_values_reach_batches_and_frames(name: str) -> None:
    """What opens can also be looked at as a Polars frame and taken as Arrow batches, or says why not."""
    ds = hr.open(FOLDER / name)
    try:
        rows = ds.to_polars().height
        taken = sum(len(batch) for batch in ds.loader(500, output="arrow", threads=0)) if rows else 0
    except hr.HeadraceError as error:
        assert "checksum" in name
        assert name in str(error)
    else:
        assert taken == rows == len(ds)


if __name__ == "__main__":
    GOLDEN.write_text(
        json.dumps({name: outcome(name) for name in FILES}, indent=1, ensure_ascii=False) + "\n"
    )
