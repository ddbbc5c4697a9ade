"""Numbers of many kinds from words of 32 random bits.

Each function takes an unsigned 32-bit array of any shape and of any array-API library, and uses one word for
one number. Integers are exact; floats are one product and one sum, in this order and never fused. So NumPy,
Numba and a GPU give the same bits. Numbers never fall when their word rises.
"""

from __future__ import annotations

import math
from typing import Any

from headrace.draws.namespaces import namespace_of
from headrace.draws.tables import CELLS, LOG_CELLS, ROWS, SIDE, beta_table, log_uniform_table, normal_table
from headrace.errors import OptionError

Array = Any  # of any library that follows the array API


def uniform(words: Array) -> Array:
    """Draw float32 from 0 (included) to 1 (excluded), multiples of 2^-24.

    Example:
        >>> import numpy as np
        >>> uniform(np.array([0, 1 << 31], np.uint32)).tolist()
        [0.0, 0.5]
    """
    xp = namespace_of(words)
    return xp.astype(words >> 8, xp.float32) * 2.0**-24


def integers(words: Array, n: int | Array) -> Array:
    """Draw int64 from 0 to n - 1; each is drawn by as many words as any other, give or take one.

    Args:
        words: Unsigned 32-bit integers.
        n: How many there are to choose from, 1 to 2^32; one number, or an array of integers that broadcasts.

    Raises:
        OptionError: `n` is a number that is too small or too large.

    Example:
        >>> import numpy as np
        >>> integers(np.array([0, 1 << 31, 2**32 - 1], np.uint32), 10).tolist()
        [0, 5, 9]
    """
    xp = namespace_of(words)
    if isinstance(n, int):
        if not 1 <= n <= 1 << 32:
            raise OptionError(f"`n` must be from 1 to 2^32 to draw integers below it, not {n!r}")
    else:
        n = xp.astype(n, xp.uint64)
    return xp.astype((xp.astype(words, xp.uint64) * n) >> 32, xp.int64)


def bernoulli(words: Array, p: float | Array) -> Array:
    """Draw whether something happens that has the probability p: a word below floor(p * 2^32).

    Args:
        words: Unsigned 32-bit integers.
        p: From 0 (never) to 1 (always); one number, or an array of floats that broadcasts.

    Raises:
        OptionError: `p` is a number that is no probability.

    Example:
        >>> import numpy as np
        >>> bernoulli(np.array([0, 1 << 31, 2**32 - 1], np.uint32), 0.5).tolist()
        [True, False, False]
    """
    xp = namespace_of(words)
    if isinstance(p, (int, float)):
        return xp.astype(words, xp.uint64) < threshold(p)
    limits = xp.astype(xp.floor(xp.astype(p, xp.float64) * 2.0**32), xp.uint64)
    return xp.astype(words, xp.uint64) < limits


def threshold(p: float) -> int:
    """Return floor(p * 2^32), of which all words are below for p = 1.

    Raises:
        OptionError: `p` is no probability.

    Example:
        >>> threshold(0.25)
        1073741824
    """
    if not 0 <= p <= 1:
        raise OptionError(f"`p` must be a probability, from 0 to 1, not {p!r}")
    return math.floor(p * 2**32)


def permutation(words: Array) -> Array:
    """Draw an order of k things from each k words: where the smallest word lies, then the next one.

    Args:
        words: Unsigned 32-bit integers of shape [..., k].

    Returns:
        The numbers 0 to k - 1 along the last axis, int64 of shape [..., k].

    Example:
        >>> import numpy as np
        >>> permutation(np.array([[7, 3, 7]], np.uint32)).tolist()
        [[1, 0, 2]]
    """
    xp = namespace_of(words)
    # Equal words are told apart by their places, so that all sorts agree.
    places = xp.arange(words.shape[-1], dtype=xp.uint64)
    return xp.astype(xp.argsort((xp.astype(words, xp.uint64) << 32) | places, axis=-1), xp.int64)


def normal(words: Array) -> Array:
    """Draw float32 of the standard normal distribution, from -6.34 to 6.34.

    The distribution function is nowhere off by more than 2e-6, and tails are true as far as they reach.

    Example:
        >>> import numpy as np
        >>> normal(np.array([0, 3 << 30, 2**32 - 1], np.uint32)).tolist()
        [-6.337957859039307, 0.6744897365570068, 6.337957859039307]
    """
    return _quantile(words, normal_table())


def beta(words: Array, alpha: float, beta: float) -> Array:
    """Draw float32 from 0 to 1 of a beta distribution.

    Rounding aside, the distribution function is nowhere off by more than 2e-5 for parameters of 0.1 and more,
    and by 2e-4 for 0.01. What is below 2^-60 may be 0, and what float32 cannot tell from 1 is 1. A table is
    made for each pair of parameters when it is first needed, in about 0.1 s.

    Raises:
        OptionError: A parameter is not from 0.01 to 100.

    Example:
        >>> import numpy as np
        >>> beta(np.array([0, 1 << 30, 1 << 31], np.uint32), 1.0, 1.0).tolist()
        [1.1641532182693481e-10, 0.25, 0.5]
    """
    return _quantile(words, beta_table(float(alpha), float(beta)))


def log_uniform(words: Array, low: float, high: float) -> Array:
    """Draw float64 from `low` to `high`, whose logarithm is uniform to (log(high / low) / 4096)^2 / 8.

    Raises:
        OptionError: The bounds are not positive and in order.

    Example:
        >>> import numpy as np
        >>> log_uniform(np.array([0, 1 << 31], np.uint32), 0.25, 4.0).tolist()
        [0.25, 1.0]
    """
    xp = namespace_of(words)
    table = xp.asarray(log_uniform_table(float(low), float(high)))
    shift = 32 - LOG_CELLS.bit_length() + 1
    value, slope = _cells(table, words >> shift)
    return value + slope * (xp.astype(words & ((1 << shift) - 1), xp.float64) * 2.0**-shift)


def _quantile(words: Array, table: Any) -> Array:
    """Read a quantile table: which row, which cell, how far into it."""
    xp = namespace_of(words)
    upper = words >> 31
    place = xp.where(upper == 1, words ^ 0xFFFFFFFF, words)
    # Shift the leading bit to bit 30, so that the cell and the way into it lie right behind it.
    row = xp.full_like(place, ROWS - 1)
    for bits in (16, 8, 4, 2, 1):
        is_low = place < (1 << (31 - bits))
        place = xp.where(is_low, place << bits, place)
        row = xp.where(is_low, row - bits, row)
    rest = 31 - CELLS.bit_length()
    cell = (place >> rest) & (CELLS - 1)
    value, slope = _cells(xp.asarray(table), upper * SIDE + row * CELLS + cell)
    return value + slope * (xp.astype(place & ((1 << rest) - 1), xp.float32) * 2.0**-rest)


def _cells(table: Array, index: Array) -> tuple[Array, Array]:
    """Read value and slope of the cells that are named."""
    xp = namespace_of(table)
    flat = xp.astype(xp.reshape(index, (-1,)), xp.int64)
    value, slope = (xp.reshape(xp.take(table[:, part], flat), index.shape) for part in (0, 1))
    return value, slope
