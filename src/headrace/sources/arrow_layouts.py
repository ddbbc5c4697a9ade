"""Where the values of each column lie among the buffers of an Arrow message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headrace.errors import CorruptSourceError, SchemaError
from headrace.sources.arrow_messages import Content
from headrace.sources.flatbuffers import FlatTable

_EXTENSION = b"ARROW:extension:name"
_DEEPEST = 64  # types within types


@dataclass(frozen=True, slots=True)
class Layout:
    """How a column, or a part of it, is laid out.

    Attributes:
        stored: Its type in the file, extensions taken off.
        delivered: The type that it is delivered as.
        parts: What lies in it.
        dictionary: Id of its dictionary, if it has one.
    """

    stored: pa.DataType
    delivered: pa.DataType
    parts: tuple[Layout, ...] = ()
    dictionary: int | None = None

    @property
    def is_view(self) -> bool:
        """Whether text lies in as many buffers as the message says."""
        return pa.types.is_string_view(self.stored) or pa.types.is_binary_view(self.stored)

    @property
    def buffers(self) -> int:
        """How many buffers it has, those of its parts and of a view's text aside."""
        kind = self.stored
        if pa.types.is_null(kind):
            return 0
        if pa.types.is_struct(kind) or pa.types.is_fixed_size_list(kind):
            return 1
        is_text = pa.types.is_string(kind) or pa.types.is_binary(kind)
        is_large = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
        return 3 if is_text or is_large else 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where one array lies: the number of its node, and of its first and last buffer."""

    node: int
    buffers: range


def make_layouts(schema: pa.Schema, fields: FlatTable, path: str) -> dict[str, Layout]:
    """Tell how the columns of a file are laid out.

    Args:
        schema: The columns as they are written.
        fields: The same as it lies in the file, which alone tells the dictionaries' ids.
        path: The file, for errors.

    Raises:
        SchemaError: A column's type cannot be delivered; the message names both.
    """
    layouts: dict[str, Layout] = {}
    try:
        for column, table in zip(schema, fields.tables(1), strict=True):
            if column.name in layouts:
                raise CorruptSourceError(f"{path}: column names must be unique, got {schema.names}")
            layouts[column.name] = _layout(column, table, 0)
    except SchemaError as error:
        raise SchemaError(f"{path}, column `{schema.names[len(layouts)]}`: {error}") from error
    except (
        ValueError,
        AttributeError,
    ) as error:  # names that are no text; fields that do not fit their types
        raise CorruptSourceError(f"{path}: the schema cannot be read: {error}") from error
    return layouts


def dictionary_ids(layouts: Iterable[Layout]) -> set[int]:
    """List the dictionaries that columns, or parts of them, refer to."""
    found: set[int] = set()
    for layout in layouts:
        found |= dictionary_ids(layout.parts) | (
            {layout.dictionary} if layout.dictionary is not None else set()
        )
    return found


def _layout(field: pa.Field, table: FlatTable, depth: int) -> Layout:
    kind, delivered = field.type, None
    _ = field.name  # decoded when it is asked for, and an error here if it is no text
    if isinstance(kind, pa.FixedShapeTensorType) and depth:
        raise SchemaError("tensors within other types cannot be read; write the column as its storage type")
    if isinstance(kind, pa.FixedShapeTensorType):
        kind, delivered = kind.storage_type, kind
    elif isinstance(kind, pa.BaseExtensionType) or _EXTENSION in (field.metadata or {}):
        name = getattr(kind, "extension_name", "") or (field.metadata or {})[_EXTENSION].decode()
        raise SchemaError(
            f"of extension types `arrow.fixed_shape_tensor` alone is read, got `{name}`; write the column as "
            "its storage type"
        )
    if depth > _DEEPEST:
        raise SchemaError(f"types within types must be at most {_DEEPEST} deep")
    encoding = table.table(4)
    if encoding is not None:
        value = kind.value_type
        if pa.types.is_nested(value) or pa.types.is_null(value) or isinstance(value, pa.BaseExtensionType):
            raise SchemaError(f"a dictionary of {value} cannot be read; write its values out")
        part = Layout(value, _plain(value, ()))
        plain = pa.dictionary(kind.index_type, part.delivered, kind.ordered)
        return Layout(kind, plain, (part,), encoding.number(0, 8))
    _check_type(kind)
    parts = tuple(
        _layout(kind.field(place), child, depth + 1)
        for place, child in zip(range(kind.num_fields), table.tables(5), strict=True)
    )
    return Layout(kind, delivered or _plain(kind, parts), parts)


def _check_type(kind: pa.DataType) -> None:
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    if is_view or pa.types.is_union(kind) or pa.types.is_run_end_encoded(kind):
        raise SchemaError(f"the type {kind} cannot be read; write the column as plain values or lists")


def _plain(kind: pa.DataType, parts: Sequence[Layout]) -> pa.DataType:
    """Return the type without views, which few functions take."""
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
    if all(part.stored == part.delivered for part in parts):
        return kind
    fields = [kind.field(place).with_type(part.delivered) for place, part in enumerate(parts)]
    if pa.types.is_struct(kind):
        return pa.struct(fields)
    if pa.types.is_map(kind):
        entries = fields[0].type
        return pa.map_(entries.field(0).type, entries.field(1), kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(fields[0], kind.list_size)
    return pa.large_list(fields[0]) if pa.types.is_large_list(kind) else pa.list_(fields[0])


def find_places(layouts: Sequence[Layout], content: Content) -> list[list[Place]]:
    """Tell where the arrays of each column lie, depth first.

    Raises:
        CorruptSourceError: The message has other arrays or buffers than the schema says.
    """
    cursor = _Cursor()
    try:
        places = [list(_walk(layout, content, cursor)) for layout in layouts]
    except IndexError:
        places = []
    used = (len(places), cursor.node, cursor.buffer)
    if used != (len(layouts), len(content.nodes), len(content.buffers)):
        raise CorruptSourceError("a message holds other arrays than the schema says; the file is damaged")
    return places


@dataclass(slots=True)
class _Cursor:
    node: int = 0
    buffer: int = 0
    view: int = 0


def _walk(layout: Layout, content: Content, cursor: _Cursor) -> Iterator[Place]:
    count = layout.buffers
    if layout.is_view:
        extra = int(content.views[cursor.view])
        if not 0 <= extra <= len(content.buffers):
            raise IndexError
        count += extra
        cursor.view += 1
    if cursor.node >= len(content.nodes):
        raise IndexError
    yield Place(cursor.node, range(cursor.buffer, cursor.buffer + count))
    cursor.node += 1
    cursor.buffer += count
    if layout.dictionary is None:
        for part in layout.parts:
            yield from _walk(part, content, cursor)
