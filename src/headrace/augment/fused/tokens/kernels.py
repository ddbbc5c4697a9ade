"""The compiled augmentations of tokens; their arguments are told of in `program`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, njit, types

from headrace.augment.fused.tokens.program import Option
from headrace.augment.fused.word_kernels import fill_element_words

_HAS_PAD, _PAD, _APPLIED, _WORD = (
    int(option) for option in (Option.HAS_PAD, Option.PAD, Option.APPLIED, Option.WORD)
)
_A, _B, _C, _D, _E, _F, _SPECIAL = (
    int(option) for option in (Option.A, Option.B, Option.C, Option.D, Option.E, Option.F, Option.SPECIAL)
)
_HALF = np.uint64(32)
_NUMBERS = types.int64[::1]
_DRAWN = types.Tuple((types.int32[:, ::1], types.uint32[:, ::1], types.uint32[::1]))


@cache
def token_kernel(name: str, dtype: np.dtype[Any]) -> Callable[..., None]:
    """Compile one augmentation for ids of a dtype: "mask", "replace", "drop" or "window".

    Returns:
        A function of the options; what was drawn (the records, the identity and the key); the ids, of all
        samples in a row; where (`begins`, `sizes` and `tokens`, int64 of shape [3, n]); and its results.
    """
    function, results = _KERNELS[name]
    kind = from_dtype(dtype)
    ids = types.Array(kind, 1, "C", readonly=True)
    written = [kind[::1] if result is None else result for result in results]
    signature = types.void(_NUMBERS, _DRAWN, ids, types.int64[:, ::1], *written)
    return njit(signature, nogil=True, cache=True)(function)


@cache
def gather_kernel(size: int) -> Callable[..., None]:
    """Compile the reading of samples at places, for values of so many bytes.

    Returns:
        A function of the values, of all samples in a row; the places, int32; where (`begins`, first of the
        places, how many of them, where to and how many to write, int64 of shape [5, n]); what fills places
        below 0 and behind the last; and the result.
    """
    kind = from_dtype(np.dtype(f"u{size}"))
    values = types.Array(kind, 1, "C", readonly=True)
    signature = types.void(values, types.int32[::1], types.int64[:, ::1], kind, kind[::1])
    return njit(signature, nogil=True, cache=True)(_gather)


@njit("boolean(int64[::1], int64, int64, int64)", nogil=True, cache=True)
def _is_token(options: Any, value: Any, place: Any, tokens: Any) -> Any:
    return place < tokens and (options[_HAS_PAD] == 0 or value != options[_PAD])


@njit("boolean(int64[::1], int64, int64, int64)", nogil=True, cache=True)
def _is_open(options: Any, value: Any, place: Any, tokens: Any) -> Any:
    """Whether a place holds a token that may be changed."""
    if not _is_token(options, value, place, tokens):
        return False
    for number in range(_SPECIAL, options.size):  # noqa: SIM110  compiled
        if value == options[number]:
            return False
    return True


@njit("int64(uint32, int64)", nogil=True, cache=True)
def _draw(word: Any, n: Any) -> Any:
    return np.int64((np.uint64(word) * np.uint64(n)) >> _HALF)


def _mask(options: Any, drawn: Any, ids: Any, where: Any, out: Any, labels: Any) -> None:
    records, identity, key = drawn
    begins, sizes, tokens = where[0], where[1], where[2]
    kind, to = out.dtype.type, 0
    words = np.empty(2 * sizes.max() if sizes.size else 0, np.uint32)
    for sample in range(sizes.size):
        is_on = records[sample, options[_APPLIED]] != 0
        if is_on:
            fill_element_words(key, identity[sample], 0, words[: 2 * sizes[sample]])
        for place in range(sizes[sample]):
            value = ids[begins[sample] + place]
            found, label = value, options[_F]
            if is_on and _is_open(options, np.int64(value), place, tokens[sample]):
                word = np.int64(words[2 * place])
                if word < options[_C]:
                    label = np.int64(value)
                if word < options[_A]:
                    found = kind(options[_D])
                elif word < options[_B]:
                    found = kind(_draw(words[2 * place + 1], options[_E]))
            out[to], labels[to] = found, label
            to += 1


def _replace(options: Any, drawn: Any, ids: Any, where: Any, out: Any) -> None:
    records, identity, key = drawn
    begins, sizes, tokens = where[0], where[1], where[2]
    kind, to = out.dtype.type, 0
    words = np.empty(2 * sizes.max() if sizes.size else 0, np.uint32)
    for sample in range(sizes.size):
        is_on = records[sample, options[_APPLIED]] != 0
        if is_on:
            fill_element_words(key, identity[sample], 0, words[: 2 * sizes[sample]])
        for place in range(sizes[sample]):
            value = ids[begins[sample] + place]
            if (
                is_on
                and np.int64(words[2 * place]) < options[_A]
                and _is_open(options, np.int64(value), place, tokens[sample])
            ):
                value = kind(_draw(words[2 * place + 1], options[_B]))
            out[to] = value
            to += 1


def _drop(options: Any, drawn: Any, ids: Any, where: Any, places: Any, counts: Any) -> None:
    # counts, of shape [2, n]: how many places are written, and how many tokens there are in the end.
    records, identity, key = drawn
    first = 0
    words = np.empty(where[1].max() if where.shape[1] else 0, np.uint32)
    is_replaced = options[_B] != 0
    for sample in range(where.shape[1]):
        begin, size, tokens = where[0, sample], where[1, sample], where[2, sample]
        is_on = records[sample, options[_APPLIED]] != 0
        last, largest, kept, count = 0, np.int64(-1), 0, 0
        if is_on:
            fill_element_words(key, identity[sample], 0, words[:size])
            for place in range(size):
                is_open = _is_open(options, np.int64(ids[begin + place]), place, tokens)
                if is_open and np.int64(words[place]) > largest:
                    last, largest = place, np.int64(words[place])
        for place in range(size):
            value = np.int64(ids[begin + place])
            is_token = _is_token(options, value, place, tokens)
            is_dropped = (
                is_on
                and place != last
                and np.int64(words[place]) < options[_A]
                and _is_open(options, value, place, tokens)
            )
            kept += is_token and (is_replaced or not is_dropped)
            if is_replaced or not is_on or (is_token and not is_dropped):
                places[first + count] = -1 if is_dropped else place
                count += 1
        counts[0, sample], counts[1, sample] = count, kept
        first += size


def _window(options: Any, drawn: Any, ids: Any, where: Any, places: Any, counts: Any) -> None:
    records, _, _ = drawn
    size = options[_A]
    for sample in range(where.shape[1]):
        begin, tokens = where[0, sample], where[2, sample]
        length, first = 0, 0
        for place in range(where[1, sample]):
            if _is_token(options, np.int64(ids[begin + place]), place, tokens):
                first = place if length == 0 else first
                length += 1
        spare, record = max(length - size, 0), records[sample]
        drawn_place = _draw(np.uint32(record[options[_WORD]]), spare + 1)
        start = first + (drawn_place if record[options[_APPLIED]] != 0 else spare // 2)
        count = min(size, length)
        for place in range(count):
            places[sample * size + place] = start + place
        counts[0, sample], counts[1, sample] = count, count


def _gather(values: Any, places: Any, where: Any, fill: Any, out: Any) -> None:
    for sample in range(where.shape[1]):
        begin, first, count = where[0, sample], where[1, sample], where[2, sample]
        to, width = where[3, sample], where[4, sample]
        for number in range(count):
            place = places[first + number]
            out[to + number] = values[begin + place] if place >= 0 else fill
        for number in range(count, width):
            out[to + number] = fill


_PLACES = types.int32[::1], types.int64[:, ::1]
_KERNELS: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {
    "mask": (_mask, (None, _NUMBERS)),
    "replace": (_replace, (None,)),
    "drop": (_drop, _PLACES),
    "window": (_window, _PLACES),
}
