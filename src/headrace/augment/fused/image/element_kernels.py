"""Compiled changes that need no more than an element's place: erased rectangles and noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import (
    carray,  # pyright: ignore[reportPrivateImportUsage]
    types,
)

from headrace.augment.fused.compiling import compiled
from headrace.augment.fused.image.program import Word
from headrace.augment.fused.word_kernels import BLOCK, fill_element_words, fill_quantiles
from headrace.copying import pointer
from headrace.draws.tables import SIDE

_P0, _P1, _P2, _P3 = int(Word.P0), int(Word.P1), int(Word.P2), int(Word.P3)
_A, _B = int(Word.A), int(Word.B)
_PLANES, _ITEM = int(Word.PLANES), int(Word.ITEM)
_HEIGHT, _WIDTH = int(Word.NEW_HEIGHT), int(Word.NEW_WIDTH)

_HALF = np.float32(0.5)
_ROWS, _IDENTITY = 2 * SIDE, 5


@cache
def eraser(kind: Any) -> Callable[..., None]:
    """Compile what fills rectangles of an image of elements of a kind."""

    @compiled(types.void(types.int32[::1], types.int32[::1], types.uint64, types.uint64))
    def erase(row: Any, record: Any, image: Any, fill: Any) -> None:
        values, target = pointer(fill, kind), pointer(image, kind)
        planes, item = np.int64(row[_PLANES]), np.int64(row[_ITEM])
        height, width = np.int64(row[_HEIGHT]), np.int64(row[_WIDTH])
        for hole in range(row[_A]):
            top, left = record[row[_P0] + hole], record[row[_P1] + hole]
            bottom, right = top + record[row[_P2] + hole], left + record[row[_P3] + hole]
            for plane in range(planes):
                for y in range(max(top, 0), min(bottom, height)):
                    begin = (plane * height + y) * width
                    for x in range(max(left, 0), min(right, width)):
                        for part in range(item):
                            target[(begin + x) * item + part] = values[plane + part]

    return erase


@cache
def noise_adder(kind: Any) -> Callable[..., None]:
    """Compile what adds normal noise to an image of elements of a kind."""
    is_uint8 = kind == types.uint8
    most, scale = np.float32(255 if is_uint8 else 1), np.float32(255 if is_uint8 else 1)

    @compiled(
        types.void(types.int32[::1], types.int32[::1], types.uint64, types.uint64, types.uint64, types.uint64)
    )
    def add_noise(row: Any, record: Any, image: Any, key: Any, identity: Any, normal: Any) -> None:
        values, who = pointer(image, kind), carray(pointer(identity, types.uint32), (_IDENTITY,))
        table = carray(pointer(normal, types.float32), (_ROWS, 2))
        words, numbers, keys = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float32), np.empty(2, np.uint32)
        keys[0], keys[1] = np.uint32(key), np.uint32(key >> np.uint64(32))
        mean, sigma = np.int32(row[_A]).view(np.float32), np.int32(record[row[_P0]]).view(np.float32) * scale
        count = np.int64(row[_PLANES]) * row[_ITEM] * row[_HEIGHT] * row[_WIDTH]
        is_clipped = is_uint8 or row[_B] != 0
        for begin in range(0, count, BLOCK):
            size = min(count - begin, BLOCK)
            fill_element_words(keys, who, begin, words[:size])
            fill_quantiles(words[:size], table, numbers[:size])
            for place in range(size):
                total = np.float32(values[begin + place]) + (mean + numbers[place] * sigma)
                if is_clipped:
                    total = most if total > most else (np.float32(0) if total < 0 else total)
                values[begin + place] = np.floor(total + _HALF) if is_uint8 else total

    return add_noise
