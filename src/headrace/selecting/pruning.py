"""Which row groups need not be read: their statistics tell that no row matches, or that all do.

The values of a column in a row group are split into three sorts: null, NaN, and those within the
bounds. NaN has a sort of its own because statistics pass over it, while to Polars it is the largest
number. For each combination of sorts, every test of the predicate is answered on the bounds by Polars
itself, so that literals are compared as they would be with the rows; the outcomes of the tests then
join by three-valued logic. What cannot be answered may have any outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.prepare.base import to_frame
from headrace.selecting.outcomes import Mask, Outcomes
from headrace.selecting.predicates import Joined, Negated, Predicate, Test, conjuncts
from headrace.sources.statistics import Statistics

if TYPE_CHECKING:
    import polars as pl

Sort = Literal["null", "nan", "within"]

_MOST_COLUMNS = 4  # of one part of a predicate; each makes the combinations three times as many


@dataclass(frozen=True, slots=True)
class Verdict:
    """What statistics tell of each row group.

    Attributes:
        may: Whether a row may match, bool of shape [row groups].
        must: Whether every row matches.
    """

    may: Mask
    must: Mask


def judge(
    predicates: Sequence[Predicate], statistics: Mapping[str, Statistics], rows: NDArray[np.int64]
) -> Verdict:
    """Judge row groups by what is known of some columns.

    Args:
        predicates: All of them must be true for a row to match.
        statistics: What is known, by column.
        rows: How many samples each row group holds, int64 of shape [row groups].
    """
    facts = {name: Facts.of(known, rows) for name, known in statistics.items()}
    # Tests of the same columns are judged together: x >= 1 rules out other row groups beside x <= 2.
    parts = sorted(
        (part for predicate in predicates for part in conjuncts(predicate)), key=lambda it: sorted(it.columns)
    )
    may, must = rows > 0, rows > 0
    for columns, same in groupby(parts, key=lambda part: part.columns):
        outcomes = _outcomes(Joined("and", tuple(same)), sorted(columns & facts.keys()), facts, len(rows))
        may = may & outcomes.true
        must = must & ~outcomes.false & ~outcomes.null
    return Verdict(may, must & may)


def _outcomes(
    predicate: Predicate, columns: Sequence[str], facts: Mapping[str, Facts], groups: int
) -> Outcomes:
    """Collect the outcomes of all combinations of sorts that a row group may hold."""
    if len(columns) > _MOST_COLUMNS:
        return Outcomes.unknown(groups)
    answers = _Answers(facts, groups)
    found = Outcomes(*np.zeros((3, groups), np.bool_))
    for sorts in product(*(facts[column].sorts for column in columns)):
        chosen = dict(zip(columns, sorts, strict=True))
        here = reduce(np.logical_and, (facts[name].holds(sort) for name, sort in chosen.items()), True)
        outcomes = answers.of(predicate, chosen)
        found = found.either(Outcomes(outcomes.true & here, outcomes.false & here, outcomes.null & here))
    return found


@dataclass(frozen=True)
class Facts:
    """Statistics of one column as Polars sees its values.

    Attributes:
        low: The lower bounds.
        high: The upper bounds.
        known: Where both bounds are known.
        nulls: How many values are null; -1 where that is not known.
        rows: How many values there are.
    """

    low: pl.Series
    high: pl.Series
    known: Mask
    nulls: NDArray[np.int64]
    rows: NDArray[np.int64]

    @staticmethod
    def of(statistics: Statistics, rows: NDArray[np.int64]) -> Facts:
        """Turn statistics into columns of Polars, and leave out bounds that cannot be right."""
        bounds = pa.RecordBatch.from_arrays([statistics.low, statistics.high], names=["low", "high"])
        frame = to_frame(bounds)
        low, high = frame["low"], frame["high"]
        known = _mask(low <= high) if _has_order(low.dtype) else np.zeros(len(rows), np.bool_)
        return Facts(low, high, known, statistics.nulls, rows)

    @property
    def is_float(self) -> bool:
        """Whether values may be NaN."""
        return self.low.dtype.is_float()

    @property
    def sorts(self) -> tuple[Sort, ...]:
        """The sorts of values that the column's type allows."""
        return ("null", "nan", "within") if self.is_float else ("null", "within")

    def holds(self, sort: Sort) -> Mask:
        """Tell where values of one sort may lie."""
        return self.nulls != 0 if sort == "null" else self.nulls < self.rows


class _Answers:
    """The outcomes of tests by sort, each asked once."""

    def __init__(self, facts: Mapping[str, Facts], groups: int) -> None:
        self._facts, self._groups = facts, groups
        self._kept: dict[tuple[Test, Sort | None], Outcomes] = {}

    def of(self, predicate: Predicate, sorts: Mapping[str, Sort]) -> Outcomes:
        """Join the outcomes of all tests, where each column holds values of one sort."""
        match predicate:
            case Negated(part):
                return ~self.of(part, sorts)
            case Joined(operation, parts):
                outcomes = [self.of(part, sorts) for part in parts]
                both = operation == "and"
                return reduce((lambda a, b: a & b) if both else (lambda a, b: a | b), outcomes)
            case Test(column=column):
                key = predicate, sorts.get(column or "")
                if key not in self._kept:
                    self._kept[key] = self._ask(*key)
                return self._kept[key]

    def _ask(self, test: Test, sort: Sort | None) -> Outcomes:
        try:
            if test.is_constant:
                return self._at_one_value(test, {})
            if sort is None or test.column is None:
                return Outcomes.unknown(self._groups)
            facts = self._facts[test.column]
            if sort == "within":
                return _within(test, facts)
            value = None if sort == "null" else float("nan")
            return self._at_one_value(test, {test.column: _series([value], facts.low.dtype)})
        except Exception:  # Polars refuses a comparison; the rows will tell whether that is an error
            return Outcomes.unknown(self._groups)

    def _at_one_value(self, test: Test, columns: Mapping[str, pl.Series]) -> Outcomes:
        """Answer a test for the one value that its column has."""
        answer = _evaluated(test.expression, columns or {"": _series([0], None)})
        outcomes = (answer.true, answer.false, answer.null)
        return Outcomes(*(np.repeat(outcome, self._groups) for outcome in outcomes))


