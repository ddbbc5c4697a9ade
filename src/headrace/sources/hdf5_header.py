"""The columns of an HDF5 file, as its headers tell.

Works on objects of h5py that the caller opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.batch import sparse_type
from headrace.errors import CorruptSourceError, SchemaError, UnknownColumnError
from headrace.sources.hdf5_chunks import Chunked, Extent, Foreign
from headrace.sources.hdf5_filters import FLETCHER32
from headrace.sources.hdf5_heap import Heap
from headrace.sources.hdf5_layout import LayoutFinder, find_fill, find_filters
from headrace.sources.hdf5_links import follow, has_link
from headrace.sources.hdf5_types import (
    REFERENCE,
    IndirectTypeError,
    Leaf,
    UnreadableTypeError,
    find_leaves,
    storage_dtype,
    to_arrow,
)

_SHOWN = 8
_CHECKED_SUPERBLOCK = 2  # from this version on, headers of all kinds have checksums
_MOST_CATEGORIES, _MOST_CATEGORY_BYTES = 1 << 20, 1 << 28
RAGGED = "ragged"
"""What `encoding-type` says of a group that holds lists, as headrace writes them."""
_CSR_MEMBERS = ("data", "indices", "indptr")
_RAGGED_MEMBERS = ("values", "offsets")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One data set: a column, or several for a compound one.

    Attributes:
        extent: Where the values lie.
        dtype: Their NumPy dtype as they lie there; None where only h5py can convert them.
        leaves: Column name to what it is.
        has_checksums: Whether Fletcher-32 protects its chunks.
        has_checked_header: Whether a checksum protects its header, which says how many rows it has.
        heap: What its values of any length are, where they can be read from the file's heap.
    """

    extent: Extent
    dtype: np.dtype[Any] | None
    leaves: dict[str, Leaf]
    has_checksums: bool
    has_checked_header: bool
    heap: Heap | None = None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.extent.rows

    @property
    def name(self) -> str:
        """What its columns' names begin with."""
        name, leaf = next(iter(self.leaves.items()))
        return name[: len(name) - sum(len(member) + 1 for member in leaf.path)]

    @property
    def is_varied(self) -> bool:
        """Whether some samples have no fixed width, and lie on the file's heap."""
        return any(leaf.is_varied for leaf in self.leaves.values())

    @property
    def needs_library(self) -> str:
        """Why h5py must read it, or the empty text."""
        return self.extent.layout.reason if isinstance(self.extent.layout, Foreign) else ""


@dataclass(frozen=True, slots=True, eq=False)
class SparseTable:
    """A group that holds rows of many lengths, one behind the other: a sparse matrix, or lists.

    A sparse matrix is as AnnData and SciPy write it; lists have values and offsets alone.

    Attributes:
        name: The column's name.
        data: The values.
        indices: The column of each value; None for lists.
        indptr: Where each row begins among the values, and the end.
        width: How many columns the matrix has.
    """

    name: str
    data: Table
    indices: Table | None
    indptr: Table
    width: int = 0

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.indptr.rows - 1

    @property
    def tables(self) -> tuple[Table, ...]:
        """The data sets that it is made of."""
        return (*self.parts, self.indptr)

    @property
    def parts(self) -> tuple[Table, ...]:
        """Those of them that hold something for each value."""
        return (self.data,) if self.indices is None else (self.data, self.indices)

    @property
    def type(self) -> pa.DataType:
        """The column's type."""
        (value,) = self.data.leaves.values()
        if self.indices is None:
            return pa.large_list(value.item)
        (index,) = self.indices.leaves.values()
        return sparse_type(self.width, index.item, value.item)


Member = Table | SparseTable


