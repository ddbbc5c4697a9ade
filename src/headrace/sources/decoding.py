"""From encoded values to columns: bytes in one buffer become Arrow arrays, a row group at a time.

Values of one length (`raw` with a dtype and a shape, `npy` of one header) and text are decoded as a
whole, in native code; images, JSON and the like one by one, as their libraries do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, HeadraceError, OptionError, SchemaError, UndecodableError
from headrace.sources.building import build_column, infer_columns, item_type, tensor_array, tensor_type
from headrace.sources.mapped import windows

Types = dict[str, pa.DataType]
"""Columns of one encoded value: `""` is the value itself, names are the parts of a mapping."""

LEAST_COPIED = 512  # bytes of a row; narrower ones are read faster as columns
_SAMPLED = 16  # values that are decoded when a data set is opened, to learn their type
_MOST_BYTES = (1 << 31) - 1  # of one text or binary array, whose offsets have 32 bits


@dataclass(frozen=True, slots=True)
class Values:
    """Encoded values, as places in one buffer.

    Attributes:
        buffer: uint8 of shape [m].
        offsets: Where each value begins, int64 of shape [n], in any order.
        lengths: Bytes of each value, int64 of shape [n].
        label: Names a value in an error, such as by its key.
    """

    buffer: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    label: Callable[[int], str]

    def __len__(self) -> int:
        """How many values there are."""
        return len(self.offsets)

    def value(self, row: int) -> memoryview:
        """Return one value, without a copy."""
        begin = int(self.offsets[row])
        return self.buffer.data[begin : begin + int(self.lengths[row])]

    def fixed(self, skip: int, width: int) -> NDArray[np.uint8]:
        """Copy a run of bytes out of every value: `width` of them, `skip` behind its beginning."""
        if not len(self) or not width:
            return np.empty((len(self), width), np.uint8)
        return windows(self.buffer, width)[self.offsets + skip]

    def packed(self) -> tuple[pa.Array, NDArray[np.int64]]:
        """Copy the values one behind the other: their bytes, and where each begins."""
        places = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.lengths, out=places[1:])
        views = pa.LargeListViewArray.from_arrays(
            pa.array(self.offsets), pa.array(self.lengths), pa.array(self.buffer)
        )
        return views.flatten(), places

    def head(self, count: int) -> Values:
        """Return the first values."""
        return Values(self.buffer, self.offsets[:count], self.lengths[:count], self.label)


class Decoder(Protocol):
    """Turns the values of one field into columns. Thread-safe, deterministic and picklable."""

    def infer(self, values: Values) -> Types:
        """Tell the columns and their types by the first values."""
        ...

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Decode all values to these columns.

        Raises:
            UndecodableError: Some values cannot be decoded, or are of another type or shape.
        """
        ...


@dataclass(frozen=True, slots=True)
class Coding:
    """How the values of one field are encoded.

    Attributes:
        decode: The name of a coding, or a function of one value's bytes.
        dtype: NumPy dtype of `raw` numbers; an Arrow type for what `json`, `msgpack` or a
            function yields, instead of one told by the first values.
        shape: Shape of one sample; `(-1,)` for lists that differ in length.
    """

    decode: str | Callable[[bytes], Any] = "raw"
    dtype: Any = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.dtype is not None and not isinstance(self.dtype, pa.DataType):
            try:  # however it is spelled, so that equal settings have equal fingerprints
                object.__setattr__(self, "dtype", np.dtype(self.dtype).str)
            except TypeError as error:
                raise OptionError(f"`dtype` must be a NumPy dtype of numbers, got {self.dtype!r}") from error
        sizes: Any = self.shape
        if sizes is None or sizes == (-1,):
            return
        if not isinstance(sizes, tuple) or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise OptionError(f"`shape` must be a tuple of positive whole numbers, or `(-1,)`, got {sizes!r}")

    @property
    def label(self) -> str:
        """What errors call it."""
        return repr(self.decode) if isinstance(self.decode, str) else f"`{_name_of(self.decode)}`"


@dataclass(frozen=True, slots=True)
class Binary:
    """Values as they are."""

    def infer(self, values: Values) -> Types:
        """Return binary, whatever the values."""
        return {"": pa.binary()}

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Copy the values into one array."""
        content, places = values.packed()
        if places[-1] > _MOST_BYTES:
            raise CorruptSourceError(
                f"{values.label(0)}: more than 2 GiB of values from here on in one row group"
            )
        data = content.buffers()[1].slice(content.offset)
        offsets = pa.py_buffer(places.astype(np.int32))
        return {"": pa.Array.from_buffers(pa.binary(), len(values), [None, offsets, data])}


@dataclass(frozen=True, slots=True)
class Text:
    """Values that are UTF-8."""

    def infer(self, values: Values) -> Types:
        """Return text, whatever the values."""
        return {"": pa.string()}

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Copy the values into one array and check that they are UTF-8."""
        content = Binary().decode(values, types)[""]
        try:
            return {"": pc.cast(content, pa.string())}
        except pa.ArrowInvalid:
            return decode_each(values, types, lambda value: str(value, "utf-8"))


