"""The compiled passes of a series stage that move values or overwrite them, for elements of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from headrace.augment.fused.series.program import Kind, Word

_KIND, _APPLIED, _P0, _P1, _BEFORE, _AFTER = (
    int(word) for word in (Word.KIND, Word.APPLIED, Word.P0, Word.P1, Word.BEFORE, Word.AFTER)
)
_CHANNELS, _APART, _A, _B, _C = (int(word) for word in (Word.CHANNELS, Word.APART, Word.A, Word.B, Word.C))
_CROP, _PERMUTE, _SHIFT, _REVERSE = (
    int(kind) for kind in (Kind.CROP, Kind.PERMUTE, Kind.SHIFT, Kind.REVERSE)
)


@njit("boolean(int32[::1], int32[::1])", nogil=True, cache=True)
def is_performed(what: Any, record: Any) -> Any:
    """Whether a sample goes through a pass; what changes the shape, it must."""
    return what[_KIND] == _CROP or record[what[_APPLIED]] != 0


@njit("int64(int32[:, ::1], int32[::1])", nogil=True, cache=True)
def count_passes(passes: Any, record: Any) -> Any:
    """Count the passes that a sample goes through."""
    count = 0
    for row in range(passes.shape[0]):
        count += is_performed(passes[row], record)
    return count


@njit(nogil=True, cache=True)
def move_series(what: Any, record: Any, values: Any, source: Any, target: Any) -> None:
    """Perform a pass that computes nothing on one sample.

    Args:
        what: The pass, a row of `passes`.
        record: What was drawn for the sample, int32.
        values: Values to write.
        source: The sample's elements before.
        target: Where they come.
    """
    steps, drawn, zero = np.int64(what[_BEFORE]), np.int64(record[what[_P0]]), np.int64(0)
    if what[_KIND] == _CROP:
        _copy(source, target, what, drawn, zero, np.int64(what[_AFTER]))
    elif what[_KIND] == _PERMUTE:
        _permute(what, record, source, target)
    elif what[_KIND] == _REVERSE:
        _reverse(what, source, target)
    elif what[_KIND] != _SHIFT:
        _mask(what, record, values[what[_B]], source, target)
    else:
        moved = drawn % steps if what[_A] != 0 else max(min(drawn, steps), -steps)
        first, to = max(-moved, zero), max(moved, zero)
        rest = steps - first - to
        _copy(source, target, what, first, to, rest)
        if what[_A] != 0:
            _copy(source, target, what, rest, zero, to)
        else:
            _fill(values[what[_B]], target, what, rest if first > 0 else zero, first + to)


@njit(nogil=True, cache=True)
def copy_sample(source: Any, target: Any) -> None:
    """Copy all elements."""
    for at in range(target.size):
        target[at] = source[at]


@njit(nogil=True, cache=True)
def _copy(source: Any, target: Any, what: Any, first: Any, to: Any, length: Any) -> None:
    """Let the steps first, first + 1... come at the steps to, to + 1..."""
    channels = np.int64(what[_CHANNELS])
    if what[_APART] == 0:
        for at in range(length * channels):
            target[to * channels + at] = source[first * channels + at]
        return
    for channel in range(channels):
        begin, end = channel * what[_BEFORE] + first, channel * what[_AFTER] + to
        for time in range(length):
            target[end + time] = source[begin + time]


@njit(nogil=True, cache=True)
def _fill(value: Any, target: Any, what: Any, to: Any, length: Any) -> None:
    channels = np.int64(what[_CHANNELS])
    if what[_APART] == 0:
        for at in range(to * channels, (to + length) * channels):
            target[at] = value
        return
    for channel in range(channels):
        end = channel * what[_AFTER] + to
        for time in range(length):
            target[end + time] = value


@njit(nogil=True, cache=True)
def _permute(what: Any, record: Any, source: Any, target: Any) -> None:
    segments, steps = np.int64(record[what[_P0]]), np.int64(what[_BEFORE])
    length, longer, to = steps // segments, steps % segments, np.int64(0)
    for place in range(segments):
        piece = np.int64(record[what[_P1] + place])
        size = length + np.int64(piece < longer)
        _copy(source, target, what, piece * length + min(piece, longer), to, size)
        to += size


@njit(nogil=True, cache=True)
def _reverse(what: Any, source: Any, target: Any) -> None:
    steps, channels = np.int64(what[_BEFORE]), np.int64(what[_CHANNELS])
    if what[_APART] != 0:
        for channel in range(channels):
            begin = channel * steps
            for time in range(steps):
                target[begin + time] = source[begin + steps - 1 - time]
        return
    for time in range(steps):
        begin, end = (steps - 1 - time) * channels, time * channels
        for channel in range(channels):
            target[end + channel] = source[begin + channel]


@njit(nogil=True, cache=True)
def _mask(what: Any, record: Any, value: Any, source: Any, target: Any) -> None:
    steps, channels = np.int64(what[_BEFORE]), np.int64(what[_CHANNELS])
    copy_sample(source, target)
    for band in range(what[_A]):
        start, width = np.int64(record[what[_P0] + band]), np.int64(record[what[_P1] + band])
        if what[_C] == 0:
            _fill(value, target, what, start, width)
        elif what[_APART] != 0:
            for at in range(start * steps, (start + width) * steps):
                target[at] = value
        else:
            for time in range(steps):
                for channel in range(start, start + width):
                    target[time * channels + channel] = value
