"""Where the values of an HDF5 data set lie, as the headers of an open file tell.

Values in other files (external storage, virtual data sets) are refused unless that is allowed, and
values that were never written unless the fill value may stand for them: the HDF5 library reads
both without a word.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from headrace.errors import CorruptSourceError, SchemaError, SourceError
from headrace.sources.hdf5_chunks import (
    Chunked,
    Compact,
    Contiguous,
    Extent,
    Foreign,
    Layout,
    Places,
    Unwritten,
)
from headrace.sources.hdf5_filters import Filter, undecodable
from headrace.sources.hdf5_links import follow
from headrace.sources.hdf5_types import REFERENCE, find_leaves

# What H5Pget_layout answers.
_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = 0, 1, 2, 3
_NO_FILL = 0  # what H5Pfill_value_defined answers where no value was chosen
_MOST_COMPACT = 1 << 16
_MOST_NESTED = 16
_SHOWN = 8


@dataclass(frozen=True, slots=True, eq=False)
class LayoutFinder:
    """Looks at the data sets of one open file.

    Attributes:
        path: The file, for errors.
        place: Where it lies on the local disk.
        size: Its bytes.
        opener: Opens another HDF5 file, which a virtual data set may name.
        allow_external: Whether values may lie in other files.
        fills: Whether the fill value may stand for values that were never written.
        grows: Whether a writer may be appending meanwhile, so that there is more than was counted.
        outside: The other files in which values were found to lie, as far as they are there.
    """

    path: str
    place: str
    size: int
    opener: Callable[[str], AbstractContextManager[Any]]
    allow_external: bool
    fills: bool
    grows: bool = False
    outside: set[str] = field(default_factory=set[str])

    def find(self, dataset: Any, itemsize: int) -> Layout:
        """Find where the values lie.

        Args:
            dataset: An `h5py.Dataset` with at least one axis.
            itemsize: Bytes of one value in the file.

        Raises:
            SourceError: They lie in other files, were never written, or reach beyond the end.
        """
        if not os.path.samefile(
            dataset.file.filename, self.place
        ):  # behind an external link, which was allowed
            there = dataset.file.filename
            self.outside.add(there)
            found = replace(self, path=there, place=there, size=os.stat(there).st_size).find(
                dataset, itemsize
            )
            return found if isinstance(found, Foreign) else Foreign("it lies in another file")
        plist = dataset.id.get_create_plist()
        extent = Extent(dataset.name, dataset.shape[0], dataset.shape[1:], itemsize, Unwritten(), b"")
        layout = self._layout(dataset, plist, extent)
        self._check_written(replace(extent, layout=layout))
        unknown = undecodable(find_filters(plist))
        if not unknown or isinstance(layout, Foreign):
            return layout
        names = " and ".join(dict.fromkeys(stage.name for stage in unknown))
        rows = layout.shape[0] if isinstance(layout, Chunked) else 1
        return Foreign(f"its filter ({names}) is not among those that are decoded here", rows)

    def _layout(self, dataset: Any, plist: Any, extent: Extent) -> Layout:
        """Find where the values lie, and refuse what lies elsewhere or beyond the end."""
        where = f"{self.path}: `{dataset.name}`"
        layout, nbytes = plist.get_layout(), extent.rows * extent.row_bytes
        if layout == _VIRTUAL or plist.get_external_count():
            self._check_outside(dataset, plist)
            return Foreign(
                "its values lie in other data sets" if layout == _VIRTUAL else "its values lie in other files"
            )
        if layout == _CONTIGUOUS:
            offset, stored = dataset.id.get_offset(), dataset.id.get_storage_size()
            if offset is not None and extent.itemsize and stored != nbytes:
                raise CorruptSourceError(
                    f"{where} takes {nbytes:,} bytes by its shape, but {stored:,} are stored"
                )
            found: Layout = Unwritten() if offset is None else Contiguous(offset)
        elif layout == _COMPACT:
            if nbytes > _MOST_COMPACT or dataset.id.get_storage_size() < nbytes:
                raise CorruptSourceError(f"{where} claims {nbytes:,} bytes, more than its header can hold")
            if _holds_references(dataset.id.get_type()):
                return Foreign("its samples differ in length")
            found, space = Compact(np.empty(nbytes, np.uint8)), dataset.id.get_space()
            dataset.id.read(space, space, found.values, mtype=dataset.id.get_type())
        else:
            found = self._chunks(dataset, plist, extent)
        try:
            if not self.grows:
                _check_inside(self.size, replace(extent, layout=found))
        except CorruptSourceError as error:
            raise CorruptSourceError(f"{where}: {error}") from error
        return found

    def _chunks(self, dataset: Any, plist: Any, extent: Extent) -> Chunked | Foreign:
        where, shape, filters = f"{self.path}: `{dataset.name}`", plist.get_chunk(), find_filters(plist)
        grid = tuple(-(-length // step) for length, step in zip(dataset.shape, shape, strict=True))
        expected, listed = math.prod(grid), array("q")
        count = dataset.id.get_num_chunks() if expected else 0
        is_too_much = count > min(expected, self.size) or (not expected and dataset.id.get_storage_size() > 0)
        if is_too_much and not self.grows:
            raise CorruptSourceError(
                f"{where} must have {expected:,} chunks by its shape, but its index lists more; the file is "
                "damaged"
            )

        def add(info: Any) -> None:
            if not self.grows or info.chunk_offset[0] < dataset.shape[0]:
                listed.extend((*info.chunk_offset, info.byte_offset, info.size, info.filter_mask))

        if expected:
            dataset.id.chunk_iter(add)
        try:
            numbers, offsets, lengths, masks = _sort_chunks(grid, shape, np.array(listed, np.int64))
        except CorruptSourceError as error:
            raise CorruptSourceError(f"{where}: {error}") from error
        nbytes = math.prod(shape) * extent.itemsize
        is_wrong = not filters and extent.itemsize > 0 and bool((lengths != nbytes).any())
        if is_wrong or bool((np.diff(numbers) == 0).any()):
            raise CorruptSourceError(
                f"{where}: its chunks must hold {nbytes:,} bytes and lie apart; the file is damaged"
            )
        found = Chunked(shape, grid, filters, numbers, offsets, lengths, masks.astype(np.uint32))
        if filters and _may_be_bare(dataset.shape, found, nbytes):
            self._check_written(replace(extent, layout=found))
            return Foreign("its chunks at the edge may have been stored without its filters", shape[0])
        return found

    def _check_written(self, extent: Extent) -> None:
        """Refuse values that were never written, which the library reads as zeros."""
        layout = extent.layout
        if self.fills or not extent.rows:
            return
        if isinstance(layout, Unwritten) or (isinstance(layout, Chunked) and layout.missing):
            total = math.prod(layout.grid) if isinstance(layout, Chunked) else 1
            missing = layout.missing if isinstance(layout, Chunked) else 1
            raise CorruptSourceError(
                f"{self.path}: `{extent.name}` has the shape {[extent.rows, *extent.inner]}, but {missing:,} "
                f"of its {total:,} chunks were never written; its writer was stopped, so write it again, or "
                'pass `Hdf5Options(missing="fill")` to read the fill value there'
            )

    def _check_outside(self, dataset: Any, plist: Any, depth: int = 0) -> None:
        """Refuse values of other files, unless that is allowed, and sources that are not there."""
        where = f"{self.path}: `{dataset.name}`"
        files = [os.fsdecode(plist.get_external(place)[0]) for place in range(plist.get_external_count())]
        # As the library does, from the working directory.
        self.outside.update(os.path.abspath(name) for name in files if os.path.isfile(name))
        sources: list[tuple[str, str]] = []
        if plist.get_layout() == _VIRTUAL:
            places = range(plist.get_virtual_count())
            sources = [
                (plist.get_virtual_filename(place), plist.get_virtual_dsetname(place)) for place in places
            ]
            points = sum(plist.get_virtual_vspace(place).get_select_npoints() for place in places)
            files += [name for name, _ in sources if name != "."]
            if any("%" in part for source in sources for part in source):
                raise SchemaError(
                    f"{where} names its sources by a pattern ({sources[0]}), which is not supported"
                )
            if points < math.prod(dataset.shape) and not self.fills:
                raise CorruptSourceError(
                    f"{where}: its sources cover {points:,} of {math.prod(dataset.shape):,} values; pass "
                    '`Hdf5Options(missing="fill")` to read the fill value elsewhere'
                )
        if files and not self.allow_external:
            raise SourceError(
                f"{where} keeps its values in other files ({sorted(set(files))[:_SHOWN]}); pass "
                "`Hdf5Options(allow_external=True)` if you trust whoever wrote it"
            )
        if depth >= _MOST_NESTED:
            raise CorruptSourceError(f"{where} is a virtual data set over itself")
        for name, source in dict.fromkeys(sources):
            self._check_source(dataset, name, source, depth)

    def _check_source(self, dataset: Any, name: str, source: str, depth: int) -> None:
        where = f"{self.path}: `{dataset.name}`"
        if name == ".":
            inner = follow(dataset.file, f"/{source}", self.path, self.allow_external)
            plist = inner.id.get_create_plist()
            if plist.get_layout() == _VIRTUAL:
                self._check_outside(inner, plist, depth + 1)
            elif inner.shape:
                self.find(inner, inner.id.get_type().get_size())
            return
        target = os.path.join(os.path.dirname(self.place), name)
        if not os.path.exists(target):
            if not self.fills:
                raise SourceError(
                    f"{where}: its source {name} is missing; without it the values would read as fill"
                )
            return
        self.outside.add(target)
        with self.opener(target) as other:
            if source in other:
                inner, there = other[source], replace(self, path=target, place=target)
                plist = inner.id.get_create_plist()
                if plist.get_layout() == _VIRTUAL or plist.get_external_count():
                    there._check_outside(inner, plist, depth + 1)  # its own sources count as well
            elif not self.fills:
                raise CorruptSourceError(f"{where}: its source {name} holds no data set `{source}`")


def find_filters(plist: Any) -> tuple[Filter, ...]:
    """List the filters of a data set, in the order in which they were applied."""
    if plist.get_layout() != _CHUNKED:
        return ()
    found: Iterator[Any] = (plist.get_filter(place) for place in range(plist.get_nfilters()))
    return tuple(Filter(code, tuple(values)) for code, _, values, _ in found)


def find_fill(dataset: Any, dtype: np.dtype[Any] | None, itemsize: int) -> bytes:
    """Return one value's bytes that stand for what was never written."""
    is_undefined = dataset.id.get_create_plist().fill_value_defined() == _NO_FILL
    if dtype is None or dtype == REFERENCE or is_undefined:
        return bytes(itemsize)
    base, shape = dtype.subdtype or (dtype, ())
    value = np.asarray(dataset.fillvalue)
    if value.dtype.kind == "c":  # what h5py makes of a compound of two floats
        return np.array((np.real(value).item(), np.imag(value).item()), base).tobytes()
    return np.broadcast_to(value.astype(base), shape).tobytes()


