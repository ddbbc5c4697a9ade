"""Steps that bring values to the type and the spelling that is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import OptionError, PrepareError, SchemaError
from headrace.prepare.step import PrepareStep
from headrace.prepare.steps.matching import (
    UnfitError,
    fit_value,
    is_missing,
    kind_of,
    kind_of_type,
    plain_values,
)

if TYPE_CHECKING:
    import polars as pl

OnError = Literal["raise", "null"]
"""What becomes of a value that a step cannot treat."""


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a setting that is none of the choices.

    Raises:
        OptionError: The message names the setting and the choices.
    """
    if value not in choices:
        raise OptionError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}")


def refuse(series: pl.Series, failed: pl.Series, what: str, remedy: str) -> None:
    """Name the first of the values that failed, if any did.

    Raises:
        PrepareError: The message names the column, the value and how many there are.
    """
    count = int(failed.sum())
    if count:
        first = series.filter(failed)[0]
        raise PrepareError(
            f"column `{series.name}`: {count} of {len(series)} values {what}, "
            f"the first of them {first!r}; {remedy}"
        )


_NAMED_TYPES = (
    "Boolean Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float32 Float64 String Binary Categorical "
    "Date Datetime Duration Time"
)


@dataclass(frozen=True)
class Cast(PrepareStep):
    """Change the type of columns, value by value.

    A value that the new type cannot hold is an error or becomes null: text that is no number, a number with
    a fraction as a whole one, a number beyond the limits of the type, a category that is not listed. Null
    stays null, NaN becomes null, infinity stays where the type has one. Floats are rounded to the nearest.
    Text becomes dates by `ParseDates` and truth values by `Replace`.

    Events: "invalid" (what cannot be cast) and "rounded" (whole numbers that a float does not hold exactly).

    Attributes:
        dtype: A Polars type or its name, like "float32".
        on_error: "raise", or "null" for what cannot be cast.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"age": ["39", "?"]})
        >>> hr.Pipeline([hr.Cast("int16", on_error="null")]).fit(ds).transform(ds).to_polars()[
        ...     "age"
        ... ].to_list()
        [39, None]
    """

    dtype: Any
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", _type_of(self.dtype))
        check_choice("on_error", self.on_error, ("raise", "null"))

    def treats(self, dtype: pl.DataType) -> bool:
        """Everything but lists, structs and objects is cast."""
        return _is_plain(dtype)

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Return the schema with the new type."""
        import polars as pl

        return pl.Schema({name: self.dtype if name in self.names else it for name, it in schema.items()})

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with columns cast; thread-safe."""
        return frame.with_columns([self._cast(frame[name]) for name in self.names])

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count what cannot be cast, and what loses digits."""
        counts: dict[str, dict[str, int]] = {}
        for name in self.names:
            series = frame[name]
            result, failed = self._try(series)
            rounded = 0
            if series.dtype.is_integer() and result.dtype.is_float():
                back = result.cast(series.dtype, strict=False)
                rounded = int((back.ne_missing(series) & ~failed).sum())
            counts[name] = {"invalid": int(failed.sum()), "rounded": rounded}
        return counts

    def _cast(self, series: pl.Series) -> pl.Series:
        result, failed = self._try(series)
        if self.on_error == "raise":
            refuse(
                series,
                failed,
                f"cannot be cast to {self.dtype}",
                'clean them before, or make them null by on_error="null"',
            )
        return result

    def _try(self, series: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Return the column with null for what cannot be cast, and where that is."""
        import polars as pl

        known = plain_values(series) if series.dtype.is_float() else series
        try:
            result = known.cast(self.dtype, strict=False)
        except pl.exceptions.PolarsError as error:
            raise SchemaError(
                f"Cast cannot make {self.dtype} of column `{series.name}` of type {series.dtype}; "
                "text becomes dates by `ParseDates` and truth values by `Replace`, others by `Expression`"
            ) from error
        result = plain_values(result) if self.dtype.is_float() else result
        failed = known.is_not_null() & result.is_null()
        if series.dtype == pl.String and self.dtype.is_float():
            failed &= ~known.str.to_lowercase().is_in(["nan", "+nan", "-nan"])
        elif series.dtype.is_numeric() and (self.dtype.is_integer() or self.dtype == pl.Boolean):
            failed |= (result.cast(series.dtype, strict=False) != known).fill_null(False)
        elif series.dtype.is_float() and self.dtype.is_float():
            failed |= (result.is_infinite() & known.is_finite()).fill_null(False)
        return result.set(failed, None), failed


