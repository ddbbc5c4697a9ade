"""The types of HDF5 and what becomes of them: columns in Arrow.

| in the file                        | column                                                    |
|------------------------------------|-----------------------------------------------------------|
| integers, floats, bit fields       | the same number in native byte order; N-d a fixed-shape tensor |
| boolean (an enum of FALSE and TRUE)| boolean; N-d a tensor of uint8                            |
| enum                               | its integers; the names are in the field's metadata       |
| text, fixed or variable            | string, always UTF-8                                      |
| variable-length lists of numbers   | list                                                      |
| codes and categories (AnnData)     | what the codes stand for, mostly text; null for -1        |
| opaque                             | binary of fixed width; NumPy's dates a date or a time stamp |
| compound                           | a column for each member, `name.member`                   |
| references, times, other           | refused by name                                           |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import CorruptSourceError, SchemaError

Array = NDArray[Any]

# What H5Tget_class, H5Tget_order and H5Tget_strpad answer.
_INTEGER, _FLOAT, _STRING, _BITFIELD, _OPAQUE, _COMPOUND, _REFERENCE, _ENUM, _VLEN, _ARRAY = (
    0,
    1,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
)
_ORDERS = {0: "<", 1: ">"}
_NULL_TERMINATED, _SPACE_PADDED = 0, 2
# Sign, exponent and mantissa of the floats that NumPy has: (fields, bias).
_FLOATS = {
    2: ((15, 10, 5, 0, 10), 15),
    4: ((31, 23, 8, 0, 23), 127),
    8: ((63, 52, 11, 0, 52), 1023),
}
# How the file refers to what has no fixed length: a count, and a place on its heap.
REFERENCE = np.dtype([("count", "<u4"), ("place", "<u8"), ("index", "<u4")])
_MOST_BYTES = (1 << 31) - 1  # of text or lists in one row group, whose offsets have 32 bits


class UnreadableTypeError(SchemaError):
    """A type that no column can hold; the caller adds which data set has it."""


class IndirectTypeError(Exception):
    """A type that NumPy cannot hold as it lies in the file, so that h5py must convert it."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One column of a data set.

    Attributes:
        path: The compound members that lead to it; empty for a plain data set.
        kind: What a value is: `number`, `bool`, `text`, `opaque`, `date`, `category`, `varied_text` or
            `list`.
        item: Arrow type of one value; of a list, of one of its items.
        shape: Shape of one sample.
        padding: How fixed text is padded, as the file says.
        names: Of an enum: value to name.
        categories: What the codes of a category stand for.
    """

    path: tuple[str, ...]
    kind: str
    item: pa.DataType
    shape: tuple[int, ...] = ()
    padding: int = 1
    names: tuple[tuple[int, str], ...] = ()
    categories: pa.Array | None = field(default=None, compare=False)

    @property
    def type(self) -> pa.DataType:
        """The column's type."""
        if self.kind == "list":
            return pa.list_(self.item)
        if not self.shape:
            return self.item
        return pa.fixed_shape_tensor(pa.uint8() if self.kind == "bool" else self.item, list(self.shape))

    @property
    def is_varied(self) -> bool:
        """Whether samples differ in length, so that the rows alone do not tell the bytes."""
        return self.kind in ("varied_text", "list")

    def field(self, name: str) -> pa.Field:
        """The column's field, with an enum's names in its metadata."""
        names = {"enum": json.dumps({text: value for value, text in self.names})} if self.names else None
        return pa.field(name, self.type, metadata=names)


def storage_dtype(kind: Any) -> np.dtype[Any]:
    """Return the NumPy dtype of values as they lie in the file.

    Args:
        kind: An HDF5 type, as the low-level h5py has it.

    Raises:
        IndirectTypeError: NumPy has no such dtype.
    """
    group, size = kind.get_class(), kind.get_size()
    if (group == _STRING and kind.is_variable_str()) or group == _VLEN:
        return REFERENCE
    if group in _PLAIN_TYPES:
        return _PLAIN_TYPES[group](kind, size)
    if group == _ENUM:
        return storage_dtype(kind.get_super())
    if group == _ARRAY:
        return np.dtype((storage_dtype(kind.get_super()), tuple(kind.get_array_dims())))
    if group != _COMPOUND:
        raise IndirectTypeError("its type has no counterpart in NumPy")
    members = range(kind.get_nmembers())
    return np.dtype(
        {
            "names": [_text(kind.get_member_name(place)) for place in members],
            "formats": [storage_dtype(kind.get_member_type(place)) for place in members],
            "offsets": [kind.get_member_offset(place) for place in members],
            "itemsize": size,
        }
    )


def _integer_dtype(kind: Any, size: int) -> np.dtype[Any]:
    is_whole = kind.get_precision() == 8 * size and kind.get_offset() == 0 and size in (1, 2, 4, 8)
    if not is_whole or kind.get_order() not in _ORDERS:
        raise IndirectTypeError("its whole numbers do not fill their bytes")
    return np.dtype(f"{_ORDERS[kind.get_order()]}{'i' if kind.get_sign() else 'u'}{size}")


