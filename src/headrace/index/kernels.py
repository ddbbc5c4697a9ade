"""Stable 64-bit hashes of keys: the same on every machine and in every version.

A fixed-width key is mixed by a bijection, so equal hashes mean equal keys. Text is hashed byte by
byte (FNV-1a) and then mixed; there equal hashes are compared key by key.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Codes = NDArray[np.uint64]

_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_STARTS = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.Array(types.uint64, 1, "C")


def mix(codes: Codes) -> Codes:
    """Spread keys over all 64 bits, one to one (the last step of SplitMix64).

    Example:
        >>> mix(np.array([0, 1], np.uint64)).tolist()
        [16294208416658607535, 10451216379200822465]
    """
    mixed = codes + _GAMMA
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))


@njit(types.void(_BYTES, _STARTS, _OUT), nogil=True, cache=True)
def hash_bytes(data: Any, starts: Any, out: Any) -> None:
    """Hash runs of bytes.

    Args:
        data: All bytes, uint8.
        starts: Where each run begins, then where the last one ends; int64 of shape [n + 1].
        out: The hashes, not yet mixed; uint64 of shape [n].
    """
    for row in range(out.size):
        value = _BASIS
        for place in range(starts[row], starts[row + 1]):
            value = (value ^ np.uint64(data[place])) * _PRIME
        out[row] = value


def hash_bytes_slowly(data: NDArray[np.uint8], starts: NDArray[np.int64], out: Codes) -> None:
    """Do what `hash_bytes` does, in NumPy: the same byte of all runs at a time."""
    out[:] = _BASIS
    lengths = np.diff(starts)
    for place in range(int(lengths.max(initial=0))):
        rows = np.flatnonzero(lengths > place)
        out[rows] = (out[rows] ^ data[starts[rows] + place].astype(np.uint64)) * _PRIME
