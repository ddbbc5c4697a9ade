"""Texts to sets of shingles, compiled: tokens of UTF-8 bytes, and hashes of every n tokens in a row.

A token's hash is of its lower-cased bytes, or of its code point where tokens are characters. A shingle's
hash is a polynomial of its tokens' hashes modulo 2**64, so that the next one follows from the one before,
with the last step of MurmurHash3 (Austin Appleby) over it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, int64, njit, types, uint64
from numpy.typing import NDArray

from headrace.dedup.text.sort_kernels import OUT_WORDS, sort_spread

IS_WORD, IS_SPACE = 1, 2  # what a code point is
BREAK = -1  # an ASCII character that parts tokens

_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_FOLDED = types.Array(types.int16, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_LENGTHS = types.Array(types.int64, 1, "C")

_M1, _M2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SEVEN, _EIGHT, _HALF, _SHIFT = np.uint64(7), np.uint64(8), np.uint64(32), np.uint64(33)
_BLANK = 32
_LAST_POINT = 0x10FFFF


@njit(uint64(uint64), nogil=True, cache=True, inline="always")
def _mix(word: Any) -> Any:
    word = (word ^ (word >> _SHIFT)) * _M1
    word = (word ^ (word >> _SHIFT)) * _M2
    return word ^ (word >> _SHIFT)


@njit(uint64(uint64, uint64), nogil=True, cache=True, inline="always")
def _absorb(state: Any, packed: Any) -> Any:
    state = (state ^ packed) * _BASE
    return state ^ (state >> _HALF)


@njit(types.UniTuple(int64, 2)(_BYTES, int64, int64), nogil=True, cache=True)
def _decode(data: Any, place: Any, end: Any) -> Any:
    """Read a code point beyond ASCII and how many bytes it takes; whatever the bytes, both are in range."""
    lead = int64(data[place])
    width = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
    width = min(width, end - place)
    point = lead & (0x3F >> (width - 1)) if width > 1 else lead
    for behind in range(1, width):
        point = (point << 6) | (int64(data[place + behind]) & 0x3F)
    return min(point, _LAST_POINT), width


@njit(int64(_BYTES, int64, int64, _FOLDED, _BYTES, OUT_WORDS), nogil=True, cache=True)
def _find_words(data: Any, begin: Any, end: Any, folded: Any, kinds: Any, tokens: Any) -> Any:
    r"""Hash each run of `\w`."""
    count, length, place = 0, uint64(0), begin
    state, packed = uint64(0), uint64(0)
    while place < end:
        byte = data[place]
        if byte < 128:
            place += 1
            lower = folded[byte]
            if lower >= 0:
                packed = (packed << _EIGHT) | uint64(lower)
                length += uint64(1)
                if length & _SEVEN == 0:
                    state, packed = _absorb(state, packed), uint64(0)
                continue
        else:
            point, width = _decode(data, place, end)
            place += width
            if kinds[point] == IS_WORD:
                for behind in range(place - width, place):
                    packed = (packed << _EIGHT) | uint64(data[behind])
                    length += uint64(1)
                    if length & _SEVEN == 0:
                        state, packed = _absorb(state, packed), uint64(0)
                continue
        if length:
            tokens[count] = _mix(_absorb(state, packed) + length)
            count += 1
            state, packed, length = uint64(0), uint64(0), uint64(0)
    if length:
        tokens[count] = _mix(_absorb(state, packed) + length)
        count += 1
    return count


@njit(int64(_BYTES, int64, int64, _FOLDED, _BYTES, OUT_WORDS), nogil=True, cache=True)
def _find_characters(data: Any, begin: Any, end: Any, folded: Any, kinds: Any, tokens: Any) -> Any:
    """Hash each code point, runs of white space as one blank, and none at the ends."""
    count, place, is_apart = 0, begin, False
    while place < end:
        byte, width = data[place], 1
        if byte < 128:
            point = int64(folded[byte])
        else:
            point, width = _decode(data, place, end)
            if kinds[point] == IS_SPACE:
                point = int64(BREAK)
        place += width
        if point == BREAK:
            is_apart = count > 0
            continue
        if is_apart:
            tokens[count] = _mix(uint64(_BLANK) * _BASE)
            count, is_apart = count + 1, False
        tokens[count] = _mix(uint64(point) * _BASE + uint64(1) if point != _BLANK else uint64(_BLANK) * _BASE)
        count += 1
    return count


@njit(int64(OUT_WORDS, int64, int64, OUT_WORDS), nogil=True, cache=True)
def _shingle(tokens: Any, count: Any, ngram: Any, shingles: Any) -> Any:
    """Hash every `ngram` tokens in a row."""
    if count < ngram:
        return 0
    state, power = uint64(0), uint64(1)
    for place in range(ngram):
        state = state * _BASE + tokens[place]
        power *= _BASE
    shingles[0] = _mix(state)
    for place in range(ngram, count):
        state = state * _BASE + tokens[place] - tokens[place - ngram] * power
        shingles[place - ngram + 1] = _mix(state)
    return count - ngram + 1


@njit(OUT_WORDS(_BYTES, _OFFSETS, boolean, int64, _FOLDED, _BYTES, _LENGTHS), nogil=True, cache=True)
def _shingle_texts(  # noqa: PLR0913, PLR0917
    data: Any, offsets: Any, is_words: Any, ngram: Any, folded: Any, kinds: Any, lengths: Any
) -> Any:
    longest = 0
    for row in range(lengths.size):
        longest = max(longest, offsets[row + 1] - offsets[row])
    tokens, shingles = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    counts = np.empty(longest + 2, np.int64)
    total = offsets[lengths.size] - offsets[0]
    out = np.empty((total + lengths.size) // 2 if is_words else total, np.uint64)
    used = 0
    for row in range(lengths.size):
        if is_words:
            count = _find_words(data, offsets[row], offsets[row + 1], folded, kinds, tokens)
        else:
            count = _find_characters(data, offsets[row], offsets[row + 1], folded, kinds, tokens)
        count = _shingle(tokens, count, ngram, shingles)
        sort_spread(shingles, count, uint64(0), counts, out, used)
        begin = used
        for place in range(begin, begin + count):
            if place == begin or out[place] != out[used - 1]:
                out[used] = out[place]
                used += 1
        lengths[row] = used - begin
    return out[:used].copy()


def shingle_texts(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    is_words: bool,
    ngram: int,
    folded: NDArray[np.int16],
    kinds: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash the shingles of texts; releases the GIL.

    Args:
        data: Where the texts' UTF-8 bytes lie; lower-cased already where they are not ASCII.
        offsets: Where each text begins, then where the last one ends; int64 of shape [n + 1].
        is_words: Whether tokens are words, rather than characters.
        ngram: How many tokens make a shingle.
        folded: What each ASCII character is in lower case, `BREAK` if it parts tokens; int16 of shape [128].
        kinds: `IS_WORD` or `IS_SPACE` or 0 for each code point; one alone if all texts are ASCII.

    Returns:
        The hashes of each text's shingles, sorted and each once, one text behind the other, and how many
        each text has; uint64 of shape [shingles] and int64 of shape [n].
    """
    lengths = np.zeros(len(offsets) - 1, np.int64)
    ngram = min(ngram, len(data) + 1)  # no text has as many tokens, and the kernel takes 64 bits
    return _shingle_texts(data, offsets, is_words, ngram, folded, kinds, lengths), lengths
