"""Arrays of whole numbers of any size, added without rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_BITS = 32
_HALF, _MASK = 1 << 31, (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class LargeNumbers:
    """Whole numbers times one power of two: number i is the sum of digits[k, i] * 2**(32 * (low + k)).

    Digits lie in [-2**31, 2**31), and neither the first nor the last are zero everywhere. There is only one
    way to write given numbers like this, so that equal numbers have equal bits.

    Attributes:
        low: The place of the first digit.
        digits: int32 of shape [digits, numbers].
    """

    low: int
    digits: NDArray[np.int32]

    @staticmethod
    def zeros(count: int) -> LargeNumbers:
        """Return so many zeros."""
        return LargeNumbers(0, np.zeros((0, count), np.int32))

    @staticmethod
    def scaled(count: int, terms: Sequence[tuple[Integers, Integers]]) -> LargeNumbers:
        """Return the sums of values[i] * 2**exponents[i].

        Args:
            count: How many sums.
            terms: Values and their exponents, both of shape [count]; fewer than 2**20 terms.

        Example:
            >>> LargeNumbers.scaled(
            ...     1, [(np.array([3]), np.array([100])), (np.array([1]), np.array([0]))]
            ... ).integers()
            (array([3802951800684688204490109616129], dtype=object), 0)
        """
        if not count or not terms:
            return LargeNumbers.zeros(count)
        low = min(int(exponents.min()) for _, exponents in terms) // _BITS
        high = max(int(exponents.max()) for _, exponents in terms) // _BITS
        digits = np.zeros((high - low + 3, count), np.int64)
        every = np.arange(count)
        for values, exponents in terms:
            place, shift = exponents // _BITS - low, exponents % _BITS
            below, above = (values & _MASK) << shift, (values >> _BITS) << shift
            digits[place, every] += below & _MASK
            digits[place + 1, every] += (below >> _BITS) + (above & _MASK)
            digits[place + 2, every] += above >> _BITS
        return _canonical(low, digits)

    def add(self, other: LargeNumbers) -> LargeNumbers:
        """Return the sums, number by number."""
        low = min(self.low, other.low)
        width = max(it.low + len(it.digits) for it in (self, other)) - low
        digits = np.zeros((width, self.digits.shape[1]), np.int64)
        for it in (self, other):
            digits[it.low - low : it.low - low + len(it.digits)] += it.digits
        return _canonical(low, digits)

    def placed(self, places: Integers, count: int) -> LargeNumbers:
        """Return so many numbers, of which those at the places are these and the others zero."""
        digits = np.zeros((len(self.digits), count), np.int32)
        digits[:, places] = self.digits
        return LargeNumbers(self.low, digits)

    def integers(self) -> tuple[NDArray[Any], int]:
        """Return Python's whole numbers, as an object array of shape [n], and the exponent of their unit."""
        total: NDArray[Any] = np.array([0] * self.digits.shape[1], object)
        for digit in self.digits[::-1]:
            total = (total << _BITS) + digit.astype(object)
        return total, _BITS * self.low


def _canonical(low: int, digits: Integers) -> LargeNumbers:
    """Carry, and leave out ends of zeros."""
    carry = np.zeros(digits.shape[1], np.int64)
    whole = np.zeros((len(digits) + 1, digits.shape[1]), np.int32)
    for place, digit in enumerate(digits):
        number = digit + carry
        carry = (number + _HALF) >> _BITS
        whole[place] = number - (carry << _BITS)
    whole[-1] = carry
    used = np.flatnonzero(whole.any(axis=1))
    if not len(used):
        return LargeNumbers.zeros(digits.shape[1])
    first, last = int(used[0]), int(used[-1])
    return LargeNumbers(low + first, whole[first : last + 1].copy())
