"""Leaving out what is null, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, boundscheck=False)
def drop_hidden(words: Any, bits: Any, first: Any, out: Any) -> None:
    """Copy the words whose bit is set.

    Args:
        words: Values' bits, as unsigned whole numbers of their width.
        bits: A validity bitmap, uint8.
        first: The number of the first value's bit.
        out: Takes the words; has one place more than there are, where the last ones that are left out go.
    """
    one, goes, begin = np.uint64(1), np.uint64(0), np.uint64(first)
    for place in range(np.uint64(words.size)):
        bit = begin + place
        out[goes] = words[place]
        goes += np.uint64(bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & one
