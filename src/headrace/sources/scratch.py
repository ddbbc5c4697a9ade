"""Memory that reads use again and again: a fresh page can cost more than what is read into it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class Scratch:
    """Buffers of one source, as many as it has reads at a time.

    Thread-safe. A copy in another process begins without any.

    Example:
        >>> scratch = Scratch()
        >>> with scratch.lease(8) as buffer:
        ...     len(buffer)
        8
    """

    def __init__(self) -> None:
        """Begin without memory."""
        self._free: deque[Bytes] = deque()  # its operations are atomic

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory behind."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without memory."""
        self.__init__()

    @contextmanager
    def lease(self, size: int) -> Generator[Bytes]:
        """Lend a buffer, uint8 of shape [size], whose bytes are anything at first."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = np.empty(size, np.uint8)
        if len(buffer) < size:
            buffer = np.empty(size, np.uint8)
        try:
            yield buffer[:size]
        finally:
            self._free.append(buffer)
