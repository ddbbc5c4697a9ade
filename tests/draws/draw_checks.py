"""Statistics of draws, each a number that is small for good ones, and a slow oracle of the generator."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Random123 publishes these for Philox4x32: rounds, counter, key, words.
KNOWN_ANSWERS = """
7 00000000 00000000 00000000 00000000 00000000 00000000 5f6fb709 0d893f64 4f121f81 4f730a48
7 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 5207ddc2 45165e59 4d8ee751 8c52f662
7 243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 4dfccaba 190a87f0 c47362ba b6b5242a
10 00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
10 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
10 243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
"""


def known_answers() -> list[tuple[int, list[int], list[int], list[int]]]:
    """Return rounds, counter, key and words of each vector."""
    rows = [row.split() for row in KNOWN_ANSWERS.strip().splitlines()]
    numbers = [[int(word, 16) for word in row[1:]] for row in rows]
    return [(int(row[0]), own[:4], own[4:6], own[6:]) for row, own in zip(rows, numbers, strict=True)]


def slow_philox(counter: list[int], key: list[int], rounds: int = 10) -> list[int]:
    """Compute Philox4x32 in Python's whole numbers, as the paper writes it."""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        left, right = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [right >> 32 ^ c[1] ^ k[0], right % 2**32, left >> 32 ^ c[3] ^ k[1], left % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def chi_square(counts: Array, shares: Array | None = None) -> float:
    """How many standard deviations Pearson's statistic lies from its mean; within 5 for true shares."""
    shares = np.full(counts.shape, 1 / counts.size) if shares is None else shares / shares.sum()
    expected = counts.sum() * shares
    freedom = counts.size - 1
    return float((np.sum((counts - expected) ** 2 / expected) - freedom) / np.sqrt(2 * freedom))


def kolmogorov(shares: Array) -> float:
    """Kolmogorov's distance of values of a distribution function from uniform, times the root of n.

    Below 2.3 in all but one of 20,000 cases.
    """
    ordered, n = np.sort(np.asarray(shares, np.float64)), len(shares)
    steps = np.arange(n + 1) / n
    distance = max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))
    return float(distance * np.sqrt(n))


def correlation(first: Array, second: Array) -> float:
    """The correlation of two sequences in standard deviations of that of independent ones; within 5."""
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1] * np.sqrt(len(first)))


def worst(words: Array) -> float:
    """The largest deviation of a sequence of words, over all that is looked at; below 5 for random ones.

    Looked at are the counts of upper and lower bytes, each bit, pairs of neighbours, and correlations of
    words and of each bit with the words 1 to 4 places on.
    """
    assert words.dtype == np.uint32
    found = [chi_square(np.bincount(words >> 24, minlength=256))]
    found.append(chi_square(np.bincount(words & 0xFF, minlength=256)))
    bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    found.extend((bits.mean(axis=0) - 0.5) * 2 * np.sqrt(len(words)))
    for shift in (28, 0):
        nibbles = (words >> shift) & 15
        found.append(chi_square(np.bincount(nibbles[:-1] * 16 + nibbles[1:], minlength=256)))
    for lag in range(1, 5):
        found.append(correlation(words[lag:], words[:-lag]))
        equal = (bits[lag:] == bits[:-lag]).mean(axis=0)
        found.extend((equal - 0.5) * 2 * np.sqrt(len(words) - lag))
    return float(np.max(np.abs(found)))
