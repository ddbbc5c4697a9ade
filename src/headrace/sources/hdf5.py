"""HDF5 shards, read in place.

Headers are read by h5py, once, when a data set is opened. Values are then read by offset and decoded
outside of the HDF5 library, so that its global lock holds nobody up; what only the library can
read (rare filters and types, text within compound types, values in other files) comes from h5py,
one thread at a time, and `Hdf5Source.notes` names it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import (
    CorruptSourceError,
    HeadraceError,
    MemoryLimitError,
    MissingDependencyError,
    OptionError,
    SchemaError,
    SourceError,
)
from headrace.fingerprint import digest
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.sources.base import Layout, check_columns, check_rows
from headrace.sources.files import GrowingStamp, ShardFile, Stamp
from headrace.sources.hdf5_chunks import open_bytes
from headrace.sources.hdf5_copying import copy_extent, layout_of
from headrace.sources.hdf5_header import Inspector, Member, SparseTable, Table
from headrace.sources.hdf5_layout import LayoutFinder
from headrace.sources.hdf5_reading import Reading, located
from headrace.sources.hdf5_rows import cut_rows, identify
from headrace.sources.hive import partition_column, partition_fields
from headrace.sources.scratch import Scratch
from headrace.sources.verify import UNPROTECTED

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Hdf5Options:
    """Which data sets of an HDF5 file become columns, and what may be missing.

    Attributes:
        group: The group whose data sets are the columns: those directly in it, with at least one
            axis, whose first axis is the samples. A sparse matrix that AnnData or SciPy wrote (a
            group of `data`, `indices` and `indptr`) is a column too, and so are AnnData's
            categories (a group of `codes` and `categories`), as what the codes stand for, and lists
            that headrace wrote (a group of `values` and `offsets`). Scalars, attributes and other
            groups are passed over.
        columns: Only these data sets, or members of compound ones as `"obs.age"`; None for all.
        on_length_mismatch: What happens when they differ in their first axis: `"error"` lists
            the lengths, `"shortest"` cuts all to the shortest.
        missing: What happens when values were never written, or a source of a virtual data set
            is not there: `"error"`, or `"fill"` reads the fill value, as the library would.
        allow_external: Whether links, external storage and virtual data sets may lead to other
            files. A file then makes the process read any path that it names.
        swmr: Whether the files may be open in a process that writes them in SWMR mode. The samples
            are those that were there at opening; what is appended comes with the next opening.

    Example:
        >>> Hdf5Options(group="/train", columns=["image", "label"]).missing
        'error'
    """

    group: str = "/"
    columns: Sequence[str] | None = None
    on_length_mismatch: Literal["error", "shortest"] = "error"
    missing: Literal["error", "fill"] = "error"
    allow_external: bool = False
    swmr: bool = False

    def __post_init__(self) -> None:
        if not self.group:
            raise OptionError(f'`group` must be a path like "/train", got {self.group!r}')
        if self.on_length_mismatch not in ("error", "shortest"):
            raise OptionError(
                f'`on_length_mismatch` must be "error" or "shortest", got {self.on_length_mismatch!r}'
            )
        if self.missing not in ("error", "fill"):
            raise OptionError(f'`missing` must be "error" or "fill", got {self.missing!r}')
        if self.allow_external not in (True, False):
            raise OptionError(f"`allow_external` must be True or False, got {self.allow_external!r}")
        if self.swmr not in (True, False):
            raise OptionError(f"`swmr` must be True or False, got {self.swmr!r}")
        if self.columns is not None:
            # A text is a sequence of texts too.
            if isinstance(self.columns, str) or not all(type(name) is str for name in self.columns):
                raise OptionError(f"`columns` must be a list of names, got {self.columns!r}")
            if not self.columns:
                raise OptionError("`columns` must name at least one column, got an empty list")
            object.__setattr__(self, "columns", tuple(self.columns))


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What the headers of one file tell.

    Attributes:
        members: Data sets and sparse matrices that become columns.
        rows: How many samples they hold.
        group_rows: How many of them each row group holds, but the last.
        row_bytes: Bytes of one sample once decoded, estimated where samples differ in length.
        identity: Digest of the headers and of probes into the values.
        stamp: The file's stamp when they were read.
        outside: Other files in which values lie, with their stamps.
    """

    members: tuple[Member, ...]
    rows: int
    group_rows: int
    row_bytes: float
    identity: str
    stamp: Stamp
    outside: Mapping[str, Stamp]

    @property
    def fields(self) -> list[pa.Field]:
        """The columns."""
        found: list[pa.Field] = []
        for member in self.members:
            if isinstance(member, SparseTable):
                found.append(pa.field(member.name, member.type))
            else:
                found += [leaf.field(name) for name, leaf in member.leaves.items()]
        return found


