"""The one layout of Arrow columns that an IPC file gets, however they lay in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import SchemaError
from headrace.slices import unsliced
from headrace.sources.written.converting import to_entries

_types = pa.types


class ArrowLayout:
    """Lays out the columns of one file so that equal values have equal bytes.

    What lies under nulls is zeros, lists begin at zero, and each column has one dictionary, which grows by
    what later row groups add.
    """

    def __init__(self) -> None:
        """Begin without dictionaries."""
        self._dictionaries: dict[str, pa.Array] = {}

    def settle(self, path: str, array: Any) -> pa.Array:
        """Return a column's values, laid out anew where they may lie otherwise.

        Args:
            path: The column, and the place within it.
            array: Its values in the next row group.

        Raises:
            SchemaError: Its categories cannot be joined with those of the row groups before.
        """
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            return pa.ExtensionArray.from_storage(kind, self.settle(path, array.storage))
        if _types.is_dictionary(kind):
            return self._with_dictionary(path, array)
        if _types.is_nested(kind):
            return self._settle_nested(path, array)
        return _copied(array)

    def _settle_nested(self, path: str, array: Any) -> pa.Array:
        kind = array.type
        if _types.is_fixed_size_list(kind):
            return self._settle_fixed(path, array)
        if not _types.is_struct(kind):
            return self._settle_lists(path, array)
        mask = array.is_null() if array.null_count else None
        parts = [self.settle(f"{path}.{place}", part) for place, part in enumerate(array.flatten())]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=mask)

    def _settle_fixed(self, path: str, array: Any) -> pa.Array:
        kind = array.type
        if kind.list_size == 0:
            return array
        array = _copied(array) if array.null_count else array
        values = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        mask = array.is_null() if array.null_count else None
        return pa.FixedSizeListArray.from_arrays(self.settle(f"{path}.0", values), type=kind, mask=mask)

    def _settle_lists(self, path: str, array: Any) -> pa.Array:
        kind = array.type
        if _types.is_map(kind):
            lists: Any = self._settle_lists(path, to_entries(array))
            keys, items = (lists.values.field(place) for place in (0, 1))
            mask = array.is_null() if array.null_count else None
            return pa.MapArray.from_arrays(lists.offsets, keys, items, type=kind, mask=mask)
        lists, width = (pa.ListArray, np.int32) if _types.is_list(kind) else (pa.LargeListArray, np.int64)
        offsets = np.zeros(len(array) + 1, width)
        np.cumsum(pc.call_function("list_value_length", [array]).fill_null(0).to_numpy(), out=offsets[1:])
        values = self.settle(f"{path}.0", array.flatten())
        mask = array.is_null() if array.null_count else None
        return lists.from_arrays(pa.array(offsets), values, type=kind, mask=mask)

    def _with_dictionary(self, path: str, array: Any) -> pa.Array:
        """Let a column use the file's dictionary, which it may lengthen."""
        kind, used = array.type, array.dictionary
        indices: Any = self.settle(f"{path}.index", array.indices)
        # An empty dictionary cannot be lengthened later, so one value stands in for it.
        known = self._dictionaries.setdefault(path, used if len(used) else _any_value(kind.value_type))
        if len(used) > len(known) and used.slice(0, len(known)).equals(known):
            self._dictionaries[path] = known = used
        if known.slice(0, len(used)).equals(used):
            return pa.DictionaryArray.from_arrays(indices, known, ordered=kind.ordered)
        if kind.ordered:
            raise SchemaError(
                "the order of categories must be the same in all row groups of a shard, but two differ; "
                "write the values out before"
            )
        new = used.filter(_places(used, known).is_null())
        self._dictionaries[path] = known = pa.concat_arrays([known, new])
        try:
            moved = _places(used, known).take(indices).cast(kind.index_type)
        except pa.ArrowException as error:
            raise SchemaError(
                f"the row groups of one shard have {len(known):,} categories together, more than "
                f"{kind.index_type} counts; cast it to text before, or write fewer rows to a shard"
            ) from error
        return pa.DictionaryArray.from_arrays(moved, known, ordered=kind.ordered)


def _copied(array: Any) -> Any:
    """Copy values into memory that holds nothing else, with zeros under nulls."""
    if array.null_count:
        return unsliced(array).take(pa.array(np.arange(len(array))))
    return pa.concat_arrays([array.slice(0, 0), array])


def _any_value(kind: pa.DataType) -> pa.Array:
    """Make an array of one value, all of whose bytes are zero."""
    is_long = _types.is_string(kind) or _types.is_binary(kind)
    is_long = is_long or _types.is_large_string(kind) or _types.is_large_binary(kind)
    zeros = pa.py_buffer(bytes(64))
    return pa.Array.from_buffers(kind, 1, [None, zeros, pa.py_buffer(b"")] if is_long else [None, zeros])


def _places(values: pa.Array, known: pa.Array) -> Any:
    """Find values among known ones; null where they are new."""
    return pc.call_function("index_in", [values], pc.SetLookupOptions(value_set=known))
