"""Which of several duplicates is kept: an order of all samples, from the preferred one down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import OptionError, SchemaError
from headrace.execution.executors import Executor
from headrace.prepare.base import to_frame
from headrace.selecting.base import Selectable
from headrace.selecting.reading import check_columns, scan

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]
Ranks = NDArray[np.int64]
Keep = Literal["first", "last", "none"]

_KEEPS = ("first", "last", "none")


@dataclass(frozen=True, slots=True)
class Preference:
    """Numbers samples, so that of two duplicates the one with the smaller number is kept.

    Attributes:
        keep: Whether of equally good ones the first or the last in the data's order is preferred.
        ids: The samples in order of preference where a column tells it, int64 of shape [samples]; else None.
        places: The place of each id in there, int64 of shape [total]; else None.
    """

    keep: Keep = "first"
    ids: Ids | None = None
    places: Ids | None = None

    @staticmethod
    def of(dataset: Selectable, keep: Keep, priority: str | None, executor: Executor | None) -> Preference:
        """Check what a user wants, and read the column that tells it if there is one.

        Raises:
            OptionError: `keep` is no such word.
            UnknownColumnError: The column is not there.
            SchemaError: Its values have no order.
        """
        if keep not in _KEEPS:
            raise OptionError(f'`keep` must be "first", "last" or "none", got {keep!r}')
        if priority is None:
            return Preference(keep)
        check_columns(dataset, [priority])
        parts = list(scan(dataset, [priority], _column, executor))
        ids = np.concatenate([ids for ids, _ in parts]) if parts else np.zeros(0, np.int64)
        order = _descending([values for _, values in parts], ids if keep != "last" else -ids, priority)
        places = np.full(dataset.manifest.total, -1)
        places[ids[order]] = np.arange(len(ids))
        return Preference(keep, ids[order], places)

    def ranks(self, ids: Ids) -> Ranks:
        """Number samples, int64 of the same shape."""
        if self.places is not None:
            return self.places[ids]
        return -ids if self.keep == "last" else ids

    def sample_ids(self, ranks: Ranks) -> Ids:
        """Tell which samples have these numbers."""
        if self.ids is not None:
            return self.ids[ranks]
        return -ranks if self.keep == "last" else ranks


def _column(batch: pa.RecordBatch) -> pl.Series:
    return to_frame(batch).to_series(0)


def _descending(parts: list[pl.Series], ties: Ids, name: str) -> NDArray[np.int64]:
    """Order samples by falling value, those without one last, and equal ones as told."""
    import polars as pl

    if not parts:
        return np.zeros(0, np.int64)
    values = pl.concat(parts)
    dtype = values.dtype
    if not (dtype.is_numeric() or dtype.is_temporal() or isinstance(dtype, (pl.Boolean, pl.String))):
        raise SchemaError(
            f"`priority` must be a column whose values have an order, like numbers; `{name}` is {dtype}"
        )
    if dtype.is_float():
        values = values.fill_nan(None)
    frame = pl.DataFrame({"value": values, "tie": ties})
    ordered = frame.select(
        pl.arg_sort_by("value", "tie", descending=[True, False], nulls_last=True).cast(pl.Int64)
    )
    return cast("NDArray[np.int64]", ordered.to_series().to_numpy())
