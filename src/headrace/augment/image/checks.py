"""Options that several augmentations of images take: sizes, ranges and fill values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from headrace.augment.base import Spec
from headrace.augment.image.base import ImageAugmentation
from headrace.errors import OptionError

Pair = float | tuple[float, float]
Fill = float | Sequence[float]


def is_number(value: object) -> bool:
    """Tell whether something is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def read_size(title: str, size: object) -> tuple[int, int]:
    """Return height and width from a number (both sides) or a pair.

    Raises:
        OptionError: It is neither, or a side is below 1.
    """
    sides = (size, size) if isinstance(size, int) else size
    if isinstance(sides, (tuple, list)):
        whole = [side for side in cast("Sequence[object]", sides) if type(side) is int and side >= 1]
        if len(whole) == 2 == len(cast("Sequence[object]", sides)):
            return whole[0], whole[1]
    raise OptionError(
        f"{title}: `size` must be a whole number of at least 1, or a pair (height, width), got {size!r}"
    )


def read_range(
    title: str, name: str, value: object, limits: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float]:
    """Return lower and upper end from one number (both ends) or a pair in order.

    Raises:
        OptionError: It is neither, or lies outside the limits.
    """
    ends = tuple(cast("Sequence[object]", value)) if isinstance(value, (tuple, list)) else (value, value)
    if len(ends) == 2 and all(is_number(end) for end in ends):
        low, high = cast("tuple[float, float]", ends)
        if limits[0] <= low <= high <= limits[1]:
            return low, high
    within = "" if limits[0] == -np.inf else f" from {limits[0]:g}"
    within += "" if limits[1] == np.inf else f"{' up' if not within else ''} to {limits[1]:g}"
    raise OptionError(
        f"{title}: `{name}` must be a number{within}, or a pair (low, high) of such, got {value!r}"
    )


def check_fill(op: ImageAugmentation, name: str, fill: object) -> None:
    """Refuse a fill value that is neither a number nor some, one for each channel.

    Raises:
        OptionError: Says so.
    """
    values: Sequence[object] = (
        tuple(cast("Sequence[object]", fill)) if isinstance(fill, (tuple, list)) else (fill,)
    )
    if not values or not all(is_number(value) for value in values):
        raise OptionError(f"{op.title}: `{name}` must be a number or one for each channel, got {fill!r}")


def check_fill_fits(op: ImageAugmentation, fill: Fill, column: str, spec: Spec) -> None:
    """Refuse a column whose images cannot hold a fill value.

    Raises:
        SchemaError: The number of channels differs, or the dtype does not hold the value.
    """
    values = fill_values(fill)
    if len(values) not in (1, op.channels(spec)):
        raise op.refuse(
            column, spec, f"images of {len(values)} channels, as many as the fill values {fill!r}"
        )
    if spec.dtype.kind != "f":
        limits = (0, 1) if spec.dtype.kind == "b" else (np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
        if not all(limits[0] <= value <= limits[1] and value == int(value) for value in values):
            raise op.refuse(column, spec, f"numbers of a dtype that can be {fill!r}")


def fill_values(fill: Fill) -> tuple[float, ...]:
    """Return fill values as a tuple: one for all channels, or one for each."""
    return tuple(fill) if isinstance(fill, Sequence) else (fill,)


def fill_array(xp: Any, op: ImageAugmentation, fill: Fill, array: Any) -> Any:
    """Return fill values as an array that broadcasts against a column's."""
    dtype = np.dtype(str(array.dtype).rpartition(".")[2])
    values: NDArray[Any] = np.array(fill_values(fill)).astype(dtype)
    shape, axis = [1] * array.ndim, op.channel_axis(array)
    if axis is not None:
        shape[axis] = len(values)
    return xp.reshape(xp.asarray(values), tuple(shape))
