"""The header of a table: which entries it is of, how many it keeps, and what its columns are."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.fingerprint import digest
from headrace.stores.base import Columns, Entry, Layout
from headrace.stores.folder.arrays import ArrayFormat
from headrace.stores.folder.owned import HEADER, TABLE_VERSION
from headrace.stores.folder.records import RECORD_FORMAT
from headrace.stores.folder.safety import Bytes, open_folder, read_file, safe_name

MOST_HEADER_BYTES = 1 << 30

Formats = Mapping[str, "ArrayFormat | pa.DataType"]
"""What is kept under each name: arrays side by side in one file, or what Arrow has in files of each entry."""

_DTYPE = re.compile(r"[<>|][biufcmMSU]\d+(\[\w+\])?")


def formats_of(columns: Columns) -> Formats:
    """Tell how columns are kept.

    Raises:
        ValueError: An array holds Python objects or records.
    """
    return {
        name: ArrayFormat(column.dtype, column.shape[1:]) if isinstance(column, np.ndarray) else column.type
        for name, column in columns.items()
    }


@dataclass(frozen=True, slots=False, eq=False)
class TableHeader:
    """What a table was made for.

    Attributes:
        layout: Its entries.
        formats: Its columns, by name.
        kept: How many entries it has places for, from the first one on; the limit allows no more.
        loose_row_bytes: Bytes that a row takes in files of its entry, as the first entry has it.
    """

    layout: Layout
    formats: Formats
    kept: int
    loose_row_bytes: int = 0

    @cached_property
    def rows(self) -> int:
        """How many rows it has places for."""
        return int(self.layout.starts[self.kept])

    @cached_property
    def arrays(self) -> dict[str, tuple[str, ArrayFormat]]:
        """The columns that are one array, and their file."""
        return {
            name: (f"{safe_name(number, name)}.npy", kind)
            for number, (name, kind) in enumerate(self.formats.items())
            if isinstance(kind, ArrayFormat)
        }

    @cached_property
    def loose(self) -> dict[str, tuple[str, pa.DataType]]:
        """The columns that are in files of each entry, and the folder of these."""
        return {
            name: (safe_name(number, name), kind)
            for number, (name, kind) in enumerate(self.formats.items())
            if not isinstance(kind, ArrayFormat)
        }

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in all files, as far as known."""
        return self.loose_row_bytes + sum(kind.row_bytes for _, kind in self.arrays.values())

    @cached_property
    def fixed_bytes(self) -> int:
        """Bytes that the table takes without any row."""
        headers = sum(len(kind.header(self.rows)) for _, kind in self.arrays.values())
        return headers + RECORD_FORMAT.file_bytes(len(self.layout.entries)) + len(self.encoded)

    @cached_property
    def encoded(self) -> bytes:
        """What lies in the file, always the same."""
        content = {
            "version": TABLE_VERSION,
            "kept": self.kept,
            "loose_row_bytes": self.loose_row_bytes,
            "columns": [_encode_format(name, kind) for name, kind in self.formats.items()],
            "entries": [[entry.key, entry.rows] for entry in self.layout.entries],
        }
        return json.dumps({"checksum": _checksum(content), "content": content}).encode()

    @staticmethod
    def decode(content: Bytes) -> TableHeader:
        """Read what `encoded` has returned.

        Raises:
            ValueError: It is something else.
        """
        try:
            parsed = json.loads(content.tobytes())
            if parsed["checksum"] != _checksum(parsed["content"]):
                raise ValueError("its checksum is another")
            found = parsed["content"]
            if found["version"] != TABLE_VERSION:
                raise ValueError(f"it has version {found['version']}, not {TABLE_VERSION}")
            layout = Layout(tuple(Entry(str(key), int(rows)) for key, rows in found["entries"]))
            formats = dict(_decode_format(column) for column in found["columns"])
            kept, loose_row_bytes = int(found["kept"]), int(found["loose_row_bytes"])
            is_empty = not formats or min(entry.rows for entry in layout.entries) < 1
            if is_empty or not 0 < kept <= len(layout.entries):
                raise ValueError("it has other columns or entries than it keeps")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, pa.ArrowException) as error:
            raise ValueError(f"`{HEADER}` is damaged: {error}") from error
        return TableHeader(layout, formats, kept, loose_row_bytes)


def read_header(path: str) -> TableHeader | None:
    """Read what a table was made for, from the file alone; None if it does not say."""
    try:
        folder = open_folder(path)
    except OSError:
        return None
    try:
        return TableHeader.decode(read_file(HEADER, folder, MOST_HEADER_BYTES))
    except (OSError, ValueError):
        return None
    finally:
        os.close(folder)


def _encode_format(name: str, kind: ArrayFormat | pa.DataType) -> dict[str, Any]:
    if isinstance(kind, ArrayFormat):
        return {
            "name": name,
            "dtype": np.lib.format.dtype_to_descr(kind.dtype),
            "shape": list(kind.shape),
        }
    return {
        "name": name,
        "type": str(kind),
        "schema": base64.b64encode(pa.schema([("", kind)]).serialize()).decode(),
    }


def _decode_format(column: Mapping[str, Any]) -> tuple[str, ArrayFormat | pa.DataType]:
    name = str(column["name"])
    if "dtype" not in column:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(column["schema"], validate=True)))
        return name, schema.field(0).type
    dtype = str(column["dtype"])
    if not _DTYPE.fullmatch(dtype):  # which NumPy would take for a record or an object
        raise ValueError(f"no array has the dtype {dtype!r}")
    return name, ArrayFormat(np.dtype(dtype), tuple(int(side) for side in column["shape"]))


def _checksum(content: Mapping[str, Any]) -> str:
    return digest("table header", json.dumps(content, sort_keys=True))
