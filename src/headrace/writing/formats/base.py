"""What a writer of a format is: from record batches to one shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """How shards are laid out, whatever their rows.

    Attributes:
        compression: Name of a codec, `"none"`, or None for the format's default.
        bloom_filters: Columns that get a Bloom filter in each row group; Parquet alone has them.
    """

    compression: str | None = None
    bloom_filters: tuple[str, ...] = ()


class ShardWriter(Protocol):
    """Writes one shard, row group by row group; the same bytes for the same row groups, anywhere."""

    def write(self, rows: pa.RecordBatch) -> None:
        """Append one row group; at least one row.

        Raises:
            OSError: The disk is full, say.
            SchemaError: A value cannot be written in this format; the message names column and row.
        """
        ...

    def close(self) -> None:
        """Finish the file, so that it can be read; a shard without row groups is one of zero rows."""
        ...

    def abandon(self) -> None:
        """Let go of what is open, after an error; the file is removed by whoever named it."""
        ...