def _float_dtype(kind: Any, size: int) -> np.dtype[Any]:
    parts = tuple(kind.get_fields()), kind.get_ebias()
    if _FLOATS.get(size) != parts or kind.get_order() not in _ORDERS:
        raise IndirectTypeError("its floats are not those of IEEE 754")
    return np.dtype(f"{_ORDERS[kind.get_order()]}f{size}")


def _opaque_dtype(kind: Any, size: int) -> np.dtype[Any]:
    return kind.dtype if kind.dtype.kind in "mM" else np.dtype(f"V{size}")


_PLAIN_TYPES: dict[int, Callable[[Any, int], np.dtype[Any]]] = {
    _INTEGER: _integer_dtype,
    _FLOAT: _float_dtype,
    _STRING: lambda kind, size: np.dtype(f"S{size}"),
    _BITFIELD: lambda kind, size: kind.dtype,
    _OPAQUE: _opaque_dtype,
}


def find_leaves(kind: Any, inner: tuple[int, ...], path: tuple[str, ...] = ()) -> Generator[Leaf]:
    """Yield the columns of a data set, in the order of its compound members.

    Args:
        kind: An HDF5 type, as the low-level h5py has it.
        inner: Shape of one sample.
        path: The members that lead here.

    Raises:
        UnreadableTypeError: A type has no column.
    """
    match kind.get_class():
        case g if g in (_INTEGER, _FLOAT, _BITFIELD):
            yield Leaf(path, "number", _number_type(kind), inner)
        case g if g == _ENUM:
            yield _enum_leaf(kind, inner, path)
        case g if g == _ARRAY:
            yield from find_leaves(kind.get_super(), (*inner, *kind.get_array_dims()), path)
        case g if g == _COMPOUND:
            for place in range(kind.get_nmembers()):
                within = (*path, _text(kind.get_member_name(place)))
                yield from find_leaves(kind.get_member_type(place), inner, within)
        case g if inner:
            raise UnreadableTypeError(
                f"holds {_TYPE_NAMES.get(g, 'values of an unknown type')} of shape {list(inner)}; "
                "only numbers and booleans can have more than one value in a row"
            )
        case g if g == _STRING:
            varied = kind.is_variable_str()
            yield Leaf(path, "varied_text" if varied else "text", pa.string(), padding=kind.get_strpad())
        case g if g == _VLEN and kind.get_super().get_class() in (_INTEGER, _FLOAT, _BITFIELD):
            yield Leaf(path, "list", _number_type(kind.get_super()))
        case g if g == _OPAQUE:
            yield _opaque_leaf(kind, path)
        case g:
            raise UnreadableTypeError(
                f"holds {_TYPE_NAMES.get(g, 'values of an unknown type')}, which have no column"
            )


_TYPE_NAMES = {
    2: "times",
    _STRING: "text",
    _OPAQUE: "opaque values",
    _REFERENCE: "references",
    _VLEN: "variable-length lists of something other than numbers",
    11: "complex numbers",
}


def _number_type(kind: Any) -> pa.DataType:
    try:
        dtype = storage_dtype(kind)
    except IndirectTypeError:
        dtype = kind.dtype
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnreadableTypeError(f"holds numbers of type {dtype}, which have no column")
    return pa.from_numpy_dtype(dtype.newbyteorder("="))


def _enum_leaf(kind: Any, inner: tuple[int, ...], path: tuple[str, ...]) -> Leaf:
    members = range(kind.get_nmembers())
    names = [(int(kind.get_member_value(place)), _text(kind.get_member_name(place))) for place in members]
    if sorted(names) == [(0, "FALSE"), (1, "TRUE")] and kind.get_size() == 1:
        return Leaf(path, "bool", pa.bool_(), inner)
    return Leaf(path, "number", _number_type(kind.get_super()), inner, names=tuple(names))


def _opaque_leaf(kind: Any, path: tuple[str, ...]) -> Leaf:
    if kind.dtype.kind in "mM":
        try:
            return Leaf(path, "date", pa.from_numpy_dtype(kind.dtype.newbyteorder("=")))
        except (pa.ArrowException, NotImplementedError) as error:
            raise UnreadableTypeError(f"holds times of type {kind.dtype}, which have no column") from error
    return Leaf(path, "opaque", pa.binary(kind.get_size()))


def _text(name: bytes | str) -> str:
    try:
        return name.decode() if isinstance(name, bytes) else name
    except UnicodeDecodeError as error:
        raise CorruptSourceError(f"the name {name!r} is no UTF-8") from error


def select_leaf(values: Array, leaf: Leaf) -> Array:
    """Follow the compound members to one column's values."""
    for name in leaf.path:
        if values.dtype.kind == "c":  # h5py reads a compound of two floats so
            values = np.real(values) if name == "r" else np.imag(values)
        else:
            values = values[name]
    return values


