"""Steps that bring numbers to a common scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import PrepareError
from headrace.prepare.operations import Affine, Operation
from headrace.prepare.statistics import Moments, MomentsState, Statistic
from headrace.prepare.step import Found, PrepareStep

if TYPE_CHECKING:
    import polars as pl

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class StandardScaler(PrepareStep):
    """Subtract the mean and divide by the standard deviation.

    As in scikit-learn, a column that is constant up to rounding (var <= n eps var + (n mean eps)^2) gets the scale 1. Missing
    values (null, NaN) have no part in the fit and stay missing. Mean and variance are exact and rounded once, whatever the
    row groups, so that they can differ from scikit-learn's in the last digit.

    Learned: `mean_`, `var_`, `scale_` and `n_seen_`, each by column.

    Attributes:
        ddof: What is taken off the number of values in the variance.
        with_mean: Whether the mean is subtracted.
        with_std: Whether it is divided by the standard deviation.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, 2.0, 4.0]})
        >>> pipe = hr.Pipeline([hr.StandardScaler()]).fit(ds)
        >>> round(pipe.transform({"x": 4.0})["x"], 4)
        1.3363
    """

    ddof: int = 0
    with_mean: bool = True
    with_std: bool = True

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers are scaled."""
        return dtype.is_numeric()

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the moments of each column."""
        return [Moments(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep means and scales."""
        moments: dict[str, MomentsState] = {name: found[Moments(name)] for name in self.names}
        for name, state in moments.items():
            check_finite(name, state)
        variances = {name: state.variance(self.ddof) for name, state in moments.items()}
        return {
            "mean_": {name: state.mean for name, state in moments.items()},
            "var_": variances,
            "scale_": {name: _scale(moments[name], variance) for name, variance in variances.items()},
            "n_seen_": {name: state.count for name, state in moments.items()},
        }

    @property
    def makes_floats(self) -> bool:
        """Scaled numbers are new."""
        return True

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Scaled columns are floats."""
        return floats_schema(schema, self.names)

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Scale each value."""
        return [Affine(self._shift(column), self._divisor(column))]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Scale back."""
        return [Affine(factor=self._divisor(column), offset=self._shift(column))]

    def _shift(self, column: str) -> float:
        return self.mean_[column] if self.with_mean else 0.0

    def _divisor(self, column: str) -> float:
        return self.scale_[column] if self.with_std else 1.0


def _scale(state: MomentsState, variance: float) -> float:
    count, mean = state.count, state.mean
    is_constant = variance <= count * _EPSILON * variance + (count * mean * _EPSILON) ** 2
    return 1.0 if is_constant else math.sqrt(variance)


def check_finite(name: str, state: MomentsState) -> None:
    """Refuse infinities, of which no mean and no range can be told.

    Raises:
        PrepareError: The column holds some.
    """
    if state.sums.infinities:
        raise PrepareError(
            f"column `{name}`: {state.sums.infinities} values are infinite, and none can be fitted to; clip them or make "
            "them null before"
        )


def floats_schema(schema: pl.Schema, names: Sequence[str]) -> pl.Schema:
    """Return a schema in which these columns are floats."""
    import polars as pl

    return pl.Schema({name: pl.Float64() if name in names else dtype for name, dtype in schema.items()})
