"""Programs of numbers: chains of operations on each value of a column, run in one pass.

A frame library's vectorised arithmetic rounds differently for one row and for many. A program gives
the same bits for one value as for a million, whoever calls it: every operation is one or more float64
operations of the standard, in the order in which they are written.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import PrecisionWarning, PrepareError
from headrace.prepare.numbers import program_kernels as kernels
from headrace.prepare.numbers.operations import (
    Affine,
    Bucket,
    Exp,
    Fill,
    Interpolate,
    Limit,
    Log,
    NormalQuantile,
    NormalShare,
    Operation,
    Pick,
    Power,
)

if TYPE_CHECKING:
    import polars as pl

Numbers = NDArray[np.float64]
HALF_HIGHEST = 65504.0
"""The largest float16. What a program computes beyond it becomes this, and not infinite."""
_EXACT = 1 << 53
_MACHINE_NUMBERS = frozenset(kind.title().replace("Ui", "UI") for kind in (*kernels.KINDS, "float16"))


def is_machine_number(dtype: pl.DataType) -> bool:
    """Tell whether programs read and write a type; others become Float64 before."""
    return type(dtype).__name__ in _MACHINE_NUMBERS


def dtype_after(dtype: pl.DataType, operations: Sequence[Operation]) -> pl.DataType:
    """Tell what comes out of a program.

    Filling and limiting keep a type, positions are Int32, and all else is Float64.
    """
    import polars as pl

    for operation in operations:
        if isinstance(operation, Bucket) or (isinstance(operation, Pick) and operation.is_whole):
            dtype = pl.Int32()
        elif not isinstance(operation, (Fill, Limit)) or not is_machine_number(dtype):
            dtype = pl.Float64()
    return dtype


def run_programs(
    frame: pl.DataFrame,
    programs: Mapping[str, Sequence[Operation]],
    dtypes: Mapping[str, pl.DataType] | None = None,
) -> pl.DataFrame:
    """Replace columns of numbers by what their programs make of them; missing values are null.

    Args:
        frame: Samples.
        programs: Operations by column.
        dtypes: What to write instead of what `dtype_after` tells, by column.

    Raises:
        PrepareError: A value has no result.
    """
    import polars as pl

    made: dict[str, pl.Series] = {}
    for name, operations in programs.items():
        series = frame[name]
        dtype = (dtypes or {}).get(name) or dtype_after(series.dtype, operations)
        if operations or dtype != series.dtype:
            made[name] = run_program(series, operations, dtype)
    if not made:
        return frame
    return pl.DataFrame([made.get(column.name, column) for column in frame.iter_columns()])


def run_program(series: pl.Series, operations: Sequence[Operation], dtype: pl.DataType) -> pl.Series:
    """Run a program over a column of numbers.

    Args:
        series: Numbers of any type; null and NaN are missing.
        operations: The program.
        dtype: What is written: a float, or a whole number type that can hold what comes out.

    Raises:
        PrepareError: A value has no result.
    """
    import polars as pl

    if series.dtype == pl.Float16:
        series = series.cast(pl.Float32)
    elif not is_machine_number(series.dtype):
        series = series.cast(pl.Float64)
    is_half = dtype == pl.Float16
    written = pl.Float64() if is_half else dtype
    array, lost, invalid = _run(series.rechunk().to_arrow(), operations, str(written).lower())
    if invalid:
        raise PrepareError(
            f"column `{series.name}`: {invalid} values have no result in {_culprit(operations)}; "
            'give a larger `offset`, choose `invalid="null"`, or limit or fill them before'
        )
    is_clean = all(isinstance(it, (Fill, Limit)) for it in operations)
    if dtype.is_integer() and is_clean and (lost or _largest(operations) > _EXACT):
        return _run_whole(series, operations)
    if lost:
        warnings.warn(
            f"column `{series.name}`: {lost} whole numbers beyond 2**53 lost digits when they became floats; "
            "subtract an offset before if they matter",
            PrecisionWarning,
            stacklevel=2,
        )
    made = cast("pl.Series", pl.from_arrow(array)).alias(series.name)
    return to_half(made) if is_half else made


def run_values(values: Numbers, operations: Sequence[Operation]) -> Numbers:
    """Run a program over float64 values, of shape [n]; NaN are those that are missing or have no result."""
    array, _, _ = _run(pa.array(values), operations, "float64")
    return array.to_numpy(zero_copy_only=False)


def _run(array: pa.Array, operations: Sequence[Operation], written: str) -> tuple[pa.Array, int, int]:
    """Run the kernel over Arrow's memory, and wrap what it has written."""
    count = len(array)
    validity, values = array.buffers()
    output = np.empty(count, written)
    bits = np.empty((count + 7) // 8, np.uint8)
    kind = np.dtype(array.type.to_pandas_dtype()).name
    start = 0 if values is None else values.address + array.offset * (array.type.bit_width // 8)
    has_nulls = array.null_count > 0
    memory = [
        start,
        kernels.KINDS.index(kind),
        validity.address if has_nulls else 0,
        array.offset,
        count,
        output.ctypes.data,
        kernels.KINDS.index(written),
    ]
    nulls, lost, invalid = kernels.run_kernel(np.array(memory, np.int64), *_encode(operations), bits)
    buffers = [pa.py_buffer(bits) if nulls else None, pa.py_buffer(output)]
    made = pa.Array.from_buffers(pa.from_numpy_dtype(output.dtype), count, buffers, null_count=nulls)
    return made, lost, invalid


def _encode(operations: Sequence[Operation]) -> tuple[NDArray[np.int64], Numbers, Numbers]:
    """Write operations as codes, numbers and tables."""
    codes = np.zeros((len(operations), 3), np.int64)
    numbers = np.zeros((len(operations), 4))
    tables: list[Numbers] = []
    length = 0
    for place, operation in enumerate(operations):
        code, given, table = _encoded(operation)
        numbers[place, : len(given)] = given
        codes[place] = code, length, length + len(table)
        length += len(table)
        if len(table):
            tables.append(np.asarray(table, np.float64))
    return codes, numbers, np.concatenate(tables) if tables else np.zeros(0)


def _encoded(operation: Operation) -> tuple[int, Sequence[float], Any]:
    given: Sequence[float] = ()
    table: Any = ()
    match operation:
        case Fill(value):
            code, given = kernels.FILL, (value,)
        case Limit(low, high, to_null):
            code, given = kernels.DROP if to_null else kernels.LIMIT, (low, high)
        case Affine(shift, divisor, factor, offset):
            code, given = kernels.AFFINE, (shift, divisor, factor, offset)
        case Log(offset, to_null):
            code, given = kernels.LOG, (offset, 0, 0, not to_null)
        case Exp(offset):
            code, given = kernels.EXP, (offset,)
        case Power(lam, is_signed, inverse):
            code = kernels.POWER_INVERSE if inverse else kernels.POWER
            given = (lam, is_signed, 0, not (is_signed or inverse))
        case Interpolate(xs, ys):
            code = kernels.INTERPOLATE
            table = np.concatenate([xs, ys])
        case NormalQuantile():
            code = kernels.QUANTILE
        case NormalShare():
            code = kernels.SHARE
        case Bucket(edges):
            code = kernels.BUCKET
            table = edges
        case Pick(values, first, _):
            code, given = kernels.PICK, (first,)
            table = values
    return code, given, table


def to_half(series: pl.Series) -> pl.Series:
    """Return floats as Float16, which saturates: what is finite stays finite."""
    import polars as pl

    highest = pl.lit(HALF_HIGHEST, series.dtype)
    column = pl.col(series.name)
    limited = pl.when(column.is_infinite()).then(column).otherwise(column.clip(-highest, highest))
    return series.to_frame().select(limited.cast(pl.Float16)).to_series()


def _largest(operations: Sequence[Operation]) -> float:
    """The largest finite number that filling and limiting put into a column."""
    numbers = [it.value for it in operations if isinstance(it, Fill)]
    for it in operations:
        numbers += [it.low, it.high] if isinstance(it, Limit) else []
    return max((abs(number) for number in numbers if abs(number) != np.inf), default=0)


def _run_whole(series: pl.Series, operations: Sequence[Operation]) -> pl.Series:
    """Fill and limit whole numbers beyond 2**53, of which float64 would lose digits."""
    import polars as pl

    info = np.iinfo(str(series.dtype).lower())
    column = pl.col(series.name)
    for operation in operations:
        if isinstance(operation, Fill):
            changed = column.fill_null(pl.lit(int(operation.value), series.dtype))
        else:
            assert isinstance(operation, Limit)
            low, high = max(operation.low, info.min), min(operation.high, info.max)
            first, last = (pl.lit(end, series.dtype) for end in (math.ceil(low), math.floor(high)))
            is_within = column.is_between(first, last)
            changed = pl.when(is_within).then(column) if operation.to_null else column.clip(first, last)
        series = series.to_frame().select(changed).to_series()
    return series


def _culprit(operations: Sequence[Operation]) -> str:
    found = [it for it in operations if isinstance(it, (Log, Power))]
    return " and ".join(
        f"the logarithm of x + {it.offset}, which must be positive"
        if isinstance(it, Log)
        else "the Box-Cox transform, which takes positive values"
        for it in found
    )