def to_arrow(values: Array, leaf: Leaf) -> pa.Array:
    """Turn one column's values into Arrow, without a copy where they lie right.

    Args:
        values: Shape [n, ...], in the file's dtype or in the one that h5py gives.
        leaf: What they are.

    Raises:
        CorruptSourceError: Text is no UTF-8.
    """
    return _CONVERSIONS[leaf.kind](values, leaf)


def from_heap(packed: Array, lengths: NDArray[np.int64], leaf: Leaf, item: np.dtype[Any]) -> pa.Array:
    """Turn values of any length into Arrow.

    Args:
        packed: Their bytes, one value behind the other; uint8.
        lengths: Bytes of each, int64 of shape [n].
        leaf: What they are: text or lists.
        item: NumPy dtype of one item.

    Raises:
        CorruptSourceError: Text is no UTF-8.
    """
    offsets = _offsets(lengths // item.itemsize)
    if leaf.kind == "list":
        items = np.ascontiguousarray(packed.view(item), item.newbyteorder("="))
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(items))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(packed)]
    return _decoded(pa.Array.from_buffers(pa.binary(), len(lengths), buffers))


def to_tensor(array: Array, kind: pa.FixedShapeTensorType) -> pa.Array:
    """Wrap a contiguous array of shape [n, ...], without a copy."""
    flat = pa.Array.from_buffers(kind.value_type, array.size, [None, pa.py_buffer(array.reshape(-1))])
    rows = pa.Array.from_buffers(kind.storage_type, len(array), [None], children=[flat])
    return pa.ExtensionArray.from_storage(kind, rows)


def _fixed_text(values: Array, leaf: Leaf) -> pa.Array:
    """Cut the padding off, as the file says that it was done: by zeros or by spaces."""
    width = values.dtype.itemsize
    cells = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), width)
    if leaf.padding == _NULL_TERMINATED:
        is_end = cells == 0
        lengths = np.where(is_end.any(axis=1), is_end.argmax(axis=1), width)
    else:
        is_kept = (cells != 0) if leaf.padding != _SPACE_PADDED else (cells != 0) & (cells != ord(" "))
        lengths = np.where(is_kept.any(axis=1), width - is_kept[:, ::-1].argmax(axis=1), 0)
    offsets = _offsets(lengths)
    content = cells[np.arange(width) < lengths[:, None]]
    binary = pa.Array.from_buffers(
        pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    )
    return _decoded(binary)


def _opaque(values: Array, leaf: Leaf) -> pa.Array:
    flat = np.ascontiguousarray(values).view(np.uint8).reshape(-1)
    return pa.Array.from_buffers(leaf.item, len(values), [None, pa.py_buffer(flat)])


def _dates(values: Array, leaf: Leaf) -> pa.Array:
    return pa.array(np.ascontiguousarray(values, values.dtype.newbyteorder("=")), leaf.item)


def _flags(values: Array, leaf: Leaf) -> pa.Array:
    flags = values != 0
    return to_tensor(flags.view(np.uint8), leaf.type) if leaf.shape else pa.array(flags)


def _numbers(values: Array, leaf: Leaf) -> pa.Array:
    native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return to_tensor(native, leaf.type) if leaf.shape else pa.array(native)


def _categories(values: Array, leaf: Leaf) -> pa.Array:
    assert leaf.categories is not None
    codes, count = values.astype(np.int64), len(leaf.categories)
    if len(codes) and not -1 <= int(codes.min()) <= int(codes.max()) < count:
        raise CorruptSourceError(f"codes must lie in -1..{count - 1}, got {codes.min()} to {codes.max()}")
    return leaf.categories.take(pa.array(codes, mask=codes < 0))


def _varied_text(values: Array, leaf: Leaf) -> pa.Array:
    return _decoded(pa.array(values.tolist(), pa.binary()))


def _decoded(binary: pa.Array) -> pa.Array:
    """Declare bytes as text, once all of it is known to be UTF-8."""
    try:
        return binary.cast(pa.string())
    except pa.ArrowInvalid as error:
        for row, value in enumerate(binary):  # only to word the error
            try:
                value.as_py().decode()
            except UnicodeDecodeError:
                raise CorruptSourceError(
                    f"row {row} holds text that is no UTF-8: {value.as_py()[:40]!r}; leave it out"
                ) from error
        raise CorruptSourceError(f"holds text that is no UTF-8: {error}") from error


def _lists(values: Array, leaf: Leaf) -> pa.Array:
    parts: Sequence[Array] = values.tolist()
    dtype = np.dtype(leaf.item.to_pandas_dtype())
    offsets = _offsets(np.array([len(part) for part in parts], np.int64))
    flat = np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    total = int(lengths.sum())
    if total > _MOST_BYTES:
        raise CorruptSourceError(
            f"{total:,} values in one row group are more than the {_MOST_BYTES:,} that fit"
        )
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


_CONVERSIONS: dict[str, Callable[[Array, Leaf], pa.Array]] = {
    "number": _numbers,
    "bool": _flags,
    "text": _fixed_text,
    "category": _categories,
    "varied_text": _varied_text,
    "list": _lists,
    "opaque": _opaque,
    "date": _dates,
}
