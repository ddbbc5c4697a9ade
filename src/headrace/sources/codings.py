"""The codings by name: npy, json, msgpack, arrow, image, datum, safetensors, pickle and functions.

Nothing here runs code that lies in the data: object arrays, extension types and unknown msgpack
types are refused, and only `pickle`, which must be allowed by name, is what it is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.errors import MissingDependencyError, OptionError, SchemaError, UndecodableError
from headrace.images import CHANNELS, check_pillow, open_image, to_pixels
from headrace.sources.building import item_type, tensor_array, tensor_type
from headrace.sources.decoding import (
    Binary,
    Coding,
    Decoder,
    Each,
    Fixed,
    Items,
    Text,
    Types,
    Values,
    decode_each,
    decoded_first,
    infer_each,
)
from headrace.sources.protobuf import BYTES, VARINT, read_fields, to_signed

NAMES = ("raw", "text", "npy", "json", "msgpack", "arrow", "image", "datum", "safetensors", "pickle")

_MODES = {channels: mode for mode, channels in CHANNELS.items()}
_COMPRESSION = 3  # the field of an Arrow record batch's header that tells of compressed buffers


def make_decoder(coding: Coding, allow_pickle: bool = False) -> Decoder:
    """Find what decodes a field.

    Raises:
        OptionError: The name is unknown, needs a permission, or does not go with the other options.
        MissingDependencyError: The coding's library is not installed.
    """
    if callable(coding.decode):
        function: Any = coding.decode
        return Each(partial(_call, function), coding)
    if coding.decode not in NAMES:
        raise OptionError(f"`decode` must be a function or one of {', '.join(NAMES)}, got {coding.decode!r}")
    if coding.decode == "pickle" and not allow_pickle:
        raise OptionError(
            "a pickle runs code when it is read; pass `allow_pickle=True` if you trust whoever wrote this "
            "data"
        )
    if coding.decode == "raw":
        return _raw(coding)
    makers: dict[str, Callable[[], Decoder]] = {
        "text": Text,
        "npy": partial(Npy, coding.shape),
        "json": partial(Each, _decode_json, coding),
        "msgpack": partial(_needing, "msgpack", partial(Each, _decode_msgpack, coding)),
        "arrow": ArrowRows,
        "image": partial(_needing_pillow, coding.shape),
        "datum": partial(Each, _decode_datum, coding),
        "safetensors": partial(_needing, "safetensors", partial(Each, _decode_safetensors, coding)),
        "pickle": partial(Each, _decode_pickle, coding),
    }
    return makers[coding.decode]()


def _raw(coding: Coding) -> Decoder:
    if coding.dtype is None:
        if coding.shape is not None:
            raise OptionError(f"`raw` values of shape {coding.shape} need a `dtype` too")
        return Binary()
    try:
        dtype = np.dtype(coding.dtype)
        item_type(dtype)
    except (TypeError, SchemaError) as error:
        raise OptionError(f"`dtype` must be a NumPy dtype of numbers, got {coding.dtype!r}") from error
    return Items(dtype) if coding.shape in (None, (-1,)) else Fixed(dtype, coding.shape or ())


def _needing(module: str, make: Callable[[], Decoder]) -> Decoder:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingDependencyError.from_extra(module, module, f"decoding {module} values")
    return make()


def _needing_pillow(shape: tuple[int, ...] | None) -> Decoder:
    check_pillow("decoding images")
    return Images(shape)


@dataclass(frozen=True, slots=True)
class Npy:
    """NumPy's own files; those of one header are decoded as a whole.

    Attributes:
        shape: `(-1,)` where lists may differ in length.
    """

    shape: tuple[int, ...] | None = None

    def infer(self, values: Values) -> Types:
        """Tell dtype and shape by the first values."""
        return infer_each(values, _decode_npy, self.shape)

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Decode at once what has one header, and one by one what has not."""
        if len(values) and bool((values.lengths == values.lengths[0]).all()):
            try:
                dtype, shape, is_fortran, skip = _npy_header(values.value(0))
            except Exception as error:
                skip, shape, is_fortran, dtype = 0, (), True, error
            width = (
                0 if isinstance(dtype, Exception) else dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            )
            heads = values.fixed(0, skip)
            is_one = not is_fortran and skip + width == values.lengths[0] and bool((heads == heads[0]).all())
            if is_one and not isinstance(dtype, Exception) and types == {"": tensor_type(dtype, shape)}:
                return {"": tensor_array(values.fixed(skip, width).view(dtype).reshape(-1, *shape))}
        return decode_each(values, types, _decode_npy)


