"""Arrays of large whole numbers, for exact sums of many groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.prepare.statistics.exact import divide
from headrace.prepare.statistics.limb_kernels import add_rows, carry

Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Limbs:
    """Whole numbers, in limbs of 32 bits of which the highest has the sign.

    Attributes:
        limbs: Int64 of shape [n, limbs].
        place: How many limbs below them are 0 for all numbers.
    """

    limbs: Whole
    place: int

    @staticmethod
    def of(limbs: Whole, place: int) -> Limbs:
        """Carry what is beyond 32 bits, and leave out limbs that no number needs."""
        wide = np.concatenate([limbs, np.zeros((len(limbs), 2), np.int64)], axis=1)
        carry(wide)
        width = wide.shape[1]
        while width > 1 and (wide[:, width - 1] == -(wide[:, width - 2] >> 31)).all():
            wide[:, width - 2] -= (wide[:, width - 2] >> 31) << 32  # the sign moves down by a limb
            width -= 1
        begin = 0
        while begin < width - 1 and not wide[:, begin].any():
            begin += 1
        return Limbs(np.ascontiguousarray(wide[:, begin:width]), place + begin)

    @staticmethod
    def concat(parts: Sequence[Limbs]) -> Limbs:
        """Put arrays one behind another."""
        place = min(part.place for part in parts)
        width = max(part.place + part.limbs.shape[1] for part in parts) - place
        wide = np.zeros((sum(len(part.limbs) for part in parts), width), np.int64)
        row = 0
        for part in parts:
            begin = part.place - place
            wide[row : row + len(part.limbs), begin : begin + part.limbs.shape[1]] = part.limbs
            row += len(part.limbs)
        return Limbs(wide, place)

    def take(self, rows: Whole) -> Limbs:
        """Return some of the numbers."""
        return Limbs(self.limbs[rows], self.place)

    def add_up(self, rows: Whole, offsets: Whole) -> Limbs:
        """Return sums by group.

        Args:
            rows: Which numbers, group by group.
            offsets: Where groups begin in `rows`, and the end.
        """
        added = np.zeros((len(offsets) - 1, self.limbs.shape[1]), np.int64)
        add_rows(self.limbs, rows, offsets, added)
        return Limbs.of(added, self.place)

    def minus(self, other: Limbs) -> Limbs:
        """Subtract number by number."""
        count = len(self.limbs)
        both = Limbs.concat([self, other])
        return Limbs.of(both.limbs[:count] - both.limbs[count:], both.place)

    def tolist(self) -> list[int]:
        """Return the numbers as Python's."""
        numbers: list[int] = [0] * len(self.limbs)
        for place in reversed(range(self.limbs.shape[1])):
            column: list[int] = self.limbs[:, place].tolist()
            numbers = [(number << 32) + limb for number, limb in zip(numbers, column, strict=True)]
        return [number << (32 * self.place) for number in numbers]

    def divided(self, counts: Whole, unit: int) -> NDArray[np.float64]:
        """Divide by counts and by 2**unit, each quotient rounded once; NaN where a count is 0."""
        quotients = np.full(len(counts), np.nan)
        few = self.limbs.shape[1] <= 2 and -900 < 32 * self.place - unit < 900
        limbs = self.limbs
        if few:
            upper = limbs[:, 1] if limbs.shape[1] == 2 else np.zeros(len(limbs), np.int64)
            is_small = (np.abs(upper) < 1 << 20) & (np.abs(limbs[:, 0]) < 1 << 53) & (counts > 0)
            small = limbs[is_small, 0] + (upper[is_small] << 32)
            is_small[is_small] = np.abs(small) < 1 << 53
            exact = (limbs[is_small, 0] + (upper[is_small] << 32)).astype(np.float64)
            quotients[is_small] = np.ldexp(exact / counts[is_small], 32 * self.place - unit)
        else:
            is_small = np.zeros(len(counts), np.bool_)
        slow = np.flatnonzero(~is_small & (counts > 0))
        for row, number in zip(slow.tolist(), self.take(slow).tolist(), strict=True):
            quotients[row] = divide(number, int(counts[row]) << unit)
        return quotients
