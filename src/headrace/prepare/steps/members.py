"""The members of lists, and how many samples hold each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.statistics import Counts, CountsState, Payload
from headrace.prepare.steps.categories import is_category, plain

if TYPE_CHECKING:
    import polars as pl


def is_list_of_categories(dtype: pl.DataType) -> bool:
    """Tell whether a type is that of lists whose members can be categories."""
    import polars as pl

    if isinstance(dtype, pl.Array) and len(dtype.shape) > 1:
        return False
    return isinstance(dtype, (pl.List, pl.Array)) and is_category(pl.Series(dtype=dtype.inner).dtype)


def members_of(series: pl.Series) -> tuple[NDArray[np.int64], pl.Series]:
    """Take lists apart.

    Returns:
        The row of each member, int64 of shape [m], and the members; a list that is null has one, null.

    Example:
        >>> import polars as pl
        >>> rows, members = members_of(pl.Series([["a", "b"], [], None]))
        >>> rows.tolist(), members.to_list()
        ([0, 0, 2], ['a', 'b', None])
    """
    import polars as pl

    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    lengths = series.list.len().fill_null(0).cast(pl.Int64)
    members = series.filter(lengths > 0).explode()
    rows = np.repeat(np.arange(len(series)), lengths.to_numpy())
    if series.null_count():
        rows = np.concatenate([rows, np.flatnonzero(series.is_null().to_numpy())])
        members = members.extend_constant(None, series.null_count())
    return rows, members


@dataclass(frozen=True, slots=True)
class MemberCounts:
    """Asks how many samples hold each member of a column of lists.

    A sample whose list is null, or holds a missing value, counts as null.
    """

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def of(self, frame: pl.DataFrame) -> CountsState:
        """Count the members."""
        import polars as pl

        rows, members = members_of(frame[self.column])
        held = pl.DataFrame({"row": rows, self.column: plain(members)}).unique()
        return Counts(self.column).of(held)

    def unpack(self, payload: Payload) -> CountsState:
        """Read a state."""
        return Counts(self.column).unpack(payload)
