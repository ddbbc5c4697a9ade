"""From the buffers of Arrow messages to columns, within a limit of bytes.

Only the buffers of the wanted columns are read. What they unpack to is summed up before a byte is
unpacked, and every array is validated in full, so that no offset of a hostile file leads elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from headrace.errors import CorruptSourceError, HeadraceError
from headrace.manifest import RowGroup
from headrace.sources.arrow_layouts import Layout, Place, find_places
from headrace.sources.arrow_messages import PREFIX, ArrowFile, Block, Content, read_content
from headrace.sources.budget import check_sizes, written_out


@dataclass(slots=True)
class ArrowReader:
    """Reads the columns of one row group.

    Attributes:
        descriptor: The file, open.
        file: What its heads say.
        layouts: How its columns are laid out.
        row_group: Which row group, for errors.
        limit: The most bytes that all of its columns may take.
        sizes: Bytes of each column so far.
    """

    descriptor: int
    file: ArrowFile
    layouts: Mapping[str, Layout]
    row_group: RowGroup
    limit: int
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    _dictionaries: dict[tuple[int, ...], pa.Array] = field(default_factory=dict[tuple[int, ...], pa.Array])

    def read(self, blocks: Sequence[Block], columns: Sequence[str]) -> pa.Table:
        """Read columns of some record batches, each delivered as its layout says.

        Raises:
            MemoryLimitError: They take more than the limit; judged before they are unpacked.
            CorruptSourceError: The file is damaged; the message names the column.
        """
        contents = [self._content(block) for block in blocks]
        places = [self._places(content) for content in contents]
        for content, found in zip(contents, places, strict=True):
            for name in columns:
                self._plan(name, content, found[name])
        chunks: dict[str, list[pa.Array]] = {name: [] for name in columns}
        for block, content, found in zip(blocks, contents, places, strict=True):
            for name in columns:
                chunks[name].append(self._read_column(name, block, content, found[name]))
        return pa.table(
            {name: pa.chunked_array(parts, self.layouts[name].delivered) for name, parts in chunks.items()}
        )

    def _content(self, block: Block) -> Content:
        try:
            return read_content(self.descriptor, block)
        except (ValueError, CorruptSourceError) as error:
            raise CorruptSourceError(f"{self.row_group}: {error}") from error

    def _places(self, content: Content) -> dict[str, list[Place]]:
        try:
            found = find_places(list(self.layouts.values()), content)
        except CorruptSourceError as error:
            raise CorruptSourceError(f"{self.row_group}: {error}") from error
        return dict(zip(self.layouts, found, strict=True))

    def _plan(self, name: str, content: Content, places: Sequence[Place]) -> None:
        """Charge a column for the bytes that lie in the file, and for the rows of what has none."""
        stored = sum(int(content.buffers["length"][number]) for place in places for number in place.buffers)
        rows = sum(int(content.nodes["length"][place.node]) for place in places)
        self._charge(name, max(stored, rows))

    def _charge(self, name: str, size: int) -> None:
        self.sizes[name] = self.sizes.get(name, 0) + size
        check_sizes(self.sizes, self.limit, self.row_group)

    def _read_column(self, name: str, block: Block, content: Content, places: Sequence[Place]) -> pa.Array:
        where = f"{self.row_group}, column `{name}`"
        layout = self.layouts[name]
        try:
            array = self._build(name, block, layout, content, iter(places))
            if len(array) != block.rows:
                raise CorruptSourceError(f"a record batch of {block.rows} rows holds {len(array)} values")
            array.validate(full=True)
            self._charge(name, max(written_out(array) - array.nbytes, 0))
            if isinstance(layout.delivered, pa.BaseExtensionType):
                return pa.ExtensionArray.from_storage(layout.delivered, array)
            return array if array.type == layout.delivered else array.cast(layout.delivered)
        except HeadraceError as error:
            message = str(error)
            known = message.startswith(str(self.row_group))
            raise (error if known else type(error)(f"{where}: {message}")) from error.__cause__
        except Exception as error:
            raise CorruptSourceError(
                f"{where}: cannot be decoded, so write the file again: {error}"
            ) from error

    def _build(
        self, name: str, block: Block, layout: Layout, content: Content, places: Iterator[Place]
    ) -> pa.Array:
        """Build one array of a column, then its parts."""
        place = next(places)
        length = int(content.nodes["length"][place.node])
        buffers = [self._buffer(name, block, content, number) for number in place.buffers]
        if buffers and not buffers[0].size:  # without nulls there need be no bits that say where they are
            if content.nodes["nulls"][place.node]:
                raise CorruptSourceError("nulls are promised, but nothing tells where they are")
            buffers[0] = None
        parts: list[Any] = []
        if layout.dictionary is None:
            parts = [self._build(name, block, part, content, places) for part in layout.parts]
        if length == 0:
            return pa.nulls(0, layout.stored)
        if layout.dictionary is None:
            return pa.Array.from_buffers(layout.stored, length, buffers or [None], -1, 0, parts)
        values = self._dictionary(name, block, layout.dictionary, layout.parts[0])
        return pa.DictionaryArray.from_buffers(layout.stored, length, buffers, values)

    def _dictionary(self, name: str, block: Block, number: int, layout: Layout) -> pa.Array:
        """Read a dictionary's values, once for all record batches of the row group that share them."""
        parts = self.file.dictionary(number, block)
        key = tuple(part.begin for part in parts)
        known = self._dictionaries.get(key)
        if known is not None:
            return known
        arrays: list[pa.Array] = []
        for part in parts:
            content = read_content(self.descriptor, part)
            (places,) = find_places([layout], content)
            self._plan(name, content, places)
            array = self._build(name, part, layout, content, iter(places))
            array.validate(full=True)
            arrays.append(array)
        whole = arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
        self._dictionaries[key] = whole
        return whole

    def _buffer(self, name: str, block: Block, content: Content, number: int) -> Any:
        begin, length = (int(content.buffers[part][number]) for part in ("begin", "length"))
        data: Any = pa.allocate_buffer(length)  # from Arrow's pool, which hands out pages that are in memory
        _read_into(memoryview(data), self.descriptor, block.begin + block.head + begin)
        if not length or content.codec is None:
            return data
        size = int.from_bytes(data[:PREFIX].to_pybytes(), "little", signed=True)
        if length < PREFIX or size < -1:
            raise CorruptSourceError(f"a compressed buffer cannot unpack to {size:,} bytes")
        packed = data.slice(PREFIX)
        if size == -1:  # compressing it was no gain
            return packed
        self._charge(name, size)
        return _unpack(packed, size, content.codec)


def _read_into(data: memoryview, descriptor: int, place: int) -> None:
    done = 0
    while done < len(data):  # one call reads 2 GiB at the most
        count = os.preadv(descriptor, [data[done:]], place + done)
        if not count:
            raise CorruptSourceError("the file ends within its values; it is cut off")
        done += count


def _unpack(packed: Any, size: int, codec: str) -> Any:
    """Unpack a buffer to exactly so many bytes."""
    if size == 0:
        return pa.py_buffer(b"")
    if codec == "zstd":
        return pa.Codec(codec).decompress(packed, size)
    # For LZ4 that function does not tell if it unpacked less.
    with pa.CompressedInputStream(pa.BufferReader(packed), codec) as stream:
        unpacked = stream.read_buffer(size + 1)
    if unpacked.size != size:
        raise CorruptSourceError(f"a buffer that promises {size:,} bytes unpacks to {unpacked.size:,}")
    return unpacked