@dataclass(frozen=True, eq=False)
class Hdf5Source:
    """Shards of one HDF5 data set.

    Thread-safe: every read opens its file anew, so nothing is shared and nothing survives a
    fork. Picklable. Row groups are runs of whole chunks of some MB.

    Attributes:
        files: The shards in order.
        headers: What their headers told.
        options: How to read them.
        memory_limit: The most bytes that decoding one row group may take.
    """

    files: tuple[ShardFile, ...]
    headers: tuple[Header, ...]
    options: Hdf5Options
    memory_limit: int
    _scratch: Scratch = field(default_factory=Scratch, init=False, repr=False)

    @staticmethod
    def open(files: Iterable[ShardFile], options: Hdf5Options, memory_limit: int) -> Hdf5Source:
        """Read the headers of all files.

        Raises:
            SourceError: A file cannot be read, is damaged, or leads to other files.
            SchemaError: The group has no columns, or the shards do not fit together.
        """
        shards = tuple(files)
        headers = tuple(read_header(file, options) for file in shards)
        source = Hdf5Source(shards, headers, options, memory_limit)
        assert source.schema is not None  # shards that do not fit together are refused here
        return source

    @cached_property
    def _partitions(self) -> dict[str, pa.DataType]:
        return partition_fields(self.files)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns that lie in the files, then those that the folders' names give."""
        first = {field.name: field for field in self.headers[0].fields}
        for file, header in zip(self.files, self.headers, strict=True):
            found = {field.name: field for field in header.fields}
            for name in {**first, **found}:
                here, there = found.get(name), first.get(name)
                if here is None or there is None or here.type != there.type:
                    raise SchemaError(
                        f"column `{name}` must be the same in all shards, got {_described(there)} in "
                        f"{self.files[0].path} and {_described(here)} in {file.path}"
                    )
        fields = list(self.headers[0].fields)
        fields += [pa.field(name, kind) for name, kind in self._partitions.items() if name not in first]
        if len({field.name for field in fields}) < len(fields):
            raise SchemaError(
                f"{self.files[0].path}: column names must be unique, got {[field.name for field in fields]}"
            )
        return pa.schema(fields)

    @cached_property
    def manifest(self) -> Manifest:
        """Row groups of whole chunks, cut by the headers alone."""
        shards: list[Shard] = []
        for file, header in zip(self.files, self.headers, strict=True):
            starts = range(0, header.rows, header.group_rows)
            rows = tuple(min(header.group_rows, header.rows - start) for start in starts)
            nbytes = tuple(int(count * header.row_bytes) for count in rows)
            identity = digest(header.identity, sorted(file.partitions.items()))
            shards.append(Shard(file.path, rows, nbytes, identity))
        return Manifest(tuple(shards))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is slower or less safe than it could be, one sentence each."""
        tables = {name: table for header in self.headers for name, table in _tables(header.members)}
        notes = [
            f"`{name}` is read by h5py, one thread at a time, as {reason}"
            for name, table in tables.items()
            if (reason := table.needs_library)
        ]
        bare = [name for name, table in tables.items() if not table.has_checksums]
        loose = [
            name for name, table in tables.items() if table.has_checksums and not table.has_checked_header
        ]
        if bare:
            notes.append(f"no checksum (Fletcher-32) protects {_listed(bare)}; {UNPROTECTED}")
        if loose:
            notes.append(
                "no checksum (as the latest format has) protects the header, which counts the samples, of "
                f"{_listed(loose)}; {UNPROTECTED}"
            )
        return tuple(notes)

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Decode one row group of one file."""
        check_columns(columns, self.schema, f"the HDF5 data set of {row_group.name}")
        file, header = self.files[row_group.shard], self.headers[row_group.shard]
        with _explained(row_group, file, header):
            arrays = self._decode(file, header, row_group, columns)
        for name in columns:
            if name not in arrays:
                value, kind = file.partitions.get(name), self._partitions[name]
                arrays[name] = partition_column(value, kind, row_group.rows)
            check_rows(len(arrays[name]), row_group)
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.RecordBatch.from_arrays([arrays[name] for name in columns], schema=schema)

    def shard_files(self, shard: int) -> Mapping[str, Stamp]:
        """Return the files that a shard's samples lie in, each with its stamp when it was opened."""
        header = self.headers[shard]
        return {**header.outside, **self.files[shard].stamped(header.stamp)}

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """The columns whose rows can be copied right into a batch, without decoding them as a column."""
        # A row group beyond the memory limit is left to `read`, which says so.
        each = [
            {
                member.name: layout
                for member in header.members
                if (layout := layout_of(member, header.group_rows, self.memory_limit))
            }
            for header in self.headers
        ]
        return {name: layout for name, layout in each[0].items() if all(name in found for found in each)}

    def copy_rows(
        self, row_group: RowGroup, column: str, rows: NDArray[np.int64], targets: NDArray[np.uint64]
    ) -> None:
        """Copy rows of one column of one row group to memory."""
        file, header = self.files[row_group.shard], self.headers[row_group.shard]
        table = next(one for one in header.members if isinstance(one, Table) and column in one.leaves)
        first = row_group.index * header.group_rows
        with (
            _explained(row_group, file, header),
            file.local() as place,
            open_bytes(file, place, header.stamp, self._scratch) as opened,
            located(table, row_group),
        ):
            copy_extent(opened, table.extent, rows + first, targets)

    def _decode(
        self, shard: ShardFile, header: Header, row_group: RowGroup, columns: Sequence[str]
    ) -> dict[str, pa.Array]:
        begin = row_group.index * header.group_rows
        rows = range(begin, begin + row_group.rows)
        with shard.local() as place, open_bytes(shard, place, header.stamp, self._scratch) as file:
            reading = Reading(file, row_group, rows, self.memory_limit)
            foreign = reading.plan(header.members, frozenset(columns))
            arrays = reading.read_directly()
            if foreign:
                with library_file(place, self.options.swmr) as opened:
                    for table in foreign:
                        arrays |= reading.read_by_library(opened[table.extent.name], table)
        return arrays


