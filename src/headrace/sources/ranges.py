"""Runs of bytes: which of them to fetch together, and a file made of those that were fetched."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import pairwise

Range = tuple[int, int]
"""Where a run of bytes begins and where it ends."""

_WASTE = 1 / 10  # of the bytes needed, so many more may be fetched to save requests


def coalesce(ranges: Iterable[Range], waste: float = _WASTE) -> list[Range]:
    """Join runs that lie near each other, so that fewer requests fetch them.

    The smallest gaps are closed first, as long as all closed gaps together stay below a share of
    the bytes needed.

    Args:
        ranges: Runs in any order; they may overlap.
        waste: How large that share is.

    Example:
        >>> coalesce([(100, 200), (0, 90), (900, 950)])
        [(0, 200), (900, 950)]
    """
    joined: list[Range] = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > begin:
            joined.append((begin, end))
    gaps = sorted((after[0] - before[1], place) for place, (before, after) in enumerate(pairwise(joined)))
    left, closed = waste * sum(end - begin for begin, end in joined), set[int]()
    for size, place in gaps:
        left -= size
        if left < 0:
            break
        closed.add(place)
    result: list[Range] = []
    for place, (begin, end) in enumerate(joined):
        if place - 1 in closed:
            result[-1] = (result[-1][0], end)
        else:
            result.append((begin, end))
    return result


def without(ranges: Iterable[Range], begin: int) -> list[Range]:
    """Cut runs off where what follows is at hand.

    Example:
        >>> without([(0, 10), (20, 40), (50, 60)], 30)
        [(0, 10), (20, 30)]
    """
    return [(first, min(end, begin)) for first, end in ranges if first < begin]


class FetchedFile(io.RawIOBase):
    """A file of which some runs lie in memory; others are fetched when they are read.

    For one thread.
    """

    def __init__(
        self, size: int, parts: Iterable[tuple[int, bytes | bytearray]], fetch: Callable[[int, int], bytes]
    ) -> None:
        """Lay the runs out.

        Args:
            size: Bytes of the whole file.
            parts: Where each run begins, and its bytes; they do not overlap.
            fetch: Fetches the bytes between two places.
        """
        super().__init__()
        ordered = sorted(parts, key=lambda part: part[0])
        self._size = size
        self._begins = [begin for begin, _ in ordered]
        self._parts = [memoryview(content) for _, content in ordered]
        self._fetch = fetch
        self._place = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int = -1) -> memoryview | bytes:
        """Return bytes from here on, without a copy where they lie in memory."""
        begin = self._place
        end = self._size if size < 0 else min(begin + size, self._size)
        if begin >= end:
            return b""
        self._place = end
        part = bisect_right(self._begins, begin) - 1
        if part >= 0 and end <= self._begins[part] + len(self._parts[part]):
            return self._parts[part][begin - self._begins[part] : end - self._begins[part]]
        return self._fetch(begin, end)