def _within(test: Test, facts: Facts) -> Outcomes:
    """Answer a test for values within the bounds."""
    checks = {"null": False, "not null": True, "nan": False, "not nan": True}
    if test.kind in checks:
        return Outcomes.always(checks[test.kind], len(facts.known))
    judge_by: dict[str, Callable[[Test, Facts], Outcomes]] = {
        "order": _by_order, "equal": _by_equality, "unequal": _by_equality, "among": _by_membership,
    }  # fmt: skip
    return judge_by.get(test.kind, _by_one_value)(test, facts).or_any(~facts.known)


def _by_order(test: Test, facts: Facts) -> Outcomes:
    """Between two values with the same answer all have it."""
    low, high = (_evaluated(test.expression, {test.column or "": end}) for end in (facts.low, facts.high))
    return low.either(high).or_any(low.null | high.null)


def _by_equality(test: Test, facts: Facts) -> Outcomes:
    """A literal outside of the bounds equals no value; one that is both bounds equals all."""
    import polars as pl

    column, literal = pl.col("column"), test.literal
    over, under, first, last = (
        _evaluated(expression, {"column": end})
        for expression, end in (
            (column <= literal, facts.low),
            (column >= literal, facts.high),
            (column == literal, facts.low),
            (column == literal, facts.high),
        )
    )
    true, false = ~over.false & ~under.false, ~(first.true & last.true)
    equal = Outcomes(true, false, np.zeros_like(true)).or_any(over.null | under.null)
    return ~equal if test.kind == "unequal" else equal


def _by_membership(test: Test, facts: Facts) -> Outcomes:
    """No value matches where no listed one lies within the bounds."""
    exact = _by_one_value(test, facts)
    listed = listed_values(test)
    values = listed.drop_nulls()
    low, high = facts.low, facts.high
    if facts.is_float and values.dtype.is_float():
        values, low, high = (series.cast(_float64()) for series in (values, low, high))
        values = values.filter(~values.is_nan())
    elif low.dtype.is_integer() and values.dtype.is_integer():
        values = values.cast(low.dtype, strict=False).drop_nulls()
    elif low.dtype != values.dtype:
        return exact
    values = values.unique().sort()
    true = np.zeros(len(facts.known), np.bool_)
    if len(values):
        places = np.flatnonzero(facts.known)
        next_up = values.search_sorted(low.gather(places), side="left").to_numpy()
        here = next_up < len(values)
        places, next_up = places[here], next_up[here]
        true[places] = _mask(values.gather(next_up) <= high.gather(places))
    null = exact.null if listed.has_nulls() else np.zeros_like(true)
    return Outcomes(true & exact.true, exact.false, null)


def _by_one_value(test: Test, facts: Facts) -> Outcomes:
    """Where both bounds are one value, the answer is that value's; floats have two zeros."""
    unknown = Outcomes.unknown(len(facts.known))
    places = np.flatnonzero(_mask(facts.low == facts.high) & facts.known)
    if facts.is_float or not len(places):
        return unknown
    answer = _evaluated(test.expression, {test.column or "": facts.low.gather(places)})
    for outcome, found in (
        (unknown.true, answer.true),
        (unknown.false, answer.false),
        (unknown.null, answer.null),
    ):
        outcome[places] = found
    return unknown


def listed_values(test: Test) -> pl.Series:
    """Return what `is_in` looks for, or the one value that a column is compared with."""
    import polars as pl

    assert test.literal is not None
    values = pl.select(test.literal).to_series()
    return values.explode() if isinstance(values.dtype, (pl.List, pl.Array)) else values


def _evaluated(expression: pl.Expr, columns: Mapping[str, pl.Series]) -> Outcomes:
    """Ask Polars for the outcome of each row, which must be a truth value."""
    import polars as pl

    frame = pl.DataFrame([series.alias(name) for name, series in columns.items()])
    answers = frame.select(expression.alias("answer")).to_series()
    if answers.dtype != pl.Boolean:
        raise TypeError(f"a truth value is needed, got {answers.dtype}")
    if len(answers) != frame.height:
        answers = answers.new_from_index(0, frame.height)
    true, null = _mask(answers), answers.is_null().to_numpy()
    return Outcomes(true, ~true & ~null, null)


def _has_order(dtype: Any) -> bool:
    """Whether statistics and Polars order a type alike."""
    import polars as pl

    return dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.Boolean, pl.String, pl.Binary)


def _float64() -> Any:
    import polars as pl

    return pl.Float64


def _series(values: list[Any], dtype: Any) -> pl.Series:
    import polars as pl

    return pl.Series(values, dtype=dtype)


def _mask(answers: pl.Series) -> Mask:
    return answers.fill_null(value=False).to_numpy()
