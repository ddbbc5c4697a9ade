"""Steps that change the shape of distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headrace.errors import MemoryLimitError, OptionError, PrepareError, check_whole
from headrace.prepare.numbers.operations import (
    Affine,
    Exp,
    Interpolate,
    Limit,
    NormalQuantile,
    NormalShare,
    Operation,
    Power,
)
from headrace.prepare.numbers.operations import (
    Log as LogOperation,
)
from headrace.prepare.numbers.programs import run_values
from headrace.prepare.statistics import Moments, MomentsState, Statistic, Values, ValuesState, exact
from headrace.prepare.step import Found
from headrace.prepare.steps.likelihood import fit_lambda
from headrace.prepare.steps.scale import NumberStep, check_finite, count_beyond, is_constant

if TYPE_CHECKING:
    import polars as pl

_NOTHING = Limit(math.inf, -math.inf, to_null=True)  # of a column without values nothing can be told

_END = 1e-7  # what is nearer to 0 or 1 than this counts as the end of the distribution


@dataclass(frozen=True)
class Log(NumberStep):
    """Take the natural logarithm of x + offset, precise also where the sum is near 1.

    Missing values (null, NaN) stay missing; infinity stays infinite.

    Attributes:
        offset: What is added before, such as 1 for counts.
        invalid: "raise" refuses a sum that is not positive, "null" makes it null.

    Example:
        >>> import headrace as hr
        >>> pipe = hr.Pipeline([hr.Log(1)], dtype="float64").fit(hr.from_arrays({"x": [0.0, 1.0]}))
        >>> pipe.transform({"x": 1.0})
        {'x': 0.6931471805599453}
    """

    offset: float = 0.0
    invalid: Literal["raise", "null"] = "raise"

    def __post_init__(self) -> None:
        if isinstance(self.offset, bool) or not isinstance(self.offset, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"`offset` must be a number, got {self.offset!r}")
        if self.invalid not in ("raise", "null"):
            raise OptionError(f'`invalid` must be "raise" or "null", got {self.invalid!r}')

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Take logarithms."""
        return [LogOperation(float(self.offset), self.invalid == "null")]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Take the exponential."""
        return [Exp(1.0 - self.offset)]

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count values without a logarithm."""
        import polars as pl

        beyond = {name: (pl.col(name) + float(self.offset) <= 0).sum() for name in self.names}
        return {name: {"out_of_range": int(frame.select(it).item())} for name, it in beyond.items()}


