"""Pack: the border between Arrow columns and the row-major arrays of a batch."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.batch import Batch, Ragged, is_sparse
from headrace.errors import OptionError, SchemaError, UnknownColumnError
from headrace.prepare.padding import Padding, length_name
from headrace.prepare.ragged import has_fixed_width, is_ragged, lay_out_ragged, to_lists, to_ragged
from headrace.prepare.tensors import count_null_numbers, tensor_shape, tensor_to_numpy, tensor_values

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
        padding: How lists that differ in length become one array; None leaves them ragged.
    """

    groups: Mapping[str, str | tuple[str, ...]]
    null_mask: bool = False
    dtype: Mapping[str, str] | None = None
    padding: Padding | None = field(default=None, metadata={"fingerprint": "unless None"})

    def __post_init__(self) -> None:
        if not self.groups:
            raise OptionError('`pack` needs at least one array, like `pack(dense=["a", "b"], label="y")`')
        for name, columns in self.groups.items():
            if isinstance(columns, tuple) and not columns:
                raise OptionError(f"`pack` needs at least one column for `{name}`, got none")
        unknown = set(self.dtype or {}) - set(self.groups)
        if unknown:
            raise OptionError(f"`dtype` names arrays that `pack` does not make: {sorted(unknown)}")
        for name, dtype in (self.dtype or {}).items():
            _check_dtype(name, dtype)
        masks = [f"{name}_null_mask" for name in self.groups] if self.null_mask else []
        twice = [name for name in masks if name in self.groups]
        if twice:
            raise OptionError(
                f"`null_mask=True` makes an array `{twice[0]}`, so no other one can have that name"
            )
        if self.padding is not None:
            self.padding.check_names(self.groups)

    @property
    def columns(self) -> frozenset[str]:
        """All columns that are packed."""
        return frozenset(
            name for group in self.groups.values() for name in ((group,) if isinstance(group, str) else group)
        )

    @property
    def unchanged(self) -> dict[str, str]:
        """The arrays that are one column as it is, and that column; lists may still be padded."""
        if self.null_mask:
            return {}
        changed = set(self.dtype or {})
        changed |= set() if self.padding is None else self.padding.named
        return {
            name: group
            for name, group in self.groups.items()
            if isinstance(group, str) and name not in changed
        }

    def without(self, names: Container[str]) -> Pack | None:
        """Leave out arrays; None if no other is left."""
        groups = {name: group for name, group in self.groups.items() if name not in names}
        dtype = {name: kind for name, kind in (self.dtype or {}).items() if name not in names}
        return Pack(groups, self.null_mask, dtype or None, self.padding) if groups else None

    def ordered(self, names: Container[str]) -> list[str]:
        """Put the names of arrays in order, each with its lengths behind it."""
        return [each for name in self.groups for each in (name, length_name(name)) if each in names]

    def lay_out(self, batch: pa.RecordBatch, where: object) -> dict[str, Laid]:
        """Turn Arrow columns into arrays, without a copy where dtypes agree and nothing is null.

        Raises:
            SchemaError: A column has nulls or no fixed width; the message names it.
        """
        laid: dict[str, Laid] = {}
        missing = sorted(self.columns - set(batch.schema.names))
        if missing:
            raise UnknownColumnError.from_names(missing, batch.schema.names, f"{where}, after the last step,")
        for name, group in self.groups.items():
            wanted = None if self.dtype is None else self.dtype.get(name)
            if isinstance(group, str):
                laid |= self._single(batch.column(group), name, wanted, where)
            else:
                laid[name] = self._stack([batch.column(column) for column in group], group, wanted, where)
            if self.null_mask:
                laid[f"{name}_null_mask"] = _null_mask(batch, group)
        if self.padding is not None and not any(length_name(name) in laid for name in self.groups):
            raise SchemaError(f"{where}: `pad_to` needs a column of lists, but `pack` has none")
        return laid

    def finish(self, batch: Batch) -> Batch:
        """Pad what depends on the samples that a batch holds together."""
        return batch if self.padding is None else self.padding.finish(batch)

    def _single(self, column: pa.Array, name: str, dtype: str | None, where: object) -> dict[str, Laid]:
        group = self.groups[name]
        assert isinstance(group, str)
        laid = lay_out_column(column, group, where, self.null_mask)
        if dtype is not None:
            laid = _cast_column(laid, dtype, group, where)
        if self.padding is None or not self.padding.is_padded(name, laid):
            return {name: laid}
        return self.padding.lay_out(laid, name, f"{where}, column `{group}`")

    def _stack(
        self, columns: Sequence[pa.Array], names: tuple[str, ...], dtype: str | None, where: object
    ) -> Stack:
        parts: list[Array] = []
        for column, name in zip(columns, names, strict=True):
            laid = lay_out_column(column, name, where, self.null_mask)
            if not isinstance(laid, np.ndarray) or laid.ndim != 1 or laid.dtype.kind not in "iufb":
                raise SchemaError(
                    f"{where}, column `{name}`: columns that are packed side by side must hold one number or "
                    f"boolean for each sample, got {column.type}; pack it alone, or turn it into numbers"
                )
            parts.append(laid)
        common = np.dtype(dtype) if dtype else np.result_type(*(part.dtype for part in parts))
        return Stack(
            tuple(
                np.ascontiguousarray(_cast(part, common, name, where, exact=dtype is None))
                for part, name in zip(parts, names, strict=True)
            )
        )


