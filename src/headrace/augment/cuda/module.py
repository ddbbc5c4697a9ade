"""The compiled module of kernels, and launches of them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from headrace.augment.cuda.namespace import CupyNamespace
from headrace.augment.cuda.source import OPTIONS, kernel_source

THREADS = 256
"""Of a block."""


class Launcher(Protocol):
    """Runs kernels on arrays of one namespace."""

    @property
    def xp(self) -> Any:
        """The namespace of its arrays."""
        ...

    def constant(self, array: NDArray[Any]) -> Any:
        """Return what an array of the host holds, as an array of the namespace."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return zeros, as an array of the namespace."""
        ...

    def launch(self, name: str, threads: int, *arguments: Any) -> None:
        """Run a kernel by so many threads; arguments are arrays, and whole numbers that C takes as int."""
        ...


class CudaLauncher:
    """Runs kernels on the current stream of the current device; each compiles the module once."""

    def __init__(self, cupy: Any) -> None:
        """Compile nothing yet."""
        self.xp = CupyNamespace(cupy)
        self._module = cupy.RawModule(code=kernel_source(), options=OPTIONS)

    def compile(self) -> None:
        """Compile the module now, rather than at the first launch."""
        self._module.compile()

    def constant(self, array: NDArray[Any]) -> Any:
        """Copy an array to the device."""
        return self.xp.asarray(array)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Make zeros on the device."""
        return self.xp.zeros(shape, dtype)

    def launch(self, name: str, threads: int, *arguments: Any) -> None:
        """Run a kernel by so many threads."""
        if threads:
            found = tuple(np.int32(each) if isinstance(each, int) else each for each in arguments)
            self._module.get_function(name)((-(-threads // THREADS),), (THREADS,), found)
