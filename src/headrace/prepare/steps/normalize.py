"""Normalizer: rows of several columns, brought to length 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError
from headrace.prepare.numbers.programs import run_program
from headrace.prepare.steps.scale import NumberStep

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Normalizer(NumberStep):
    """Divide the columns of each row by the row's norm.

    A row of zeros stays as it is. A row with a missing value (null, NaN) has no norm: all its columns become
    null, so fill before. An infinite value makes its own column null, and the others of its row 0. Sums go
    from the first column to the last, so that a row has the same bits alone and among others.

    Attributes:
        norm: "l2" for the root of the sum of squares, "l1" for the sum of absolute values, "max" for the
            largest of them.

    Example:
        >>> import headrace as hr
        >>> pipe = hr.Pipeline([hr.Normalizer()]).fit(hr.from_arrays({"x": [3.0], "y": [4.0]}))
        >>> pipe.transform({"x": 3.0, "y": 4.0})
        {'x': 0.6000000238418579, 'y': 0.800000011920929}
    """

    norm: Literal["l1", "l2", "max"] = "l2"

    def __post_init__(self) -> None:
        if self.norm not in ("l1", "l2", "max"):
            raise OptionError(f'`norm` must be "l1", "l2" or "max", got {self.norm!r}')

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """All columns are needed for one of them."""
        needed = wanted & frozenset(self.names)
        return (self, wanted | frozenset(self.names)) if needed else (None, wanted)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Divide each row by its norm."""
        import polars as pl

        columns = [run_program(frame[name], (), pl.Float64()).to_numpy() for name in self.names]
        if not columns:
            return frame
        norms = _norms(columns, self.norm)
        with np.errstate(all="ignore"):
            divided = [column / norms for column in columns]
        return frame.with_columns(
            [pl.Series(name, it).fill_nan(None) for name, it in zip(self.names, divided, strict=True)]
        )


def _norms(columns: list[NDArray[Any]], norm: str) -> NDArray[Any]:
    total = np.zeros(len(columns[0]))
    with np.errstate(all="ignore"):
        for column in columns:
            if norm == "max":
                total = np.maximum(total, np.abs(column))  # NaN wins
            else:
                total = total + (column * column if norm == "l2" else np.abs(column))
        total = np.sqrt(total) if norm == "l2" else total
    return np.where(total == 0, 1.0, total)
