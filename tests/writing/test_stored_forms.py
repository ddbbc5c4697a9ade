"""What HDF5, LMDB and TFRecord cannot hold as it is comes back bit by bit all the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from arrays import contents, elsewhere, tables
from hypothesis import given, settings
from written_folders import batch, write_folder, write_shard

import headrace as hr
from headrace.sources.open import open_source
from headrace.sources.written.forms import FORMATS, from_stored, stored_schema, to_stored
from headrace.writing.formats.base import FormatOptions
from headrace.writing.formats.opening import check_format

Table = tuple[pa.Schema, list[pa.RecordBatch]]
FLAGGED = pa.array([[1, None], None, [], [None, 2, 3], [4]], pa.list_(pa.uint64()))


def check(format: str, array: pa.Array) -> None:
    rows = batch({"x": array, "other": pa.array(range(len(array)))})
    stored = to_stored(rows, format)
    assert stored.schema.equals(stored_schema(rows.schema, format))
    found = from_stored(stored, rows.schema, format, ["x"])
    found.validate(full=True)
    assert found.column(0).type == array.type
    if pa.types.is_struct(array.type):  # of which some cannot be listed
        assert found.column(0).equals(array)
    else:
        assert contents(found.column(0)) == contents(array)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_all_values_come_back(format: str, table: Table) -> None:
    """Types, values and nulls are those that were laid out, whichever columns are asked for."""
    schema, groups = table
    for rows in groups:
        stored = to_stored(rows, format)
        stored.validate(full=True)
        assert stored.schema.equals(stored_schema(schema, format))
        found = from_stored(stored, schema, format, schema.names[::-1])
        found.validate(full=True)
        for name in schema.names:
            assert contents(found.column(name)) == contents(rows.column(name)), name


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=12, deadline=None)
@given(table=tables())
def test_all_files_come_back(format: str, table: Table) -> None:
    """A folder holds what was written; a file's bytes do not tell how the values lay in memory."""
    schema, groups = table
    moved = [
        pa.RecordBatch.from_arrays([elsewhere(column) for column in rows.columns], schema=schema)
        for rows in groups
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = write_folder(Path(place), format, [groups, groups[:1]], schema)
        source = open_source(folder, None, None, 1 << 30, verify=True)
        found = pa.Table.from_batches([source.read(one, schema.names) for one in source.manifest])
        again = write_shard(Path(place) / "again", format, moved, schema).read_bytes()
        assert again == (folder / source.manifest.shards[0].name).read_bytes()
    written = pa.Table.from_batches([*groups, groups[0]])
    assert source.schema.equals(schema)
    for name in schema.names:
        one, other = (table.column(name).combine_chunks() for table in (found, written))
        assert contents(one) == contents(other), name


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "array",
    [
        FLAGGED,
        FLAGGED.cast(pa.list_(pa.float16())),
        FLAGGED.cast(pa.list_(pa.float64())),
        pa.array([[True, None], None, [False]]),
        pa.array([["a", None], ["b"], None, [], ["x", "y"]]),
        pa.array([["a", None], None, ["b", "c"]], pa.list_(pa.string_view(), 2)),
        pa.array([[], None, []], pa.list_(pa.int8(), 0)),
        pa.array([{}, None], pa.struct([])),
        pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(["a", None])], names=["x", "x"]),
        pa.array([{"v": [1, 2]}, None], pa.struct([("v", pa.list_(pa.int8(), 2))])),
        pa.array([pa.MonthDayNano([1, 2, 3]), None]),
        pa.array([100, None], pa.int64()).cast(pa.decimal128(30, 2)).view(pa.decimal128(30, -2)),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array(["a", None])),
        pa.DictionaryArray.from_arrays(pa.array([1, 0]), pa.array([[1], None])),
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int16()), pa.array([None, 2])),
        pa.array(["a\0b", None, "\x10", "\x100", "\0", "", "é\x10\0"]),
        pa.array([2**53 + 1, 2**64 - 1, None], pa.uint64()),
        pa.array([b"0" * 16, None], pa.uuid()),
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float32(), [2, 2], dim_names=["h", "w"], permutation=[1, 0]),
            pa.array([[1, 2, 3, 4], None], pa.list_(pa.float32(), 4)),
        ),
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.bool_(), [2]), pa.array([[True, None], None], pa.list_(pa.bool_(), 2))
        ),
    ],
    ids=lambda array: str(array.type)[:40],
)
def test_odd_values_come_back(format: str, array: pa.Array) -> None:
    """So do nulls at every depth, types that few formats know, and slices of them."""
    check(format, array)
    check(format, array.slice(1))
    check(format, array.slice(0, 1))


