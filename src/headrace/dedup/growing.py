"""Arrays that grow: in memory as long as they fit, and in temporary files beyond."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


@dataclass(eq=False)
class GrowingArrays:
    """Arrays by name, to which rows are appended.

    Their files have no names, so that nothing is left of them whatever happens.

    Attributes:
        limit: Bytes that all of them may take in memory together.
    """

    limit: int
    _parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict[str, list[NDArray[Any]]])
    _files: dict[str, BinaryIO] = field(default_factory=dict[str, BinaryIO])
    _held: int = 0
    _closing: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> GrowingArrays:
        """Return these arrays."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the files back."""
        self._closing.close()

    def append(self, arrays: Arrays) -> None:
        """Append rows to each array; the first ones tell dtypes and shapes."""
        for name, array in arrays.items():
            self._parts.setdefault(name, []).append(array)
            self._held += array.nbytes
        if self._held > self.limit:
            self._write()

    def finish(self) -> Arrays:
        """Return the arrays; those in files are mapped, and may be written to."""
        if self._files:
            self._write()
        return {name: self._finished(name) for name in list(self._parts)}

    def _write(self) -> None:
        for name, parts in self._parts.items():
            if name not in self._files:
                file = tempfile.TemporaryFile()  # noqa: SIM115  closed with all the others
                self._files[name] = self._closing.enter_context(file)
            for part in parts:
                self._files[name].write(np.ascontiguousarray(part).tobytes())
            del parts[1:]
            parts[0] = np.empty_like(parts[0][:0])  # dtype and shape, and nothing that holds the rest
        self._held = 0

    def _finished(self, name: str) -> NDArray[Any]:
        parts = self._parts.pop(name)
        if name not in self._files:
            return _joined(parts)
        file = self._files[name]
        file.flush()
        size, dtype, shape = file.tell(), parts[0].dtype, parts[0].shape[1:]
        if not size:
            return parts[0]
        flat = np.memmap(file, dtype, "r+", shape=size // dtype.itemsize)
        return np.asarray(flat).reshape(-1, *shape)


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Lay arrays end to end, and let go of each as soon as it is copied."""
    out = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    begin = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        out[begin : begin + len(part)] = part
        begin += len(part)
    return out
