"""Programs of numbers: chains of operations on each value of a column, run in one pass.

A frame library's vectorised arithmetic rounds differently for one row and for many. A program gives
the same bits for one value as for a million, whoever calls it: every operation is one or more float64
operations of the standard, in the order in which they are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fill:
    """Put a value where one is missing."""

    value: float


@dataclass(frozen=True, slots=True)
class Limit:
    """Bring values into limits, or make those beyond missing.

    Attributes:
        low: The lowest value that stays.
        high: The highest value that stays.
        to_null: Whether what lies beyond becomes missing rather than the limit.
    """

    low: float
    high: float
    to_null: bool = False


@dataclass(frozen=True, slots=True)
class Affine:
    """Compute (x - shift) / divisor * factor + offset; operations that change nothing are left out."""

    shift: float = 0.0
    divisor: float = 1.0
    factor: float = 1.0
    offset: float = 0.0


Operation = Fill | Limit | Affine


def run_programs(frame: pl.DataFrame, programs: Mapping[str, Sequence[Operation]]) -> pl.DataFrame:
    """Replace columns of numbers by what their programs make of them, as Float64; nulls stay null."""
    import polars as pl

    made: list[pl.Series] = []
    for name, operations in programs.items():
        if not operations:
            continue
        series = frame[name]
        values = run_reference(series.cast(pl.Float64).to_numpy(), operations)
        made.append(pl.Series(name, values, pl.Float64).fill_nan(None))
    return frame.with_columns(made)


def run_reference(values: NDArray[Any], operations: Sequence[Operation]) -> Numbers:
    """Run a program in plain NumPy; missing values are NaN."""
    result: Numbers = values.astype(np.float64)
    for operation in operations:
        match operation:
            case Fill(value):
                result = np.where(np.isnan(result), value, result)
            case Limit(low, high, to_null):
                beyond = (result < low) | (result > high)
                result = np.where(beyond, np.nan, result) if to_null else np.clip(result, low, high)
            case Affine(shift, divisor, factor, offset):
                result = result - shift if shift else result
                result = result / divisor if divisor != 1 else result
                result = result * factor if factor != 1 else result
                result = result + offset if offset else result
    return result