@pytest.mark.parametrize("format", ["lmdb", "tfrecord"])
def test_nulls_within_tensors_come_back(format: str) -> None:
    """A tensor some of whose numbers are null is none of zeros."""
    kind = pa.fixed_shape_tensor(pa.int16(), [2])
    check(
        format, pa.ExtensionArray.from_storage(kind, pa.array([[1, None], None, [0, 3]], kind.storage_type))
    )


def test_nulls_within_tensors_are_refused_by_hdf5() -> None:
    """A data set of shape [n, ...] has no place for them; the message names column and row."""
    kind = pa.fixed_shape_tensor(pa.int16(), [2])
    array = pa.ExtensionArray.from_storage(kind, pa.array([None, [1, 2], [1, None]], kind.storage_type))

    with pytest.raises(hr.SchemaError, match=r"column `x`, row 2: .* holds no nulls within a row; fill them"):
        to_stored(batch({"x": array}), "hdf5")


@pytest.mark.parametrize("format", FORMATS)
def test_what_lies_under_nulls_is_not_stored(format: str) -> None:
    """Values that nulls hide leave no trace."""

    def hidden(secret: int) -> pa.RecordBatch:
        data, valid = pa.py_buffer(np.array([1, secret, 3], np.int64)), pa.py_buffer(b"\x05")
        flat = pa.Array.from_buffers(pa.int64(), 3, [valid, data])
        plain = pa.Array.from_buffers(pa.int64(), 3, [None, data])
        kind = pa.fixed_shape_tensor(pa.int64(), [1])
        rows = pa.Array.from_buffers(kind.storage_type, 3, [valid], children=[plain])
        mask = pa.array([False, True, False])
        lists = pa.Array.from_buffers(
            pa.list_(pa.int64()), 3, [valid, pa.py_buffer(np.arange(4, dtype=np.int32))], children=[plain]
        )
        struct = pa.StructArray.from_arrays([plain], ["v"], mask=mask)
        return batch({"a": flat, "b": pa.ExtensionArray.from_storage(kind, rows), "c": lists, "d": struct})

    assert to_stored(hidden(7), format).equals(to_stored(hidden(8), format))


@pytest.mark.parametrize("format", FORMATS)
def test_what_cannot_be_stored_is_refused_by_name(format: str) -> None:
    """Unions and text that is no UTF-8 are refused; column and row are named."""
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(hr.SchemaError, match=r"column `x`: .*union.* can be written"):
        check_format(format, pa.schema([("x", union.type)]), FormatOptions())
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")]
    )
    with pytest.raises(hr.SchemaError, match="column `x`, row 1: text must be UTF-8"):
        to_stored(batch({"x": broken}), format)
    with pytest.raises(hr.OptionError, match="`compression`"):
        check_format(format, pa.schema([("x", pa.int8())]), FormatOptions("brotli"))


@pytest.mark.parametrize("format", FORMATS)
def test_columns_have_any_name(format: str, tmp_path: Path) -> None:
    """Names that a format gives a meaning are columns like others."""
    names = ["", "a/b", ".", "..", "a\0b", "_nulls", "_checksums", "_column_1", "a", "a.b", "né", "key"]
    rows = batch({name: [f"{place}", None] for place, name in enumerate(names)})
    folder = write_folder(tmp_path, format, [[rows]], rows.schema)

    found: Any = hr.open(folder).to_arrow()
    assert found.column_names == names
    assert found.to_pylist() == rows.to_pylist()
