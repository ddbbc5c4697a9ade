"""What formats without Arrow's types hold in their place, and the way back by the schema of the manifest.

Of HDF5 each column is read; of LMDB and TFRecord the rows are, as bytes, and taken apart here, since what
was written is known and need not be told by the first rows. `to_stored` and `from_stored` undo each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from headrace.errors import SchemaError
from headrace.sources.hdf5 import Hdf5Options
from headrace.sources.written import hdf5_forms, lmdb_forms, tfrecord_forms, tfrecord_reading
from headrace.sources.written.manifest import WrittenManifest
from headrace.sources.written.plain import plain_type

FORMATS = ("hdf5", "lmdb", "tfrecord")
"""The formats that have stored forms; others hold Arrow's types themselves."""

_FORMS: Mapping[str, Any] = {"hdf5": hdf5_forms, "lmdb": lmdb_forms, "tfrecord": tfrecord_forms}
_READING: Mapping[str, Any] = {"hdf5": hdf5_forms, "lmdb": lmdb_forms, "tfrecord": tfrecord_reading}


def stored_schema(schema: pa.Schema, format: str) -> pa.Schema:
    """Return the columns that the format's source reads of files with these columns.

    Raises:
        SchemaError: A column's type cannot be written; the message names it.

    Example:
        >>> stored_schema(pa.schema([("when", pa.timestamp("ms", "UTC"))]), "hdf5").field(0).type
        DataType(int64)
    """
    for field in schema:
        try:
            plain_type(field.type)
        except SchemaError as error:
            raise SchemaError(f"column `{field.name}`: {error}") from error
    return _FORMS[format].stored_schema(schema)


def to_stored(rows: pa.RecordBatch, format: str) -> pa.RecordBatch:
    """Lay rows out as the format holds them.

    Raises:
        SchemaError: A value cannot be written; the message names column and row.
    """
    return _FORMS[format].to_stored(rows)


def from_stored(
    stored: pa.RecordBatch, schema: pa.Schema, format: str, columns: Sequence[str] | None = None
) -> pa.RecordBatch:
    """Bring rows back from how the format holds them.

    Args:
        stored: What `stored_columns` names, as read by the format's source.
        schema: All columns of the files: those of the manifest's `file_schema`, whatever is wanted of them.
        format: Which format.
        columns: The columns that are wanted, in order; None for all.

    Raises:
        UndecodableError: Some rows are damaged; its `rows` are their places.
    """
    return _READING[format].from_stored(stored, schema, schema.names if columns is None else columns)


def reader_options(manifest: WrittenManifest) -> Any:
    """Return the options by which the format's source reads the stored columns."""
    if manifest.format == "hdf5":
        return Hdf5Options(columns=stored_columns(manifest.file_schema.names, manifest))
    return _FORMS[manifest.format].reader_options()


def stored_columns(columns: Sequence[str], manifest: WrittenManifest) -> list[str]:
    """Name the stored columns that must be read for some columns of the files; at least one."""
    if manifest.format == "hdf5":
        return hdf5_forms.stored_columns(columns, manifest.file_schema, manifest.null_counts)
    return [_FORMS[manifest.format].COLUMN]


def unchanged_columns(manifest: WrittenManifest) -> list[str]:
    """Name the columns that the format's source reads as they were, by name and type, and without nulls."""
    schema = manifest.file_schema
    if manifest.format != "hdf5":
        return []
    stored = stored_schema(schema, manifest.format)
    return [
        name
        for place, name in enumerate(schema.names)
        if hdf5_forms.stored_name(schema, place) == name
        and name in stored.names
        and stored.field(name).type == schema.field(name).type
        and hdf5_forms.form_of(schema.field(name).type) in ("number", "tensor")
        and not hdf5_forms.needs_flags(schema.field(name).type, manifest.null_counts.get(name, 0))
    ]
