"""Parquet shards, read in place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import CorruptSourceError, HeadraceError, MemoryLimitError, OptionError
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.base import check_columns, check_rows
from headrace.sources.bloom import BloomFilter
from headrace.sources.budget import check_planned, count_values, decode, leaf_of, leaves_of, plan_bytes
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.hive import partition_column, partition_fields
from headrace.sources.parquet_bytes import DATA_BYTES, has_page_checksum, open_chunks, read_tail
from headrace.sources.parquet_probe import check_chunks
from headrace.sources.parquet_statistics import plain_bytes, read_statistics
from headrace.sources.schemas import conform, unify
from headrace.sources.statistics import Statistics
from headrace.sources.verify import UNPROTECTED

_SMALL_FILE = 16  # remote files up to so many times the bytes of their tail keep it, as most of it is needed
_MAGIC = b"PAR1"
_MOST_ROWS = 1 << 40  # of one row group; no file holds as many, so a footer that says more is damaged
_MOST_BYTES = 1 << 50
# Threads that read footers; opening waits for the disk or the network, not for a core.
_OPENERS = 8
_REMOTE_OPENERS = 32


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
            raise OptionError(
                f'`on_schema_change` must be "error", "fill" or "cast", got {self.on_schema_change!r}'
            )


@dataclass(frozen=True, slots=True)
class Footer:
    """What the end of one file says, and the file's stamp at that time.

    Attributes:
        metadata: The footer.
        schema: The file's columns.
        identity: Digest of the footer, the data just before it and the file's size.
        stamp: The file's stamp.
        tail: The last bytes of a small remote file, which need not be fetched again.
    """

    metadata: pq.FileMetaData
    schema: pa.Schema
    identity: str
    stamp: Stamp
    tail: bytes = field(default=b"", repr=False)


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
    _checked: set[tuple[object, ...]] = field(
        default_factory=set["tuple[object, ...]"], init=False, repr=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_partitions", partition_fields(self.files))

    @staticmethod
    def open(files: Iterable[ShardFile], options: ParquetOptions, memory_limit: int) -> ParquetSource:
        """Read the footers of all files, in parallel."""
        shards = tuple(files)
        first = read_footer(shards[0])
        openers = _OPENERS if shards[-1].remote is None else _REMOTE_OPENERS
        with ThreadPoolExecutor(openers, thread_name_prefix="headrace-open") as pool:
            footers = (first, *pool.map(partial(read_footer, like=first), shards[1:]))
        source = ParquetSource(shards, footers, options, memory_limit)
        assert source.schema is not None  # shards that do not fit together are refused here
        assert source.manifest is not None  # and so are footers that cannot be right
        return source

    @cached_property
    def file_schema(self) -> pa.Schema:
        """The columns that lie in the files."""
        names = [file.path for file in self.files]
        return unify(
            [footer.schema for footer in self.footers], names, self.options.on_schema_change, "ParquetOptions"
        )

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that lie in the files, then those that the folders' names give."""
        schema = self.file_schema
        for name, kind in self._partitions.items():
            if name not in schema.names:
                schema = schema.append(pa.field(name, kind))
        return schema

    @property
    def manifest(self) -> Manifest:
        """The row groups, counted one by one: the total in a footer can be wrong."""
        return self._manifest

    @cached_property
    def _manifest(self) -> Manifest:
        fixed, has_variable = _row_bytes(self.file_schema)
        return Manifest(
            tuple(
                _shard(file, footer, fixed, has_variable)
                for file, footer in zip(self.files, self.footers, strict=True)
            )
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is less safe than it could be, told by the first page of the first shard that has any."""
        if not self.options.verify_checksums:
            return (f"`verify_checksums=False` leaves out page checksums; {UNPROTECTED}",)
        for file, footer in zip(self.files, self.footers, strict=True):
            if footer.metadata.num_row_groups and footer.metadata.num_columns:
                is_protected = has_page_checksum(file, footer.metadata, footer.stamp.size)
                return () if is_protected else (f"the pages of {file.path} have no checksums; {UNPROTECTED}",)
        return ()

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the file that a shard's samples lie in, with its stamp when it was opened."""
        return self.files[shard].stamped(self.footers[shard].stamp)

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Decode one row group of one file."""
        check_columns(columns, self.schema, f"the Parquet data set of {row_group.name}")
        file, footer = self.files[row_group.shard], self.footers[row_group.shard]
        file.check(footer.stamp)
        known = set(footer.schema.names)
        stored = [name for name in columns if name in known]
        try:
            table = self._decode(file, footer, row_group, stored)
        except HeadraceError:
            raise
        except Exception as error:
            file.check(footer.stamp)
            raise self._explained(error, footer, row_group, stored) from error
        check_rows(table.num_rows if stored else row_group.rows, row_group)
        file.check(footer.stamp)
        wanted = pa.schema([self.schema.field(name) for name in columns])
        given = {name: file.partitions.get(name) for name in self._partitions}
        return conform(table, wanted, row_group, given)

    def statistics(self, column: str) -> Statistics:
        """Return the bounds that the footers hold; one value where the folders' names give the column."""
        field = self.schema.field(column)
        constants = None
        if column in self._partitions:
            values = [file.partitions[column] for file in self.files]
            constants = [partition_column(value, field.type, 1)[0].as_py() for value in values]
        footers = [(footer.metadata, footer.schema) for footer in self.footers]
        for row_group in self.manifest:
            self._check_statistics(row_group, column)
        return read_statistics(footers, field, constants)

    def _check_statistics(self, row_group: RowGroup, column: str) -> None:
        """Refuse a footer whose statistics would end the process that asks for them."""
        footer = self.footers[row_group.shard]
        if column not in footer.schema.names:
            return
        try:
            self._check_chunks(footer, row_group.shard, row_group.index, [column])
        except OSError as error:
            raise CorruptSourceError(
                f"{row_group}, column `{column}`: the footer contradicts itself, so write the file again: "
                f"{error}"
            ) from error

    def lacks(self, row_group: RowGroup, column: str, values: pa.Array) -> bool:
        """Tell whether a Bloom filter rules out all of some values."""
        file, footer = self.files[row_group.shard], self.footers[row_group.shard]
        kind = self.schema.field(column).type
        if column not in footer.schema.names or footer.schema.field(column).type != kind:
            return False
        self._check_statistics(row_group, column)
        leaf = leaf_of(column, footer.metadata, footer.schema)
        encoded = None if leaf is None else plain_bytes(values, footer.metadata.schema.column(leaf))
        if leaf is None or encoded is None:
            return False
        offset = footer.metadata.row_group(row_group.index).column(leaf).bloom_filter_offset
        if offset is None:
            return False
        if file.remote is not None:
            return False  # a request would cost as much as it could save
        file.check(footer.stamp)
        bloom = BloomFilter.read(file.path, offset)
        return bloom is not None and not any(bloom.may_hold(value) for value in encoded)

    def _decode(self, file: ShardFile, footer: Footer, row_group: RowGroup, columns: list[str]) -> pa.Table:
        """Decode the columns, within the memory limit."""
        if not columns:
            return pa.table({})
        self._check_chunks(footer, row_group.shard, row_group.index, columns)
        # Where a footer promises too few rows, the decoder leaves out the others without a word.
        for name, count in count_values(footer.metadata, row_group.index, footer.schema, columns).items():
            check_rows(count, row_group, name)
        planned = plan_bytes(footer.metadata, row_group.index, footer.schema, columns)
        check_planned(planned, self.memory_limit, row_group)
        is_doubtful = sum(column.most for column in planned.values()) > self.memory_limit
        dictionaries = [path for column in planned.values() for path in column.dictionaries if is_doubtful]
        leaves = leaves_of(columns, footer.metadata, footer.schema) if file.remote is not None else []
        chunks = [number for _, number in leaves]
        with (
            open_chunks(file, footer.metadata, row_group.index, chunks, footer.tail) as content,
            pq.ParquetFile(
                content,
                metadata=footer.metadata,
                read_dictionary=dictionaries or None,
                page_checksum_verification=self.options.verify_checksums,
                arrow_extensions_enabled=True,
            ) as opened,
        ):
            return decode(opened, row_group, planned, footer.schema, self.memory_limit)

    def _check_chunks(self, footer: Footer, shard: int, index: int, columns: Sequence[str]) -> None:
        key = (shard, index, *columns)
        if key not in self._checked:
            leaves = [number for _, number in leaves_of(columns, footer.metadata, footer.schema)]
            check_chunks(footer.metadata, index, leaves, footer.stamp.size)
            self._checked.add(key)

    def _explained(
        self, error: Exception, footer: Footer, row_group: RowGroup, columns: list[str]
    ) -> HeadraceError:
        """Word an error of the decoder, with the column that it is about if one can be told."""
        if isinstance(error, MemoryError):
            return MemoryLimitError(f"{row_group}: the machine has too little memory to decode it: {error}")
        column = ""
        for name in columns:
            try:
                self._decode(self.files[row_group.shard], footer, row_group, [name])
            except Exception:
                column = f", column `{name}`"
                break
        return CorruptSourceError(f"{row_group}{column}: cannot be decoded, so write the file again: {error}")


def read_footer(file: ShardFile, like: Footer | None = None) -> Footer:
    """Read the end of one Parquet file.

    Args:
        file: Which one.
        like: The footer of another file, which may be about as long.

    Raises:
        SourceError: The file cannot be read, is empty, is cut off, or is no Parquet file.
    """
    path, stamp = file.path, file.stamp()
    head, tail, length = read_tail(file, stamp.size, None if like is None else like.metadata.serialized_size)
    if head == b"PARE" or tail[-4:] == b"PARE":
        raise CorruptSourceError(f"{path}: the file is encrypted, which cannot be read; decrypt it before")
    if stamp.size == 0:
        raise CorruptSourceError(
            f"{path}: the file is empty (0 bytes); its writer was stopped, so write it again"
        )
    if head != _MAGIC or tail[-4:] != _MAGIC or length > stamp.size:
        raise CorruptSourceError(
            f"{path}: a Parquet file must begin and end with {_MAGIC!r}, got {head!r} and {tail[-4:]!r} in "
            f"{stamp.size} bytes; the file is cut off or of another format"
        )
    file.check(stamp)
    try:
        metadata = pq.read_metadata(pa.BufferReader(tail))
        schema = pa.schema([field.remove_metadata() for field in metadata.schema.to_arrow_schema()])
        names = schema.names
    except Exception as error:
        raise CorruptSourceError(f"{path}: the footer cannot be decoded: {error}") from error
    if len(set(names)) != len(names):
        raise CorruptSourceError(f"{path}: column names must be unique, got {names}")
    # More of the tail than the footer: where a footer has no statistics, it may outlive a rewrite.
    contents = hashlib.blake2b(tail[-length - DATA_BYTES :], digest_size=16).hexdigest()
    is_small = file.remote is not None and stamp.size <= _SMALL_FILE * len(tail)
    identity = digest("parquet", stamp.size, contents)
    return Footer(metadata, schema, identity, stamp, tail if is_small else b"")


def _shard(file: ShardFile, footer: Footer, fixed: int, has_variable: bool) -> Shard:
    metadata = footer.metadata
    try:
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        # Columns without a fixed width are about as large decoded as they are uncompressed.
        sized = [(group.num_rows, max(group.total_byte_size, 0) if has_variable else 0) for group in groups]
    except Exception as error:
        raise CorruptSourceError(f"{file.path}: the footer cannot be decoded: {error}") from error
    rows = tuple(count for count, _ in sized)
    if any(count < 0 or count > _MOST_ROWS for count in rows):
        worst = min(rows) if min(rows) < 0 else max(rows)
        raise CorruptSourceError(f"{file.path}: a row group cannot hold {worst} rows; the footer is damaged")
    # Of lists alone nothing else tells that there are more rows. Some writers leave the total at 0.
    if metadata.num_rows not in (0, sum(rows)):
        raise CorruptSourceError(
            f"{file.path}: the footer counts {metadata.num_rows:,} rows in all, but {sum(rows):,} in its row "
            "groups; the file is damaged, so write it again"
        )
    sizes = tuple(min(count * fixed + variable, _MOST_BYTES) for count, variable in sized)
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
