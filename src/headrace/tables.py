"""Arrays of any length in one Arrow IPC file, with plain values beside them: no code, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from headrace.errors import CorruptSourceError
from headrace.replacing import replacing

_META = b"headrace"


def write_arrays(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, pa.Array]) -> None:
    """Write arrays and plain JSON values to a file, which is complete or not there.

    The file is the same, byte for byte, for the same contents.

    Raises:
        OSError: The file cannot be written.
    """
    fields: list[pa.Field] = []
    columns: list[pa.Array] = []
    for name, array in arrays.items():
        # A column of one list each, since columns of one file have one length.
        values = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        column = pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)
        fields.append(pa.field(name, column.type))
        columns.append(column)
    schema = pa.schema(fields, {_META: json.dumps(meta).encode()})
    with replacing(path) as file, ipc.new_file(file, schema) as writer:
        if columns:
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, pa.Array]]:
    """Read what `write_arrays` wrote, into memory of its own.

    Raises:
        FileNotFoundError: There is no such file.
        CorruptSourceError: The file is not what was written.
    """
    content = path.read_bytes()
    try:
        with ipc.open_file(pa.BufferReader(content)) as reader:
            meta = json.loads((reader.schema.metadata or {})[_META])
            table = reader.read_all()
        table.validate(full=True)
        arrays = {
            name: column.combine_chunks().values if isinstance(column, pa.ChunkedArray) else column.values
            for name, column in zip(table.schema.names, table.columns, strict=True)
        }
    # Arrow says of damaged bytes that they cannot be read as if it were the disk: by OSError.
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        raise CorruptSourceError(
            f"{path}: an Arrow file of arrays is needed, but it cannot be read: {error}"
        ) from error
    return meta, arrays
