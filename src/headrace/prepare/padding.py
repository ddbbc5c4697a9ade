"""Padding: lists that differ in length become one array, and their lengths another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Batch, Ragged, Sparse
from headrace.errors import OptionError, SchemaError, check_whole
from headrace.prepare.ragged import is_list, is_ragged, to_ragged

Array = NDArray[Any]
Lengths = NDArray[np.int64]

PadTo = int | Literal["longest"]
"""How wide padded lists become: a number of values, or as wide as the longest of each batch."""

_LONGEST = "longest"


@dataclass(frozen=True, slots=True)
class Padding:
    """How lists that differ in length become an array of shape [n, width, ...].

    Attributes:
        to: The width: a whole number, or `"longest"` for the longest list of each batch; one for
            all arrays that come from lists, or by name of the array.
        value: What stands behind a list's values; one for all arrays, or by name (0 for others).
        truncate: Whether longer lists are cut; otherwise they are an error.
    """

    to: PadTo | Mapping[str, PadTo]
    value: float | Mapping[str, float] = 0
    truncate: bool = False

    def __post_init__(self) -> None:
        widths = list(self.to.values()) if isinstance(self.to, Mapping) else [self.to]
        for width in widths:
            if width != _LONGEST:
                check_whole("pad_to", width, least=1)
        if self.truncate and not any(isinstance(width, int) for width in widths):
            raise OptionError(
                '`truncate=True` needs a `pad_to` that is a number; "longest" leaves nothing to cut'
            )
        for value in self.value.values() if isinstance(self.value, Mapping) else [self.value]:
            if not isinstance(value, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise OptionError(f"`pad_value` must be a number, got {value!r}")

    def check_names(self, groups: Mapping[str, str | tuple[str, ...]]) -> None:
        """Hold the names against the arrays that `pack` makes.

        Raises:
            OptionError: There is no such array, it has several columns, or its lengths have no name.
        """
        padded = list(self.to if isinstance(self.to, Mapping) else groups)
        _check_known("pad_to", padded, groups)
        _check_known("pad_value", self.value if isinstance(self.value, Mapping) else (), padded)
        for name in padded:
            if isinstance(self.to, Mapping) and not isinstance(groups[name], str):
                raise OptionError(f"`pad_to` needs one column for `{name}`, got {list(groups[name])}")
            if isinstance(groups[name], str) and length_name(name) in groups:
                raise OptionError(
                    f"`pad_to` makes an array `{length_name(name)}`, so no other one can have that name; "
                    'rename it, or say which arrays are padded, like `pad_to={"tokens": 512}`'
                )

    @property
    def named(self) -> frozenset[str]:
        """The arrays that an option names."""
        options = (option for option in (self.to, self.value) if isinstance(option, Mapping))
        return frozenset(name for option in options for name in option)

    def is_padded(self, name: str, laid: Array | pa.Array) -> bool:
        """Whether an array is to be padded: one that is named, or any list if none is."""
        if isinstance(self.to, Mapping):
            return name in self.to
        return not isinstance(laid, np.ndarray) and is_list(laid.type)

    def width_of(self, name: str) -> int | None:
        """Return how many values an array's samples get, None where their own number tells."""
        width = self.to.get(name) if isinstance(self.to, Mapping) else self.to
        return width if isinstance(width, int) else None

    def lay_out(self, laid: Array | pa.Array, name: str, where: str) -> dict[str, Array | pa.Array]:
        """Pad a column of one row group, and tell the lists' lengths.

        Lists that are padded to the longest of a batch stay lists until the batch is known.

        Raises:
            SchemaError: It is no column of lists of numbers, a list is too long, or the dtype
                cannot hold `pad_value`.
        """
        if isinstance(laid, np.ndarray):
            raise _refusal(where, f"{laid.dtype} of shape {list(laid.shape)}")
        if not is_ragged(laid.type):
            raise _refusal(where, laid.type)
        ragged = to_ragged(laid)
        filler = self._filler(name, ragged.values.dtype, where)
        lengths = np.diff(ragged.offsets)
        width = self.width_of(name)
        if width is None:
            return {name: laid, length_name(name): lengths}
        too_long = lengths > width
        if too_long.any() and not self.truncate:
            row = int(np.argmax(too_long))
            raise SchemaError(
                f"{where}, row {row}: a list of {lengths[row]:,} values is longer than `pad_to={width}`; "
                "pad to more, or pass `truncate=True` to cut what is longer"
            )
        lengths = np.minimum(lengths, width)
        return {name: pad(ragged, lengths, width, filler), length_name(name): lengths}

    def finish(self, batch: Batch) -> Batch:
        """Pad the lists that are as wide as the longest of a batch."""
        columns = dict(batch.columns)
        for name, column in batch.columns.items():
            width = self.to.get(name) if isinstance(self.to, Mapping) else self.to
            if width != _LONGEST or isinstance(column, (np.ndarray, Ragged, Sparse)):
                continue
            if is_ragged(column.type):
                ragged = to_ragged(column)
                lengths = np.diff(ragged.offsets)
                filler = self._filler(name, ragged.values.dtype, f"array `{name}`")
                columns[name] = pad(ragged, lengths, int(lengths.max(initial=0)), filler)
        return Batch(columns, batch.ids, batch.is_padding)

    def _filler(self, name: str, dtype: np.dtype[Any], where: str) -> float:
        value = self.value.get(name, 0) if isinstance(self.value, Mapping) else self.value
        if not _holds(dtype, value):
            raise SchemaError(
                f"{where}: values of {dtype} cannot be padded by `pad_value={value}`; choose another value, "
                "or a dtype by `dtype=`"
            )
        return value


def pad(ragged: Ragged, lengths: Lengths, width: int, filler: float) -> Array:
    """Return the first `lengths` values of each sample as [n, width, ...], the filler behind them.

    Example:
        >>> pad(Ragged(np.array([1, 2, 3]), np.array([0, 2, 2, 3])), np.array([2, 0, 1]), 3, -1).tolist()
        [[1, 2, -1], [-1, -1, -1], [3, -1, -1]]
    """
    from headrace.prepare import kernels

    values = np.ascontiguousarray(ragged.values)
    output = np.full((len(ragged), width, *values.shape[1:]), filler, values.dtype)
    kernels.copy_lists(values, ragged.offsets[:-1], lengths, output)
    return output


def length_name(name: str) -> str:
    """What the array of the lists' lengths is called."""
    return f"{name}_length"


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a dtype has that number, if need be rounded to its digits."""
    if dtype.kind == "f":
        return not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max)
    if dtype.kind not in "iub" or not math.isfinite(value) or value != int(value):
        return False
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return int(low) <= value <= int(high)


def _refusal(where: str, kind: object) -> SchemaError:
    return SchemaError(
        f"{where}: `pad_to` needs lists of numbers, booleans or arrays of one shape, got {kind}; name the "
        'arrays that are to be padded, like `pad_to={"tokens": 512}`'
    )


def _check_known(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise OptionError(f"`{option}` names arrays that are not padded or not made by `pack`: {unknown}")
