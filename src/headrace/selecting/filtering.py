"""Choosing samples by what Polars expressions say of their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import OptionError, SchemaError, UnknownColumnError
from headrace.execution.recipe import Recipe
from headrace.fingerprint import digest
from headrace.planning.idset import IdSet
from headrace.planning.selection import Selection
from headrace.prepare.base import to_frame
from headrace.prepare.columns import check_elementwise
from headrace.selecting.base import Selectable
from headrace.selecting.matching import Matching
from headrace.selecting.predicates import Predicate, Test, conjuncts, parse
from headrace.selecting.pruning import judge, listed_values
from headrace.selecting.scan import Key, Scan, ScanOptions, run_scan
from headrace.selecting.stored import Cache, Shelf
from headrace.sources.statistics import SupportsLookup, SupportsStatistics

if TYPE_CHECKING:
    import polars as pl

_MOST_KEYS = 64  # longer lists hold something that a Bloom filter takes for known
_INSTEAD = "compute it beforehand, and compare with the number that it gives"
_VERSION = 1  # of what is kept


def filtered(ds: Selectable, predicates: Sequence[Any], cache: Cache, options: ScanOptions) -> Selection:
    """Select the samples of a data set for which all predicates are true.

    Raises:
        OptionError: A predicate looks at several rows, or is no predicate.
        UnknownColumnError: It names a column that is not there.
        SchemaError: It does not fit the columns' types.
    """
    chosen = _checked(ds, predicates)
    recipe = _matching(ds.recipe, chosen)
    selected = ds.selection.counts(ds.manifest.starts) > 0

    def scan() -> IdSet:
        return _scan(recipe, [parse(predicate) for predicate in chosen], selected, ds.recipe, options)

    shelf = Shelf.of(cache, ds.manifest)
    found = scan() if shelf is None else shelf.get(_key(recipe, selected), ds.manifest.total, scan)
    return ds.selection & Selection.of_set(found)


def _checked(ds: Selectable, predicates: Sequence[Any]) -> list[pl.Expr]:
    """Refuse what is no predicate of one row at a time over the columns at hand."""
    import polars as pl

    flat: list[Any] = []
    for given in predicates:
        flat.extend(given if isinstance(given, Iterable) and not isinstance(given, pl.Expr) else [given])
    if not flat:
        raise OptionError("`filter` needs at least one predicate, got none")
    schema = ds.schema
    arrays = [pa.nulls(0, field.type) for field in schema]
    frame = to_frame(pa.RecordBatch.from_arrays(arrays, schema=schema))
    for predicate in flat:
        if not isinstance(predicate, pl.Expr):
            raise OptionError(
                f"`filter` takes Polars expressions such as `pl.col(...) > 2`, got {predicate!r}"
            )
        missing = [name for name in predicate.meta.root_names() if name not in frame.columns]
        if missing:
            raise UnknownColumnError.from_names(missing, frame.columns, "the data set")
        check_elementwise(predicate, _INSTEAD)
        try:
            given = frame.select(predicate).dtypes
        except pl.exceptions.PolarsError as error:
            raise SchemaError(f"`{predicate}` does not fit the columns' types: {error}") from error
        if len(given) != 1:
            raise OptionError(
                f"`{predicate}` asks {len(given)} questions; say by `pl.all_horizontal` or "
                "`pl.any_horizontal` whether all or one must be true"
            )
        if given[0] != pl.Boolean:
            raise OptionError(f"a predicate must be true or false, but `{predicate}` gives {given[0]}")
    return flat


def _matching(recipe: Recipe, predicates: Sequence[pl.Expr]) -> Recipe:
    """Make the recipe of one column that is true where all predicates are."""
    import polars as pl

    joined = predicates[0] if len(predicates) == 1 else pl.all_horizontal(predicates)
    return replace(recipe, steps=(*recipe.steps, Matching(joined)), pack=None, keep_arrow=False)


def _key(recipe: Recipe, selected: NDArray[np.bool_]) -> str:
    """Identify a scan: the data, what is done to it, and which row groups have samples at all."""
    import polars as pl

    source = recipe.source
    types = [str(source.schema.field(name)) for name in recipe.columns]
    parts = (source.manifest.fingerprint, types, recipe.needed, np.flatnonzero(selected))
    return digest("filter", _VERSION, pl.__version__, *parts)


def _scan(
    recipe: Recipe,
    predicates: Sequence[Predicate],
    selected: NDArray[np.bool_],
    before: Recipe,
    options: ScanOptions,
) -> IdSet:
    """Read the row groups of which statistics do not tell all."""
    source, origins = recipe.source, before.origins
    manifest = source.manifest
    may, must = selected, np.zeros_like(selected)
    named = frozenset[str]().union(*(predicate.columns for predicate in predicates))
    if isinstance(source, SupportsStatistics):
        known = {name: source.statistics(origins[name]) for name in named if name in origins}
        verdict = judge(predicates, known, np.diff(manifest.starts))
        may, must = may & verdict.may, may & verdict.must
    keys = _keys(predicates, before) if isinstance(source, SupportsLookup) else ()
    to_read, whole = np.flatnonzero(may & ~must).tolist(), np.flatnonzero(must).tolist()
    return run_scan(Scan(recipe, keys), manifest, to_read, whole, options)


def _keys(predicates: Sequence[Predicate], recipe: Recipe) -> tuple[Key, ...]:
    """List the columns that a matching sample must have one of some values in."""
    keys: list[Key] = []
    for part in (part for predicate in predicates for part in conjuncts(predicate)):
        if isinstance(part, Test) and part.kind in ("equal", "among") and part.column is not None:
            column = recipe.origins.get(part.column)
            if column is None:
                continue
            values = _exactly(listed_values(part), recipe.source.schema.field(column).type)
            if values is not None and 0 < len(values) <= _MOST_KEYS:
                keys.append(Key(column, values))
    return tuple(keys)


def _exactly(values: pl.Series, kind: pa.DataType) -> pa.Array | None:
    """Return the values as a column holds them; None if others too might equal them."""
    import polars as pl

    wanted = to_frame(pa.RecordBatch.from_arrays([pa.nulls(0, kind)], names=["column"]))["column"].dtype
    if values.has_nulls():
        return None
    if wanted.is_integer() and values.dtype.is_signed_integer():
        values = values.cast(wanted, strict=False).drop_nulls()  # one that does not fit equals none
    if values.dtype != wanted or isinstance(wanted, (pl.Categorical, pl.Enum)):
        return None
    return values.to_arrow().cast(kind)
