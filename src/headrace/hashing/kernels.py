"""XXH64 over bytes and over whole columns, compiled, with a plain twin beside it.

XXH64 is Yann Collet's non-cryptographic hash; its specification is frozen, so a value's hash never
changes with a library's version. Words are read in little-endian order, as Arrow lays them out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]

PRIMES = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_P1, _P2, _P3, _P4, _P5 = (np.uint64(prime) for prime in PRIMES)
_EIGHT, _SIXTEEN = np.uint64(8), np.uint64(16)
_LIMBS = 8  # of 32 bits, in the widest decimal

_WORDS = types.Array(types.uint64, 1, "C", readonly=True)
_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_LIMB_ROWS = types.Array(types.uint32, 2, "C")
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.Array(types.uint64, 1, "C")
_EXPONENTS = types.Array(types.int64, 1, "C")
_SIGNS = types.Array(types.boolean, 1, "C")


@njit("uint64(uint64, uint64)", nogil=True, cache=True, inline="always")
def _rotate(word: Any, bits: Any) -> Any:
    return (word << bits) | (word >> (np.uint64(64) - bits))


@njit("uint64(uint64, uint64)", nogil=True, cache=True, inline="always")
def _round(lane: Any, word: Any) -> Any:
    return _rotate(lane + word * _P2, np.uint64(31)) * _P1


@njit("uint64(uint64, uint64)", nogil=True, cache=True, inline="always")
def _absorb(state: Any, word: Any) -> Any:
    """Take in one word behind the blocks of 32 bytes."""
    return _rotate(state ^ _round(np.uint64(0), word), np.uint64(27)) * _P1 + _P4


@njit("uint64(uint64)", nogil=True, cache=True, inline="always")
def _finish(state: Any) -> Any:
    state = (state ^ (state >> np.uint64(33))) * _P2
    state = (state ^ (state >> np.uint64(29))) * _P3
    return state ^ (state >> np.uint64(32))


@njit("uint64(uint64, uint64)", nogil=True, cache=True, inline="always")
def _hash_word(word: Any, seed: Any) -> Any:
    return _finish(_absorb(seed + _P5 + _EIGHT, word))


@njit("uint64(uint64, uint64, uint64)", nogil=True, cache=True, inline="always")
def _hash_pair(first: Any, second: Any, seed: Any) -> Any:
    return _finish(_absorb(_absorb(seed + _P5 + _SIXTEEN, first), second))


@njit(types.uint64(_BYTES, types.int64), nogil=True, cache=True, inline="always")
def _word_at(data: Any, place: Any) -> Any:
    word = np.uint64(0)
    for byte in range(8):
        word |= np.uint64(data[np.uint64(place + byte)]) << np.uint64(8 * byte)
    return word


@njit(types.uint64(_BYTES, types.int64, types.int64, types.uint64), nogil=True, cache=True)
def _hash_run(data: Any, begin: Any, end: Any, seed: Any) -> Any:
    place = begin
    if end - begin >= 32:
        one, two, three, four = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while place + 32 <= end:
            one = _round(one, _word_at(data, place))
            two = _round(two, _word_at(data, place + 8))
            three = _round(three, _word_at(data, place + 16))
            four = _round(four, _word_at(data, place + 24))
            place += 32
        state = _rotate(one, np.uint64(1)) + _rotate(two, np.uint64(7))
        state += _rotate(three, np.uint64(12)) + _rotate(four, np.uint64(18))
        for lane in (one, two, three, four):
            state = (state ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        state = seed + _P5
    state += np.uint64(end - begin)
    while place + 8 <= end:
        state = _absorb(state, _word_at(data, place))
        place += 8
    if place + 4 <= end:
        half = np.uint64(0)
        for byte in range(4):
            half |= np.uint64(data[np.uint64(place + byte)]) << np.uint64(8 * byte)
        state = _rotate(state ^ (half * _P1), np.uint64(23)) * _P2 + _P3
        place += 4
    while place < end:
        state = _rotate(state ^ (np.uint64(data[place]) * _P5), np.uint64(11)) * _P1
        place += 1
    return _finish(state)


@njit(types.void(_WORDS, types.uint64, _OUT), nogil=True, cache=True)
def _hash_words(words: Any, seed: Any, out: Any) -> None:
    for place in range(words.size):
        out[place] = _hash_word(words[place], seed)


@njit(types.void(_WORDS, _WORDS, types.uint64, _OUT), nogil=True, cache=True)
def _hash_pairs(first: Any, second: Any, seed: Any, out: Any) -> None:
    for place in range(first.size):
        out[place] = _hash_pair(first[place], second[place], seed)


@njit(types.void(_BYTES, _OFFSETS, types.uint64, _OUT), nogil=True, cache=True)
def _hash_bytes(data: Any, offsets: Any, seed: Any, out: Any) -> None:
    for place in range(out.size):
        out[place] = _hash_run(data, offsets[place], offsets[place + 1], seed)


@njit(types.void(_WORDS, _OFFSETS, types.uint64, _OUT), nogil=True, cache=True)
def _hash_lists(members: Any, offsets: Any, seed: Any, out: Any) -> None:
    for place in range(out.size):
        begin, end = offsets[place], offsets[place + 1]
        state = _hash_word(np.uint64(end - begin), seed)
        for member in range(begin, end):
            state = _hash_pair(state, members[member], seed)
        out[place] = state


@njit("uint64(uint32[::1], int64, boolean)", nogil=True, cache=True)
def _divide_by_ten(digits: Any, used: Any, keep: Any) -> Any:
    """Return the remainder of a number of 32-bit limbs, and divide it in place if told so."""
    rest = np.uint64(0)
    for limb in range(used - 1, -1, -1):
        rest = (rest << np.uint64(32)) | np.uint64(digits[limb])
        if keep:
            digits[limb] = np.uint32(rest // np.uint64(10))
        rest %= np.uint64(10)
    return rest


@njit(types.void(_LIMB_ROWS, types.int64, _EXPONENTS, _SIGNS), nogil=True, cache=True)
def _reduce_decimals(limbs: Any, scale: Any, exponents: Any, is_negative: Any) -> None:
    for row in range(exponents.size):
        digits = limbs[row]
        is_negative[row] = digits[_LIMBS - 1] >> np.uint32(31) == 1
        carry, used = np.uint64(is_negative[row]), 0
        for limb in range(_LIMBS):  # the magnitude: all bits turned over, and one added
            digit = digits[limb]
            carry += np.uint64(~digit if is_negative[row] else digit) & np.uint64(0xFFFFFFFF)
            digits[limb] = np.uint32(carry & np.uint64(0xFFFFFFFF))
            carry >>= np.uint64(32)
            used = limb + 1 if digits[limb] else used
        exponents[row] = -scale if used else 0
        while used and _divide_by_ten(digits, used, False) == 0:
            _divide_by_ten(digits, used, True)
            exponents[row] += 1
            used -= np.int64(digits[used - 1] == 0)


@njit(types.void(_WORDS, _SIGNS, _LIMB_ROWS, types.uint64, _OUT), nogil=True, cache=True)
def _hash_decimals(exponents: Any, is_negative: Any, digits: Any, seed: Any, out: Any) -> None:
    for row in range(out.size):
        state = _hash_pair(exponents[row], np.uint64(is_negative[row]), seed)
        used = _LIMBS
        while used and digits[row, used - 1] == 0:
            used -= 1
        for limb in range(used):
            state = _hash_pair(state, np.uint64(digits[row, limb]), seed)
        out[row] = state


def hash_words(words: Hashes, seed: int) -> Hashes:
    """Hash each word by itself, uint64 of shape [n]; releases the GIL."""
    out = np.empty(len(words), np.uint64)
    _hash_words(np.ascontiguousarray(words), np.uint64(seed), out)
    return out


def hash_pairs(first: Hashes, second: Hashes, seed: int) -> Hashes:
    """Hash the 16 bytes of two words at each place; releases the GIL."""
    out = np.empty(len(first), np.uint64)
    _hash_pairs(np.ascontiguousarray(first), np.ascontiguousarray(second), np.uint64(seed), out)
    return out


def hash_bytes(data: Bytes, offsets: Offsets, seed: int) -> Hashes:
    """Hash runs of bytes; releases the GIL.

    Args:
        data: Where the bytes lie.
        offsets: Where each run begins, then where the last one ends; int64 of shape [n + 1].
        seed: Of XXH64.
    """
    out = np.empty(len(offsets) - 1, np.uint64)
    _hash_bytes(data, offsets, np.uint64(seed), out)
    return out


def hash_lists(members: Hashes, offsets: Offsets, seed: int) -> Hashes:
    """Hash lists by their lengths and the hashes of their members, in order; releases the GIL."""
    out = np.empty(len(offsets) - 1, np.uint64)
    _hash_lists(members, offsets, np.uint64(seed), out)
    return out


def reduce_decimals(limbs: NDArray[np.uint32], scale: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Leave only the magnitudes of decimals, without trailing zeros, in place; releases the GIL.

    Args:
        limbs: The unscaled whole numbers in two's complement, lowest limb first; shape [n, 8].
        scale: Digits behind the point.

    Returns:
        The exponents of ten, 0 for the number 0, and which numbers are negative; both of shape [n].
    """
    exponents, is_negative = np.empty(len(limbs), np.int64), np.empty(len(limbs), np.bool_)
    _reduce_decimals(limbs, scale, exponents, is_negative)
    return exponents, is_negative