def _holds_references(kind: Any) -> bool:
    return any(leaf.is_varied for leaf in find_leaves(kind, ()))


def _check_inside(size: int, extent: Extent) -> None:
    """Refuse a data set whose values lie, by its header, beyond the end of the file.

    Raises:
        CorruptSourceError: They do.
    """
    match extent.layout:
        case Contiguous(offset):
            reach, least = offset + extent.rows * extent.row_bytes, offset
        case Chunked() as layout if len(layout.offsets):
            reach, least = int((layout.offsets + layout.lengths).max()), int(layout.offsets.min())
        case _:
            return
    if reach > size or least < 0:
        raise CorruptSourceError(
            f"its values reach to byte {reach:,}, but the file has only {size:,}; it is cut off or damaged"
        )


def _sort_chunks(
    grid: Sequence[int], chunk: Sequence[int], listed: Places
) -> tuple[Places, Places, Places, Places]:
    """Turn an index of chunks into columns of numbers, in the order of the grid.

    Args:
        grid: How many chunks there are along each axis.
        chunk: A chunk's shape.
        listed: Of each chunk its corner, offset, length and mask, one after the other.

    Returns:
        Places in the grid, offsets, lengths and masks.
    """
    table = listed.reshape(-1, len(grid) + 3)
    places = table[:, : len(grid)] // np.array(chunk, np.int64)
    if bool(((places < 0) | (places >= np.array(grid, np.int64))).any()):
        raise CorruptSourceError("a chunk lies outside of the shape; the file is damaged")
    numbers = np.empty(0, np.int64)
    if len(table):
        numbers = np.asarray(np.ravel_multi_index(tuple(places.T), tuple(grid)), np.int64)
    order = np.argsort(numbers, kind="stable")
    offsets, lengths, masks = (np.ascontiguousarray(column) for column in table[order, len(grid) :].T)
    return numbers[order], offsets, lengths, masks


def _may_be_bare(shape: tuple[int, ...], layout: Chunked, nbytes: int) -> bool:
    """Whether chunks that reach over the edge could be unfiltered without a mask that says so.

    A writer may choose that for all of them at once, and h5py does not tell whether it did. Their
    length gives it away, unless the filters keep the length anyway.
    """
    corners = np.transpose(np.unravel_index(layout.numbers, layout.grid)) * np.array(layout.shape)
    at_edge = (corners + np.array(layout.shape) > np.array(shape)).any(axis=1)
    return bool((at_edge & (layout.lengths == nbytes) & (layout.masks == 0)).any())
