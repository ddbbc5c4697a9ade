"""A data set as a dask collection: one part for each row group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import uuid4

import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import MissingDependencyError, OptionError
from headrace.execution.recipe import Recipe
from headrace.manifest import RowGroup
from headrace.slices import take_rows

if TYPE_CHECKING:
    import pandas as pd

Kind: TypeAlias = Literal["dataframe", "delayed"]
Piece: TypeAlias = "tuple[RowGroup, NDArray[Any] | None]"
"""A row group, and which of its rows; None for all."""


def to_dask(recipe: Recipe, pieces: Iterable[Piece], kind: Kind) -> Any:
    """Return a collection that reads these pieces, nothing being read now.

    Raises:
        OptionError: The kind is unknown.
        MissingDependencyError: The extra `dask` is not installed.
    """
    readers = {"dataframe": _dataframe, "delayed": _delayed}
    if kind not in readers:
        raise OptionError(f'`kind` must be "dataframe" or "delayed", got {kind!r}')
    try:
        return readers[kind](_Reader(recipe), list(pieces))
    except ImportError as error:
        library = error.name or "dask"
        raise MissingDependencyError.from_extra(library, "dask", "a dask collection") from error


@dataclass(frozen=True)
class _Reader:
    """Reads pieces as tables; N-d columns are lists of fixed size, which pandas knows."""

    recipe: Recipe

    def table(self, piece: Piece) -> pa.Table:
        row_group, rows = piece
        batch = self.recipe.frame(row_group)
        return _plain(pa.Table.from_batches([batch if rows is None else take_rows(batch, rows)]))

    def empty(self) -> pa.Table:
        return _plain(self.recipe.schema.empty_table())

    def frame(self, piece: Piece) -> pd.DataFrame:
        return to_pandas(self.table(piece))


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a pandas frame of Arrow's own types, in which whole numbers with nulls stay exact."""
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


def _delayed(reader: _Reader, pieces: Sequence[Piece]) -> list[Any]:
    import dask

    library: Any = dask
    delayed = library.delayed
    name = f"read-{uuid4().hex}"
    # The recipe is one node of the graph, which all parts share.
    read = delayed(reader.table, name=f"recipe-{name}", traverse=False)
    return [
        read(delayed(piece, name=f"piece-{name}-{number}", traverse=False), dask_key_name=(name, number))
        for number, piece in enumerate(pieces)
    ]


def _dataframe(reader: _Reader, pieces: Sequence[Piece]) -> Any:
    import dask.dataframe

    library: Any = dask.dataframe
    meta = to_pandas(reader.empty())
    if not pieces:
        return library.from_pandas(meta, npartitions=1)
    return library.from_map(reader.frame, pieces, meta=meta, enforce_metadata=False, label="read")


def _plain(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if isinstance(field.type, pa.BaseExtensionType):
            column = pa.chunked_array(
                [chunk.storage for chunk in table.column(place).chunks], field.type.storage_type
            )
            table = table.set_column(place, field.name, column)
    return table
