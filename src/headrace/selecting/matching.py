"""The step that a scan ends with: one column of truth values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.prepare.base import Names, Step
from headrace.selecting.predicates import has_selector

if TYPE_CHECKING:
    import polars as pl

_NAME = "matches"


@dataclass(frozen=True, slots=True)
class Matching:
    """Tell which rows match, and keep nothing else.

    Attributes:
        predicate: Looks at one row at a time.
    """

    predicate: pl.Expr

    def output_names(self, names: Names) -> Names:
        """Return the one column's name."""
        return (_NAME,)

    def narrow(
        self, names: Names | None, wanted: frozenset[str] | None
    ) -> tuple[Step, frozenset[str] | None]:
        """Only the predicate's columns are needed."""
        roots = frozenset(self.predicate.meta.root_names())
        return self, None if has_selector(self.predicate) else roots

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the answers; null counts as not true."""
        answers = frame.select(self.predicate.fill_null(value=False).alias(_NAME))
        if answers.height == frame.height:
            return answers
        return answers.to_series().new_from_index(0, frame.height).to_frame()  # of a literal
