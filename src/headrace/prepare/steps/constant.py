"""DropConstant: columns that tell samples apart stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from headrace.errors import PrepareError
from headrace.prepare.statistics import Payload, Statistic
from headrace.prepare.step import Found, PrepareStep
from headrace.prepare.steps.matching import plain_values

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class ConstancyState:
    """Whether known values differ.

    Attributes:
        value: The first known value, or none: a series of at most one.
        varies: Whether another known value differs from it.
        missing: Samples that are null or NaN.
    """

    value: pl.Series
    varies: bool
    missing: int

    def merge(self, other: ConstancyState) -> ConstancyState:
        """Return what is known of both parts."""
        differs = len(self.value) and len(other.value) and bool((self.value != other.value).any())
        value = self.value if len(self.value) else other.value
        return ConstancyState(
            value, self.varies or other.varies or bool(differs), self.missing + other.missing
        )

    def pack(self) -> Payload:
        """Return the counts, and the value as an array."""
        return {"varies": self.varies, "missing": self.missing}, {"value": self.value.to_arrow()}


@dataclass(frozen=True, slots=True)
class Constancy:
    """Asks whether a column holds more than one value."""

    column: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def of(self, frame: pl.DataFrame) -> ConstancyState:
        """Compare all values with the first."""
        values = plain_values(frame[self.column])
        known = values.drop_nulls()
        varies = len(known) > 1 and bool((known != known.head(1)).any())
        return ConstancyState(known.head(1).rechunk(), varies, values.null_count())

    def unpack(self, payload: Payload) -> ConstancyState:
        """Read a state."""
        import polars as pl

        value = pl.Series(self.column, payload[1]["value"])
        return ConstancyState(value, payload[0]["varies"], payload[0]["missing"])


@dataclass(frozen=True)
class DropConstant(PrepareStep):
    """Leave out columns in which no two samples differ.

    NaN counts as missing. By default missing values are put aside: a column of one value and nulls is left
    out, and so is one that is all missing. Infinity is a value like others.

    Learned: `dropped_`, the columns that are left out. Columns behind this step cannot be told before the
    fit, so steps behind it that name no columns need one more scan.

    Attributes:
        missing_is_value: Whether a missing value differs from a known one, so that only columns that are
            all the same or all missing are left out.

    Example:
        >>> import headrace as hr
        >>> ds = hr.from_arrays({"a": [1, 1, 1], "b": [1, 2, 2]})
        >>> hr.Pipeline([hr.DropConstant()]).fit(ds).transform(ds).to_polars().columns
        ['b']
    """

    missing_is_value: bool = False

    def treats(self, dtype: pl.DataType) -> bool:
        """Values that can be compared: no lists, structs and objects."""
        import polars as pl

        return not dtype.is_nested() and dtype != pl.Object

    def requests(self, schema: pl.Schema) -> Sequence[Statistic]:
        """Ask of each column whether it varies."""
        return [Constancy(name) for name in self.names]

    def learn(self, schema: pl.Schema, found: Found) -> dict[str, Any]:
        """Keep the names of those that do not."""
        states: dict[str, ConstancyState] = {name: found[Constancy(name)] for name in self.names}
        dropped = [name for name, state in states.items() if not self._varies(state)]
        if len(dropped) == len(schema):
            raise PrepareError(
                f"DropConstant must leave a column, but all are constant: {dropped}; name `columns`"
            )
        return {"dropped_": dropped}

    def _varies(self, state: ConstancyState) -> bool:
        is_mixed = self.missing_is_value and state.missing > 0 and len(state.value) > 0
        return state.varies or is_mixed

    def unfitted_schema(self, schema: pl.Schema) -> None:
        """Only the fit tells which columns stay."""

    @property
    def rewrites(self) -> tuple[str, ...]:
        """No value is changed."""
        return ()

    def outputs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that stay."""
        return tuple(name for name in names if name not in self.dropped_)

    def narrowed(self, wanted: frozenset[str]) -> tuple[Self | None, frozenset[str]]:
        """Nobody can want what is left out, so nothing has to be done."""
        return None, wanted

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame without the constant columns; thread-safe."""
        return frame.drop(self.dropped_)
