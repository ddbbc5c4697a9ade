"""Sums of a target by category and fold, for target encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headrace.errors import PrepareError
from headrace.fingerprint import derive_key
from headrace.hashing.columns import hash_ids, keyed
from headrace.prepare.statistics import GroupSums, GroupSumsState
from headrace.prepare.statistics.states import Payload
from headrace.prepare.step import SAMPLE_ID

if TYPE_CHECKING:
    import polars as pl

FOLD, VALUE = "fold", "value"
_SUMS = GroupSums((FOLD, VALUE), "target")


@dataclass(frozen=True, slots=True)
class TargetSums:
    """Asks for the sums of a target by fold and category: groups `fold` (Int64, 0 without folds) and `value`.

    Attributes:
        column: Of the categories.
        target: Of the numbers or truth values to sum up.
        folds: How many folds the samples' ids are dealt to; None for one.
        seed: Of the dealing.
        fold_column: Says the fold of each sample instead.
    """

    column: str
    target: str
    folds: int | None
    seed: int = 0
    fold_column: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns."""
        by = self.fold_column or (SAMPLE_ID if self.folds is not None else None)
        return (self.column, self.target) if by is None else (self.column, self.target, by)

    def of(self, frame: pl.DataFrame) -> GroupSumsState:
        """Sum up the target."""
        import polars as pl

        fold = folds_of(frame, self.folds, self.seed, self.fold_column)
        columns = [fold.alias(FOLD), frame[self.column].alias(VALUE), frame[self.target].alias("target")]
        return _SUMS.of(pl.DataFrame(columns))

    def unpack(self, payload: Payload) -> GroupSumsState:
        """Read a state."""
        return _SUMS.unpack(payload)


def folds_of(frame: pl.DataFrame, folds: int | None, seed: int, fold_column: str | None) -> pl.Series:
    """Return each sample's fold, Int64: what its column says, or a hash of its id.

    Raises:
        PrepareError: A sample's fold is missing.
    """
    import polars as pl

    if fold_column is not None:
        found = frame[fold_column].cast(pl.Int64)
        if found.null_count():
            raise PrepareError(
                f"column `{fold_column}`: each sample needs a fold, {found.null_count()} have none"
            )
        return found
    if folds is None:
        return pl.Series(np.zeros(frame.height, np.int64))
    hashes = keyed(hash_ids(frame[SAMPLE_ID].to_numpy()), derive_key("target encoder", seed))
    return pl.Series((hashes % np.uint64(folds)).astype(np.int64))