@dataclass(frozen=True, slots=True)
class Inspector:
    """Looks at one open file.

    Attributes:
        file: An open `h5py.File`.
        layouts: Finds where its values lie.
    """

    file: Any
    layouts: LayoutFinder

    def find_members(self, group_name: str, columns: Sequence[str] | None) -> list[Member]:
        """List the members of a group that become columns.

        Args:
            group_name: The path of the group.
            columns: Which members, or members of compound ones; None for all data sets with rows.

        Raises:
            UnknownColumnError: A wanted column is not there.
            SchemaError: A type has no column, or the group holds none.
        """
        group = self._open(self.file, group_name)
        where = f"{self.layouts.path}, group `{group_name}`"
        if not hasattr(group, "keys"):
            raise SchemaError(f"{where}: it is no group but {group!r}; name the group that holds it")
        names, parent = list(group), group_name.rstrip("/")
        if _is_csr(group):
            members: list[Member] = [self._sparse(group, parent)]
        else:
            wanted = names if columns is None else _members_of(columns, names, where)
            found = [self._member(group, parent, name, columns is None) for name in wanted]
            members = [member for member in found if member is not None]
        if not members:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise SchemaError(
                f"{where}: it holds no data set with rows, only {names[:_SHOWN]}{more}; choose another "
                "group by `Hdf5Options(group=...)`"
            )
        return members if columns is None else _narrowed(members, columns, where)

    def _open(self, start: Any, path: str) -> Any:
        return follow(start, path, self.layouts.path, self.layouts.allow_external)

    def _member(self, group: Any, parent: str, name: str, is_optional: bool) -> Member | None:
        found = self._open(group, name)
        if hasattr(found, "keys"):
            if _is_csr(found):
                return self._sparse(found, f"{parent}/{name}")
            if _encoding(found) == RAGGED:
                return self._ragged(found, name, f"{parent}/{name}")
            if _encoding(found) == "categorical":
                return self._categorical(found, name, f"{parent}/{name}")
        elif getattr(found, "shape", None):
            return self._table(found, name, f"{parent}/{name}")
        if is_optional:
            return None
        raise SchemaError(f"{self.layouts.path}: `{name}` must be a data set with rows, got {found!r}")

    def _sparse(self, group: Any, path: str) -> SparseTable:
        where = f"{self.layouts.path}: the sparse matrix `{group.name}`"
        shape = [int(length) for length in _attribute(group, "shape", "h5sparse_shape")]
        kind = _encoding(group) or "csr"
        if "csr" not in kind or len(shape) != 2:
            raise SchemaError(
                f"{where} ({kind}, {shape}) is not stored row by row; convert it to CSR, or leave it out by "
                "`Hdf5Options(columns=...)`"
            )
        tables = [self._table(self._open(group, part), part, f"{path}/{part}") for part in _CSR_MEMBERS]
        for part, table in zip(_CSR_MEMBERS, tables, strict=True):
            leaf = next(iter(table.leaves.values()))
            is_fit = leaf.kind == "number" and not leaf.shape and not table.needs_library
            if not is_fit or (part != "data" and not pa.types.is_integer(leaf.item)):
                raise SchemaError(f"{where}: `{part}` must be a plain list of numbers, got {leaf.type}")
        data, indices, indptr = tables
        if indptr.rows != shape[0] + 1 or data.rows != indices.rows:
            raise CorruptSourceError(
                f"{where} of shape {shape} must have {shape[0] + 1} row pointers and as many values as "
                f"indices, got {indptr.rows}, {data.rows} and {indices.rows}"
            )
        return SparseTable(path.rpartition("/")[2] or "X", data, indices, indptr, shape[1])

    def _ragged(self, group: Any, name: str, path: str) -> SparseTable:
        where = f"{self.layouts.path}: the lists `{group.name}`"
        parts = {part: self._open(group, part) for part in _RAGGED_MEMBERS}
        if any(len(getattr(part, "shape", None) or ()) != 1 for part in parts.values()):
            raise SchemaError(f"{where} must have `values` and `offsets` of one axis each, got {parts}")
        values, offsets = (self._table(found, part, f"{path}/{part}") for part, found in parts.items())
        (value,), (offset,) = values.leaves.values(), offsets.leaves.values()
        is_fit = value.kind == offset.kind == "number" and pa.types.is_integer(offset.item)
        if not is_fit or values.needs_library or offsets.needs_library:
            raise SchemaError(f"{where} must be plain numbers, got {value.type} and {offset.type}")
        if offsets.rows < 1:
            raise CorruptSourceError(f"{where} must have an offset more than rows, got none")
        return SparseTable(name, values, None, offsets)

    def _categorical(self, group: Any, name: str, path: str) -> Table:
        """Take the codes as the column's table, and read what they stand for."""
        where = f"{self.layouts.path}: the categories `{group.name}`"
        parts = {part: self._open(group, part) for part in ("codes", "categories")}
        if any(len(getattr(part, "shape", None) or ()) != 1 for part in parts.values()):
            raise SchemaError(f"{where} must have `codes` and `categories` of one axis each, got {parts}")
        codes, categories = (self._table(found, name, f"{path}/{part}") for part, found in parts.items())
        (code,), (category,) = codes.leaves.values(), categories.leaves.values()
        nbytes = categories.rows * categories.extent.row_bytes
        if categories.rows > _MOST_CATEGORIES or nbytes > _MOST_CATEGORY_BYTES:
            raise CorruptSourceError(f"{where} claim to be {categories.rows:,} of {nbytes:,} bytes")
        if code.kind != "number" or not pa.types.is_integer(code.item) or category.kind == "list":
            raise SchemaError(f"{where} must be named by whole numbers, got {code.type} for {category.type}")
        try:
            values = to_arrow(parts["categories"][()], category)
        except CorruptSourceError as error:
            raise CorruptSourceError(f"{where}: {error}") from error
        leaf = replace(code, kind="category", item=category.item, categories=values)
        return replace(codes, leaves={name: leaf})

    def _table(self, dataset: Any, name: str, path: str) -> Table:
        where = f"{self.layouts.path}: `{dataset.name}`"
        kind = dataset.id.get_type()
        try:
            if 0 in dataset.shape[1:]:
                raise UnreadableTypeError(f"has the shape {dataset.shape}, so that a sample holds nothing")
            found = list(find_leaves(kind, dataset.shape[1:]))
        except UnreadableTypeError as error:
            raise SchemaError(f"{where} {error}; leave it out by `Hdf5Options(columns=...)`") from error
        leaves = {".".join((name, *leaf.path)): leaf for leaf in found}
        if len(leaves) < len(found):
            raise SchemaError(f"{where} has members of equal names: {[leaf.path for leaf in found]}")
        heap = _heap_of(dataset, kind, found)
        is_plain = heap is None
        dtype, itemsize, reason = _stored_as(kind, found) if is_plain else (REFERENCE, REFERENCE.itemsize, "")
        layout = self.layouts.find(dataset, itemsize)
        if reason and not isinstance(layout, Foreign):
            layout = Foreign(reason, layout.shape[0] if isinstance(layout, Chunked) else 1)
        plist = dataset.id.get_create_plist()
        fill = find_fill(dataset, dtype, itemsize) if self.layouts.fills else b""
        extent = Extent(path, dataset.shape[0], dataset.shape[1:], itemsize, layout, fill)
        has_checksums = FLETCHER32 in [stage.code for stage in find_filters(plist)]
        superblock = dataset.file.id.get_create_plist().get_version()[0]
        return Table(extent, dtype, leaves, has_checksums, superblock >= _CHECKED_SUPERBLOCK, heap)


