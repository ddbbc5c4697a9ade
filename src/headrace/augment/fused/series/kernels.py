"""The compiled passes of a series stage: one sample at a time, in memory that stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, njit, types

from headrace.augment.fused.series.moves import copy_sample, count_passes, is_performed, move_series
from headrace.augment.fused.series.program import Kind, Word
from headrace.augment.fused.word_kernels import BLOCK, fill_element_words, fill_quantiles
from headrace.augment.series.base import STEP
from headrace.augment.series.warp import WHOLE
from headrace.draws.number_kernels import TABLE

_STEP_MASK = np.int64((1 << STEP) - 1)
_STEP_BITS, _WHOLE_BITS = np.int64(STEP), np.int64(WHOLE - STEP)
_UNIT = np.float32(2.0**-16)  # of places and of factors; a power of two, exact in every kind of float
_KIND, _P0, _A = (int(word) for word in (Word.KIND, Word.P0, Word.A))
_BEFORE, _AFTER, _CHANNELS, _APART = (
    int(word) for word in (Word.BEFORE, Word.AFTER, Word.CHANNELS, Word.APART)
)
_JITTER, _SCALE, _WARP = (int(kind) for kind in (Kind.JITTER, Kind.SCALE, Kind.WARP))


def kind_of(dtype: np.dtype[Any]) -> Any:
    """The type that elements are computed with or, if they only move, moved as."""
    return from_dtype(dtype if dtype.name in ("float32", "float64") else np.dtype(f"u{dtype.itemsize}"))


@cache
def series_kernel(kind: Any) -> Callable[..., None]:
    """Compile the program of series for one kind of elements.

    Returns:
        `run(passes, values, drawn, normal, source, rows, out, scratch, places)`: row `rows[i]` of `source`
        (all elements of a sample) goes through all passes into row i of `out`. `drawn` are the records,
        the identity and the keys, `scratch` two rows of elements, and `places` one int64 for each step.
    """
    drawn = types.Tuple((types.int32[:, ::1], types.uint32[:, ::1], types.uint32[:, ::1]))
    source, places = types.Array(kind, 2, "C", readonly=True), types.int64[::1]
    first = types.int32[:, ::1], kind[::1], drawn, TABLE, source, places
    return njit(types.void(*first, kind[:, ::1], kind[:, ::1], places), nogil=True, cache=True)(_run)


@cache
def move_kernel(kind: Any) -> Callable[..., None]:
    """Compile programs that compute nothing.

    Returns:
        `run(passes, values, records, source, rows, out, scratch)`, see `series_kernel`.
    """
    matrix, source = types.int32[:, ::1], types.Array(kind, 2, "C", readonly=True)
    signature = types.void(matrix, kind[::1], matrix, source, types.int64[::1], kind[:, ::1], kind[:, ::1])
    return njit(signature, nogil=True, cache=True)(_move)


def _run(  # noqa: PLR0913, PLR0917
    passes: Any,
    values: Any,
    drawn: Any,
    normal: Any,
    source: Any,
    rows: Any,
    out: Any,
    scratch: Any,
    places: Any,
) -> None:
    kind, (records, identity, keys) = out.dtype.type, drawn
    for sample in range(rows.size):
        record, now = records[sample], source[rows[sample]]
        left = count_passes(passes, record)
        if left == 0:
            copy_sample(now, out[sample])
        for row in range(passes.shape[0]):
            what = passes[row]
            if is_performed(what, record):
                left -= 1
                target = scratch[left % 2][: what[_AFTER] * what[_CHANNELS]] if left else out[sample]
                if what[_KIND] < _JITTER:
                    move_series(what, record, values, now, target)
                elif what[_KIND] == _JITTER:
                    sigma = kind(np.int32(record[what[_P0]]).view(np.float32))
                    _jitter(sigma, now, target, keys[what[_A]], identity[sample], normal)
                else:
                    _compute(what, record, now, target, places)
                now = target


def _move(  # noqa: PLR0913, PLR0917
    passes: Any, values: Any, records: Any, source: Any, rows: Any, out: Any, scratch: Any
) -> None:
    for sample in range(rows.size):
        record, now = records[sample], source[rows[sample]]
        left = count_passes(passes, record)
        if left == 0:
            copy_sample(now, out[sample])
        for row in range(passes.shape[0]):
            what = passes[row]
            if is_performed(what, record):
                left -= 1
                target = scratch[left % 2][: what[_AFTER] * what[_CHANNELS]] if left else out[sample]
                move_series(what, record, values, now, target)
                now = target


@njit(nogil=True, cache=True)
def _compute(what: Any, record: Any, source: Any, target: Any, places: Any) -> None:
    steps, first = np.int64(what[_BEFORE]), np.int64(what[_P0])
    if what[_KIND] == _SCALE:
        _scale(what, record, source, target)
        return
    if what[_KIND] == _WARP:
        _place_warp(record, first, np.int64(what[_A]), steps, places)
    else:
        _place_window(np.int64(record[first]), np.int64(what[_A]), steps, places)
    _read_between(what, places, source, target)


@njit(nogil=True, cache=True)
def _jitter(sigma: Any, source: Any, target: Any, key: Any, who: Any, normal: Any) -> None:
    """Add sigma * z, z by each element's own word."""
    kind, words, numbers = target.dtype.type, np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32)
    for first in range(0, source.size, BLOCK):
        size = min(BLOCK, source.size - first)
        fill_element_words(key, who, first, words[:size])
        fill_quantiles(words[:size], normal, numbers[:size])
        for at in range(size):
            target[first + at] = source[first + at] + sigma * kind(numbers[at])


