"""Pack: the border between Arrow columns and the row-major arrays of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import OptionError, SchemaError

Array = NDArray[Any]

# The largest whole number up to which every other one has its own float64.
_EXACT = 1 << 53


@dataclass(frozen=True, slots=True)
class Stack:
    """Columns of one dtype that will lie side by side.

    Attributes:
        parts: k arrays of shape [n], each contiguous, all of one dtype.
    """

    parts: tuple[Array, ...]


Laid = Stack | Array | pa.Array
"""One delivered column of one row group before the gather: k columns to be stacked to [n, k],
an array of shape [n, ...], or Arrow for what has no fixed width."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Which columns form which arrays.

    Attributes:
        groups: Name of the array to a column's name (shape [n]) or to several (shape [n, k]).
        null_mask: Whether each array gets a companion `<name>_null_mask`, True where the value
            was null; the value there is 0, or NaN for floats.
        dtype: The arrays' dtype, by name of the array; by default the smallest NumPy dtype that
            holds all of the columns exactly.
    """

    groups: Mapping[str, str | tuple[str, ...]]
    null_mask: bool = False
    dtype: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.groups:
            raise OptionError('`pack` needs at least one array, like `pack(dense=["a", "b"], label="y")`')
        for name, columns in self.groups.items():
            if isinstance(columns, tuple) and not columns:
                raise OptionError(f"`pack` needs at least one column for `{name}`, got none")
        unknown = set(self.dtype or {}) - set(self.groups)
        if unknown:
            raise OptionError(f"`dtype` names arrays that `pack` does not make: {sorted(unknown)}")

    @property
    def columns(self) -> frozenset[str]:
        """All columns that are packed."""
        return frozenset(
            name for group in self.groups.values() for name in ((group,) if isinstance(group, str) else group)
        )

    def lay_out(self, batch: pa.RecordBatch, where: object) -> dict[str, Laid]:
        """Turn Arrow columns into arrays, without a copy where dtypes agree and nothing is null.

        Raises:
            SchemaError: A column has nulls or no fixed width; the message names it.
        """
        laid: dict[str, Laid] = {}
        for name, group in self.groups.items():
            wanted = None if self.dtype is None else self.dtype.get(name)
            if isinstance(group, str):
                laid[name] = self._single(batch.column(group), group, wanted, where)
            else:
                laid[name] = self._stack([batch.column(column) for column in group], group, wanted, where)
            if self.null_mask:
                laid[f"{name}_null_mask"] = _null_mask(batch, group)
        return laid

    def _single(self, column: pa.Array, name: str, dtype: str | None, where: object) -> Laid:
        laid = lay_out_column(column, name, where, self.null_mask)
        return _cast(laid, dtype, name, where) if isinstance(laid, np.ndarray) and dtype else laid

    def _stack(self, columns: Sequence[pa.Array], names: tuple[str, ...], dtype: str | None, where: object) -> Stack:
        parts: list[Array] = []
        for column, name in zip(columns, names, strict=True):
            laid = lay_out_column(column, name, where, self.null_mask)
            if not isinstance(laid, np.ndarray) or laid.ndim != 1 or laid.dtype.kind not in "iufb":
                raise SchemaError(
                    f"{where}, column `{name}`: columns that are packed side by side must hold one number or boolean "
                    f"for each sample, got {column.type}; pack it alone, or turn it into numbers before"
                )
            parts.append(laid)
        common = np.dtype(dtype) if dtype else np.result_type(*(part.dtype for part in parts))
        return Stack(
            tuple(
                np.ascontiguousarray(_cast(part, common, name, where, exact=dtype is None))
                for part, name in zip(parts, names, strict=True)
            )
        )


def lay_out(batch: pa.RecordBatch, where: object) -> dict[str, Laid]:
    """Turn every column into an array of its own, or leave it in Arrow if it has no fixed width."""
    return {
        name: lay_out_column(column, name, where)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def lay_out_column(column: pa.Array, name: str, where: object, null_mask: bool = False) -> Array | pa.Array:
    """Turn one Arrow column into an array of shape [n, ...], if it has a fixed width.

    Null floats become NaN. Other nulls are refused, as no number can stand for them, unless a
    mask goes along.
    """
    kind = column.type
    if isinstance(kind, pa.FixedShapeTensorType):
        if column.null_count:
            raise _null_error(column, name, where)
        return column.to_numpy_ndarray()
    if pa.types.is_dictionary(kind):
        return column.dictionary_decode()
    if not _has_fixed_width(kind):
        return column
    if column.null_count:
        if pa.types.is_floating(kind):
            return column.to_numpy(zero_copy_only=False)
        if not null_mask:
            raise _null_error(column, name, where)
        column = pc.fill_null(column, pa.scalar(0).cast(kind) if not pa.types.is_boolean(kind) else False)
    if pa.types.is_boolean(kind):
        return column.to_numpy(zero_copy_only=False)
    if pa.types.is_date(kind):
        return column.to_numpy(zero_copy_only=False).astype("datetime64[D]")
    return column.to_numpy()


def _has_fixed_width(kind: pa.DataType) -> bool:
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return is_number or pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_date(kind)


def _null_error(column: pa.Array, name: str, where: object) -> SchemaError:
    return SchemaError(
        f"{where}, column `{name}`: {column.null_count} of {len(column)} values of type {column.type} are null, "
        "and no number of that type can stand for them; fill them before (`FillMissing`, or "
        f'`with_columns(pl.col("{name}").fill_null(...))`), or use `pack(null_mask=True)`'
    )


def _null_mask(batch: pa.RecordBatch, group: str | tuple[str, ...]) -> Laid:
    if isinstance(group, str):
        return pc.is_null(batch.column(group)).to_numpy(zero_copy_only=False)
    return Stack(tuple(pc.is_null(batch.column(name)).to_numpy(zero_copy_only=False) for name in group))


def _cast(part: Array, dtype: Any, name: str, where: object, exact: bool = False) -> Array:
    wanted = np.dtype(dtype)
    if part.dtype == wanted:
        return part
    if exact and part.dtype.kind in "iu" and wanted.kind == "f" and part.dtype.itemsize == 8 and len(part):
        if max(abs(int(part.min())), abs(int(part.max()))) > _EXACT:
            raise SchemaError(
                f"{where}, column `{name}`: whole numbers beyond 2**53 lose digits beside floats; pack them into an "
                "array of their own, or choose by `dtype=`"
            )
    return part.astype(wanted)
