"""A source over files of records in text: CSV, JSON Lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pyarrow as pa

from headrace.errors import (
    CorruptSourceError,
    HeadraceError,
    MemoryLimitError,
    SourceError,
    UnknownColumnError,
)
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.base import check_columns, check_rows
from headrace.sources.budget import PlannedColumn, check_planned, check_sizes
from headrace.sources.building import value_bytes
from headrace.sources.files import ShardFile, Stamp
from headrace.sources.hive import partition_fields
from headrace.sources.schemas import conform, unify
from headrace.sources.text_scan import Grammar, Sample, TextFile, count_lines, scan_text
from headrace.sources.verify import UNPROTECTED

_OPENERS = 8
_SAMPLED = 1 << 20  # bytes of each file, by which types are told


@dataclass(frozen=True, eq=False)
class TextSource:
    """Shards of one data set in a text format.

    Each file is scanned once, when it is opened, for where its records lie. A row group is a run
    of records that is parsed by itself, to types that are the same for all of them.

    Thread-safe: every read opens its file anew. Picklable.

    Attributes:
        files: The shards in order.
        scans: What their scans told.
        grammar: What is special to the format.
        settings: The options, for the fingerprint.
        memory_limit: The most bytes that decoding one row group may take.
    """

    files: tuple[ShardFile, ...]
    scans: tuple[TextFile, ...]
    grammar: Grammar
    settings: tuple[object, ...]
    memory_limit: int

    @staticmethod
    def scan(
        files: Iterable[ShardFile], grammar: Grammar, settings: tuple[object, ...], memory_limit: int
    ) -> TextSource:
        """Scan all files, in parallel."""
        shards = tuple(files)
        begin = partial(scan_text, grammar=grammar, memory_limit=memory_limit)
        with ThreadPoolExecutor(_OPENERS, thread_name_prefix="headrace-open") as pool:
            scans = tuple(pool.map(begin, shards))
        source = TextSource(shards, scans, grammar, settings, memory_limit)
        assert source.schema is not None  # shards that do not fit together are refused here
        return source

    @cached_property
    def stored(self) -> pa.Schema:
        """The columns that lie in the files."""
        kinds = self.grammar.infer(list(self._samples()))
        unknown = [name for name in self.grammar.types if name not in kinds]
        if unknown:
            raise UnknownColumnError.from_names(
                unknown, list(kinds), f"the {self.grammar.title} data set of {self.files[0].path}"
            )
        schemas = [
            pa.schema([(name, kinds[name]) for name in scan.names or tuple(kinds)]) for scan in self.scans
        ]
        return unify(schemas, [file.path for file in self.files], "error")

    @cached_property
    def _partitions(self) -> dict[str, pa.DataType]:
        return partition_fields(self.files)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that lie in the files, then those that the folders' names give."""
        schema = self.stored
        for name, kind in self._partitions.items():
            if name not in schema.names:
                schema = schema.append(pa.field(name, kind))
        return schema

    @cached_property
    def manifest(self) -> Manifest:
        """Row groups of some MB of text."""
        shards: list[Shard] = []
        for file, scan in zip(self.files, self.scans, strict=True):
            identity = digest(scan.identity, self.settings, sorted(file.partitions.items()))
            sizes = tuple(np.diff(scan.begins).tolist())
            shards.append(Shard(file.path, scan.rows, sizes, identity))
        return Manifest(tuple(shards))

    @property
    def notes(self) -> tuple[str, ...]:
        """What cannot be seen in such files."""
        return (
            f"{self.grammar.title} has neither length nor checksum: a file that lost whole records at its "
            f"end reads as a shorter one; {UNPROTECTED}",
        )

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the file that a shard's samples lie in, with its stamp when it was opened."""
        return self.files[shard].stamped(self.scans[shard].stamp)

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Parse one row group of one file."""
        check_columns(columns, self.schema, f"the {self.grammar.title} data set of {row_group.name}")
        file, scan = self.files[row_group.shard], self.scans[row_group.shard]
        file.check(scan.stamp)
        stored = [name for name in columns if name in self.stored.names]
        table = self._parse(row_group, stored) if stored else pa.table({})
        file.check(scan.stamp)
        wanted = pa.schema([self.schema.field(name) for name in columns])
        given = {name: file.partitions.get(name) for name in self._partitions}
        return conform(table, wanted, row_group, given)

    def _parse(self, row_group: RowGroup, columns: Sequence[str]) -> pa.Table:
        scan = self.scans[row_group.shard]
        begin, end = scan.begins[row_group.index : row_group.index + 2]
        wanted = self.stored
        if not self.grammar.reads_all:
            wanted = pa.schema([wanted.field(name) for name in columns])
        data = _read(self.files[row_group.shard], begin, end - begin)
        planned = {f.name: _most_bytes(f.type, row_group.rows, data) for f in wanted}
        planned["the text"] = len(data)
        limits = {name: PlannedColumn(size, size) for name, size in planned.items()}
        check_planned(limits, self.memory_limit, row_group)
        try:
            table = self.grammar.parse(data, scan.names, wanted)
            check_rows(table.num_rows, row_group)
        except Exception as error:
            self.files[row_group.shard].check(scan.stamp)
            raise self._explained(error, row_group, data, wanted) from error
        sizes = {name: table.column(name).nbytes for name in table.schema.names}
        check_sizes(sizes, self.memory_limit, row_group)
        return table

    def _explained(
        self, error: Exception, row_group: RowGroup, data: bytes, wanted: pa.Schema
    ) -> HeadraceError:
        """Find the first record that cannot be parsed, and word the error from it."""
        if isinstance(error, MemoryError):
            return MemoryLimitError(f"{row_group}: the machine has too little memory to decode it: {error}")
        scan = self.scans[row_group.shard]
        found = np.empty((row_group.rows, 2), np.int64)
        whole = data if data.endswith((b"\n", b"\r")) else data + b"\n"
        count, _ = self.grammar.find(np.frombuffer(whole, np.uint8), len(scan.names), found)
        low, high = 0, count  # the first `low` records can be parsed, the first `high + 1` cannot
        while low < high:
            middle = (low + high) // 2
            if self._fits(whole[: found[middle, 1]], scan.names, wanted, middle + 1):
                low = middle + 1
            else:
                high = middle
        if low == count:
            return CorruptSourceError(f"{row_group}: cannot be parsed: {error}")
        begin, end = found[low].tolist()
        line = scan.lines[row_group.index] + count_lines(whole[:begin])
        reason = self.grammar.explain(whole[begin:end], scan.names, wanted)
        return CorruptSourceError(f"{row_group}, line {line:,}{reason}")

    def _fits(self, data: bytes, names: tuple[str, ...], wanted: pa.Schema, rows: int) -> bool:
        try:
            return self.grammar.parse(data, names, wanted).num_rows == rows
        except Exception:
            return False

    def _samples(self) -> Iterator[Sample]:
        """The first records of every file."""
        for file, scan in zip(self.files, self.scans, strict=True):
            data = b""
            if scan.rows:
                begin, end = scan.begins[:2]
                data = _read(file, begin, min(end - begin, _SAMPLED))
                if end - begin > _SAMPLED:
                    found = np.empty((scan.rows[0], 2), np.int64)
                    count, _ = self.grammar.find(np.frombuffer(data, np.uint8), len(scan.names), found)
                    data = data[: found[count - 1, 1]] if count else _read(file, begin, end - begin)
            yield Sample(file.path, scan.names, data, scan.lines[0] if scan.rows else 1)


def _most_bytes(kind: pa.DataType, rows: int, data: bytes) -> int:
    """Bytes that so many values take at the most, their text aside."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_struct(kind):
        return sum(_most_bytes(kind.field(place).type, rows, data) for place in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        items = (
            data.count(b"{") if pa.types.is_struct(kind.value_type) else data.count(b",") + data.count(b"[")
        )
        return 8 * rows + _most_bytes(kind.value_type, items, data)
    return rows * (value_bytes(kind) or 8)


def _read(file: ShardFile, begin: int, length: int) -> bytes:
    try:
        with file.local() as place:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(descriptor, length, begin)
            finally:
                os.close(descriptor)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{file.path}: cannot be read: {error.strerror}") from error