@njit(nogil=True, cache=True)
def _scale(what: Any, record: Any, source: Any, target: Any) -> None:
    kind = target.dtype.type
    steps, channels, apart = np.int64(what[_BEFORE]), np.int64(what[_CHANNELS]), what[_APART] != 0
    for channel in range(channels):
        factor = kind(record[what[_P0] + channel]) * kind(_UNIT)
        begin, next_step = (channel * steps, 1) if apart else (channel, channels)
        for time in range(steps):
            target[begin + time * next_step] = source[begin + time * next_step] * factor


@njit(nogil=True, cache=True)
def _place_warp(record: Any, first: Any, pieces: Any, steps: Any, places: Any) -> None:
    """Find where each step is read, in 2^-16 of a step: on straight lines between knots."""
    last = max(steps - 1, 1)
    for time in range(steps):
        piece = min(time * pieces // last, pieces - 1)
        rest = time * pieces - piece * last
        before, after = np.int64(record[first + piece]), np.int64(record[first + piece + 1])
        share = before + (after - before) * rest // last
        places[time] = (share * (steps - 1)) >> _WHOLE_BITS


@njit(nogil=True, cache=True)
def _place_window(start: Any, window: Any, steps: Any, places: Any) -> None:
    last = max(steps - 1, 1)
    for time in range(steps):
        places[time] = (start << _STEP_BITS) + ((time * (window - 1)) << _STEP_BITS) // last


@njit(nogil=True, cache=True)
def _read_between(what: Any, places: Any, source: Any, target: Any) -> None:
    """Read at places between steps: x0 + (x1 - x0) * w, and the step itself where w is 0."""
    kind, steps, channels = target.dtype.type, np.int64(what[_BEFORE]), np.int64(what[_CHANNELS])
    if what[_APART] != 0:
        for channel in range(channels):
            begin = channel * steps
            for time in range(steps):
                at, rest = begin + (places[time] >> _STEP_BITS), places[time] & _STEP_MASK
                x = source[at]
                if rest != 0:
                    x = x + (source[at + 1] - x) * (kind(rest) * kind(_UNIT))
                target[begin + time] = x
        return
    for time in range(steps):
        begin, rest = (places[time] >> _STEP_BITS) * channels, places[time] & _STEP_MASK
        end, after = time * channels, begin + (channels if rest != 0 else 0)
        weight = kind(rest) * kind(_UNIT)
        for channel in range(channels):
            x = source[begin + channel]
            between = x + (source[after + channel] - x) * weight
            target[end + channel] = between if rest != 0 else x