@contextmanager
def _explained(row_group: RowGroup, file: ShardFile, header: Header) -> Generator[None]:
    """Turn whatever goes wrong in a read into one error of ours."""
    try:
        yield
    except HeadraceError:
        raise
    except MemoryError as error:
        raise MemoryLimitError(f"{row_group}: memory ran out while decoding: {error}") from error
    except Exception as error:
        file.check(header.stamp)
        raise CorruptSourceError(f"{row_group}: cannot be decoded: {error}") from error


def read_header(shard: ShardFile, options: Hdf5Options) -> Header:
    """Read the headers of one HDF5 file.

    Raises:
        SourceError: The file cannot be read, is empty, is cut off, or is no HDF5 file.
        SchemaError: It has no columns as the options want them.
    """
    path = shard.path
    stamp = GrowingStamp.of(path) if options.swmr and shard.remote is None else shard.stamp()
    if stamp.size == 0:
        raise CorruptSourceError(
            f"{path}: the file is empty (0 bytes); its writer was stopped, so write it again"
        )
    opener = partial(library_file, swmr=options.swmr)
    fills = options.missing == "fill"
    try:
        with shard.local() as place:
            with opener(place) as file:
                finder = LayoutFinder(
                    path, place, stamp.size, opener, options.allow_external, fills, options.swmr
                )
                members = Inspector(file, finder).find_members(options.group, options.columns)
            rows = _common_rows(path, members, options)
            group_rows, row_bytes = cut_rows(members, rows, stamp.size)
            with open_bytes(shard, place, stamp, Scratch()) as opened:
                identity = identify(opened, members)
    except HeadraceError:
        raise
    except Exception as error:
        shard.check(stamp)
        if "already open for" in str(error) and not options.swmr:
            raise SourceError(
                f"{path}: another process writes the file, or was stopped while it did; if it writes in SWMR "
                "mode, pass `Hdf5Options(swmr=True)`"
            ) from error
        raise CorruptSourceError(
            f"{path}: the headers cannot be read: {error}; the file is cut off, damaged or no HDF5 file"
        ) from error
    outside = {other: Stamp.of(other) for other in sorted(finder.outside)}
    return Header(tuple(members), rows, group_rows, row_bytes, identity, stamp, outside)


@contextmanager
def library_file(path: str, swmr: bool = False) -> Generator[Any]:
    """Open a file with h5py, whose lock is held until it is closed.

    The library is one at a time in any case; held throughout, no other thread can fork a process
    in which the file would stay open.
    """
    try:
        import h5py
        from h5py._objects import phil
    except ImportError as error:
        raise MissingDependencyError.from_extra("h5py", "hdf5", "reading HDF5") from error
    with phil, h5py.File(path, "r", locking="best-effort", swmr=swmr) as file:
        yield file


def _common_rows(path: str, members: Sequence[Member], options: Hdf5Options) -> int:
    lengths = {member.name: member.rows for member in members}
    if len(set(lengths.values())) > 1 and options.on_length_mismatch == "error":
        shown = ", ".join(f"`{name}` {rows:,}" for name, rows in list(lengths.items())[: 2 * _SHOWN])
        more = f" and {len(lengths) - 2 * _SHOWN} more" if len(lengths) > 2 * _SHOWN else ""
        raise SchemaError(
            f"{path}, group `{options.group}`: all columns must have one length, got {shown}{more}; choose "
            'some by `Hdf5Options(columns=...)`, or cut all by `on_length_mismatch="shortest"`'
        )
    return min(lengths.values())


def _tables(members: Sequence[Member]) -> Iterator[tuple[str, Table]]:
    """Yield every data set, by what its column is called."""
    for member in members:
        parts = member.tables if isinstance(member, SparseTable) else (member,)
        yield from ((member.name, part) for part in parts)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more


def _described(field: pa.Field | None) -> str:
    return "nothing" if field is None else str(field.type)