@dataclass(frozen=True, slots=True)
class Fixed:
    """Numbers of one dtype and shape, as they lie in memory.

    Attributes:
        dtype: Their dtype in the file.
        shape: Shape of one sample.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def infer(self, values: Values) -> Types:
        """Return the type that the options give."""
        return {"": tensor_type(self.dtype, self.shape)}

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Copy the values once, into an array of shape [n, ...]."""
        self.check(values)
        return {"": tensor_array(values.fixed(0, self.width).view(self.dtype).reshape(-1, *self.shape))}

    def check(self, values: Values) -> None:
        """Refuse values of another size."""
        wrong = np.flatnonzero(values.lengths != self.width)
        if len(wrong):
            row = int(wrong[0])
            reason = (
                f"{self.dtype} of shape {list(self.shape)} takes {self.width:,} bytes, got "
                f"{values.lengths[row]:,}"
            )
            raise UndecodableError.at(wrong.tolist(), values.label(row), reason)

    @property
    def width(self) -> int:
        """Bytes of one sample."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_copyable(self) -> bool:
        """Whether the values lie in the file as batches hold them, and are wide enough to copy one by one."""
        return self.dtype.isnative and self.dtype.kind in "iuf" and self.width >= LEAST_COPIED


@dataclass(frozen=True, slots=True)
class Items:
    """Numbers of one dtype, of which samples hold different counts.

    Attributes:
        dtype: Their dtype in the file.
    """

    dtype: np.dtype[Any]

    def infer(self, values: Values) -> Types:
        """Return a list type."""
        return {"": pa.list_(item_type(self.dtype))}

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Copy the values into one list array."""
        wrong = np.flatnonzero(values.lengths % self.dtype.itemsize)
        if len(wrong):
            row = int(wrong[0])
            reason = f"{values.lengths[row]:,} bytes are no whole number of {self.dtype}"
            raise UndecodableError.at(wrong.tolist(), values.label(row), reason)
        content, places = values.packed()
        items = tensor_array(content.to_numpy().view(self.dtype))
        offsets = (places // self.dtype.itemsize).astype(np.int32)
        return {"": pa.ListArray.from_arrays(pa.array(offsets), items)}


@dataclass(frozen=True, slots=True)
class Each:
    """Values that a function decodes one by one.

    Attributes:
        function: Takes one value's bytes.
        coding: What the options say.
    """

    function: Callable[[memoryview], Any]
    coding: Coding

    def infer(self, values: Values) -> Types:
        """Decode some values and tell their columns; those that fail are left for `decode`."""
        given = self.coding.dtype
        if isinstance(given, pa.DataType):
            return {part.name: part.type for part in given} if pa.types.is_struct(given) else {"": given}
        return infer_each(values, self.function, self.coding.shape)

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Decode the values one by one."""
        return decode_each(values, types, self.function)


def decoded_first(values: Values, function: Callable[[memoryview], Any]) -> dict[str, Any]:
    """Decode the first values, by label; of those at least one must be decodable."""
    found: dict[str, Any] = {}
    failure: UndecodableError | None = None
    for row in range(min(len(values), _SAMPLED)):
        try:
            found[values.label(row)] = function(values.value(row))
        except Exception as error:
            failure = failure or UndecodableError.at([row], values.label(row), error)
    if failure is not None and not found:
        raise failure
    return found


def infer_each(values: Values, function: Callable[[memoryview], Any], shape: tuple[int, ...] | None) -> Types:
    """Tell the columns by the first values."""
    found = decoded_first(values, function)
    return infer_columns(found, shape) if found else {"": pa.null()}


def decode_each(values: Values, types: Types, function: Callable[[memoryview], Any]) -> dict[str, pa.Array]:
    """Decode values one by one, and name all that fail in one error."""
    decoded: list[Any] = []
    failures: dict[int, BaseException | str] = {}
    for row in range(len(values)):
        try:
            decoded.append(_parts(function(values.value(row)), types))
        except Exception as error:
            failures[row] = error
            decoded.append(None)
    columns: dict[str, pa.Array] = {}
    for name, kind in types.items():
        parts = [None if row is None else row.get(name) for row in decoded]
        columns[name], wrong = build_column(parts, kind, frozenset(failures))
        failures |= wrong
    if failures:
        rows = sorted(failures)
        raise UndecodableError.at(rows, values.label(rows[0]), failures[rows[0]])
    return columns


def _parts(value: Any, types: Types) -> Mapping[str, Any]:
    """Return a decoded value's parts by column, and refuse parts that no column takes."""
    if "" in types:
        return {"": value}
    if not isinstance(value, Mapping):
        raise SchemaError(
            f"a mapping with {list(types)} is needed, as in other samples, got {type(value).__name__}"
        )
    unknown = [name for name in value if name not in types]
    if unknown:
        raise SchemaError(
            f"has {unknown}, which the first samples ({list(types)}) lack; give all by `dtype=pa.struct(...)`"
        )
    return value


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def located(error: HeadraceError, path: str, where: object = None) -> HeadraceError:
    """Put file and row group into an error that does not name them."""
    message = str(error)
    if message.startswith(path):
        return error
    located = type(error)(f"{where or path}, {message}")
    if isinstance(error, UndecodableError) and isinstance(located, UndecodableError):
        located.rows = error.rows
    return located
