"""Which outcomes a predicate may have in each row group, by Polars' three-valued logic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What may come out for some row of each row group.

    Attributes:
        true: Whether a row may be true, bool of shape [row groups].
        false: Whether a row may be false.
        null: Whether a row may be null.
    """

    true: Mask
    false: Mask
    null: Mask

    @staticmethod
    def unknown(groups: int) -> Outcomes:
        """Anything may come out."""
        return Outcomes(*np.ones((3, groups), np.bool_))

    @staticmethod
    def always(outcome: bool | None, groups: int) -> Outcomes:
        """One thing comes out."""
        is_true, is_false, is_null = (np.full(groups, outcome is value) for value in (True, False, None))
        return Outcomes(is_true, is_false, is_null)

    def or_any(self, where: Mask) -> Outcomes:
        """Let anything come out in some row groups."""
        return Outcomes(self.true | where, self.false | where, self.null | where)

    def either(self, other: Outcomes) -> Outcomes:
        """Let come out what one or the other lets."""
        return Outcomes(self.true | other.true, self.false | other.false, self.null | other.null)

    def __and__(self, other: Outcomes) -> Outcomes:
        null = (self.null & (other.null | other.true)) | (other.null & self.true)
        return Outcomes(self.true & other.true, self.false | other.false, null)

    def __or__(self, other: Outcomes) -> Outcomes:
        return ~(~self & ~other)

    def __invert__(self) -> Outcomes:
        return Outcomes(self.false, self.true, self.null)