def _npy_header(value: memoryview) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return dtype, shape, whether columns come first, and where the numbers begin."""
    head = value[:10].tobytes()
    version = np.lib.format.read_magic(io.BytesIO(head))
    sizes = {(1, 0): 2, (2, 0): 4}
    if version not in sizes:
        raise SchemaError(f"npy files of version 1.0 and 2.0 can be read, got {version}")
    begin = 8 + sizes[version]
    skip = begin + int.from_bytes(value[8:begin], "little")
    stream = io.BytesIO(value[: min(skip, 1 << 16)])
    stream.seek(8)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.hasobject:
        raise SchemaError("an array of Python objects is refused, for reading it runs code from the data")
    item_type(dtype)
    return dtype, shape, is_fortran and len(shape) > 1, skip


def _decode_npy(value: memoryview) -> Any:
    dtype, shape, is_fortran, skip = _npy_header(value)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if skip + count * dtype.itemsize != len(value):
        raise SchemaError(
            f"{dtype} of shape {list(shape)} takes {skip + count * dtype.itemsize} bytes, got {len(value)}"
        )
    return np.frombuffer(value[skip:], dtype).reshape(shape, order="F" if is_fortran else "C")


@dataclass(frozen=True, slots=True)
class Images:
    """JPEG and PNG images, as uint8 of shape [height, width, channels].

    Attributes:
        shape: One image's shape; its channels say whether images become grey, RGB or RGBA.
    """

    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shape is not None and (
            len(self.shape) not in (2, 3) or self.shape[2:] not in ((), (1,), (3,), (4,))
        ):
            raise OptionError(
                f"an image's `shape` is (height, width) or (height, width, 1, 3 or 4), got {self.shape}"
            )

    def infer(self, values: Values) -> Types:
        """Tell the size by the first images' headers."""
        if self.shape is not None:
            return {"": tensor_type(np.dtype(np.uint8), self.shape)}
        sizes = decoded_first(values, _image_size)
        if not sizes:
            return {"": pa.null()}
        first, *others = sizes.items()
        for label, size in others:
            if size != first[1]:
                raise SchemaError(f"{label}: {_size_mismatch(first[1], size)}")
        return {"": tensor_type(np.dtype(np.uint8), (*first[1], 3))}

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Decode the images one by one; a header of another size is refused before its pixels are."""
        return decode_each(
            values, types, partial(_decode_image, shape=tuple(getattr(types[""], "shape", ())))
        )


def _image_size(value: memoryview) -> tuple[int, int]:
    with open_image(value) as image:
        return image.height, image.width


def _size_mismatch(wanted: Sequence[int], found: Sequence[int]) -> str:
    return (
        f"every image must be {wanted[0]} x {wanted[1]}, as others are, got {found[0]} x {found[1]}; "
        "leave images as "
        'they are (`decode="raw"`) and resize them in a step'
    )


def _decode_image(value: memoryview, shape: tuple[int, ...]) -> Any:
    with open_image(value) as image:
        if shape and (image.height, image.width) != shape[:2]:
            raise SchemaError(_size_mismatch(shape, (image.height, image.width)))
        mode = _MODES[shape[2]] if len(shape) == 3 else ("L" if shape else "RGB")
        array = to_pixels(image, mode)
    return array.reshape(shape) if shape else array


@dataclass(frozen=True, slots=True)
class ArrowRows:
    """Arrow IPC streams of one row each; its columns become columns."""

    def infer(self, values: Values) -> Types:
        """Tell the columns by the first value that can be read."""
        schemas = [batch.schema for batch in decoded_first(values, _read_arrow).values()]
        return dict(zip(schemas[0].names, schemas[0].types, strict=True)) if schemas else {"": pa.null()}

    def decode(self, values: Values, types: Types) -> dict[str, pa.Array]:
        """Join the rows."""
        schema = pa.schema([pa.field(name, kind) for name, kind in types.items()])
        batches: list[pa.RecordBatch] = []
        failures: dict[int, Exception] = {}
        for row in range(len(values)):
            try:
                batches.append(_matching(_read_arrow(values.value(row)), schema))
            except Exception as error:
                failures[row] = error
        if failures:
            first = min(failures)
            raise UndecodableError.at(sorted(failures), values.label(first), failures[first])
        table = pa.Table.from_batches(batches, schema)
        columns = {name: table.column(name) for name in schema.names}
        return {name: pa.concat_arrays(column.chunks) for name, column in columns.items()}


def _matching(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.names != schema.names or batch.schema.types != schema.types:
        raise SchemaError(
            f"every sample must hold the columns {schema.names} of one type, got {batch.schema}"
        )
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def _read_arrow(value: memoryview) -> pa.RecordBatch:
    """Read one stream (or file) of one row."""
    stream = pa.BufferReader(bytes(value[8:] if value[:6].tobytes() == b"ARROW1" else value))
    schema = pa.ipc.read_schema(pa.ipc.read_message(stream))
    extended = [field.name for field in schema if _is_extended(field)]
    if extended:
        raise SchemaError(f"columns of extension types are refused, got {extended}")
    message = pa.ipc.read_message(stream)
    if message.type != "record batch" or _is_compressed(bytes(message.metadata)):
        raise SchemaError(
            f"a value must hold one uncompressed record batch, got a compressed one or a {message.type}"
        )
    batch = pa.ipc.read_record_batch(message, schema)
    batch.validate(full=True)
    if batch.num_rows != 1:
        raise SchemaError(f"a value must hold one row, got {batch.num_rows}")
    return batch


def _is_extended(field: Any) -> bool:
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType) or b"ARROW:extension:name" in (field.metadata or {}):
        return True
    return any(_is_extended(kind.field(place)) for place in range(kind.num_fields))


def _is_compressed(message: bytes) -> bool:
    """Look up in a message whether its batch is compressed, so that it could unpack to any size."""

    def member(table: int, number: int) -> int:
        vtable = table - int.from_bytes(message[table : table + 4], "little", signed=True)
        size = int.from_bytes(message[vtable : vtable + 2], "little")
        slot = 4 + 2 * number
        offset = int.from_bytes(message[vtable + slot : vtable + slot + 2], "little") if slot < size else 0
        return table + offset if offset else 0

    root = int.from_bytes(message[:4], "little")
    header = member(root, 2)
    batch = header + int.from_bytes(message[header : header + 4], "little")
    return member(batch, _COMPRESSION) != 0


def _decode_json(value: memoryview) -> Any:
    return json.loads(bytes(value))


def _decode_msgpack(value: memoryview) -> Any:
    import msgpack

    return msgpack.unpackb(value, raw=False, strict_map_key=True, timestamp=3, ext_hook=_refuse_extension)


def _refuse_extension(code: int, data: bytes) -> Any:
    raise SchemaError(f"msgpack extension types are refused, got type {code} of {len(data)} bytes")


def _decode_safetensors(value: memoryview) -> Any:
    from safetensors.numpy import load

    return load(bytes(value))


def _decode_datum(value: memoryview) -> Any:
    """Read Caffe's `Datum`: an array [channels, height, width] and its label."""
    numbers = dict.fromkeys((1, 2, 3), 0)
    label: int | None = None
    content: memoryview | None = None
    floats: list[Any] = []
    is_encoded = False
    for number, wire, begin, end in read_fields(value):
        if number in numbers and wire == VARINT:
            numbers[number] = begin
        elif number == 4 and wire == BYTES:
            content = value[begin:end]
        elif number == 5 and wire == VARINT:
            label = to_signed(begin)
        elif number == 6 and wire != VARINT:
            floats.append(np.frombuffer(value[begin:end], "<f4"))
        elif number == 7 and wire == VARINT:
            is_encoded = bool(begin)
    if is_encoded:
        pixels = _decode_image(content or memoryview(b""), ())
        return {"data": np.ascontiguousarray(pixels.transpose(2, 0, 1)), "label": label}
    data = np.concatenate(floats) if floats else np.frombuffer(content or b"", np.uint8)
    return {"data": data.reshape(numbers[1], numbers[2], numbers[3]), "label": label}


def _decode_pickle(value: memoryview) -> Any:
    import pickle

    return pickle.loads(value)


def _call(function: Callable[[bytes], Any], value: memoryview) -> Any:
    return function(bytes(value))
