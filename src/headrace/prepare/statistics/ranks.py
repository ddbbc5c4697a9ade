"""Values by rank, and quantiles, of parts that are neither sorted nor put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.statistics.exact import fixed
from headrace.prepare.statistics.rank_kernels import count_keys, find_ends, gather_words

Values = NDArray[Any]
Floats = NDArray[np.float64]
Ranks = NDArray[np.int64]
Method = Literal["linear", "lower", "higher", "nearest", "midpoint", "inverted_cdf", "averaged_inverted_cdf"]

_BIN_BITS = 16
_FEW = 4096  # values that are sorted rather than counted


def quantiles_of(parts: Sequence[Values], levels: Sequence[float], method: Method = "linear") -> list[float]:
    """Return quantiles of finite numbers, as `numpy.quantile` of all of them as float64 does, bit for bit.

    Args:
        parts: Arrays of one dtype, of shapes [n]; at least one value.
        levels: Between 0 and 1.
        method: Which one of NumPy's.

    Example:
        >>> quantiles_of([np.array([4, 1]), np.array([3, 2])], (0.25, 1.0))
        [1.75, 4.0]
    """
    below, above, share = _places(sum(map(len, parts)), np.asarray(levels, np.float64), method)
    ranks = np.unique(np.concatenate([below, above]))
    values = select(parts, ranks).astype(np.float64)
    low, high = values[np.searchsorted(ranks, below)], values[np.searchsorted(ranks, above)]
    with np.errstate(over="ignore", invalid="ignore"):
        width = high - low
        found = np.where(share >= 0.5, high - width * (1 - share), low + width * share)
    return (np.where(below == above, low, found) + 0.0).tolist()


def _places(count: int, levels: Floats, method: Method) -> tuple[Ranks, Ranks, Floats]:
    """Return for each level the ranks of two neighbours, and how far it lies between them."""
    inner = (count - 1) * levels
    outer = count * levels - 1
    match method:
        case "linear":
            place = inner
        case "lower":
            place = np.floor(inner)
        case "higher":
            place = np.ceil(inner)
        case "nearest":
            place = np.around(inner)
        case "midpoint":
            place = 0.5 * (np.floor(inner) + np.ceil(inner))
        case "inverted_cdf":
            place = np.ceil(outer)
        case "averaged_inverted_cdf":
            place = np.where(outer % 1 == 0, outer + 0.5, np.ceil(outer))
    below = np.floor(place)
    ends = (0, count - 1)
    return (
        np.clip(below, *ends).astype(np.int64),
        np.clip(below + (place > below), *ends).astype(np.int64),
        place - below,
    )


def select(parts: Sequence[Values], ranks: Ranks) -> Values:
    """Return the values that stand at given places of all values sorted.

    Counts values by their leading bits, and looks further only where a wanted one lies; only that is copied.

    Args:
        parts: Numbers of one dtype, none NaN.
        ranks: Rising, without repeats.
    """
    dtype = parts[0].dtype
    if dtype.kind == "b":
        return select([part.view(np.uint8) for part in parts], ranks).astype(bool)
    return _select(parts, ranks)


def _select(parts: Sequence[Values], ranks: Ranks) -> Values:
    if sum(map(len, parts)) <= _FEW:
        return np.sort(np.concatenate(parts))[ranks]
    dtype = parts[0].dtype
    word = np.dtype(f"{'u' if dtype.kind == 'u' else 'i'}{dtype.itemsize}")
    flipped = np.int64(2 ** (8 * dtype.itemsize - 1) - 1 if dtype.kind == "f" else 0)
    words, form = [fixed(part).view(word) for part in parts if len(part)], (flipped, word.kind == "i")
    ends = [find_ends(part, *form) for part in words]
    low, high = min(int(it[0]) for it in ends), max(int(it[1]) for it in ends)
    shift = max((high - low).bit_length() - _BIN_BITS, 0)
    layout = (*form, np.uint64(low), np.uint64(shift))
    counts = np.zeros(((high - low) >> shift) + 1, np.int64)
    for part in words:
        count_keys(part, layout, counts)
    starts = np.cumsum(counts) - counts
    bins = np.searchsorted(np.cumsum(counts), ranks, side="right")
    if not shift:
        return _words_of(np.uint64(low) + bins.astype(np.uint64), flipped, word).view(dtype)
    wanted = np.unique(bins)
    bounds = np.concatenate([[0], np.cumsum(counts[wanted])])
    slots = np.full(len(counts), bounds[-1])
    slots[wanted] = bounds[:-1]
    gathered = np.empty(bounds[-1] + 1, word)
    for part in words:
        gather_words(part, layout, slots, gathered)
    found = np.empty(len(ranks), dtype)
    for place, number in enumerate(wanted.tolist()):
        is_here = bins == number
        inside = gathered[bounds[place] : bounds[place + 1]].view(dtype)
        found[is_here] = _select([inside], ranks[is_here] - starts[number])
    return found


def _words_of(keys: NDArray[np.uint64], flipped: np.int64, word: np.dtype[Any]) -> Values:
    """Turn keys back into bits."""
    if word.kind == "u":
        return keys.astype(word)
    wide = (keys ^ np.uint64(1 << 63)).view(np.int64)
    return (wide ^ ((wide >> 63) & flipped)).astype(word)
