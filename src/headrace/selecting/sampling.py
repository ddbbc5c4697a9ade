"""Choosing samples by place or by chance, in arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, check_whole
from headrace.fingerprint import derive_key
from headrace.planning.idset import IdSet
from headrace.planning.permutation import KeyedPermutation
from headrace.planning.selection import Selection

Ids = NDArray[np.int64]

_CHUNK = 1 << 20  # draws made at a time
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # of SplitMix64
_LOW = np.uint64(0xFFFFFFFF)


def sliced(selection: Selection, offset: int, length: int | None) -> Selection:
    """Select samples that follow each other, as `slice` of Polars does."""
    check_whole("offset", offset)
    if length is not None:
        check_whole("length", length, least=0)
    count = selection.count
    begin = offset + count if offset < 0 else offset
    end = count if length is None else begin + length
    begin, end = (min(max(place, 0), count) for place in (begin, end))
    if selection.listed is not None:
        return Selection.of(selection.listed[begin:end], selection.total)
    if begin >= end:
        return Selection.of(np.zeros(0, np.int64), selection.total)
    first, last = selection.at(np.array([begin, end - 1]))
    window = IdSet.of_runs(np.array([first]), np.array([last + 1]), selection.total)
    return Selection.of_set(selection.set & window)


def sampled(
    selection: Selection, n: int | None, fraction: float | None, seed: int, *, replace: bool
) -> Selection:
    """Select samples by chance.

    Raises:
        OptionError: An argument cannot be right, or there are too few samples.
    """
    check_whole("seed", seed)
    size = _size(selection.count, n, fraction)
    if size > selection.count and not replace:
        raise OptionError(
            f"{size} samples cannot be drawn from {selection.count} without a repeat; pass `replace=True`"
        )
    if size and not selection.count:
        raise OptionError(f"{size} samples cannot be drawn from none")
    if not size:
        return Selection.of(np.zeros(0, np.int64), selection.total)
    if replace:
        return Selection.of(selection.at(_with_repeats(selection.count, size, seed)), selection.total)
    return _at(selection, _without_repeats(selection.count, size, seed))


def _size(count: int, n: int | None, fraction: float | None) -> int:
    if (n is None) == (fraction is None):
        raise OptionError(f"give either `n` or `fraction`, got {n=} and {fraction=}")
    if n is not None:
        return check_whole("n", n, least=0)
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction < np.inf:
        raise OptionError(f"`fraction` must be a number of at least 0, such as 0.1, got {fraction!r}")
    return round(fraction * count)


def _without_repeats(count: int, size: int, seed: int) -> IdSet:
    """Draw places 0..count - 1: where a keyed permutation sends the first ones."""
    from headrace.planning.bit_kernels import set_ids

    permutation = KeyedPermutation(count, derive_key("sample", seed))
    words = np.zeros(-(-count // 64), np.uint64)
    for draws in _chunks(size):
        set_ids(words, permutation(draws))
    return IdSet.of_words(words, count)


def _at(selection: Selection, places: IdSet) -> Selection:
    """Select the samples at some places of a selection."""
    if selection.listed is not None:
        return Selection.of(selection.listed[places.ids], selection.total)
    if selection.members is None:
        return Selection.of_set(places)
    from headrace.planning.bit_kernels import set_ids

    words = np.zeros(-(-selection.total // 64), np.uint64)
    for chunk in _chunks(places.count):
        set_ids(words, selection.at(places.at(chunk)))
    return Selection.of_set(IdSet.of_words(words, selection.total))


def _with_repeats(count: int, size: int, seed: int) -> Ids:
    """Draw places by hashing the number of each draw; rising."""
    key = np.uint64(derive_key("bootstrap", seed))
    places = np.empty(size, np.int64)
    for draws in _chunks(size):
        places[draws] = scaled_hash(draws, key, count)
    places.sort()
    return places


def scaled_hash(draws: Ids, key: np.uint64, count: int) -> Ids:
    """Hash whole numbers to 0..count - 1, each equally likely but for one part in 2**64 / count.

    Args:
        draws: Numbers to hash, int64 of shape [n].
        key: Chooses the hash.
        count: How many values there are, at most 2**62.
    """
    mixed = draws.astype(np.uint64) * np.uint64(_GOLDEN) + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX_1)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX_2)
    mixed ^= mixed >> np.uint64(31)
    # The upper 64 bits of the product of 64 with 64 bits, in halves.
    half = np.uint64(32)
    high, low = mixed >> half, mixed & _LOW
    top, bottom = np.uint64(count >> 32), np.uint64(count & 0xFFFFFFFF)
    middle = high * bottom + (low * bottom >> half)
    other = low * top + (middle & _LOW)
    return (high * top + (middle >> half) + (other >> half)).astype(np.int64)


def _chunks(size: int) -> Iterator[Ids]:
    for begin in range(0, size, _CHUNK):
        yield np.arange(begin, min(begin + _CHUNK, size))
