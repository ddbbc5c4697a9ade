"""Parquet shards, read in place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import CorruptSourceError, HeadraceError, OptionError, SourceError
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.base import check_columns, check_rows
from headrace.sources.budget import check_decoded, check_planned, plan_bytes
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.hive import partition_fields
from headrace.sources.schemas import conform, unify

# Footers up to this size arrive with the first read of a file's tail.
_TAIL_BYTES = 1 << 16
_MAGIC = b"PAR1"
_OPENERS = 8  # threads that read footers; opening waits for the disk, not for a core


@dataclass(frozen=True, slots=True)
class ParquetOptions:
    """How Parquet shards are read.

    Attributes:
        verify_checksums: Verify page checksums where a file has them.
        on_schema_change: What happens when shards differ in their columns: `"error"` lists
            them, `"fill"` fills missing columns with nulls, `"cast"` also casts to a common
            type. Columns in another order are always unified.

    Example:
        >>> ParquetOptions(on_schema_change="fill").verify_checksums
        True
    """

    verify_checksums: bool = True
    on_schema_change: Literal["error", "fill", "cast"] = "error"

    def __post_init__(self) -> None:
        if self.on_schema_change not in ("error", "fill", "cast"):
            raise OptionError(f'`on_schema_change` must be "error", "fill" or "cast", got {self.on_schema_change!r}')


@dataclass(frozen=True, slots=True)
class Footer:
    """What the end of one file says, and the file's stamp at that time."""

    metadata: pq.FileMetaData
    schema: pa.Schema
    identity: str
    stamp: Stamp


@dataclass(frozen=True, eq=False)
class ParquetSource:
    """Shards of one Parquet data set.

    Thread-safe: every read opens its file anew, so nothing is shared and nothing survives a
    fork. Picklable.

    Attributes:
        files: The shards in order.
        footers: Their footers.
        options: How to read them.
        memory_limit: The most bytes that decoding one row group may take.
    """

    files: tuple[ShardFile, ...]
    footers: tuple[Footer, ...]
    options: ParquetOptions
    memory_limit: int
    _partitions: dict[str, pa.DataType] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_partitions", partition_fields(self.files))

    @staticmethod
    def open(files: Iterable[ShardFile], options: ParquetOptions, memory_limit: int) -> ParquetSource:
        """Read the footers of all files, in parallel."""
        shards = tuple(files)
        with ThreadPoolExecutor(_OPENERS, thread_name_prefix="headrace-open") as pool:
            footers = tuple(pool.map(read_footer, [file.path for file in shards]))
        source = ParquetSource(shards, footers, options, memory_limit)
        assert source.schema is not None  # shards that do not fit together are refused here
        return source

    @cached_property
    def file_schema(self) -> pa.Schema:
        """The columns that lie in the files."""
        names = [file.path for file in self.files]
        return unify([footer.schema for footer in self.footers], names, self.options.on_schema_change)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that lie in the files, then those that the folders' names give."""
        schema = self.file_schema
        for name, kind in self._partitions.items():
            if name not in schema.names:
                schema = schema.append(pa.field(name, kind))
        return schema

    @cached_property
    def manifest(self) -> Manifest:
        """The row groups, counted one by one: the total in a footer can be wrong."""
        fixed, has_variable = _row_bytes(self.file_schema)
        return Manifest(
            tuple(
                _shard(file, footer, fixed, has_variable)
                for file, footer in zip(self.files, self.footers, strict=True)
            )
        )

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Decode one row group of one file."""
        check_columns(columns, self.schema, f"the Parquet data set of {row_group.name}")
        file, footer = self.files[row_group.shard], self.footers[row_group.shard]
        footer.stamp.check(file.path)
        stored = [name for name in columns if name in footer.schema.names]
        try:
            table = self._decode(file.path, footer, row_group, stored)
        except HeadraceError:
            raise
        except Exception as error:
            footer.stamp.check(file.path)
            raise CorruptSourceError(f"{row_group}: cannot be decoded: {error}") from error
        check_rows(table.num_rows if stored else row_group.rows, row_group)
        footer.stamp.check(file.path)
        wanted = pa.schema([self.schema.field(name) for name in columns])
        given = {name: file.partitions.get(name) for name in self._partitions}
        return conform(table, wanted, row_group, given)

    def _decode(self, path: str, footer: Footer, row_group: RowGroup, columns: list[str]) -> pa.Table:
        """Decode the columns, within the memory limit."""
        if not columns:
            return pa.table({})
        planned = plan_bytes(footer.metadata, row_group.index, footer.schema, columns)
        check_planned(planned, self.memory_limit, row_group)
        doubtful = [name for name, column in planned.items() if column.doubtful and self._over(planned)]
        with pq.ParquetFile(
            path,
            metadata=footer.metadata,
            read_dictionary=doubtful or None,
            page_checksum_verification=self.options.verify_checksums,
            arrow_extensions_enabled=True,
        ) as file:
            table = file.read_row_group(row_group.index, columns=columns, use_threads=False)
        return check_decoded(table, footer.schema, self.memory_limit, row_group).select(columns)

    def _over(self, planned: dict[str, Any]) -> bool:
        """Whether dictionaries, written out, could pass the memory limit."""
        return sum(column.most for column in planned.values()) > self.memory_limit


def read_footer(path: str) -> Footer:
    """Read the end of one Parquet file.

    Raises:
        SourceError: The file cannot be read, is empty, is cut off, or is no Parquet file.
    """
    stamp = Stamp.of(path)
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            file.seek(max(stamp.size - _TAIL_BYTES, 0))
            tail = file.read()
            length = int.from_bytes(tail[-8:-4], "little") + 8
            if len(tail) < length <= stamp.size:
                file.seek(stamp.size - length)
                tail = file.read()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    if stamp.size == 0:
        raise CorruptSourceError(f"{path}: the file is empty (0 bytes); its writer was stopped, so write it again")
    if head != _MAGIC or tail[-4:] != _MAGIC or length > stamp.size:
        raise CorruptSourceError(
            f"{path}: a Parquet file must begin and end with {_MAGIC!r}, got {head!r} and {tail[-4:]!r} in "
            f"{stamp.size} bytes; the file is cut off or of another format"
        )
    try:
        metadata = pq.read_metadata(pa.BufferReader(tail))
        schema = metadata.schema.to_arrow_schema().remove_metadata()
    except Exception as error:
        raise CorruptSourceError(f"{path}: the footer cannot be decoded: {error}") from error
    if len(set(schema.names)) != len(schema.names):
        raise CorruptSourceError(f"{path}: column names must be unique, got {schema.names}")
    return Footer(metadata, schema, digest("parquet", stamp.size, tail[-length:]), stamp)


def _shard(file: ShardFile, footer: Footer, fixed: int, has_variable: bool) -> Shard:
    metadata = footer.metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    rows = tuple(group.num_rows for group in groups)
    if any(count < 0 for count in rows):
        raise CorruptSourceError(f"{file.path}: a row group cannot hold {min(rows)} rows; the footer is damaged")
    # Columns without a fixed width are about as large decoded as they are uncompressed.
    sizes = tuple(group.num_rows * fixed + (group.total_byte_size if has_variable else 0) for group in groups)
    return Shard(file.path, rows, sizes, digest(footer.identity, sorted(file.partitions.items())))


def _row_bytes(schema: pa.Schema) -> tuple[int, bool]:
    """Bytes of one row's columns of fixed width, and whether there are others."""
    fixed, has_variable = 0, False
    for kind in schema.types:
        try:
            fixed += max(kind.bit_width // 8, 1)
        except ValueError:
            has_variable = True
    return fixed, has_variable