@dataclass(frozen=True)
class QuantileTransformer(NumberStep):
    """Replace each value by its place in the distribution: uniform between 0 and 1, or normal.

    Quantiles are those of all values, exact and linearly interpolated; scikit-learn does the same with
    `subsample=None`. A value that occurs often gets the middle of its places, the least and the largest one
    of the fit the ends, and so do all beyond. Missing values (null, NaN) have no part in the fit and stay
    missing; infinity in a fit is an error. A column without values becomes null.

    Learned: `quantiles_`, by column, and `references_`, the places that they belong to; `rank_error_`, 0
    unless the values took more memory than the fit had, and a sketch took their place.

    Attributes:
        n_quantiles: How many quantiles, at most as many as there are samples.
        output: "uniform", or "normal", where places are kept 1e-7 from 0 and 1, and so values within 5.2.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [0.0, 1.0, 10.0, 100.0, 1000.0]})
        >>> pipe = hr.Pipeline([hr.QuantileTransformer()]).fit(ds)
        >>> pipe.transform({"x": 55.0})
        {'x': 0.625}
    """

    n_quantiles: int = 1000
    output: Literal["uniform", "normal"] = "uniform"

    def __post_init__(self) -> None:
        check_whole("n_quantiles", self.n_quantiles, least=1)
        if self.output not in ("uniform", "normal"):
            raise OptionError(f'`output` must be "uniform" or "normal", got {self.output!r}')

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the values of each column."""
        return [statistic for name in self.names for statistic in (Moments(name), Values(name))]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the quantiles."""
        rows = max((found[Moments(name)].rows for name in self.names), default=0)
        references = np.linspace(0, 1, max(1, min(self.n_quantiles, rows)))
        quantiles: dict[str, Any] = {}
        for name in self.names:
            check_finite(name, found[Moments(name)])
            values = found[Values(name)].quantiles(tuple(references.tolist()))
            quantiles[name] = np.maximum.accumulate(np.array(values))
        errors = {name: found[Values(name)].rank_error for name in self.names}
        return {"quantiles_": quantiles, "references_": references, "rank_error_": errors}

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Find the place of each value."""
        quantiles = self.quantiles_[column]
        if np.isnan(quantiles[0]):
            return [Affine(), _NOTHING]
        placed = Interpolate(quantiles, self.references_)
        return [placed] if self.output == "uniform" else [placed, NormalQuantile()]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Find the value at each place."""
        quantiles = self.quantiles_[column]
        if np.isnan(quantiles[0]):
            return [Affine(), _NOTHING]
        if self.output == "uniform":
            return [Interpolate(self.references_, quantiles)]
        return [NormalShare(), _ended(self.references_, quantiles)]

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count values beyond those of the fit."""
        return count_beyond(frame, {name: (it[0], it[-1]) for name, it in self.quantiles_.items()})


def _ended(references: Any, quantiles: Any) -> Interpolate:
    """A curve that is at its ends already where places of the normal distribution are kept from 0 and 1."""
    if len(references) < 2:
        return Interpolate(references, quantiles)
    low, high = _END, 1 - _END
    inner = np.array([np.nextafter(low, 1), *references[1:-1], np.nextafter(high, 0)])
    ys = [quantiles[0], *np.interp(inner, references, quantiles), quantiles[-1]]
    return Interpolate(np.array([low, *inner, high]), np.array(ys))


@dataclass(frozen=True)
class PowerTransformer(NumberStep):
    """Make a column more like a normal distribution by a power whose exponent is fitted to it.

    The exponent lambda has the largest likelihood, found by Brent's method over exact sums; it agrees with
    scikit-learn's to about 1e-6, which is how sharply the likelihood tells. A constant column keeps its
    values (lambda 1). Missing values (null, NaN) have no part in the fit and stay missing; infinity in a fit
    is an error. A column without values becomes null.

    Learned: `lambdas_`, and `mean_` and `scale_` of what is standardized, by column.

    Attributes:
        method: "yeo-johnson" for any numbers; "box-cox" for positive ones, and others are an error.
        standardize: Whether mean 0 and standard deviation 1 come out.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [1.0, 2.0, 3.0, 10.0]})
        >>> pipe = hr.Pipeline([hr.PowerTransformer()]).fit(ds)
        >>> round(pipe.steps[0].lambdas_["x"], 6)
        -0.691594
    """

    method: Literal["yeo-johnson", "box-cox"] = "yeo-johnson"
    standardize: bool = True

    def __post_init__(self) -> None:
        if self.method not in ("yeo-johnson", "box-cox"):
            raise OptionError(f'`method` must be "yeo-johnson" or "box-cox", got {self.method!r}')

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the values of each column."""
        return [statistic for name in self.names for statistic in (Moments(name), Values(name))]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Fit the exponents."""
        fitted: dict[str, tuple[float, float, float]] = {}
        for name in self.names:
            state: MomentsState = found[Moments(name)]
            check_finite(name, state)
            least = state.sums.low
            if least is not None and least <= 0 and self.method == "box-cox":
                raise PrepareError(
                    f"column `{name}`: Box-Cox takes positive values, got {least!r}; use "
                    '`method="yeo-johnson"`, or clip the column before'
                )
            fitted[name] = self._fit(name, found[Values(name)], state)
        keys = ("lambdas_", "mean_", "scale_") if self.standardize else ("lambdas_",)
        return {key: {name: it[place] for name, it in fitted.items()} for place, key in enumerate(keys)}

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Transform each value."""
        lam = self.lambdas_[column]
        if math.isnan(lam):
            return [Affine(), _NOTHING]
        raised = Power(lam, self._is_signed)
        return [raised, Affine(self.mean_[column], self.scale_[column])] if self.standardize else [raised]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Take each value back; what no value is transformed to becomes null."""
        lam = self.lambdas_[column]
        if math.isnan(lam):
            return [Affine(), _NOTHING]
        lowered = Power(lam, self._is_signed, inverse=True)
        if not self.standardize:
            return [lowered]
        return [Affine(factor=self.scale_[column], offset=self.mean_[column]), lowered]

    @property
    def _is_signed(self) -> bool:
        return self.method == "yeo-johnson"

    def _fit(self, name: str, found: Any, state: MomentsState) -> tuple[float, float, float]:
        if not state.count:
            return math.nan, math.nan, math.nan
        if not isinstance(found, ValuesState):
            raise MemoryLimitError(
                f"column `{name}`: a power transform is fitted to all values, which take more memory than "
                "the fit may; raise `memory_limit`, or fit it to a sample of the data"
            )
        values = np.concatenate([part.astype(np.float64) for part in found.parts])
        lam = (
            1.0
            if is_constant(state.count, state.mean, state.variance())
            else fit_lambda(values, self._is_signed)
        )
        sums = exact.sum_up(run_values(values, [Power(lam, self._is_signed)]))
        mean = exact.mean(sums.total, sums.count)
        variance = exact.variance(sums.total, sums.squares, sums.count)
        return lam, mean, 1.0 if is_constant(sums.count, mean, variance) else math.sqrt(variance)