@dataclass(frozen=True)
class Replace(PrepareStep):
    """Put other values in the place of exactly these.

    The key None stands for missing values (null and NaN); the value None makes values missing. Without that
    key missing values stay missing, as null. Treats all columns whose values can be equal to the keys:
    texts, numbers, truth values or times.

    A column keeps its type, which must hold the new values. Where no other value is kept and it does not
    hold them, the column takes the type of the new values.

    Events: "replaced", and "other" (known values that are not in the mapping) unless these are kept.

    Attributes:
        mapping: Old value to new value.
        others: What becomes of known values that are not in the mapping: "keep", "null" or "raise".

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"work": ["Private", "?"], "label": ["no", "yes"]})
        >>> unknown = hr.Replace({"?": None})
        >>> label = hr.Replace({"no": 0, "yes": 1}, others="raise", columns="label")
        >>> hr.Pipeline([unknown, label]).fit(ds).transform({"work": "?", "label": "yes"})
        {'work': None, 'label': 1}
    """

    mapping: Mapping[Any, Any]
    others: Literal["keep", "null", "raise"] = "keep"

    def __post_init__(self) -> None:
        if not isinstance(self.mapping, Mapping) or not self.mapping:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(
                f'`mapping` must map values to others, like {{"?": None}}, got {self.mapping!r}'
            )
        object.__setattr__(self, "mapping", dict(self.mapping))
        check_choice("others", self.others, ("keep", "null", "raise"))
        kind_of(self.mapping, "the keys of `mapping`")
        kind_of(self.mapping.values(), "the values of `mapping`")

    def treats(self, dtype: pl.DataType) -> bool:
        """Columns are treated whose values can be equal to the keys."""
        kinds = (kind_of(values, "`mapping`") for values in (self.mapping, self.mapping.values()))
        meant = next((kind for kind in kinds if kind is not None), None)
        kind = kind_of_type(dtype)
        return kind is not None and meant in (None, kind)

    def unfitted_schema(self, schema: pl.Schema) -> pl.Schema:
        """Send no samples through the step."""
        return self.apply(schema.to_frame()).schema

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with values replaced; thread-safe."""
        return frame.with_columns([self._replaced(frame[name]) for name in self.names])

    def events(self, frame: pl.DataFrame) -> dict[str, dict[str, int]]:
        """Count what is replaced, and what is not in the mapping."""
        counts: dict[str, dict[str, int]] = {}
        for name in self.names:
            listed, missing, other = self._found(frame[name])
            replaced = int(listed.sum()) + (int(missing.sum()) if self._fills else 0)
            counts[name] = {"replaced": replaced} | (
                {} if self.others == "keep" else {"other": int(other.sum())}
            )
        return counts

    @property
    def _fills(self) -> bool:
        return any(is_missing(key) for key in self.mapping)

    def _found(self, series: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series]:
        """Tell which values are in the mapping, which are missing, and which are others."""
        import polars as pl

        keys = pl.Series(list(self._pairs(series.dtype)), dtype=plain_values(series.clear()).dtype)
        known = plain_values(series)
        listed = known.is_in(keys.implode()).fill_null(False)
        return listed, known.is_null(), known.is_not_null() & ~listed

    def _pairs(self, dtype: pl.DataType) -> dict[Any, Any]:
        """The mapping without keys that no value of this type is equal to."""
        pairs: dict[Any, Any] = {}
        for key, value in self.mapping.items():
            try:
                pairs |= (
                    {} if is_missing(key) else {fit_value(key, dtype): None if is_missing(value) else value}
                )
            except UnfitError:
                continue
        return pairs

    def _type_after(self, series: pl.Series) -> pl.DataType:
        import polars as pl

        values = [None if is_missing(value) else value for value in self.mapping.values()]
        try:
            for value in values:
                fit_value(value, series.dtype)
        except UnfitError as error:
            if self.others != "keep":
                return pl.Series(values).dtype
            raise SchemaError(
                f"Replace: column `{series.name}` must hold the new values, but {error}; "
                'take others="null" or "raise" for a column of another type'
            ) from error
        return series.dtype

    def _replaced(self, series: pl.Series) -> pl.Series:
        import polars as pl

        dtype, pairs = self._type_after(series), self._pairs(series.dtype)
        known = plain_values(series)
        if self.others == "raise":
            _, _, other = self._found(series)
            refuse(known, other, "are not in the mapping", 'add them to it, or take others="null"')
        held = pl.String() if isinstance(dtype, (pl.Categorical, pl.Enum)) else dtype
        old = pl.Series(list(pairs), dtype=known.dtype)
        new = pl.Series(list(pairs.values()), dtype=held)
        kept = known if self.others == "keep" else None
        result = known.replace_strict(old, new, default=kept, return_dtype=held)
        if self._fills:
            value = next(value for key, value in self.mapping.items() if is_missing(key))
            result = result.zip_with(known.is_not_null(), pl.Series([value], dtype=held))
        return result.cast(dtype).alias(series.name)


def _is_plain(dtype: pl.DataType) -> bool:
    import polars as pl

    return not dtype.is_nested() and dtype != pl.Object


def _type_of(given: Any) -> pl.DataType:
    """Return the Polars type that is meant.

    Raises:
        OptionError: None is, or one that columns cannot be cast to.
    """
    import polars as pl

    by_name: dict[str, Any] = {name.lower(): getattr(pl, name) for name in _NAMED_TYPES.split()}
    by_name |= {"bool": pl.Boolean, "str": pl.String}
    kind = by_name.get(given.lower()) if isinstance(given, str) else given
    dtype = kind() if isinstance(kind, type) and issubclass(kind, pl.DataType) else kind
    if not isinstance(dtype, pl.DataType) or not _is_plain(dtype):
        raise OptionError(
            f'`dtype` must be a Polars type that is not nested, or its name like "float32", got {given!r}'
        )
    return dtype