def _check_dtype(name: str, dtype: Any) -> None:
    try:
        kind = np.dtype(dtype).kind if dtype is not None else ""
    except TypeError:
        kind = ""
    if kind not in tuple("biuf"):
        raise OptionError(f'`dtype` of `{name}` must name numbers, like "float32" or "int64", got {dtype!r}')


def lay_out(batch: pa.RecordBatch, where: object) -> dict[str, Laid]:
    """Turn every column into an array of its own, or leave it in Arrow if it has no fixed width."""
    return {
        name: lay_out_column(column, name, where)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def lay_out_column(column: pa.Array, name: str, where: object, null_mask: bool = False) -> Array | pa.Array:
    """Turn one Arrow column into an array of shape [n, ...], if it has a fixed width.

    Null floats become NaN. Other nulls are refused, as no number can stand for them, unless a
    mask goes along. Lists of numbers stay in Arrow, without nulls.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return lay_out_column(column.dictionary_decode(), name, where, null_mask)
    if tensor_shape(kind):
        return _lay_out_tensor(column, name, where, null_mask)
    if is_ragged(kind):
        return lay_out_ragged(column, name, where, null_mask)
    if is_sparse(kind) and (column.null_count or column.flatten().null_count):
        raise SchemaError(
            f"{where}, column `{name}`: sparse rows cannot be null or hold nulls; fill them before"
        )
    if not has_fixed_width(kind):
        return column
    if column.null_count and not pa.types.is_floating(kind):
        if not null_mask:
            raise _null_error(column, name, where, column.null_count)
        column = column.fill_null(pa.scalar(False) if pa.types.is_boolean(kind) else pa.scalar(0, kind))
    array: Array = column.to_numpy(zero_copy_only=False)
    return array.astype("datetime64[D]") if pa.types.is_date(kind) else array


def _lay_out_tensor(column: pa.Array, name: str, where: object, null_mask: bool) -> Array:
    values = tensor_values(column)
    if values is None:
        raise SchemaError(
            f"{where}, column `{name}`: lists inside a sample are null, so that it has no shape; fill them"
        )
    if not pa.types.is_floating(values.type):
        # A mask tells which samples are null, not which numbers inside a sample.
        nulls = count_null_numbers(column, values) or (0 if null_mask else column.null_count)
        if nulls:
            raise _null_error(column, name, where, nulls)
    return tensor_to_numpy(column, values)


def _null_error(column: pa.Array, name: str, where: object, nulls: int) -> SchemaError:
    return SchemaError(
        f"{where}, column `{name}`: {nulls} of {len(column)} values of type {column.type} are null, "
        "and no number of that type can stand for them; fill them before (`FillMissing`, or "
        f'`with_columns(pl.col("{name}").fill_null(...))`), or use `pack(null_mask=True)`'
    )


def _null_mask(batch: pa.RecordBatch, group: str | tuple[str, ...]) -> Laid:
    if isinstance(group, str):
        return batch.column(group).is_null().to_numpy(zero_copy_only=False)
    return Stack(tuple(batch.column(name).is_null().to_numpy(zero_copy_only=False) for name in group))


def _cast_column(laid: Array | pa.Array, dtype: str, name: str, where: object) -> Array | pa.Array:
    if isinstance(laid, np.ndarray):
        return _cast(laid, dtype, name, where)
    if is_ragged(laid.type):
        ragged = to_ragged(laid)
        return to_lists(Ragged(_cast(ragged.values, dtype, name, where), ragged.offsets))
    raise SchemaError(
        f"{where}, column `{name}`: {laid.type} has no fixed width and so cannot become {dtype} by "
        "`dtype=`; turn it into numbers before"
    )


def _cast(part: Array, dtype: Any, name: str, where: object, exact: bool = False) -> Array:
    """Change the dtype; what the new one cannot hold at all is refused, digits may be rounded."""
    wanted = np.dtype(dtype)
    if part.dtype == wanted:
        return part
    is_long = part.dtype.kind in "iu" and part.dtype.itemsize == 8 and wanted.kind == "f"
    if exact and is_long and part.size and max(abs(int(part.min())), abs(int(part.max()))) > _EXACT:
        raise SchemaError(
            f"{where}, column `{name}`: whole numbers beyond 2**53 lose digits beside floats; pack them into "
            "an array of their own, or choose by `dtype=`"
        )
    if part.dtype.kind not in "biuf":
        raise SchemaError(
            f"{where}, column `{name}`: {part.dtype} cannot become {wanted} by `dtype=`; cast it before"
        )
    if wanted.kind in "iu" and part.size and not np.can_cast(part.dtype, wanted):
        _check_range(part, wanted, name, where)
    try:
        with np.errstate(over="raise"):
            return part.astype(wanted)
    except FloatingPointError as error:
        raise _range_error(f"between {part.min()} and {part.max()}", wanted, name, where) from error


def _check_range(part: Array, wanted: np.dtype[Any], name: str, where: object) -> None:
    limits = np.iinfo(wanted)
    low, high = part.min(), part.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise _range_error("NaN (or null) or infinity", wanted, name, where)
    if int(low) < limits.min or int(high) > limits.max:
        raise _range_error(f"between {low} and {high}", wanted, name, where)


def _range_error(got: str, wanted: np.dtype[Any], name: str, where: object) -> SchemaError:
    return SchemaError(
        f"{where}, column `{name}`: `dtype=` asks for {wanted}, which cannot hold values that are {got}; "
        "choose a larger dtype, or fill and clip them before"
    )