def hash_decimals(
    exponents: NDArray[np.int64], is_negative: NDArray[np.bool_], digits: NDArray[np.uint32], seed: int
) -> Hashes:
    """Hash decimals by what `reduce_decimals` makes of them; releases the GIL."""
    out = np.empty(len(digits), np.uint64)
    _hash_decimals(exponents.view(np.uint64), is_negative, digits, np.uint64(seed), out)
    return out


def reference(data: bytes, seed: int) -> int:
    """Compute XXH64 in plain Python, straight from its specification: the oracle of the kernels.

    Example:
        >>> hex(reference(b"abc", 0))
        '0x44bc2cf5ad770999'
    """
    mask = (1 << 64) - 1
    p1, p2, p3, p4, p5 = PRIMES

    def rotate(word: int, bits: int) -> int:
        word &= mask
        return ((word << bits) | (word >> (64 - bits))) & mask

    def absorb(lane: int, word: int) -> int:
        return rotate(lane + word * p2, 31) * p1 & mask

    blocks = len(data) // 32 * 32
    if blocks:
        lanes = [seed + p1 + p2, seed + p2, seed, seed - p1]
        for place in range(0, blocks, 8):
            lane = place // 8 % 4
            lanes[lane] = absorb(lanes[lane], int.from_bytes(data[place : place + 8], "little"))
        state = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            state = (state ^ absorb(0, lane)) * p1 + p4 & mask
    else:
        state = seed + p5
    state = state + len(data) & mask
    rest = data[blocks:]
    while len(rest) >= 8:
        state = rotate(state ^ absorb(0, int.from_bytes(rest[:8], "little")), 27) * p1 + p4 & mask
        rest = rest[8:]
    if len(rest) >= 4:
        state = rotate(state ^ int.from_bytes(rest[:4], "little") * p1 & mask, 23) * p2 + p3 & mask
        rest = rest[4:]
    for byte in rest:
        state = rotate(state ^ byte * p5 & mask, 11) * p1 & mask
    for bits, prime in ((33, p2), (29, p3), (32, 1)):
        state = (state ^ state >> bits) * prime & mask
    return state
