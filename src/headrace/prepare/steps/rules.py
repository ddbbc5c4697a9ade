"""FixInconsistent: values that break stated rules are mended, made null or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from headrace.errors import OptionError, SchemaError, UnknownColumnError
from headrace.prepare.step import PrepareStep
from headrace.prepare.steps.clean import OnError, check_choice, refuse
from headrace.prepare.steps.matching import UnfitError, fit_value, kind_of, kind_of_type, plain_values

if TYPE_CHECKING:
    import polars as pl

_REMEDY = 'mend them before, widen the rule, or make them null by on_violation="null"'


@dataclass(frozen=True)
class FixInconsistent(PrepareStep):
    """Hold values against rules: synonyms, units, allowed values, a range; in this order.

    Synonyms and units mend values. What then is not allowed, lies out of the range or has an unknown unit
    breaks a rule: it becomes null, or is refused. Missing values (null, NaN) break no rule and are null.
    Columns that need other rules get a step of their own.

    Events: "synonym", "converted" (values whose unit has another factor than 1), "unknown_unit",
    "not_allowed" and "out_of_range", each where its rule is given.

    Attributes:
        synonyms: Each value that is meant, and the list of values that are written for it. convert: Each
            unit, and the factor that takes a value in it to the unit that is meant; or the pair of a factor
            and what is added then. A column of whole numbers becomes Float64. The unit's column stays as it
            is.
        unit_column: The column of text that holds the unit of each sample. allowed: The only values that
            may be left. ranges: The least and the largest value that may be left, both of them included;
            None where there is no limit. on_violation: "null", or "raise" for values that break a rule.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"height": [180.0, 71.0, 900.0], "unit": ["cm", "in", "cm"]})
        >>> fix = hr.FixInconsistent(convert={"cm": 1, "in": 2.54}, unit_column="unit", ranges=(30, 250))
        >>> hr.Pipeline([fix], dtype="float64").fit(ds).transform(ds).to_polars()["height"].to_list()
        [180.0, 180.34, None]
    """

    synonyms: Mapping[Any, Sequence[Any]] | None = None
    convert: Mapping[str, float | Sequence[float]] | None = None
    unit_column: str | None = None
    allowed: Sequence[Any] | None = None
    ranges: Sequence[Any] | None = None
    on_violation: OnError = "null"

    def __post_init__(self) -> None:
        check_choice("on_violation", self.on_violation, ("null", "raise"))
        if self.synonyms is None and self.convert is None and self.allowed is None and self.ranges is None:
            raise OptionError("FixInconsistent needs a rule: `synonyms`, `convert`, `allowed` or `ranges`")
        if (self.convert is None) != (self.unit_column is None):
            raise OptionError("`convert` and `unit_column` belong together; give both or none")
        _check_synonyms(self.synonyms)
        for unit, factor in _factors(self.convert).items():
            if not all(map(math.isfinite, factor)) or not factor[0]:
                raise OptionError(
                    f"`convert` maps units to factors that are finite and not 0, got {unit!r}: {factor}"
                )
        if self.ranges is not None:
            limits = list(self.ranges)
            known = [limit for limit in limits if limit is not None]
            kind_of(known, "`ranges`")  # so that they can be compared
            if len(limits) != 2 or not known or (len(known) == 2 and not _rise(*known)):
                raise OptionError(
                    f"`ranges` must be a lower and an upper limit, like (0, 120), got {self.ranges!r}"
                )
        if self._kind is None:
            raise OptionError("FixInconsistent needs known values in its rules, got missing ones alone")

    @property
    def _kind(self) -> str | None:
        """The kind of values that all rules speak of."""
        values: list[Any] = [*(self.allowed or ()), *(self.ranges or ()), *([1.0] if self.convert else [])]
        for meant, written in (self.synonyms or {}).items():
            values += [meant, *written]
        return kind_of(values, "the rules of FixInconsistent")

    def treats(self, dtype: pl.DataType) -> bool:
        """Columns are treated whose values are of the kind that the rules speak of."""
        return kind_of_type(dtype) == self._kind

    def resolve(self, schema: pl.Schema) -> tuple[str, ...]:
        """Name the treated columns, and look at the unit's."""
        unit = self.unit_column
        if unit is not None and unit not in schema:
            raise UnknownColumnError.from_names([unit], schema.names(), "FixInconsistent:")
        if unit is not None and kind_of_type(schema[unit]) != "text":
            raise SchemaError(
                f"FixInconsistent: units must be text, got column `{unit}` of type {schema[unit]}"
            )
        return super().resolve(schema)

    @property
    def reads(self) -> tuple[str, ...]:
        """The treated columns, and the unit's."""
        return (
            self.names if self.unit_column is None else tuple(dict.fromkeys((*self.names, self.unit_column)))
        )

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Leave out columns that nobody wants, and the unit's with the last of them."""
        step, wanted = super().narrowed(wanted)
        return step, wanted if step is None else wanted | set(step.reads)

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Send no samples through the step."""
        return self.apply(schema.to_frame()).schema

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with values mended; thread-safe."""
        return frame.with_columns([self._fix(frame, name, self.on_violation)[0] for name in self.names])

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count what each rule meets."""
        return {name: self._fix(frame, name, "null")[1] for name in self.names}

    def _fix(self, frame: pl.DataFrame, name: str, on_violation: str) -> tuple[pl.Series, dict[str, int]]:
        import polars as pl

        dtype, counts = frame.schema[name], dict[str, int]()
        series = plain_values(frame[name])

        def judge(event: str, failed: pl.Series, what: str) -> pl.Series:
            failed = failed.fill_null(False)
            counts[event] = int(failed.sum())
            if on_violation == "raise":
                refuse(series, failed, what, _REMEDY)
            return series.zip_with(~failed, pl.Series([None], dtype=series.dtype))

        if self.synonyms is not None:
            series, counts["synonym"] = self._mend_synonyms(series, dtype)
        if self.convert is not None:
            assert self.unit_column is not None
            units = frame[self.unit_column].cast(pl.String)
            unknown = ~units.is_in(list(self.convert)).fill_null(False) & series.is_not_null()
            series = judge(
                "unknown_unit", unknown, f"have a unit in `{self.unit_column}` that is not in `convert`"
            )
            series, counts["converted"] = self._convert(series, units)
            dtype = series.dtype
        if self.allowed is not None:
            allowed = pl.Series(_fitting(self.allowed, dtype), dtype=series.dtype)
            series = judge("not_allowed", ~series.is_in(allowed.implode()), "are not allowed")
        if self.ranges is not None:
            series = judge("out_of_range", _beyond(series, self.ranges), f"lie out of {tuple(self.ranges)}")
        return series.cast(dtype).alias(name), counts

    def _mend_synonyms(self, series: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, int]:
        import polars as pl

        pairs: dict[Any, Any] = {}
        for meant, written in (self.synonyms or {}).items():
            try:
                held = fit_value(meant, dtype)
            except UnfitError as error:
                raise SchemaError(
                    f"FixInconsistent: column `{series.name}` must hold what is meant, but {error}"
                ) from error
            pairs |= dict.fromkeys(_fitting(written, dtype), held)
        old = pl.Series(list(pairs), dtype=series.dtype)
        new = pl.Series(list(pairs.values()), dtype=series.dtype)
        count = int(series.is_in(old.implode()).fill_null(False).sum())
        return series.replace_strict(old, new, default=series, return_dtype=series.dtype), count

    def _convert(self, series: pl.Series, units: pl.Series) -> tuple[pl.Series, int]:
        """Multiply in NumPy, whose products are the same for one value as for many."""
        import polars as pl

        factors = _factors(self.convert)
        names = pl.Series(list(factors), dtype=pl.String)
        columns: list[Any] = []
        for place in range(2):
            numbers = pl.Series([factor[place] for factor in factors.values()], dtype=pl.Float64)
            found = units.replace_strict(names, numbers, default=None, return_dtype=pl.Float64)
            columns.append(found.to_numpy())
        factor, offset = columns
        with np.errstate(all="ignore"):
            values = series.cast(pl.Float64).to_numpy() * factor + offset
        made = pl.Series(series.name, values, pl.Float64).fill_nan(None)
        is_other = (factor != 1) | (offset != 0)
        count = int((series.is_not_null().to_numpy() & is_other).sum())
        return (made.cast(series.dtype) if series.dtype.is_float() else made), count


def _rise(low: Any, high: Any) -> bool:
    try:
        return low <= high
    except TypeError:  # a day and a moment, or moments with and without a time zone
        return False


def _check_synonyms(synonyms: Mapping[Any, Sequence[Any]] | None) -> None:
    seen: dict[Any, Any] = {}
    for meant, written in (synonyms or {}).items():
        if isinstance(written, str) or not isinstance(written, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(
                f"`synonyms` maps what is meant to a list of what is written, got {meant!r}: {written!r}"
            )
        for value in written:
            if value in seen and seen[value] != meant:
                raise OptionError(
                    f"`synonyms`: {value!r} is written for one value, got {seen[value]!r} and {meant!r}"
                )
            if value != meant and value in (synonyms or {}):
                raise OptionError(f"`synonyms`: {value!r} cannot be both meant and written for {meant!r}")
            seen[value] = meant


def _factors(convert: Mapping[str, float | Sequence[float]] | None) -> dict[str, tuple[float, float]]:
    """Return factor and offset by unit."""
    factors: dict[str, tuple[float, float]] = {}
    for unit, given in (convert or {}).items():
        pair = [given, 0.0] if isinstance(given, (int, float)) else list(given)
        if len(pair) != 2:
            raise OptionError(
                f"`convert`: a unit has a factor, or a factor and an offset, got {unit!r}: {given!r}"
            )
        factors[unit] = (float(pair[0]), float(pair[1]))
    return factors


def _fitting(values: Sequence[Any], dtype: pl.DataType) -> list[Any]:
    """Return the values that a column of this type can hold."""
    held: list[Any] = []
    for value in values:
        try:
            held.append(fit_value(value, dtype))
        except UnfitError:
            continue
    return [value for value in held if value is not None]


def _beyond(series: pl.Series, limits: Sequence[Any]) -> pl.Series:
    import polars as pl

    low, high = limits
    column = pl.col(series.name)
    beyond = pl.lit(False)
    if low is not None:
        beyond |= column < low
    if high is not None:
        beyond |= column > high
    return series.to_frame().select(beyond.alias(series.name)).to_series()
