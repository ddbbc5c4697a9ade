"""FlatBuffers: tables whose fields are found by offset, without a schema compiler.

Nothing in a buffer is believed: an offset that leads out of it is a `ValueError`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMATS = {1: "<B", 2: "<h", 4: "<i", 8: "<q"}


@dataclass(frozen=True, slots=True)
class FlatTable:
    """One table of a buffer. Fields are named by their slot, the place in the schema's list.

    Attributes:
        data: The whole buffer.
        place: Where the table begins.
    """

    data: bytes
    place: int

    @staticmethod
    def root(data: bytes) -> FlatTable:
        """Return the table that the buffer's first bytes point to."""
        return FlatTable(data, _whole(data, 0, 4))

    def number(self, slot: int, width: int) -> int:
        """Return a whole number of so many bytes, signed but for those of one byte; 0 if it is left out."""
        place = self._find(slot)
        return 0 if place is None else _whole(self.data, place, width)

    def table(self, slot: int) -> FlatTable | None:
        """Return a table, None if it is left out."""
        place = self._find(slot)
        return None if place is None else FlatTable(self.data, place + _whole(self.data, place, 4))

    def tables(self, slot: int) -> list[FlatTable]:
        """Return a list of tables, none if it is left out."""
        begin, count = self._list(slot)
        places = [begin + 4 * number for number in range(min(count, len(self.data) // 4 + 1))]
        return [FlatTable(self.data, place + _whole(self.data, place, 4)) for place in places]

    def structs(self, slot: int, dtype: Any) -> NDArray[Any]:
        """Return a list of structs or numbers, of shape [count], without a copy."""
        begin, count = self._list(slot)
        if begin + count * np.dtype(dtype).itemsize > len(self.data):
            raise ValueError(f"a list of {count:,} entries leads out of the message")
        return np.frombuffer(self.data, dtype, count, begin) if count else np.empty(0, dtype)

    def _list(self, slot: int) -> tuple[int, int]:
        """Tell where a list's entries begin, and how many there are."""
        place = self._find(slot)
        if place is None:
            return 0, 0
        begin = place + _whole(self.data, place, 4)
        return begin + 4, _whole(self.data, begin, 4) & 0xFFFFFFFF

    def _find(self, slot: int) -> int | None:
        slots = self.place - _whole(self.data, self.place, 4)
        entry = 4 + 2 * slot
        if entry + 2 > _whole(self.data, slots, 2) & 0xFFFF:
            return None
        offset = _whole(self.data, slots + entry, 2) & 0xFFFF
        return self.place + offset if offset else None


def _whole(data: bytes, place: int, width: int) -> int:
    if not 0 <= place <= len(data) - width:
        raise ValueError(f"an offset leads to byte {place:,} of a message of {len(data):,} bytes")
    return struct.unpack_from(_FORMATS[width], data, place)[0]
