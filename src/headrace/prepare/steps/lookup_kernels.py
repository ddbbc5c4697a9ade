"""The compiled kernels of lookups: a hash table of places in a vocabulary, and finding values in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Places = NDArray[np.int64]
Known = NDArray[np.bool_]
Texts = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Bytes, and where each run of them begins and the last one ends, of shape [n + 1]."""

# Memory out of Arrow is read-only; a type that says so takes both kinds.
_WORDS = types.Array(types.uint64, 1, "C", readonly=True)
_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_TEXTS = types.Tuple((_BYTES, _OFFSETS))
_KNOWN = types.Array(types.boolean, 1, "C", readonly=True)
_OUT = types.Array(types.int64, 1, "C")

_PLACES = types.Array(types.int64, 1, "C", readonly=True)
_SHORT_OUT = types.Array(types.int32, 1, "C")
_TABLE = types.Array(types.int32, 1, "C", readonly=True)

_PAIRS = types.Array(types.uint64, 2, "C", readonly=True)
_SLOTS = types.Array(types.uint64, 2, "C")

# A slot of words or texts is two words: the upper 24 bits of the value's hash, 8 bits of its length and 32 of
# its place plus one, so that 0 is an empty slot; then its first 8 bytes. A value of up to 8 bytes is told by
# its slot alone, at one miss of the cache. A slot of a pair of words is the pair, and its place plus one.
_ONE, _PLACE_BITS = np.uint64(1), np.uint64(32)
_PLACE_MASK = np.uint64(0xFFFFFFFF)
_HASH_MASK = np.uint64(0xFFFFFF0000000000)
_LONG = 255


@njit(
    types.uint64(_BYTES, types.int64, types.int64), nogil=True, cache=True, boundscheck=False, inline="always"
)
def _prefix(data: Any, begin: Any, length: Any) -> Any:
    """Read the first 8 bytes of a run, with zeros behind a shorter one."""
    word = np.uint64(0)
    if length >= 8:
        for byte in range(8):
            word |= np.uint64(data[np.uint64(begin + byte)]) << np.uint64(8 * byte)
    else:
        for byte in range(length):
            word |= np.uint64(data[np.uint64(begin + byte)]) << np.uint64(8 * byte)
    return word


@njit(types.uint64(types.uint64, types.int64), nogil=True, cache=True, boundscheck=False, inline="always")
def _mark(hashed: Any, length: Any) -> Any:
    return (hashed & _HASH_MASK) | (np.uint64(min(length, _LONG)) << _PLACE_BITS)


@njit(types.uint64(types.uint64, types.uint64), nogil=True, cache=True, boundscheck=False, inline="always")
def _mix(first: Any, second: Any) -> Any:
    """Hash a pair of words; its place in a table is all that it decides."""
    mixed = (first ^ (second * np.uint64(0x9E3779B185EBCA87))) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x165667B19E3779F9)
    return mixed ^ (mixed >> np.uint64(32))


@njit(types.void(_PAIRS, _SLOTS), nogil=True, cache=True, boundscheck=False)
def _fill_pairs(pairs: Any, slots: Any) -> None:
    mask = np.uint64(slots.shape[0] - 1)
    for place in range(pairs.shape[0]):
        slot = _mix(pairs[place, 0], pairs[place, 1]) & mask
        while slots[slot, 2]:
            slot = (slot + _ONE) & mask
        slots[slot, 0], slots[slot, 1], slots[slot, 2] = pairs[place, 0], pairs[place, 1], place + 1


@njit(types.void(_PAIRS, _KNOWN, _SLOTS, types.int64, _OUT), nogil=True, cache=True, boundscheck=False)
def _find_pairs(pairs: Any, known: Any, slots: Any, count: Any, out: Any) -> None:
    mask = np.uint64(slots.shape[0] - 1)
    for row in range(pairs.shape[0]):
        if not known[row]:
            out[row] = count + 1
            continue
        first, second = pairs[row, 0], pairs[row, 1]
        found = count
        slot = _mix(first, second) & mask
        while slots[slot, 2]:
            if slots[slot, 0] == first and slots[slot, 1] == second:
                found = np.int64(slots[slot, 2]) - 1
                break
            slot = (slot + _ONE) & mask
        out[row] = found


@njit(types.void(_WORDS, _WORDS, _SLOTS), nogil=True, cache=True, boundscheck=False)
def _fill_words(words: Any, hashes: Any, slots: Any) -> None:
    mask = np.uint64(slots.shape[0] - 1)
    for place in range(hashes.size):
        slot = hashes[place] & mask
        while slots[slot, 0]:
            slot = (slot + _ONE) & mask
        slots[slot, 0] = _mark(hashes[place], 8) | np.uint64(place + 1)
        slots[slot, 1] = words[place]


@njit(types.void(_BYTES, _OFFSETS, _WORDS, _SLOTS), nogil=True, cache=True, boundscheck=False)
def _fill_texts(data: Any, offsets: Any, hashes: Any, slots: Any) -> None:
    mask = np.uint64(slots.shape[0] - 1)
    for place in range(hashes.size):
        begin, length = offsets[place], offsets[place + 1] - offsets[place]
        slot = hashes[place] & mask
        while slots[slot, 0]:
            slot = (slot + _ONE) & mask
        slots[slot, 0] = _mark(hashes[place], length) | np.uint64(place + 1)
        slots[slot, 1] = _prefix(data, begin, length)


