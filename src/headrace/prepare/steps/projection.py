"""Steps that replace columns of numbers by weighted sums of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from headrace.errors import OptionError, SchemaError, UnknownColumnError
from headrace.prepare.statistics.product_kernels import Numbers, project
from headrace.prepare.step import PrepareStep

if TYPE_CHECKING:
    import polars as pl

_ROWS = 4096  # that are centred at once


@dataclass(frozen=True)
class Projection(PrepareStep):
    """Subtract each column's mean and multiply by weights; the outputs stand where the inputs stood no more.

    What is learned has `mean_` by column, and `kept_`, the numbers of the outputs that are made.
    """

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers are summed."""
        return dtype.is_numeric()

    def output_prefix(self) -> str:
        """Return what the outputs' names begin with."""
        raise NotImplementedError

    def weights(self) -> Numbers:
        """Return the weights of all outputs, of shape [outputs, columns]."""
        raise NotImplementedError

    def inverse_weights(self) -> Numbers | None:
        """Return the weights of the way back, of shape [columns, outputs]; None if there is no way."""
        return None

    def foretold_count(self) -> int | None:
        """Return how many outputs there will be; None if only a fit can tell."""
        raise NotImplementedError

    @property
    def makes_floats(self) -> bool:
        """Sums are new numbers."""
        return True

    @property
    def made(self) -> list[str]:
        """The columns that a fitted step makes."""
        return self._named(self.learned["kept_"])

    def _named(self, numbers: Sequence[int]) -> list[str]:
        return [f"{self.output_prefix()}_{number}" for number in numbers]

    def resolve(self, schema: pl.Schema) -> tuple[str, ...]:
        """Name the columns that are summed, of which there must be some.

        Raises:
            SchemaError: There is none.
            OptionError: An output would have the name of a column that stays.
        """
        names = self.inputs(schema)
        if not names:
            raise SchemaError(f"{type(self).__name__} needs at least one column of numbers, got none")
        count = self.foretold_count()
        for name in self._named(range(len(names) if count is None else count)):
            if name in schema and name not in names:
                raise OptionError(
                    f"{type(self).__name__} would make column `{name}`, which is there already; give "
                    "another `prefix`"
                )
        return names

    def inputs(self, schema: pl.Schema) -> tuple[str, ...]:
        """Name the columns that are summed."""
        return super().resolve(schema)

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema | None:
        """Inputs go; so many floats come."""
        import polars as pl

        count = self.foretold_count()
        if count is None:
            return None
        kept = {name: dtype for name, dtype in schema.items() if name not in self.names}
        return pl.Schema(kept | dict.fromkeys(self._named(range(count)), pl.Float64()))

    def outputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Inputs go; outputs come last."""
        return (*(name for name in names if name not in self.names), *self.made)

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Make only the outputs that are wanted; each needs all inputs."""
        kept = [it for it in self.learned["kept_"] if self._named([it])[0] in wanted]
        if not kept:
            return None, wanted
        return self.with_learned({"kept_": kept}), (wanted - set(self.made)) | set(self.names)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with outputs in place of the inputs."""
        kept: list[int] = list(self.learned["kept_"])
        sums = weighted_sums(
            [_numbers(frame[name]) for name in self.names],
            np.array([self.mean_[name] for name in self.names]),
            self.weights()[kept],
        )
        return frame.drop(self.names).with_columns(
            _series(name, it) for name, it in zip(self.made, sums, strict=True)
        )

    def inverse(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Return the frame with what the inputs were in place of the outputs; None if nothing can tell.

        Raises:
            UnknownColumnError: An output is not in the frame.
        """
        weights, made = self.inverse_weights(), self._named(range(len(self.weights())))
        if weights is None:
            return None
        missing = [name for name in made if name not in frame.columns]
        if missing:
            raise UnknownColumnError.from_names(
                missing, frame.columns, f"the inverse of {type(self).__name__}:"
            )
        sums = weighted_sums([_numbers(frame[name]) for name in made], np.zeros(len(made)), weights)
        columns = [_series(name, it + self.mean_[name]) for name, it in zip(self.names, sums, strict=True)]
        return frame.drop(made).with_columns(columns)

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count the missing values, which make all outputs of their samples null."""
        counts = {name: int(np.isnan(_numbers(frame[name])).sum()) for name in self.names}
        return {name: {"null": count} for name, count in counts.items() if count}


def weighted_sums(columns: Sequence[NDArray[Any]], shifts: Numbers, weights: Numbers) -> Numbers:
    """Compute weights @ (columns - shifts) in one order of operations, whatever the number of rows.

    Args:
        columns: Numbers, each of shape [n].
        shifts: One for each column.
        weights: Of shape [outputs, columns].

    Returns:
        Of shape [outputs, n].
    """
    outputs, width = weights.shape
    padded = np.zeros((outputs + outputs % 2, width + -width % 4))
    padded[:outputs, :width] = weights
    count = len(columns[0])
    sums = np.empty((outputs, count))
    centred = np.zeros((padded.shape[1], min(count, _ROWS)))
    found = np.empty((len(padded), centred.shape[1]))
    for begin in range(0, count, _ROWS):
        size = min(_ROWS, count - begin)
        for number, column in enumerate(columns):
            part = column[begin : begin + size]
            np.subtract(part, shifts[number], out=centred[number, :size], dtype=np.float64)
        project(centred, padded, found)
        sums[:, begin : begin + size] = found[:outputs, :size]
    return sums


def with_largest_positive(directions: Numbers) -> Numbers:
    """Return rows with their signs chosen so that the largest number of each, in size, is positive."""
    largest = np.abs(directions).argmax(axis=1)
    signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
    return directions * signs[:, None]


def by_column(names: Sequence[str], numbers: Numbers) -> Mapping[str, float]:
    """Return numbers under the names of their columns."""
    return dict(zip(names, numbers.tolist(), strict=True))


def _numbers(series: pl.Series) -> NDArray[Any]:
    """Return a column as numbers, in which missing values are NaN."""
    import polars as pl

    return series.cast(pl.Float64).to_numpy()


def _series(name: str, values: Numbers) -> pl.Series:
    import polars as pl

    return pl.Series(name, values, pl.Float64).fill_nan(None)
