"""HDF5 files for the tests, and what h5py itself reads from them: the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from headrace.sources.files import find_files
from headrace.sources.hdf5 import Hdf5Options, Hdf5Source

DATA = Path(__file__).parents[1] / "data"
LIMIT = 1 << 30


def write(path: Path, **columns: Any) -> str:
    """Write one data set for each column; a mapping gives the keywords of `create_dataset`."""
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            settings = column if isinstance(column, Mapping) else {"data": column}
            file.create_dataset(name, **settings)
    return str(path)


def open_file(path: str | Path, limit: int = LIMIT, **options: Any) -> Hdf5Source:
    return Hdf5Source.open(find_files(str(path)), Hdf5Options(**options), limit)


def read_all(source: Hdf5Source) -> pa.Table:
    names = source.schema.names
    batches = [source.read(row_group, names) for row_group in source.manifest]
    return pa.Table.from_batches(batches, schema=source.schema)


def to_values(table: pa.Table, name: str) -> Any:
    """Return a column as an array of numbers, or as a list of what is none."""
    column = table.column(name).combine_chunks()
    if isinstance(column.type, pa.FixedShapeTensorType):
        return column.to_numpy_ndarray()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.to_numpy(zero_copy_only=False)
    return column.to_pylist()


def oracle_columns(dataset: Any, name: str) -> dict[str, Any]:
    """Read a data set with h5py, compound members as columns of their own."""
    return dict(_plain(dataset[()], dataset.dtype, name))


def _plain(values: Any, dtype: Any, name: str) -> Any:
    if dtype.names:
        for member in dtype.names:
            yield from _plain(values[member], dtype.fields[member][0].base, f"{name}.{member}")
    elif dtype.kind == "S" or h5py.check_string_dtype(dtype):
        yield name, [value.decode() for value in values.tolist()]
    elif dtype.kind == "O":
        yield name, [value.tolist() for value in values]
    elif dtype.kind == "V":
        yield name, [bytes(value) for value in values]
    elif dtype.kind in "mM":
        yield name, values.tolist()
    elif dtype.kind == "b":
        yield name, values.tolist() if values.ndim == 1 else values.view(np.uint8)
    else:
        yield name, values


def assert_same(found: pa.Table, expected: Mapping[str, Any]) -> None:
    assert sorted(found.schema.names) == sorted(expected)
    for name, values in expected.items():
        got = to_values(found, name)
        if isinstance(values, np.ndarray):
            assert got.dtype == values.dtype.newbyteorder("=")
            np.testing.assert_array_equal(got, values)
        else:
            assert got == values
