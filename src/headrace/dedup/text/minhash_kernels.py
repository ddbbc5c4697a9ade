"""MinHash signatures, their bands, and pairs of similar texts among those that share a band; compiled."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import float64, int64, njit, types, uint64
from numpy.typing import NDArray

from headrace.dedup.text.sort_kernels import OUT_WORDS, WORDS

Words = NDArray[np.uint64]
Minima = NDArray[np.uint32]
Places = NDArray[np.int64]

_CONSTANTS = types.Array(types.uint32, 1, "C", readonly=True)
_PLACES = types.Array(types.int64, 1, "C", readonly=True)
_SPANS = types.Array(types.int64, 2, "C", readonly=True)
_MINIMA = types.Array(types.uint32, 2, "C", readonly=True)
_KEYS = types.Array(types.uint64, 2, "C", readonly=True)
_OUT_MINIMA = types.Array(types.uint32, 2, "C")
_OUT_KEYS = types.Array(types.uint64, 2, "C")
_OUT_PLACES = types.Array(types.int64, 1, "C")
_OUT_SCORES = types.Array(types.float64, 1, "C")
_FOUND = types.Tuple((_OUT_PLACES, _OUT_PLACES, _OUT_SCORES, _OUT_PLACES, types.int64))

_HALF, _SHIFT = np.uint64(32), np.uint64(33)
_M1, _M2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_LARGEST = 0xFFFFFFFF


@njit(types.void(WORDS, _PLACES, _CONSTANTS, _CONSTANTS, _OUT_MINIMA), nogil=True, cache=True)
def _find_minima(shingles: Any, ends: Any, factors: Any, addends: Any, out: Any) -> None:
    begin = 0
    for row in range(ends.size):
        minima = out[row]
        minima[:] = np.uint32(_LARGEST)
        place, end = begin, ends[row]
        while place + 4 <= end:  # four at a time: the minima are read and written a fourth as often
            one, two = np.uint32(shingles[place] >> _HALF), np.uint32(shingles[place + 1] >> _HALF)
            three, four = np.uint32(shingles[place + 2] >> _HALF), np.uint32(shingles[place + 3] >> _HALF)
            for number in range(factors.size):
                factor, addend = factors[number], addends[number]
                first = min(np.uint32(one * factor + addend), np.uint32(two * factor + addend))
                second = min(np.uint32(three * factor + addend), np.uint32(four * factor + addend))
                minima[number] = min(minima[number], first, second)
            place += 4
        while place < end:
            one = np.uint32(shingles[place] >> _HALF)
            for number in range(factors.size):
                minima[number] = min(minima[number], np.uint32(one * factors[number] + addends[number]))
            place += 1
        begin = end


@njit(types.void(_MINIMA, int64, _OUT_KEYS), nogil=True, cache=True)
def _hash_bands(minima: Any, rows: Any, out: Any) -> None:
    for text in range(out.shape[0]):
        for band in range(out.shape[1]):
            state = uint64(0)
            for row in range(band * rows, (band + 1) * rows):
                state = (state ^ uint64(minima[text, row])) * _M1
                state ^= state >> _SHIFT
            state *= _M2
            out[text, band] = state ^ (state >> _SHIFT)


@njit(OUT_WORDS(WORDS, uint64, uint64, uint64), nogil=True, cache=True)
def _select(keys: Any, part: Any, part_bits: Any, number_bits: Any) -> Any:
    upper = uint64(64) - part_bits
    count = 0
    for number in range(keys.size):
        # A shift by 64 is undefined, so one part is all.
        count += part_bits == 0 or keys[number] >> upper == part
    out = np.empty(count, np.uint64)
    count = 0
    for number in range(keys.size):
        if part_bits == 0 or keys[number] >> upper == part:
            out[count] = (keys[number] >> number_bits << number_bits) | uint64(number)
            count += 1
    return out


@njit(int64(WORDS, _SPANS, int64, int64, int64), nogil=True, cache=True, inline="always")
def _count_common(shingles: Any, spans: Any, one: Any, other: Any, needed: Any) -> Any:
    """Count what two sorted sets have in common; less than `needed` is told as soon as it is certain."""
    first, first_end = spans[one, 1], spans[one, 2]
    second, second_end = spans[other, 1], spans[other, 2]
    common = 0
    while first < first_end and second < second_end:
        if common + min(first_end - first, second_end - second) < needed:
            return -1
        left, right = shingles[first], shingles[second]
        common += left == right
        first += left <= right
        second += right <= left
    return common


@njit(float64(WORDS, _SPANS, int64, int64, float64), nogil=True, cache=True)
def _similarity(shingles: Any, spans: Any, one: Any, other: Any, threshold: Any) -> Any:
    """Return the exact Jaccard similarity of two texts, or -1 if it is below a threshold."""
    here, there = spans[one, 2] - spans[one, 1], spans[other, 2] - spans[other, 1]
    total = here + there
    if min(here, there) / max(here, there) < threshold:
        return -1.0
    needed = max(int64(threshold * total / (1.0 + threshold)) - 1, 0)
    common = _count_common(shingles, spans, one, other, needed)
    score = common / (total - common) if common >= 0 else -1.0
    return score if score >= threshold else -1.0


@njit(types.UniTuple(int64, 2)(WORDS, int64, uint64), nogil=True, cache=True)
def _group_at(entries: Any, begin: Any, number_bits: Any) -> Any:
    """Tell where a group of equal keys ends, and how many entries it has."""
    key, end = entries[begin] >> number_bits, begin + 1
    while end < entries.size and entries[end] >> number_bits == key:
        end += 1
    return end, end - begin


@njit(_OUT_PLACES(_OUT_PLACES), nogil=True, cache=True)
def _more_places(places: Any) -> Any:
    out = np.empty(places.size * 2, np.int64)
    out[: places.size] = places
    return out


@njit(_OUT_SCORES(_OUT_SCORES), nogil=True, cache=True)
def _more_scores(scores: Any) -> Any:
    out = np.empty(scores.size * 2, np.float64)
    out[: scores.size] = scores
    return out


@njit(_FOUND(WORDS, uint64, int64, _KEYS, _SPANS, WORDS, float64, int64, int64), nogil=True, cache=True)
def _find_pairs(  # noqa: PLR0913, PLR0917
    entries: Any, number_bits: Any, band: Any, keys: Any, spans: Any, shingles: Any,
    threshold: Any, most: Any, window: Any,
) -> Any:  # fmt: skip
    losers, winners = np.empty(1024, np.int64), np.empty(1024, np.int64)
    scores, crowded = np.empty(1024, np.float64), np.empty(1024, np.int64)
    pairs = members = groups = begin = 0
    mask = (uint64(1) << number_bits) - uint64(1)
    while begin < entries.size:
        end, size = _group_at(entries, begin, number_bits)
        for place in range(begin + 1, end):
            loser = int64(entries[place] & mask)
            other = begin
            while other < place:
                if (
                    size > most and other == begin + window
                ):  # of a crowd, the first ones and those just before
                    other = max(other, place - window)
                winner = int64(entries[other] & mask)
                other += 1
                is_known = False
                for earlier in range(band):
                    if keys[spans[loser, 0], earlier] == keys[spans[winner, 0], earlier]:
                        is_known = True
                        break
                if is_known:
                    continue
                score = _similarity(shingles, spans, winner, loser, threshold)
                if score < 0.0:
                    continue
                if pairs == losers.size:
                    losers, winners = _more_places(losers), _more_places(winners)
                    scores = _more_scores(scores)
                losers[pairs], winners[pairs], scores[pairs] = loser, winner, score
                pairs += 1
        if size > most:
            groups += 1
            for place in range(begin, end):
                if members == crowded.size:
                    crowded = _more_places(crowded)
                crowded[members] = int64(entries[place] & mask)
                members += 1
        begin = end
    return (
        losers[:pairs].copy(),
        winners[:pairs].copy(),
        scores[:pairs].copy(),
        crowded[:members].copy(),
        groups,
    )


@njit(types.void(WORDS, uint64, _SPANS, WORDS, _OUT_PLACES), nogil=True, cache=True)
def _find_same(entries: Any, number_bits: Any, spans: Any, shingles: Any, same: Any) -> None:
    mask = (uint64(1) << number_bits) - uint64(1)
    begin = 0
    while begin < entries.size:
        end, _ = _group_at(entries, begin, number_bits)
        for place in range(begin, end):
            text = int64(entries[place] & mask)
            for other in range(begin, place):
                first = int64(entries[other] & mask)
                if same[first] == first and _similarity(shingles, spans, first, text, 1.0) == 1.0:
                    same[text] = first
                    break
        begin = end


class Pairs(NamedTuple):
    """Similar texts that share a band.

    Attributes:
        losers: The later text of each pair, int64 of shape [pairs].
        winners: The earlier one.
        scores: Their similarity, float64 of shape [pairs].
        crowded: The texts of groups that are too large to compare all, int64.
        groups: How many such groups there are.
    """

    losers: Places
    winners: Places
    scores: NDArray[np.float64]
    crowded: Places
    groups: int


def find_minima(shingles: Words, ends: Places, factors: Minima, addends: Minima) -> Minima:
    """Find the least of `factor * hash + addend` modulo 2**32 over each text's shingles; releases the GIL.

    Args:
        shingles: Hashes, one text behind the other; the upper half of each is taken.
        ends: Where those of each text end, int64 of shape [texts].
        factors: Odd numbers, uint32 of shape [permutations].
        addends: uint32 of the same shape.

    Returns:
        uint32 of shape [texts, permutations].
    """
    out = np.empty((len(ends), len(factors)), np.uint32)
    _find_minima(shingles, ends, factors, addends, out)
    return out


def hash_bands(minima: Minima, bands: int, rows: int) -> Words:
    """Hash each band of signatures, uint64 of shape [texts, bands]; releases the GIL."""
    out = np.empty((len(minima), bands), np.uint64)
    _hash_bands(minima, rows, out)
    return out


def select(keys: Words, part: int, part_bits: int, number_bits: int) -> Words:
    """Write each key's upper bits and its number into one word; releases the GIL.

    Args:
        keys: uint64 of shape [n].
        part: The keys whose first bits are these are taken.
        part_bits: How many bits that are.
        number_bits: How many lower bits of a word are the number, the key's place among all.
    """
    return _select(keys, np.uint64(part), np.uint64(part_bits), np.uint64(number_bits))


def find_same(entries: Words, number_bits: int, spans: Places, shingles: Words) -> Places:
    """Find texts with one set of shingles; releases the GIL.

    Args:
        entries: A key of each text's set and its number, as `select` makes them, sorted.
        number_bits: How many lower bits are the number.
        spans: As for `find_pairs`.
        shingles: Hashes.

    Returns:
        For each text the first one of the same set, which may be itself; int64 of shape [texts].
    """
    same = np.arange(len(spans))
    _find_same(entries, np.uint64(number_bits), spans, shingles, same)
    return same


def find_pairs(
    entries: Words,
    number_bits: int,
    texts: tuple[Words, Places, Words],
    band: int,
    threshold: float,
    crowd: tuple[int, int],
) -> Pairs:
    """Verify every two texts that share a band, but those that share an earlier one; releases the GIL.

    Args:
        entries: The band's key of each text and its number, as `select` makes them, sorted.
        number_bits: How many lower bits are the number.
        texts: Keys of all bands, uint64 of shape [stored, bands]; for each text its row in there, where its
            shingles begin and where they end, int64 of shape [texts, 3]; and the shingles' hashes.
        band: Which band.
        threshold: Least Jaccard similarity.
        crowd: Of a group of more texts than the first number, each is compared with so many of the first
            ones, and so many just before it, as the second number says.
    """
    keys, spans, shingles = texts
    number = np.uint64(number_bits)
    return Pairs(*_find_pairs(entries, number, band, keys, spans, shingles, float(threshold), *crowd))
