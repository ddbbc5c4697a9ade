"""A keyed permutation of 0..n-1 in constant memory.

A Feistel network on a grid of a x b cells with a*b just above n (Black and Rogaway, "Ciphers
with arbitrary finite domains", 2002): one round shifts a cell's row by a keyed hash of its
column, the next its column by a keyed hash of its row. A result at or beyond n is sent through
again until it falls inside ("cycle walking"); as the grid is tight this is rare. The number of
rows is even, so that odd permutations can be reached too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError

# Few cells mix slowly, and are cheap; the tests measure uniformity on both sides of the limit.
_SMALL, _SMALL_ROUNDS, _ROUNDS = 4096, 24, 8

# Odd constants with well spread bits, from SplitMix64 (Steele, Lea, Flood, 2014).
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class KeyedPermutation:
    """A bijection of 0..n-1 chosen by a key.

    Immutable, thread-safe, the same on every machine. Takes constant memory for any n.

    Attributes:
        n: Size of the domain, 1 to 2**62.
        key: Unsigned 64-bit key.

    Example:
        >>> permutation = KeyedPermutation(5, key=7)
        >>> sorted(permutation(np.arange(5)).tolist())
        [0, 1, 2, 3, 4]
    """

    n: int
    key: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= 1 << 62:
            raise OptionError(f"a permutation needs 1 <= n <= 2**62, got {self.n=}")

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the grid, the rows an even number."""
        root = isqrt(self.n - 1) + 1
        rows = root + root % 2
        return rows, -(-self.n // rows)

    @cached_property
    def round_keys(self) -> NDArray[np.uint64]:
        """One 64-bit key for each round."""
        rounds = _SMALL_ROUNDS if self.n < _SMALL else _ROUNDS
        return np.array([_split_mix(self.key, index) for index in range(rounds)], np.uint64)

    def __call__(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Send each value of 0..n-1 to its place; int64 of any shape, into fresh memory.

        Values outside of the domain raise `OptionError`.
        """
        if values.size and (int(values.min()) < 0 or int(values.max()) >= self.n):
            raise OptionError(f"values to permute must lie in 0..{self.n - 1}")
        from headrace.planning.kernels import permute  # numba loads with the first use

        rows, columns = self.grid
        flat = np.ascontiguousarray(values, np.int64).ravel()
        return permute(flat, self.n, rows, columns, self.round_keys).reshape(values.shape)

    def reference(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Do the same in plain NumPy; the oracle of the compiled kernel."""
        rows, columns = (np.uint64(side) for side in self.grid)
        result = np.array(values, np.uint64).ravel()
        pending = np.arange(result.size)
        while pending.size:
            row, column = np.divmod(result[pending], columns)
            for index, key in enumerate(self.round_keys):
                if index % 2 == 0:
                    row = (row + _scaled_hash(column, key, rows)) % rows
                else:
                    column = (column + _scaled_hash(row, key, columns)) % columns
            result[pending] = row * columns + column
            pending = pending[result[pending] >= self.n]
        return result.astype(np.int64).reshape(values.shape)


def _scaled_hash(value: NDArray[np.uint64], key: Any, size: Any) -> NDArray[np.uint64]:
    mixed = (value ^ key) * np.uint64(_MIX_1)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(_MIX_2)
    return ((mixed >> np.uint64(32)) * size) >> np.uint64(32)


def _split_mix(key: int, index: int) -> int:
    mixed = (key + (index + 1) * _GOLDEN) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * _MIX_1) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * _MIX_2) & _MASK
    return mixed ^ (mixed >> 31)
