"""Numbers to bins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from headrace.errors import OptionError, PrepareError, check_whole
from headrace.prepare.numbers.operations import Bucket, Operation, Pick
from headrace.prepare.statistics import Moments, MomentsState, Statistic, Values
from headrace.prepare.step import Found, PrepareStep
from headrace.prepare.steps.scale import check_finite, count_beyond, large_error

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class BinStep(PrepareStep):
    """What steps that number bins have in common."""

    def treats(self, dtype: pl.DataType) -> bool:
        """Numbers are treated."""
        return dtype.is_numeric()

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Bins are Int32."""
        import polars as pl

        return pl.Schema({name: pl.Int32() if name in self.names else it for name, it in schema.items()})


@dataclass(frozen=True)
class Bucketize(BinStep):
    """Replace each number by how many edges are not above it, as Int32.

    With edges a < b: 0 for x < a, 1 for a <= x < b, 2 for b <= x. Infinities fall into the outer bins;
    missing values (null, NaN) become null.

    Attributes:
        edges: Rising numbers for all columns, or such by column.

    Example:
        >>> import headrace as hr
        >>> pipe = hr.Pipeline([hr.Bucketize([18, 65])]).fit(hr.from_arrays({"age": [17, 18, 70]}))
        >>> pipe.transform({"age": 18})
        {'age': 1}
    """

    edges: Any = ()

    def __post_init__(self) -> None:
        by_column = isinstance(self.edges, Mapping)
        for edges in cast("Mapping[str, Any]", self.edges).values() if by_column else [self.edges]:
            _rising(edges)

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the edges of each column."""
        if not isinstance(self.edges, Mapping):
            return {"edges_": dict.fromkeys(self.names, _rising(self.edges))}
        by_column = cast("Mapping[str, Any]", self.edges)
        lacking = [name for name in self.names if name not in by_column]
        if lacking:
            raise OptionError(
                f"`edges` must name every column, but lacks `{lacking[0]}`; or choose by `columns=`"
            )
        return {"edges_": {name: _rising(by_column[name]) for name in self.names}}

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Number each value's bin."""
        return [Bucket(self.edges_[column])]


@dataclass(frozen=True)
class KBinsDiscretizer(BinStep):
    """Replace each number by the bin that it falls into, as Int32, counted from 0.

    As in scikit-learn, "quantile" puts edges at the averaged inverted distribution's quantiles and drops
    edges that coincide, "uniform" makes bins of one width, and a constant column has one bin. (scikit-learn
    drops bins narrower than 1e-8 as well.) Values beyond the fit's fall into the outer bins; the inverse
    gives the middle of a bin. Missing values (null, NaN) have no part in the fit and become null; infinity in
    a fit is an error.

    Learned: `bin_edges_` and `n_bins_`, by column; for quantiles `rank_error_`, 0 unless the values took more
    memory than the fit had, and a sketch took their place.

    Attributes:
        n_bins: How many bins.
        strategy: "quantile" or "uniform".

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"x": [0.0, 0.0, 0.0, 0.0, 1.0, 2.0]})
        >>> pipe = hr.Pipeline([hr.KBinsDiscretizer(3)]).fit(ds)
        >>> pipe.steps[0].bin_edges_, pipe.transform({"x": 9.0})
        ({'x': [0.0, 0.5, 2.0]}, {'x': 1})
    """

    n_bins: int = 5
    strategy: Literal["quantile", "uniform"] = "quantile"

    def __post_init__(self) -> None:
        check_whole("n_bins", self.n_bins, least=2)
        if self.strategy not in ("quantile", "uniform"):
            raise OptionError(f'`strategy` must be "quantile" or "uniform", got {self.strategy!r}')

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask for the extremes of each column, and its values where they matter."""
        moments: list[Statistic] = [Moments(name) for name in self.names]
        return [*moments, *(Values(name) for name in self.names if self.strategy == "quantile")]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the edges."""
        edges = {name: self._edges(name, found) for name in self.names}
        counts = {name: len(it) - 1 for name, it in edges.items()}
        if self.strategy == "uniform":
            return {"bin_edges_": edges, "n_bins_": counts}
        errors = {name: found[Values(name)].rank_error for name in self.names}
        return {"bin_edges_": edges, "n_bins_": counts, "rank_error_": errors}

    def operations(self, column: str, dtype: pl.DataType) -> Sequence[Operation]:
        """Number each value's bin."""
        return [Bucket(self.bin_edges_[column][1:-1])]

    def inverse_operations(self, column: str) -> Sequence[Operation]:
        """Return the middle of each bin."""
        edges = np.array(self.bin_edges_[column])
        return [Pick((edges[1:] + edges[:-1]) * 0.5)]

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count values beyond those of the fit."""
        return count_beyond(frame, {name: (it[0], it[-1]) for name, it in self.bin_edges_.items()})

    def _edges(self, name: str, found: Found) -> list[float]:
        state: MomentsState = found[Moments(name)]
        check_finite(name, state)
        low, high = state.sums.low, state.sums.high
        if low is None or high is None:
            raise PrepareError(
                f"column `{name}`: all values are missing, so there are no bins; drop the column"
            )
        if low == high:
            return [-math.inf, math.inf]
        if self.strategy == "uniform":
            if math.isinf(float(high) - float(low)):
                raise large_error(name, "range")
            return np.linspace(float(low), float(high), self.n_bins + 1).tolist()
        levels = np.linspace(0, 1, self.n_bins + 1).tolist()
        return _without_repeats(found[Values(name)].quantiles(levels, "averaged_inverted_cdf"))


def _without_repeats(edges: list[float]) -> list[float]:
    return [edges[0], *(edge for before, edge in pairwise(edges) if edge != before)]


def _rising(edges: Any) -> list[float]:
    try:
        numbers = [float(edge) for edge in edges]
    except (TypeError, ValueError):
        raise OptionError(f"`edges` must be rising numbers, such as [18, 65], got {edges!r}") from None
    if not numbers or math.isnan(numbers[0]) or not all(a < b for a, b in pairwise(numbers)):
        raise OptionError(f"`edges` must be rising numbers, such as [18, 65], got {edges!r}")
    return numbers
