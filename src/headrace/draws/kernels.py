"""The compiled twin of `philox4x32`, for kernels and for all words of a batch in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from headrace.draws.philox import INCREMENTS, MASK, MULTIPLIERS, ROUNDS

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
_INCREMENT_0, _INCREMENT_1 = np.uint64(INCREMENTS[0]), np.uint64(INCREMENTS[1])
_MASK, _HALF = np.uint64(MASK), np.uint64(32)


@njit(
    "UniTuple(uint64, 4)(uint64, uint64, uint64, uint64, uint64, uint64)",
    nogil=True,
    cache=True,
    inline="always",
)
def philox_block(
    key_0: Any, key_1: Any, counter_0: Any, counter_1: Any, counter_2: Any, counter_3: Any
) -> Any:
    """Return four words below 2**32, each as uint64, for one counter; every argument is below 2**32."""
    for _ in range(ROUNDS):
        left = counter_0 * _MULTIPLIER_0
        right = counter_2 * _MULTIPLIER_1
        counter_0 = (right >> _HALF) ^ counter_1 ^ key_0
        counter_1 = right & _MASK
        counter_2 = (left >> _HALF) ^ counter_3 ^ key_1
        counter_3 = left & _MASK
        key_0 = (key_0 + _INCREMENT_0) & _MASK
        key_1 = (key_1 + _INCREMENT_1) & _MASK
    return counter_0, counter_1, counter_2, counter_3


@njit("void(uint32[:,::1], int64[::1], uint32[:,::1], uint32[:,::1])", nogil=True, cache=True)
def fill_words(keys: Any, counts: Any, identity: Any, out: Any) -> None:
    """Draw the words of several streams for each sample.

    Args:
        keys: Key of each stream, uint32 of shape [streams, 2].
        counts: How many words of each stream, int64 of shape [streams].
        identity: See `Draws.identity`; uint32 of shape [n, 5].
        out: uint32 of shape [n, sum of counts]; a stream's words lie together.
    """
    for sample in range(identity.shape[0]):
        who = identity[sample]
        place = 0
        for stream in range(keys.shape[0]):
            key_0 = np.uint64(keys[stream, 0] ^ who[0])
            key_1 = np.uint64(keys[stream, 1] ^ who[1])
            for block in range((counts[stream] + 3) // 4):
                words = philox_block(
                    key_0, key_1, np.uint64(block), np.uint64(who[2]), np.uint64(who[3]), np.uint64(who[4])
                )
                for word in range(min(counts[stream] - 4 * block, 4)):
                    if word == 0:
                        drawn = words[0]
                    elif word == 1:
                        drawn = words[1]
                    elif word == 2:
                        drawn = words[2]
                    else:
                        drawn = words[3]
                    out[sample, place] = np.uint32(drawn)
                    place += 1
