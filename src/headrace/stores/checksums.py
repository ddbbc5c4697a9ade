"""Checksums of entries: XXH3 with 128 bits over memory that is hashed in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Checksum = tuple[int, int]
"""The low and the high word, 64 bits each."""

_BLOCK = 4 << 20
_SEED = 0


def as_bytes(array: NDArray[Any]) -> Bytes:
    """View the bytes of an array in C order, uint8 of shape [bytes], without a copy."""
    return array.reshape(-1).view(np.uint8)


def checksum(parts: Sequence[Bytes]) -> Checksum:
    """Hash runs of bytes, and where each of them ends; releases the GIL.

    Equal for equal parts on any machine, and different if bytes move from one part to the next.

    Args:
        parts: uint8 arrays of shape [bytes], contiguous.

    Example:
        >>> one, two = np.arange(3, dtype=np.uint8), np.arange(2, dtype=np.uint8)
        >>> checksum([one, two]) == checksum([one, two.copy()]), checksum([one, two]) == checksum([two, one])
        (True, False)
    """
    from headrace.hashing.xxh3_kernels import hash_runs

    keys = [np.array([len(part) for part in parts], np.uint64)]
    for part in parts:
        ends = np.append(np.arange(0, len(part), _BLOCK), len(part))
        keys.append(hash_runs(part, ends, _SEED).reshape(-1))
    words = np.concatenate(keys)
    low, high = hash_runs(as_bytes(words), np.array([0, words.nbytes]), _SEED)[0]
    return int(low), int(high)
