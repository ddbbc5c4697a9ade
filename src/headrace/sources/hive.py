"""Columns that the names of folders give: `year=2013/month=7/part.parquet`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from headrace.errors import SchemaError
from headrace.sources.files import ShardFile

_WHOLE_NUMBER = re.compile(r"-?\d{1,18}")


def partition_fields(files: Sequence[ShardFile]) -> dict[str, pa.DataType]:
    """Name the partition columns and their types: int64 where every value is a whole number.

    Raises:
        SchemaError: Some files lie in a partition that others lack.
    """
    names = list(files[0].partitions)
    for file in files:
        if list(file.partitions) != names:
            raise SchemaError(
                f"all shards must lie below the same `key=value` folders, got {names} for {files[0].path} "
                f"and {list(file.partitions)} for {file.path}"
            )
    return {name: _type_of([file.partitions[name] for file in files]) for name in names}


def partition_column(value: str | None, kind: pa.DataType, rows: int) -> pa.Array:
    """One value for all rows.

    Raises:
        pyarrow.ArrowInvalid: The value is none of that type.
    """
    return pa.repeat(pa.scalar(value, pa.string()).cast(kind), rows)


def _type_of(values: Sequence[str | None]) -> pa.DataType:
    known = [value for value in values if value is not None]
    whole = bool(known) and all(_WHOLE_NUMBER.fullmatch(value) for value in known)
    return pa.int64() if whole else pa.string()
