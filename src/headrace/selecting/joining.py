"""Bringing in columns of a table by key: what is checked beforehand, and which samples have a match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from headrace.errors import OptionError, UnknownColumnError
from headrace.execution.executors import Executor
from headrace.planning.selection import Selection
from headrace.prepare.base import Names, frame_schema, to_frame
from headrace.prepare.steps.join import HasMatch, Join
from headrace.prepare.steps.keyed import KeyedTable, check_keys
from headrace.selecting.base import Selectable
from headrace.selecting.scan import Scan, ScanOptions, run_scan

if TYPE_CHECKING:
    import polars as pl

How = Literal["left", "inner"]
"""Whether samples without a match stay, with nulls, or are left out."""

On = str | Sequence[str] | Mapping[str, str]
"""Key columns: a name, names, or the data set's names to the table's."""


@runtime_checkable
class Readable(Protocol):
    """A data set, as one that is read at once."""

    def to_polars(self, executor: Executor | None = None) -> pl.DataFrame:
        """Read everything into one frame."""
        ...


def make_join(
    ds: Selectable,
    table: pl.DataFrame,
    on: On,
    columns: Sequence[str] | None,
    suffix: str | None,
) -> Join:
    """Make the step that adds a table's columns to those of a data set.

    Raises:
        OptionError: The keys repeat in the table, a name is taken, or an argument cannot be right.
        UnknownColumnError: A column is not there.
        SchemaError: The keys' types do not agree.
    """
    pairs = _pairs(on)
    left, keys = tuple(pairs), tuple(pairs.values())
    schema = frame_schema(ds.schema)
    _check_names(left, schema.names(), "the data set")
    _check_names(keys, table.columns, "the table")
    chosen = _chosen(columns, keys, table.columns)
    named = tuple((name, f"{name}{suffix}" if suffix and name in schema else name) for name in chosen)
    twice = [new for number, (_, new) in enumerate(named) if new in dict(named[:number]).values()]
    if twice:
        raise OptionError(f"each column needs a name of its own, but the suffix makes two named `{twice[0]}`")
    check_keys(left, schema, keys, table.schema)
    join = Join(KeyedTable.of(table.select([*keys, *chosen]), keys), left, named)
    join.output_names(tuple(schema.names()))
    return join


def matched(ds: Selectable, join: Join, options: ScanOptions) -> Selection:
    """Select the samples that have a match."""
    steps = (*ds.recipe.steps, HasMatch(join.table, join.on))
    recipe = replace(ds.recipe, steps=steps, pack=None, keep_arrow=False)
    selected = np.flatnonzero(ds.selection.counts(ds.manifest.starts) > 0).tolist()
    return ds.selection & Selection.of_set(run_scan(Scan(recipe), ds.manifest, selected, [], options))


def read_table(table: Any, executor: Executor | None) -> pl.DataFrame:
    """Bring a table into memory.

    Raises:
        OptionError: It is no table.
    """
    import polars as pl

    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, (pa.Table, pa.RecordBatch)):
        arrays = [
            column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            for column in table.columns
        ]
        return to_frame(pa.RecordBatch.from_arrays(arrays, schema=table.schema))
    if isinstance(table, Readable) and not isinstance(table, type):
        return table.to_polars(executor)
    hint = "; collect it before" if isinstance(table, pl.LazyFrame) else ""
    raise OptionError(
        f"`join` takes a data set, a Polars DataFrame or an Arrow table, got {type(table).__name__}{hint}"
    )


def _pairs(on: Any) -> dict[str, str]:
    """Return the data set's key columns, and the table's."""
    if isinstance(on, Mapping):
        pairs = [*on.items()]
    elif isinstance(on, (str, Sequence)):
        pairs = [(name, name) for name in ([on] if isinstance(on, str) else on)]
    else:
        pairs = []
    if not pairs or not all(isinstance(name, str) for pair in pairs for name in pair):
        raise OptionError(f"`on` must be a name, a list of names, or names to names, got {on!r}")
    if len(dict(pairs)) < len(pairs) or len({key for _, key in pairs}) < len(pairs):
        raise OptionError(f"each key column can be named once, got {on!r}")
    return dict(pairs)


def _chosen(columns: Sequence[str] | None, keys: Names, names: Sequence[str]) -> Names:
    """Return which of the table's columns come along."""
    if columns is None:
        return tuple(name for name in names if name not in keys)
    chosen = (columns,) if isinstance(columns, str) else tuple(columns)
    _check_names(chosen, names, "the table")
    if len(set(chosen)) < len(chosen):
        raise OptionError(f"each column can be named once, got {chosen}")
    is_key = [name for name in chosen if name in keys]
    if is_key:
        raise OptionError(
            f"`{is_key[0]}` is a key, whose values the data set has already; leave it out of `columns`"
        )
    return chosen


def _check_names(wanted: Names, names: Sequence[str], where: str) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UnknownColumnError.from_names(missing, names, where)
