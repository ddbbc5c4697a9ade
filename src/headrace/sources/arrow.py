"""Arrow IPC files and streams (Feather version 2 is the same), read in place.

Files are not mapped into memory: one that is cut off while it is mapped would end the process.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa

from headrace.errors import CorruptSourceError, HeadraceError, MemoryLimitError, OptionError, SourceError
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.arrow_decoding import ArrowReader
from headrace.sources.arrow_layouts import Layout, dictionary_ids, make_layouts
from headrace.sources.arrow_messages import ArrowFile, Block, read_arrow_file
from headrace.sources.base import check_columns, check_rows
from headrace.sources.building import value_bytes
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.hive import partition_fields
from headrace.sources.schemas import conform, unify
from headrace.sources.verify import UNPROTECTED

# Record batches below these sizes are read together.
_GROUP_BYTES, _GROUP_ROWS = 1 << 23, 1 << 16
_OPENERS = 8


@dataclass(frozen=True, slots=True)
class ArrowOptions:
    """How Arrow IPC files and streams are read.

    Attributes:
        on_schema_change: What happens when shards differ in their columns: `"error"` lists
            them, `"fill"` fills missing columns with nulls, `"cast"` also casts to a common
            type. Columns in another order are always unified.

    Example:
        >>> ArrowOptions(on_schema_change="fill").on_schema_change
        'fill'
    """

    on_schema_change: Literal["error", "fill", "cast"] = "error"

    def __post_init__(self) -> None:
        if self.on_schema_change not in ("error", "fill", "cast"):
            raise OptionError(
                f'`on_schema_change` must be "error", "fill" or "cast", got {self.on_schema_change!r}'
            )


@dataclass(frozen=True, eq=False)
class ArrowSource:
    """Shards of one data set in Arrow's IPC format.

    Thread-safe: every read opens its file anew. Picklable. A record batch is a row group; small
    ones that follow each other are one together. A record batch that was compressed is unpacked
    column by column, so only the wanted ones are read. Text that is stored as views is delivered
    as `large_string`.

    Attributes:
        files: The shards in order.
        heads: What the heads of their messages say.
        options: How to read them.
        memory_limit: The most bytes that decoding one row group may take.
    """

    files: tuple[ShardFile, ...]
    heads: tuple[ArrowFile, ...]
    options: ArrowOptions
    memory_limit: int

    @staticmethod
    def open(files: Iterable[ShardFile], options: ArrowOptions, memory_limit: int) -> ArrowSource:
        """Read the heads of all files' messages, in parallel."""
        shards = tuple(files)
        with ThreadPoolExecutor(_OPENERS, thread_name_prefix="headrace-open") as pool:
            heads = tuple(pool.map(read_arrow_file, shards))
        source = ArrowSource(shards, heads, options, memory_limit)
        assert source.schema is not None  # shards that do not fit together are refused here
        return source

    @cached_property
    def _layouts(self) -> tuple[dict[str, Layout], ...]:
        """How the columns of each file are laid out."""
        found: list[dict[str, Layout]] = []
        for file, head in zip(self.files, self.heads, strict=True):
            layouts = make_layouts(head.schema, head.fields, file.path)
            known = dictionary_ids(layouts.values())
            if any(block.dictionary not in known for block in head.dictionaries):
                raise CorruptSourceError(
                    f"{file.path}: a dictionary belongs to no column; the file is damaged"
                )
            if head.batches and not layouts:
                raise CorruptSourceError(
                    f"{file.path}: its record batches have no columns; the file is damaged"
                )
            found.append(layouts)
        return tuple(found)

    @cached_property
    def _partitions(self) -> dict[str, pa.DataType]:
        return partition_fields(self.files)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that lie in the files, then those that the folders' names give."""
        schemas = [
            pa.schema([(name, layout.delivered) for name, layout in layouts.items()])
            for layouts in self._layouts
        ]
        names = [file.path for file in self.files]
        schema = unify(schemas, names, self.options.on_schema_change, "ArrowOptions")
        for name, kind in self._partitions.items():
            if name not in schema.names:
                schema = schema.append(pa.field(name, kind))
        return schema

    @cached_property
    def _groups(self) -> tuple[list[list[Block]], ...]:
        """The record batches of each row group, file by file."""
        return tuple(_group(head.batches) for head in self.heads)

    @cached_property
    def manifest(self) -> Manifest:
        """The row groups, counted by the heads of their record batches."""
        shards: list[Shard] = []
        for file, head, groups, layouts in zip(
            self.files, self.heads, self._groups, self._layouts, strict=True
        ):
            rows = tuple(sum(block.rows for block in blocks) for blocks in groups)
            widths = [value_bytes(layout.delivered) for layout in layouts.values()]
            nbytes = tuple(
                count * sum(widths)
                + (0 if all(widths) else int(head.growth * sum(block.body for block in blocks)))
                for count, blocks in zip(rows, groups, strict=True)
            )
            identity = digest(head.identity, sorted(file.partitions.items()))
            shards.append(Shard(file.path, rows, nbytes, identity))
        return Manifest(tuple(shards))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is less safe than it could be."""
        return (f"no checksum protects Arrow IPC files; {UNPROTECTED}",)

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the file that a shard's samples lie in, with its stamp when it was opened."""
        return self.files[shard].stamped(self.heads[shard].stamp)

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Decode one row group of one file."""
        check_columns(columns, self.schema, f"the Arrow data set of {row_group.name}")
        file, head = self.files[row_group.shard], self.heads[row_group.shard]
        file.check(head.stamp)
        stored = [name for name in columns if name in self._layouts[row_group.shard]]
        try:
            table = self._decode(row_group, stored)
        except HeadraceError:
            file.check(head.stamp)
            raise
        except MemoryError as error:
            raise MemoryLimitError(
                f"{row_group}: the machine has too little memory to decode it: {error}"
            ) from error
        except Exception as error:
            file.check(head.stamp)
            raise CorruptSourceError(
                f"{row_group}: cannot be decoded, so write the file again: {error}"
            ) from error
        check_rows(table.num_rows if stored else row_group.rows, row_group)
        file.check(head.stamp)
        wanted = pa.schema([self.schema.field(name) for name in columns])
        given = {name: file.partitions.get(name) for name in self._partitions}
        return conform(table, wanted, row_group, given)

    def _decode(self, row_group: RowGroup, columns: list[str]) -> pa.Table:
        if not columns:
            return pa.table({})
        head, layouts = self.heads[row_group.shard], self._layouts[row_group.shard]
        with _opened(self.files[row_group.shard]) as descriptor:
            reader = ArrowReader(descriptor, head, layouts, row_group, self.memory_limit)
            return reader.read(self._groups[row_group.shard][row_group.index], columns)


@contextmanager
def _opened(file: ShardFile) -> Generator[int]:
    with file.local() as place:
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"{file.path}: cannot be read: {error.strerror}") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _group(batches: Sequence[Block]) -> list[list[Block]]:
    """Join small record batches that follow each other."""
    groups: list[list[Block]] = []
    size = rows = 0
    for block in batches:
        fits = size + block.body <= _GROUP_BYTES and rows + block.rows <= _GROUP_ROWS
        if not groups or not fits:
            groups.append([])
            size = rows = 0
        groups[-1].append(block)
        size, rows = size + block.body, rows + block.rows
    return groups
