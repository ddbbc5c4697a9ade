"""A dask collection as a source: each partition is a row group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast
from uuid import uuid4

import pyarrow as pa

from headrace.errors import (
    CorruptSourceError,
    HeadraceError,
    MissingDependencyError,
    OptionError,
    SchemaError,
    SourceError,
)
from headrace.execution.dask.calls import pack, unpack
from headrace.manifest import Manifest, RowGroup, Shard
from headrace.prepare.base import from_frame
from headrace.sources.base import check_columns
from headrace.sources.identity import identify
from headrace.sources.memory import MemorySource


@dataclass(frozen=True, slots=True)
class _Look:
    """What is known of a partition: its columns, rows and bytes, and a digest of its contents."""

    schema: pa.Schema
    rows: int
    nbytes: int
    identity: str


@dataclass(frozen=True, eq=False)
class PartitionSource:
    """The partitions of a dask collection; reading one computes it, every time.

    Thread-safe, and picklable if dask can send the collection to its workers.

    Attributes:
        parts: `dask.delayed` objects, which yield frames or tables.
        looks: What is known of each.
        schema: The columns and their types, the same for all.
        scheduler: Where they are computed, as `dask.compute` takes it; None for dask's own choice.
    """

    parts: tuple[Any, ...]
    looks: tuple[_Look, ...]
    schema: pa.Schema
    scheduler: str | None

    @property
    def manifest(self) -> Manifest:
        """One shard for each partition, so that those which stay the same are known again."""
        return self._manifest

    @cached_property
    def _manifest(self) -> Manifest:
        return Manifest(
            tuple(
                Shard(_name(number), (look.rows,), (look.nbytes,), look.identity)
                for number, look in enumerate(self.looks)
            )
        )

    def read(self, row_group: RowGroup, columns: Sequence[str]) -> pa.RecordBatch:
        """Compute a partition, and take these columns of it.

        Raises:
            SourceError: Its tasks fail; the message names the partition.
            CorruptSourceError: It has other rows or columns than when it was counted.
        """
        check_columns(columns, self.schema, row_group.name)
        wanted = pa.schema([self.schema.field(name) for name in columns])
        parts = [self.parts[row_group.shard]]
        [found] = _compute(partial(_take, wanted), parts, self.scheduler, row_group.name)
        if isinstance(found, str) or found.num_rows != row_group.rows:
            what = found if isinstance(found, str) else f"it has {found.num_rows} rows"
            raise CorruptSourceError(
                f"{row_group}: there were {row_group.rows} rows when the partition was counted, but now "
                f"{what}; it must be the same whenever it is computed, so `persist` the collection, or write "
                "it to files and open those"
            )
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (pack(self.parts, "the collection"), self.looks, self.schema, self.scheduler)


def _rebuild(
    parts: bytes, looks: tuple[_Look, ...], schema: pa.Schema, scheduler: str | None
) -> PartitionSource:
    return PartitionSource(unpack(parts), looks, schema, scheduler)


def open_collection(collection: Any, scheduler: str | None) -> PartitionSource:
    """Count and digest the partitions of a dask dataframe, or of a list of delayed frames and tables.

    Raises:
        OptionError: It is neither.
        SchemaError: A partition is no frame or table, or they differ in their columns.
        SourceError: A partition cannot be computed.
    """
    parts = _parts_of(collection)
    looks = _compute(_look, parts, scheduler, "a dask partition")
    schema = looks[0].schema
    for number, look in enumerate(looks):
        try:
            # A column that is null throughout a partition may have no type there.
            schema = pa.unify_schemas([schema, look.schema])
        except pa.ArrowException as error:
            raise SchemaError(
                f"{_name(number)} has columns of other types than those before it: {error}; give all "
                "partitions the same"
            ) from error
        if look.schema.names != schema.names:
            raise SchemaError(
                f"{_name(number)} has the columns {look.schema.names}, and those before it {schema.names}; "
                "give all partitions the same, in the same order"
            )
    return PartitionSource(tuple(parts), tuple(looks), schema, scheduler)


def _name(number: int) -> str:
    return f"dask partition {number}"


def _parts_of(collection: Any) -> list[Any]:
    try:
        from dask.delayed import Delayed
    except ImportError as error:
        raise MissingDependencyError.from_extra("dask", "dask", "reading a dask collection") from error
    if hasattr(collection, "__dask_graph__") and hasattr(collection, "to_delayed"):
        if hasattr(collection, "columns") and hasattr(collection, "dtypes"):
            return list(collection.to_delayed())
    elif isinstance(collection, (list, tuple)):
        parts = cast("list[Any]", list(collection))
        if parts and all(isinstance(part, Delayed) for part in parts):
            return parts
    raise OptionError(
        "`from_dask` takes a dask dataframe, or a list of `dask.delayed` objects that yield pandas or Polars "
        f"frames or Arrow tables, got {type(collection).__name__}"
    )


def _compute(
    function: Callable[[Any], Any], parts: Sequence[Any], scheduler: str | None, where: str
) -> list[Any]:
    """Call a function on partitions where they are computed, so that they need not come here."""
    import dask

    library: Any = dask
    call = library.delayed(function, name=f"look-{uuid4().hex}", traverse=False)
    try:
        return list(library.compute(*(call(part) for part in parts), scheduler=scheduler))
    except HeadraceError:
        raise
    except Exception as error:  # whatever the collection's own functions raise
        raise SourceError(f"{where}: cannot be computed: {type(error).__name__}: {error}") from error


def _look(value: Any) -> _Look:
    source = _source_of(value)
    nbytes = sum(column.nbytes for column in source.columns.values())
    rows = len(next(iter(source.columns.values())))
    return _Look(source.schema, rows, nbytes, identify(source.columns))


def _take(wanted: pa.Schema, value: Any) -> pa.RecordBatch | str:
    """Return these columns of a partition, or say which of them is not there any more."""
    columns: Mapping[str, pa.Array] = _source_of(value).columns
    arrays: list[pa.Array] = []
    for field in wanted:
        column = columns.get(field.name)
        if column is not None and column.type == pa.null():
            column = pa.nulls(len(column), field.type)
        if column is None or column.type != field.type:
            return f"column `{field.name}` is {'gone' if column is None else f'of type {column.type}'}"
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _source_of(value: Any) -> MemorySource:
    """Return a partition's columns; of pandas' index those levels that have a name."""
    library = type(value).__module__.partition(".")[0]
    if isinstance(value, (pa.Table, pa.RecordBatch)):
        return MemorySource.from_table(value)
    if library == "polars":
        return MemorySource.from_table(from_frame(value))
    if library == "pandas" and hasattr(value, "columns"):
        if any(name is not None for name in value.index.names):
            value = value.reset_index()
        try:
            return MemorySource.from_table(pa.Table.from_pandas(value, preserve_index=False))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise SchemaError(f"a dask partition has a column that Arrow has no type for: {error}") from error
    raise SchemaError(
        f"a dask partition must be a frame of pandas or Polars or an Arrow table, got {type(value).__name__}"
    )
