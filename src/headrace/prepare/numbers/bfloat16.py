"""Numbers of bfloat16 in float32 columns, since NumPy, Arrow and Polars have no such type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

LARGEST = 3.3895313892515355e38
"""The largest finite bfloat16; finite numbers beyond become it."""


def to_bfloat16(column: pl.Series) -> pl.Series:
    """Round a Float32 column to the nearest bfloat16, ties to even, as torch rounds.

    `tensor.to(torch.bfloat16)` then changes no value. Null, NaN and infinity stay.

    Example:
        >>> import polars as pl
        >>> to_bfloat16(pl.Series([1.01, 3.4e38], dtype=pl.Float32)).to_list()
        [1.0078125, 3.3895313892515355e+38]
    """
    import polars as pl

    values = column.fill_null(0).to_numpy()
    bits = values.view(np.uint32)
    # Half of the lowest digit that stays, less one unless that digit is odd, carries into it.
    rounded = ((bits + (0x7FFF + (bits >> 16 & 1))) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    limited = np.clip(rounded, -np.float32(LARGEST), np.float32(LARGEST))
    result = pl.Series(column.name, np.where(np.isfinite(values), limited, values), pl.Float32)
    return pl.select(pl.when(column.is_not_null()).then(result).alias(column.name)).to_series()