@njit(
    types.void(_WORDS, _KNOWN, _WORDS, _SLOTS, types.int64, _OUT), nogil=True, cache=True, boundscheck=False
)
def _find_words(words: Any, known: Any, hashes: Any, slots: Any, count: Any, out: Any) -> None:
    mask = np.uint64(slots.shape[0] - 1)
    for row in range(words.size):
        if not known[row]:
            out[row] = count + 1
            continue
        found = count
        slot = hashes[row] & mask
        while slots[slot, 0]:
            if slots[slot, 1] == words[row]:
                found = np.int64(slots[slot, 0] & _PLACE_MASK) - 1
                break
            slot = (slot + _ONE) & mask
        out[row] = found


@njit(
    types.void(_TEXTS, _KNOWN, _WORDS, _SLOTS, _TEXTS, _OUT),
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _find_texts(texts: Any, known: Any, hashes: Any, slots: Any, vocabulary: Any, out: Any) -> None:
    (data, offsets), (own, own_offsets) = texts, vocabulary
    mask = np.uint64(slots.shape[0] - 1)
    count = own_offsets.size - 1
    for row in range(out.size):
        if not known[row]:
            out[row] = count + 1
            continue
        begin, length = offsets[row], offsets[row + 1] - offsets[row]
        prefix, mark = _prefix(data, begin, length), _mark(hashes[row], length)
        found = count
        slot = hashes[row] & mask
        while slots[slot, 0]:
            if (slots[slot, 0] & ~_PLACE_MASK) == mark and slots[slot, 1] == prefix:
                place = np.int64(slots[slot, 0] & _PLACE_MASK) - 1
                byte = 8
                if length > 8:
                    start = own_offsets[place]
                    if own_offsets[place + 1] - start == length:
                        while byte < length and own[start + byte] == data[begin + byte]:
                            byte += 1
                if byte >= length:
                    found = place
                    break
            slot = (slot + _ONE) & mask
        out[row] = found


@njit(types.void(_WORDS, _KNOWN, types.uint64, _TABLE, _OUT), nogil=True, cache=True, boundscheck=False)
def _find_near(words: Any, known: Any, low: Any, table: Any, out: Any) -> None:
    last = np.uint64(table.size - 1)
    missing = np.int64(table[last]) + 1
    for row in range(words.size):
        place = np.int64(table[min(words[row] - low, last)])
        out[row] = place if known[row] else missing


@njit(
    [
        types.void(_PLACES, types.int64, types.int64, _OUT),
        types.void(_PLACES, types.int64, types.int64, _SHORT_OUT),
    ],
    nogil=True,
    cache=True,
    boundscheck=False,
)
def _number_places(places: Any, size: Any, shift: Any, out: Any) -> None:
    for row in range(places.size):
        place = places[row]
        special = size + 1 - place
        out[row] = special + (place < size) * (place + shift - special)  # a branch would be mispredicted


def _empty_slots(count: int, width: int = 2) -> Words:
    """Make a power of two of slots, at least twice as many as values, so that one is always empty."""
    return np.zeros((1 << (2 * count + 1).bit_length(), width), np.uint64)


def lay_out_pairs(pairs: Words) -> Words:
    """Lay out the places of pairs of words, of shape [v, 2], by hash, uint64 of shape [s, 3]."""
    slots = _empty_slots(len(pairs), 3)
    _fill_pairs(np.ascontiguousarray(pairs), slots)
    return slots


def lay_out_words(words: Words, hashes: Words) -> Words:
    """Lay out the places of words by hash, uint64 of shape [s, 2]; releases the GIL."""
    slots = _empty_slots(len(hashes))
    _fill_words(words, hashes, slots)
    return slots


def lay_out_texts(texts: Texts, hashes: Words) -> Words:
    """Lay out the places of runs of bytes by hash, uint64 of shape [s, 2]; releases the GIL."""
    slots = _empty_slots(len(hashes))
    _fill_texts(*texts, hashes, slots)
    return slots


def find_words(words: Words, known: Known, hashes: Words, slots: Words, count: int) -> Places:
    """Find words in a vocabulary of `count` words; releases the GIL.

    Returns:
        The place of each, `count` where it is not there, `count` + 1 where it is missing; int64 of shape [n].
    """
    out = np.empty(len(words), np.int64)
    _find_words(words, known, hashes, slots, count, out)
    return out


def find_near(words: Words, known: Known, low: int, table: NDArray[np.int32]) -> Places:
    """Find words as `find_words` does, where those of the vocabulary lie close together; releases the GIL.

    Args:
        words: Uint64 of shape [n].
        known: Which of them are not missing.
        low: The lowest word of the vocabulary.
        table: For each word from there on its place, or the vocabulary's size; the last entry stands for all
            words that lie elsewhere.
    """
    out = np.empty(len(words), np.int64)
    _find_near(words, known, np.uint64(low), table, out)
    return out


def number_places(places: Places, size: int, shift: int, dtype: str) -> NDArray[Any]:
    """Number places in a vocabulary: missing is 0, not there 1, the others follow from `shift` on.

    Args:
        places: As `find_words` returns them.
        size: Of the vocabulary.
        shift: The first number that a word of the vocabulary gets.
        dtype: "int64" or "int32".
    """
    out = np.empty(len(places), dtype)
    _number_places(np.ascontiguousarray(places), size, shift, out)
    return out


def find_pairs(pairs: Words, known: Known, slots: Words, count: int) -> Places:
    """Find pairs of words, uint64 of shape [n, 2], as `find_words` finds words; releases the GIL."""
    out = np.empty(len(pairs), np.int64)
    _find_pairs(np.ascontiguousarray(pairs), known, slots, count, out)
    return out


def find_texts(texts: Texts, known: Known, hashes: Words, slots: Words, vocabulary: Texts) -> Places:
    """Find runs of bytes as `find_words` finds words; releases the GIL."""
    out = np.empty(len(texts[1]) - 1, np.int64)
    _find_texts(texts, known, hashes, slots, vocabulary, out)
    return out
