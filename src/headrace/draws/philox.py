"""Philox4x32-10 by whole-number operations of the array API: the reference of all other forms."""

from __future__ import annotations

from typing import Any

from headrace.draws.namespaces import namespace_of
from headrace.errors import OptionError

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
"""Of Random123's `philox.h`."""
INCREMENTS = 0x9E3779B9, 0xBB67AE85
"""Added to the key after each round: the golden ratio and the square root of 3, less 1."""
ROUNDS = 10
MASK = 0xFFFFFFFF


def philox4x32(counter: Any, key: Any) -> Any:
    """Return four random words for each counter and key.

    A pure function, equal on every library and machine; there is no state.

    Args:
        counter: uint32 of shape [..., 4], of NumPy, CuPy or another library that follows the array API.
        key: uint32 of shape [..., 2]; broadcast against the counter.

    Returns:
        uint32 of shape [..., 4].

    Raises:
        OptionError: A shape or dtype does not fit.

    Source:
        Salmon et al. 2011; Random123's known answers hold.

    Example:
        >>> import numpy as np
        >>> words = philox4x32(np.zeros(4, np.uint32), np.zeros(2, np.uint32))
        >>> [hex(word) for word in words.tolist()]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    xp = namespace_of(counter)
    for name, array, width in (("counter", counter, 4), ("key", key, 2)):
        if array.dtype != xp.uint32 or array.ndim == 0 or array.shape[-1] != width:
            raise OptionError(
                f"`{name}` must be uint32 of shape [..., {width}], got {array.dtype} of shape {array.shape}"
            )
    words = [xp.astype(counter[..., word], xp.uint64) for word in range(4)]
    keys = [xp.astype(key[..., word], xp.uint64) for word in range(2)]
    for round_number in range(ROUNDS):
        bumped = [
            (part + round_number * increment) & MASK for part, increment in zip(keys, INCREMENTS, strict=True)
        ]
        left, right = words[0] * MULTIPLIERS[0], words[2] * MULTIPLIERS[1]
        words = [
            (right >> 32) ^ words[1] ^ bumped[0],
            right & MASK,
            (left >> 32) ^ words[3] ^ bumped[1],
            left & MASK,
        ]
    return xp.astype(xp.stack(xp.broadcast_arrays(*words), axis=-1), xp.uint32)
