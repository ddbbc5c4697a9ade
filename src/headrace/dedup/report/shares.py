"""How large a share of the samples of each shard, or of each value of a column, is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.execution.executors import Executor
from headrace.planning.selection import Selection
from headrace.prepare.base import to_frame
from headrace.selecting.base import Selectable
from headrace.selecting.reading import scan

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]


def shares_by_shard(dataset: Selectable, dropped: Ids) -> pl.DataFrame:
    """Count by shard, in the order of the data: `shard`, `samples`, `dropped`, `share`.

    Args:
        dataset: The samples that were compared; one that a selection repeats counts once.
        dropped: Ids, rising.
    """
    import polars as pl

    shards = dataset.manifest.shards
    starts = np.cumsum([0, *(sum(shard.rows) for shard in shards)])
    frame = pl.DataFrame(
        {
            "shard": pl.Series([shard.name for shard in shards], dtype=pl.String),
            "samples": Selection.of_set(dataset.selection.set).counts(starts),
            "dropped": np.diff(np.searchsorted(dropped, starts)),
        }
    )
    return _with_share(frame.filter(pl.col("samples") > 0))


def shares_by_value(
    dataset: Selectable, dropped: Ids, column: str, executor: Executor | None
) -> pl.DataFrame:
    """Count by the values of a column, the highest share first: `value`, `samples`, `dropped`, `share`.

    Null is a value, and so is NaN.

    Raises:
        UnknownColumnError: The column is not there.
    """
    import polars as pl

    counted: list[pl.DataFrame] = []
    for ids, values in scan(dataset, [column], _values, executor):
        first, last = np.searchsorted(dropped, [ids[0], ids[-1] + 1])
        is_dropped = np.isin(ids, dropped[first:last], assume_unique=True)
        frame = pl.DataFrame({"value": values, "samples": 1, "dropped": is_dropped.astype(np.int64)})
        counted.append(frame.group_by("value", maintain_order=True).sum())
    if not counted:
        empty = _values(_no_rows(dataset.schema.field(column)))
        counted.append(pl.DataFrame({"value": empty, "samples": [], "dropped": []}))
    frame = pl.concat(counted).group_by("value", maintain_order=True).sum()
    frame = frame.with_columns(pl.col("samples", "dropped").cast(pl.Int64))
    # The sort is stable: among equals, the value comes first that the data has first.
    return _with_share(frame).sort("share", "dropped", descending=True, maintain_order=True)


def percent(share: float) -> str:
    """Write a share of 0 to 1 as it is printed.

    Example:
        >>> percent(0.507)
        '50.7 %'
    """
    return f"{100 * share:.1f} %"


def _with_share(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return frame.with_columns((pl.col("dropped") / pl.col("samples")).alias("share"))


def _values(batch: pa.RecordBatch) -> pl.Series:
    return to_frame(batch).to_series(0).rename("value")


def _no_rows(field: pa.Field) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type)], schema=pa.schema([field]))