def _heap_of(dataset: Any, kind: Any, leaves: Sequence[Leaf]) -> Heap | None:
    """Tell what the values are, if they differ in length and NumPy can hold their items.

    Of a compound type with such members h5py tells the layout in memory, not that in the file.
    """
    leaf, is_usual = leaves[0], dataset.file.id.get_create_plist().get_sizes() == (8, 8)
    if leaf.path or not leaf.is_varied or not is_usual:
        return None
    try:
        item = np.dtype(np.uint8) if leaf.kind == "varied_text" else storage_dtype(kind.get_super())
    except IndirectTypeError:
        return None
    return Heap(item, dataset.file.userblock_size)


def _stored_as(kind: Any, leaves: Sequence[Leaf]) -> tuple[np.dtype[Any] | None, int, str]:
    """Tell how values lie in the file: dtype, bytes of one, and else why only h5py can convert them."""
    if any(leaf.is_varied for leaf in leaves):
        return None, 0, "its samples differ in length"
    try:
        return storage_dtype(kind), kind.get_size(), ""
    except IndirectTypeError as error:
        return None, kind.get_size(), str(error)


def _is_csr(group: Any) -> bool:
    has_members = all(has_link(group, name) for name in _CSR_MEMBERS)
    return has_members and _attribute(group, "shape", "h5sparse_shape") is not None


def _encoding(group: Any) -> str:
    """How AnnData or h5sparse say that a group is to be read; empty where they say nothing."""
    found = _attribute(group, "encoding-type", "h5sparse_format")
    return found.decode() if isinstance(found, bytes) else str(found or "")


def _attribute(group: Any, *names: str) -> Any:
    return next((group.attrs[name] for name in names if name in group.attrs), None)


def _members_of(columns: Sequence[str], names: Sequence[str], where: str) -> list[str]:
    """Name the members that hold the wanted columns: `obs` for `obs.age`, itself for `raw.X`."""
    known, found = set(names), dict[str, None]()
    for column in columns:
        parts = column.split(".")
        prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        owner = next((prefix for prefix in prefixes if prefix in known), None)
        if owner is None:
            raise UnknownColumnError.from_names([column], names, where)
        found[owner] = None
    return list(found)


def _narrowed(members: Sequence[Member], columns: Sequence[str], where: str) -> list[Member]:
    """Leave out the compound members that were not asked for."""
    kept: list[Member] = []
    known: list[str] = []
    for member in members:
        if isinstance(member, SparseTable):
            known.append(member.name)
            kept.append(member)
            continue
        known += member.leaves
        leaves = {name: leaf for name, leaf in member.leaves.items() if _is_wanted(name, columns)}
        kept.append(replace(member, leaves=leaves))
    for column in columns:
        if not any(_is_wanted(name, [column]) for name in known):
            raise UnknownColumnError.from_names([column], known, where)
    return kept


def _is_wanted(name: str, columns: Sequence[str]) -> bool:
    return any(name == column or name.startswith(f"{column}.") for column in columns)
