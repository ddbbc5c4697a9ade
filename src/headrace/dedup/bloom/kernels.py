"""Bits of a Bloom filter, compiled: keys are added and asked for in bulk, with a plain twin beside it.

The places of a key's bits come from its two words by double hashing, first + i * second, which is nearly as
good as that many independent hashes (Kirsch and Mitzenmacher, Less Hashing, Same Performance, 2006). A cubic
term makes up for the rest: without it, the bits of one key are too often those of another one, shifted
(Dillinger and Manolios, Bloom Filters in Probabilistic Verification, 2004). A place is the upper half of the
product with the number of bits, so that any number of bits is as even as a power of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_IN_WORD, _WORD = np.uint64(63), np.uint64(6)
_ONE = np.uint64(1)

_KEYS = types.Array(types.uint64, 2, "C", readonly=True)
_WORDS = types.Array(types.uint64, 1, "C", readonly=True)
_OUT_WORDS = types.Array(types.uint64, 1, "C")
_FLAGS = types.Array(types.boolean, 1, "C")


@njit("uint64(uint64, uint64)", nogil=True, cache=True, inline="always")
def _place(hashed: Any, bits: Any) -> Any:
    """Return the upper 64 bits of the product, by halves."""
    high, low = hashed >> _HALF, hashed & _LOW
    bits_high, bits_low = bits >> _HALF, bits & _LOW
    middle = high * bits_low + ((low * bits_low) >> _HALF)
    other = low * bits_high + (middle & _LOW)
    return high * bits_high + (middle >> _HALF) + (other >> _HALF)


@njit(types.boolean(_KEYS, types.int64, _WORDS, types.int64), nogil=True, cache=True)
def _has(keys: Any, row: Any, words: Any, hashes: Any) -> Any:
    hashed, step, twist = keys[row, 0], keys[row, 1] * _MIX, _MIX
    bits = np.uint64(words.size) << _WORD
    for _ in range(hashes):
        place = _place(hashed, bits)
        if (words[place >> _WORD] >> (place & _IN_WORD)) & _ONE == 0:
            return False
        hashed, step, twist = hashed + step, step + twist, twist + _MIX
    return True


@njit(types.int64(_KEYS, _OUT_WORDS, types.int64, types.int64, _FLAGS), nogil=True, cache=True)
def _add(keys: Any, words: Any, hashes: Any, room: Any, is_known: Any) -> Any:
    bits = np.uint64(words.size) << _WORD
    for row in range(keys.shape[0]):
        if is_known[row]:
            continue
        if _has(keys, row, words, hashes):
            is_known[row] = True
            continue
        if room == 0:
            return row
        room -= 1
        hashed, step, twist = keys[row, 0], keys[row, 1] * _MIX, _MIX
        for _ in range(hashes):
            place = _place(hashed, bits)
            words[place >> _WORD] |= _ONE << (place & _IN_WORD)
            hashed, step, twist = hashed + step, step + twist, twist + _MIX
    return keys.shape[0]


@njit(types.void(_KEYS, _WORDS, types.int64, _FLAGS), nogil=True, cache=True)
def _test(keys: Any, words: Any, hashes: Any, is_known: Any) -> None:
    for row in range(keys.shape[0]):
        if not is_known[row]:
            is_known[row] = _has(keys, row, words, hashes)


def add_keys(keys: Keys, words: Words, hashes: int, room: int, is_known: Flags) -> int:
    """Add keys until there is no room for one that is not there yet; releases the GIL.

    Args:
        keys: uint64 of shape [n, 2].
        words: The filter's bits, uint64 of shape [bits / 64]; changed in place.
        hashes: How many bits a key sets.
        room: How many keys may be added.
        is_known: Bool of shape [n]. Those that are true are passed over; set for those that may have been
            there before.

    Returns:
        How many rows are done; the row of that number is the one that there is no room for.
    """
    return _add(np.ascontiguousarray(keys), words, hashes, room, is_known)


def find_keys(keys: Keys, words: Words, hashes: int, is_known: Flags) -> None:
    """Set `is_known` for keys that may have been added; releases the GIL."""
    _test(np.ascontiguousarray(keys), words, hashes, is_known)


def places_reference(key: tuple[int, int], bits: int, hashes: int) -> list[int]:
    """Tell in plain Python which bits a key sets.

    Example:
        >>> places_reference((1 << 63, 0), bits=640, hashes=3)
        [320, 320, 75]
    """
    mix = int(_MIX)
    hashed, step, twist = key[0], key[1] * mix, mix
    places: list[int] = []
    for _ in range(hashes):
        places.append(hashed % (1 << 64) * bits >> 64)
        hashed, step, twist = hashed + step, step + twist, twist + mix
    return places
