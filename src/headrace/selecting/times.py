"""Cuts along a column of times or numbers, with a gap before each."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import OptionError, SchemaError
from headrace.execution.executors import Executor
from headrace.selecting.base import Selectable
from headrace.selecting.reading import scan

Ids = NDArray[np.int64]
Gap = datetime.timedelta | str | int | float

_DURATION = re.compile(r"(\d+)(ns|us|ms|s|m|h|d|w)")
_DAY = 86_400 * 10**9
_NANOSECONDS = {
    "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9,
    "m": 60 * 10**9, "h": 3_600 * 10**9, "d": _DAY, "w": 7 * _DAY,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Times:
    """The values of a column that orders the samples.

    Attributes:
        name: What errors call them.
        values: int64, uint64 or float64 of shape [samples], in the order of ids.
        unit: Nanoseconds of 1, or None where the values are numbers and not times.
    """

    name: str
    values: NDArray[Any]
    unit: int | None = None

    def before(self, cut: Any, gap: Gap | None) -> NDArray[np.bool_]:
        """Tell which values lie before a cut, and more than the gap before it."""
        distance = self._distance(gap)
        if self.values.dtype.kind == "f":
            return self.values < cut - distance
        limits = np.iinfo(self.values.dtype)
        first = int(cut) - int(distance // 1)  # whole numbers: below 8.5 means below 9
        return self.values < np.array(max(first, int(limits.min)), self.values.dtype)

    def cut_near(self, ordered: NDArray[Any], place: int) -> int:
        """Return the place nearest to one in the ordered values where no equal values are torn apart."""
        if not 0 < place < len(ordered):
            return place
        first = int(np.searchsorted(ordered, ordered[place], side="left"))
        last = int(np.searchsorted(ordered, ordered[place], side="right"))
        return first if place - first <= last - place else last

    def _distance(self, gap: Gap | None) -> Any:
        """Return a gap in units of the values."""
        if gap is None:
            return 0
        if isinstance(gap, (int, float)):
            if self.unit is None and not isinstance(gap, bool) and 0 <= gap < math.inf:
                return gap if self.values.dtype.kind == "f" else Fraction(gap)
        elif self.unit is not None:
            return Fraction(parse_duration(gap), self.unit)
        needed = "a number of at least 0" if self.unit is None else 'a `timedelta` or a text such as "7d"'
        raise OptionError(f"`gap` beside {self.name} must be {needed}, got {gap!r}")


def parse_duration(text: datetime.timedelta | str) -> int:
    """Return a duration in nanoseconds.

    Raises:
        OptionError: It is negative, or no sum of weeks, days, hours and the like.

    Example:
        >>> parse_duration("1d12h") == parse_duration(datetime.timedelta(hours=36))
        True
    """
    if isinstance(text, datetime.timedelta):
        nanoseconds = text // datetime.timedelta(microseconds=1) * 1000
        if nanoseconds >= 0:
            return nanoseconds
    elif isinstance(text, str) and re.fullmatch(f"({_DURATION.pattern})+", text):  # pyright: ignore[reportUnnecessaryIsInstance]
        return sum(int(count) * _NANOSECONDS[unit] for count, unit in _DURATION.findall(text))
    raise OptionError(
        '`gap` must be a `timedelta` or a text such as "7d" or "1h30m", of w, d, h, m, s, ms, us and ns, '
        f"got {text!r}"
    )


def read_times(dataset: Selectable, column: str, executor: Executor | None = None) -> Times:
    """Read the column that orders the samples.

    Raises:
        SchemaError: It holds neither numbers nor times.
        OptionError: A value is null or NaN, and so has no place in the order.
    """
    found = [values for _, values in scan(dataset, [column], partial(_read_values, column), executor)]
    kind = dataset.schema.field(column).type
    dtype = _dtype(column, kind)
    values = np.concatenate(found) if found else np.zeros(0, dtype)
    return Times(f"column `{column}`", values, _unit(kind))


def cut_times(
    times: Times, ends: Sequence[int] | Ids, gap: Gap | None, names: Sequence[str]
) -> Iterator[NDArray[np.bool_]]:
    """Tell for each of several parts, one after the other in time, which samples it has.

    Args:
        times: Of the samples.
        ends: How many samples each part and those before it should have; equal times move it.
        gap: Left out at the end of each part that another one follows.
        names: Of the parts, for errors.

    Raises:
        OptionError: A part gets no sample.
    """
    ordered = np.sort(times.values)
    places = [0, *(times.cut_near(ordered, int(end)) for end in ends)]
    for number, ((begin, end), name) in enumerate(zip(pairwise(places), names, strict=True)):
        is_here = times.values >= ordered[begin] if begin < end else np.zeros(len(ordered), np.bool_)
        if end < len(ordered):
            is_here &= times.before(ordered[end], None if number == len(names) - 1 else gap)
        if not is_here.any():
            raise OptionError(
                f"each part needs a sample, but `{name}` gets none of the {len(ordered):,} when {times.name} "
                "is cut; equal values stay together, and `gap` takes the end of each part"
            )
        yield is_here


def _read_values(column: str, batch: pa.RecordBatch) -> NDArray[Any]:
    values = batch.column(0)
    dtype = _dtype(column, values.type)
    if values.null_count:
        raise OptionError(
            f"`time` needs a value for every sample, but column `{column}` holds nulls; leave those samples "
            "out before"
        )
    if pa.types.is_temporal(values.type):
        values = values.view(pa.int64() if values.type.bit_width == 64 else pa.int32())
    found = values.to_numpy(zero_copy_only=False).astype(dtype)
    if dtype.kind == "f" and np.isnan(found).any():
        raise OptionError(f"`time` needs a value for every sample, but column `{column}` holds NaN")
    return found


def _dtype(column: str, kind: pa.DataType) -> np.dtype[Any]:
    is_type = pa.types
    if is_type.is_floating(kind):
        return np.dtype(np.float64)
    if is_type.is_unsigned_integer(kind):
        return np.dtype(np.uint64)
    if is_type.is_integer(kind) or (is_type.is_temporal(kind) and not is_type.is_interval(kind)):
        return np.dtype(np.int64)
    raise SchemaError(f"`time` needs a column of times or numbers, got `{column}` of type {kind}")


def _unit(kind: pa.DataType) -> int | None:
    if pa.types.is_date32(kind):
        return _DAY
    if pa.types.is_date64(kind):
        return _NANOSECONDS["ms"]
    return _NANOSECONDS[kind.unit] if pa.types.is_temporal(kind) else None
